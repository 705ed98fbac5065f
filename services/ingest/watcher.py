"""Ingest: looks at the folders, reads what is at rest, keeps the journal, publishes what follows from it.

`Ingest.step` does a bounded amount of work, so that one process can run it in turn with the other services. It
remembers nothing that the journal does not hold, but for files that are still in flight, which it sees again.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import structlog
from pydantic import ValidationError

from services.contracts.values import DecisionKind
from services.ingest.attempts import ReadingAttempts
from services.ingest.events import DecisionTaken, Fault, FileRead, FileRefused
from services.ingest.folders import LocalFolders, SliceFolders
from services.ingest.intake import SERVICE, FileState
from services.ingest.journal import Journal
from services.ingest.keeping import Keeper, version_of
from services.ingest.ledger import Ledger, LedgerRow, ledger, rows
from services.ingest.lookout import Lookout
from services.ingest.policy import propose
from services.ingest.publishing import Publisher
from services.ingest.reading import FileReader, Outcome, Outside, Unsettled, Unusable, Whole
from services.ingest.requests import Request, RequestBox, RequestRefusedError, answer
from services.ingest.settings import IngestSettings
from services.ingest.sightings import FileKey, Sighting
from services.ingest.status import IngestStatus, waiting_for
from services.runtime.bus.port import Producer
from services.runtime.clock import Clock
from services.runtime.errors import TransientError
from services.runtime.metrics.port import Metrics
from services.runtime.store.port import ArtefactStore

log = structlog.get_logger()

_IO_ERRORS_TOLERATED = 3
_EVENTS_PER_STEP = 1000


@dataclass(frozen=True, slots=True)
class IngestPorts:
    """What ingest works with; `folders` defaults to those that the settings name, on this machine."""

    producer: Producer
    store: ArtefactStore
    clock: Clock
    metrics: Metrics
    folders: SliceFolders | None = None


@dataclass(frozen=True, slots=True)
class _InHand:
    """A file that is being read."""

    sighting: Sighting
    is_final: bool
    turns: Generator[None, None, Outcome]


class Ingest:
    """Turns the files of one acquisition into messages.

    Parameters
    ----------
    settings
        The acquisition, its folders, and what is decided without asking.
    ports
        Bus, store, clock, metrics and folders.
    from_start
        Whether to publish everything again, for a bus that was lost.

    Raises
    ------
    BrokenJournalError
        If the store has lost part of the journal.
    TransientError
        If the store is out.
    """

    def __init__(self, settings: IngestSettings, ports: IngestPorts, *, from_start: bool = False) -> None:
        self._settings = settings
        self._ports = ports
        self._folders = ports.folders or LocalFolders(
            settings.folders, follow_links_outside=settings.follow_links_outside, keep_flags=settings.keep_flags
        )
        journal = Journal(ports.store, settings.acquisition_id)
        self._publisher = Publisher(
            settings.identity, journal, ports.producer, now_s=ports.clock.unix_s, from_start=from_start
        )
        self._intake = self._publisher.intake
        self._lookout = Lookout(settings, self._folders, ports.clock, self._intake)
        self._reader = FileReader(
            self._folders,
            settings.reading_rules,
            ReadingAttempts(ports.store, settings.acquisition_id),
            self._intake.wants_histogram,
        )
        self._keeper = Keeper(
            self._folders,
            ports.store,
            settings.acquisition_id,
            in_memory_bytes=settings.in_memory_bytes,
            most_kept_bytes=settings.most_kept_bytes,
        )
        self._contents = {
            FileKey(known.version.folder, known.version.name): known.raw.sha256 for known in self._intake.files
        }
        self._in_hand: _InHand | None = None
        self._requests = RequestBox(ports.store, settings.acquisition_id)
        self._next_requests_s = float("-inf")
        self._seen_before = len(self._intake.files)

    def step(self) -> bool:
        """Do a bounded amount of work; return whether there was any.

        Raises
        ------
        TransientError
            If folder, store or bus is out. Nothing is lost: call it again later, for as long as it lasts.
        """
        worked = self._publisher.flush()
        if self.is_done:
            return worked
        worked |= self._look()
        worked |= self._answer_requests()
        worked |= self._read_some()
        worked |= self._decide()
        return self._publisher.flush() or worked

    @property
    def is_done(self) -> bool:
        """Whether the acquisition has ended, or nothing ever came, and everything about it was sent."""
        return (self._intake.ended is not None or self._lookout.has_nothing) and self._publisher.is_idle

    @property
    def is_finishing(self) -> bool:
        """Whether a marker, a request, the last z wanted, or the folder itself says that nothing more will come."""
        return self._lookout.is_finishing

    def status(self) -> IngestStatus:
        """Return how things stand."""
        now = self.ledger()
        in_flight = list(self._lookout.in_flight())
        return IngestStatus(
            ledger=now,
            first_z=self._intake.first_z,
            last_z=now.slices.z_last,
            is_done=self.is_done,
            is_finishing=self._lookout.is_finishing,
            waiting_for=waiting_for(
                self._intake, in_flight, is_watched=not self._lookout.is_finishing, is_done=self.is_done
            ),
        )

    def ledger(self) -> Ledger:
        """Return both ledgers as they stand."""
        in_flight = [sighting.listed.z for sighting in self._lookout.in_flight()]
        return ledger(self._intake, in_flight, self._lookout.ignored)

    def ledger_rows(self) -> list[LedgerRow]:
        """Return the lines of the ledger as it stands."""
        return rows(self._intake, self._lookout.situation.in_flight_z)

    def close(self) -> None:
        """Put down what is in hand; a later start goes on from here.

        Raises
        ------
        TransientError
            If the store is out; nothing but time is lost.
        """
        self._drop_in_hand()
        self._publisher.note_published()

    def _look(self) -> bool:
        changed = self._lookout.look(is_reading=self._in_hand is not None)
        if changed:
            self._measure()
        return changed

    def _read_some(self) -> bool:
        """Read a few files, or a few pages of one; return whether there was anything to read."""
        for done in range(self._settings.files_per_step):
            in_hand = self._in_hand or self._take_next()
            if in_hand is None:
                return done > 0
            self._in_hand = in_hand
            if not self._take_turn(in_hand):
                return True
        return True

    def _take_next(self) -> _InHand | None:
        found = self._lookout.next_reading()
        if found is None:
            return None
        sighting, reading = found
        return _InHand(sighting, reading.is_final, self._reader.read(reading))

    def _take_turn(self, in_hand: _InHand) -> bool:
        """Read on; return whether the file is done with."""
        try:
            next(in_hand.turns)
        except StopIteration as end:
            self._in_hand = None
            outcome: Outcome = end.value
        except OSError as error:
            self._in_hand = None
            self._io_trouble(in_hand, error)
            return True
        except TransientError:
            self._drop_in_hand()
            raise
        else:
            return False
        self._settle(in_hand, outcome)
        return True

    def _drop_in_hand(self) -> None:
        if self._in_hand is not None:
            self._in_hand.turns.close()
            self._lookout.put_back(self._in_hand.sighting)
            self._in_hand = None

    def _settle(self, in_hand: _InHand, outcome: Outcome) -> None:
        """Take note of what was found out about a file."""
        match outcome:
            case Outside():
                self._lookout.leave_alone(in_hand.sighting.listed.key, "outside_z_range")
            case Unsettled():
                self._lookout.postpone(in_hand.sighting, is_stack=outcome.is_stack)
            case Unusable() if outcome.may_grow and not in_hand.is_final:
                in_hand.sighting.fault = outcome.fault
            case Unusable() | Whole():
                self._keep(in_hand, outcome)

    def _keep(self, in_hand: _InHand, outcome: Whole | Unusable) -> None:
        """Put the file's bytes into the store and write down what it is."""
        sighting = in_hand.sighting
        event: FileRead | FileRefused | None
        try:
            if isinstance(outcome, Whole):
                event = self._keeper.whole(sighting.listed, outcome)
            else:
                event = self._keeper.refused(sighting.listed, outcome)
        except OSError as error:
            self._io_trouble(in_hand, error)
            return
        except TransientError:
            self._lookout.put_back(sighting)
            raise
        if event is None:
            # It changed while it was read: the next look sees what it is now.
            self._lookout.postpone(sighting)
            return
        self._lookout.settle(sighting.listed.key, event.file)
        self._note(event)

    def _note(self, event: FileRead | FileRefused) -> None:
        key = FileKey(event.file.folder, event.file.name)
        digest = event.raw.sha256 if isinstance(event, FileRead) else event.original.sha256
        if self._contents.get(key) == digest:
            # Only the time of a known file changed.
            return
        self._contents[key] = digest
        self._publisher.note(event)
        self._count()

    def _io_trouble(self, in_hand: _InHand, error: OSError) -> None:
        """Tell an outage (the folder cannot be listed either) from a fault of this file, which is one when it lasts."""
        next(iter(self._folders.entries()), None)
        sighting = in_hand.sighting
        sighting.io_errors += 1
        log.warning(
            "file_unreadable", file=version_of(sighting.listed).name, tries=sighting.io_errors, error=str(error)
        )
        self._lookout.postpone(sighting)
        if sighting.io_errors < _IO_ERRORS_TOLERATED:
            return
        sighting.fault = Fault(reason="unreadable", detail=error.strerror or type(error).__name__)
        if self._lookout.is_hopeless(sighting):
            self._keep(in_hand, Unusable(sighting.fault, may_grow=True, attempts=sighting.io_errors))

    def _answer_requests(self) -> bool:
        """Follow what operators asked for; the answer is durable when this returns."""
        now_s = self._ports.clock.monotonic_s()
        if now_s < self._next_requests_s:
            return False
        self._next_requests_s = now_s + self._settings.poll_interval_s
        answered = False
        for request_id, request in list(self._requests.waiting(self._intake.answered)):
            refused = request if isinstance(request, RequestRefusedError) else self._answer(request, request_id)
            if refused is not None:
                self._requests.refuse(request_id, refused)
            log.info("request_answered", request=request_id, refused=str(refused) if refused else None)
            answered = True
        self._publisher.flush()
        return answered

    def _answer(self, request: Request, request_id: str) -> RequestRefusedError | None:
        try:
            events = answer(request, request_id, self._intake)
        except RequestRefusedError as error:
            return error
        except ValidationError as error:
            return RequestRefusedError(f"the name of the request is no identifier: {error}")
        for event in events:
            self._publisher.note(event)
        return None

    def _decide(self) -> bool:
        """Apply what follows from what is known."""
        situation = self._lookout.situation
        for decided in range(_EVENTS_PER_STEP):
            event = propose(self._intake, situation, self._settings.policy)
            if event is None:
                return decided > 0
            self._publisher.note(event)
            if isinstance(event, DecisionTaken) and event.kind is DecisionKind.SLICES_MISSING:
                log.warning("slices_missing", z_first=event.z_first, z_last=event.z_last, decided_by=event.decided_by)
        return True

    def _count(self) -> None:
        """Count what became of the file that was settled last."""
        known = self._intake.files[-1]
        acquisition, metrics = self._settings.acquisition_id, self._ports.metrics
        if known.state is FileState.DUPLICATE:
            metrics.increment("fibsem_slices_duplicate_total", acquisition=acquisition)
        elif known.state is FileState.CONFLICT:
            metrics.increment("fibsem_slices_conflict_total", acquisition=acquisition)
        elif known.state is FileState.ACCEPTED:
            metrics.increment("fibsem_slices_processed_total", len(known.claims), stage=SERVICE)
        faults = {
            claim.fault.reason for claim in known.claims if claim.fault and claim.state is FileState.DEAD_LETTERED
        }
        for reason in sorted(faults):
            metrics.increment("fibsem_slices_quarantined_total", acquisition=acquisition, reason=reason)
            log.warning("file_refused", file=known.version.name, reason=reason)

    def _measure(self) -> None:
        """Set the gauges that follow from the ledgers."""
        now, acquisition, metrics = self.ledger(), self._settings.acquisition_id, self._ports.metrics
        if now.files.seen > self._seen_before:
            metrics.increment("fibsem_slices_seen_total", now.files.seen - self._seen_before, acquisition=acquisition)
            metrics.set("fibsem_slice_last_seen_timestamp_seconds", self._ports.clock.unix_s(), acquisition=acquisition)
        self._seen_before = max(self._seen_before, now.files.seen)
        metrics.set("fibsem_slices_missing", now.slices.awaited, acquisition=acquisition)
        unaccounted = now.files.unaccounted + now.slices.unaccounted
        metrics.set("fibsem_slices_unaccounted", unaccounted, acquisition=acquisition)
        if now.slices.z_last is not None:
            frontier = next(self._intake.undecided(now.slices.z_last), now.slices.z_last + 1) - 1
            metrics.set("fibsem_slice_frontier_index", frontier, acquisition=acquisition, stage=SERVICE)
