"""Ingest's turns beside the other services: paused, not stopped, while a share or a disk is out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict

import structlog

from services.ingest.status import IngestStatus
from services.ingest.watcher import Ingest
from services.runtime.clock import Clock
from services.runtime.errors import TransientError

log = structlog.get_logger()

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0


class IngestTurns:
    """Takes ingest's turns; an outage makes it pause, longer each time.

    Parameters
    ----------
    ingest
        The service.
    clock
        Times the pauses.
    """

    def __init__(self, ingest: Ingest, clock: Clock) -> None:
        self._ingest = ingest
        self._clock = clock
        self._pause_s = 0.0
        self._resume_at_s = 0.0
        self._outage: TransientError | None = None

    def step(self, timeout_s: float = 0.0) -> bool:
        """Take one turn; return whether there was work. Nothing here waits: the folders say nothing by themselves."""
        del timeout_s
        if self._clock.monotonic_s() < self._resume_at_s:
            return False
        try:
            worked = self._ingest.step()
        except TransientError as outage:
            self._pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, 2 * self._pause_s))
            self._resume_at_s = self._clock.monotonic_s() + self._pause_s
            self._outage = outage
            log.warning("ingest_outage", outage=str(outage), pause_s=self._pause_s)
            return False
        self._pause_s, self._outage = 0.0, None
        return worked

    @property
    def outage(self) -> TransientError | None:
        """What the last turn was held up by; each try that fails has its own."""
        return self._outage

    @property
    def paused(self) -> bool:
        """Whether an outage holds it up."""
        return self._pause_s > 0

    @property
    def done(self) -> bool:
        """Whether the acquisition has ended and all of it was sent."""
        return self._ingest.is_done

    @property
    def finishing(self) -> bool:
        """Whether something said that no more slices will come."""
        return self._ingest.is_finishing or self._ingest.is_done

    def status(self) -> IngestStatus:
        """Return how ingest stands."""
        return self._ingest.status()

    def waiting_for(self) -> str:
        """Return what holds ingest up, in words; empty when nothing does."""
        return str(self._outage) if self._outage else self._ingest.status().waiting_for

    def ledgers(self) -> Mapping[str, Mapping[str, int]]:
        """Return both ledgers as they stand: the number of each state, by name."""
        books = self._ingest.ledger()
        files = asdict(books.files)
        ignored = sum(files.pop("ignored").values())
        slices = {name: value for name, value in asdict(books.slices).items() if name not in {"z_first", "z_last"}}
        return {
            "files": {**files, "ignored": ignored, "unaccounted": books.files.unaccounted},
            "slices": {**slices, "unaccounted": books.slices.unaccounted},
        }

    def ledger_rows(self) -> Iterator[dict[str, str | int | None]]:
        """Return the rows of ledger.csv."""
        return (row.line for row in self._ingest.ledger_rows())

    def close(self) -> None:
        """Put down what is in hand."""
        try:
            self._ingest.close()
        except TransientError as outage:
            log.warning("ingest_outage", outage=str(outage))
