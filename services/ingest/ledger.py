"""The two ledgers, closed at any moment: what became of every file, and of every z that is expected.

files seen = accepted + duplicate + conflict + dead-lettered + in flight (ignored ones are counted apart);
z expected = ingested (some of them blank) + dead-lettered + missing + in flight + awaited.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from services.contracts.values import AbsenceReason
from services.ingest.intake import Claim, FileState, Intake


class SliceState(StrEnum):
    """What became of a z."""

    INGESTED = "ingested"
    BLANK = "blank"
    DEAD_LETTERED = "dead_lettered"
    MISSING = "missing"
    IN_FLIGHT = "in_flight"
    AWAITED = "awaited"


@dataclass(frozen=True, slots=True)
class FileCounts:
    """What became of the files; `ignored` are no slices, by reason, and not among those seen."""

    seen: int
    accepted: int
    duplicate: int
    conflict: int
    dead_lettered: int
    in_flight: int
    ignored: Mapping[str, int] = field(default_factory=dict)

    @property
    def unaccounted(self) -> int:
        """Files that no column explains; 0 in a closed ledger."""
        return self.seen - self.accepted - self.duplicate - self.conflict - self.dead_lettered - self.in_flight


@dataclass(frozen=True, slots=True)
class SliceCounts:
    """What became of the z from `z_first` to `z_last`; `blank` ones are among those ingested."""

    z_first: int | None
    z_last: int | None
    expected: int
    ingested: int
    blank: int
    dead_lettered: int
    missing: int
    in_flight: int
    awaited: int

    @property
    def unaccounted(self) -> int:
        """How many z no column explains; 0 in a closed ledger."""
        return self.expected - self.ingested - self.dead_lettered - self.missing - self.in_flight - self.awaited


class LedgerRow(NamedTuple):
    """One line: what became of a z, or of one more file (page) that was to give it."""

    z: int | None
    state: str
    reason: str
    folder: int | None
    file: str
    page: int | None
    sha256: str

    @property
    def line(self) -> dict[str, str | int | None]:
        """What ledger.csv says of it."""
        return {"z": self.z, "state": self.state, "reason": self.reason, "file": self.file, "sha256": self.sha256}


@dataclass(frozen=True, slots=True)
class Ledger:
    """Both ledgers at one moment."""

    files: FileCounts
    slices: SliceCounts

    @property
    def is_closed(self) -> bool:
        """Whether both add up."""
        return self.files.unaccounted == 0 and self.slices.unaccounted == 0


def ledger(intake: Intake, in_flight_z: Iterable[int | None] = (), ignored: Mapping[str, int] | None = None) -> Ledger:
    """Return both ledgers.

    Parameters
    ----------
    intake
        What is settled.
    in_flight_z
        For each file in flight the z that its name says, None if it says none.
    ignored
        How many files are no slices, by reason.
    """
    in_flight = list(in_flight_z)
    counts = intake.file_counts
    files = FileCounts(
        seen=len(intake.files) + len(in_flight),
        accepted=counts[FileState.ACCEPTED],
        duplicate=counts[FileState.DUPLICATE],
        conflict=counts[FileState.CONFLICT],
        dead_lettered=counts[FileState.DEAD_LETTERED],
        in_flight=len(in_flight),
        ignored=dict(ignored or {}),
    )
    return Ledger(files, _slice_counts(intake, frozenset(z for z in in_flight if z is not None)))


def rows(intake: Intake, in_flight_z: frozenset[int] = frozenset()) -> list[LedgerRow]:
    """Return a line for every z expected, and one for every other file or page, sorted by z.

    The same files give the same lines in whatever order they came, but for conflicts: there the order decided
    which one was accepted. Among files of equal bytes the one with the smallest name counts as the first.
    """
    listed: list[LedgerRow] = []
    for z, state in _states(intake, in_flight_z).items():
        if z not in intake.holders and not (state is SliceState.DEAD_LETTERED and intake.faulted.get(z)):
            reason = _missing_reason(intake, z) if state is SliceState.MISSING else ""
            listed.append(LedgerRow(z, state, reason, None, "", None, ""))
    by_content: dict[tuple[int | None, tuple[str, int]], list[Claim]] = {}
    for known in intake.files:
        for claim in known.claims:
            by_content.setdefault((claim.z, claim.content), []).append(claim)
    for claims in by_content.values():
        listed.extend(_rows_of_equals(claims))
    return sorted(listed, key=_place)


def _states(intake: Intake, in_flight_z: frozenset[int]) -> dict[int, SliceState]:
    z_first, z_last = _range(intake, in_flight_z)
    if z_first is None or z_last is None:
        return {}
    return {z: _state(intake, z, in_flight_z) for z in range(z_first, z_last + 1)}


def _range(intake: Intake, in_flight_z: frozenset[int]) -> tuple[int | None, int | None]:
    seen = [z for z in (intake.lowest_z, intake.highest_z, *in_flight_z) if z is not None]
    z_first = intake.first_z if intake.first_z is not None else min(seen, default=None)
    if z_first is None or not seen or max(seen) < z_first:
        return None, None
    return z_first, max(seen)


def _state(intake: Intake, z: int, in_flight_z: frozenset[int]) -> SliceState:
    claim = intake.holders.get(z)
    if claim is not None:
        if intake.field is None and intake.ended is None:
            # Accepted, and held back until the first slices in z order are known.
            return SliceState.IN_FLIGHT
        return SliceState.BLANK if claim.seen is not None and claim.seen.blank else SliceState.INGESTED
    if z in intake.absent:
        return SliceState.MISSING if intake.absent[z] is AbsenceReason.MISSING else SliceState.DEAD_LETTERED
    return SliceState.IN_FLIGHT if z in in_flight_z else SliceState.AWAITED


def _slice_counts(intake: Intake, in_flight_z: frozenset[int]) -> SliceCounts:
    z_first, z_last = _range(intake, in_flight_z)
    counts = Counter(_states(intake, in_flight_z).values())
    return SliceCounts(
        z_first=z_first,
        z_last=z_last,
        expected=0 if z_first is None or z_last is None else z_last - z_first + 1,
        ingested=counts[SliceState.INGESTED] + counts[SliceState.BLANK],
        blank=counts[SliceState.BLANK],
        dead_lettered=counts[SliceState.DEAD_LETTERED],
        missing=counts[SliceState.MISSING],
        in_flight=counts[SliceState.IN_FLIGHT],
        awaited=counts[SliceState.AWAITED],
    )


def _missing_reason(intake: Intake, z: int) -> str:
    return next((d.reason for d in intake.decisions if d.z_first <= z <= d.z_last), "declared missing")


def _rows_of_equals(claims: list[Claim]) -> list[LedgerRow]:
    """Return the lines of claims of one z with equal bytes, as if they had come in the order of their names."""
    ordered = sorted(claims, key=lambda claim: (claim.file.version.folder, claim.file.version.name))
    first = next((claim for claim in claims if claim.state is not FileState.DUPLICATE), claims[0])
    found = []
    for position, claim in enumerate(ordered):
        refused = claim.state is FileState.DEAD_LETTERED
        source = claim if refused else first if position == 0 else None
        found.append(
            LedgerRow(
                z=claim.z,
                state=_row_state(source) if source else FileState.DUPLICATE,
                reason=(source.fault.reason if source.fault else "") if source else "same_bytes",
                folder=claim.file.version.folder,
                file=claim.file.version.name,
                page=claim.page,
                sha256=claim.file.raw.sha256,
            )
        )
    return found


def _row_state(claim: Claim) -> str:
    if claim.state is not FileState.ACCEPTED:
        return claim.state
    return SliceState.BLANK if claim.seen is not None and claim.seen.blank else SliceState.INGESTED


_ORDER = [*SliceState, *FileState]


def _place(row: LedgerRow) -> tuple[int, int, int, str, int]:
    return (-1 if row.z is None else row.z, _ORDER.index(row.state), row.folder or 0, row.file, row.page or 0)
