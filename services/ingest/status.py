"""How ingest stands, in numbers and in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.ingest.intake import HEAD_SLICES, Intake
from services.ingest.ledger import Ledger
from services.ingest.policy import runs
from services.ingest.sightings import Sighting

_NAMED_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class IngestStatus:
    """How ingest stands.

    Attributes
    ----------
    ledger
        Files and slices.
    first_z, last_z
        Range of z so far; None before it is known.
    is_done
        Whether nothing is left to do.
    is_finishing
        Whether a marker, a request or the range of z said that nothing more will come.
    waiting_for
        What it waits for, in words.
    """

    ledger: Ledger
    first_z: int | None
    last_z: int | None
    is_done: bool
    is_finishing: bool
    waiting_for: str


def spelled(numbers: Iterable[int]) -> str:
    """Return numbers as ranges, the first few of them.

    >>> spelled([4, 7, 8, 9])
    '4, 7-9'
    >>> spelled(range(0, 20, 2))
    '0, 2, 4, 6, 8 and 5 more'
    """
    ranges = list(runs(numbers))
    named = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges[:_NAMED_AT_MOST])
    rest = sum(last - first + 1 for first, last in ranges[_NAMED_AT_MOST:])
    return f"{named} and {rest} more" if rest else named


def waiting_for(intake: Intake, in_flight: Sequence[Sighting], *, is_watched: bool, is_done: bool) -> str:
    """Say in words what ingest waits for."""
    if is_done:
        return "nothing" if intake.files else "nothing: there is no slice in the folder"
    parts = [part for part in (_beginning(intake), _gaps(intake, in_flight), _incomplete(in_flight)) if part]
    if not parts:
        parts = ["the next slice, or the finish"] if is_watched else ["the files to be read"]
    return "; ".join(parts)


def _beginning(intake: Intake) -> str:
    if intake.lowest_z is not None and intake.first_z is None:
        return f"where the acquisition begins: z {intake.lowest_z} is the lowest so far, --first-z settles it"
    if intake.first_z is not None and intake.field is None:
        return f"the first {HEAD_SLICES} slices, which fix the grey mapping"
    return ""


def _gaps(intake: Intake, in_flight: Sequence[Sighting]) -> str:
    if intake.highest_held_z is None:
        return ""
    coming = {sighting.listed.z for sighting in in_flight}
    awaited = spelled(z for z in intake.undecided(intake.highest_held_z) if z not in coming)
    return f"z {awaited}, which have not come (declare-missing goes on without them)" if awaited else ""


def _incomplete(in_flight: Sequence[Sighting]) -> str:
    faulty = sorted((s for s in in_flight if s.fault is not None), key=lambda s: s.listed.key)
    named = ", ".join(f"{s.listed.key.name} ({s.fault.reason})" for s in faulty[:_NAMED_AT_MOST] if s.fault)
    return f"incomplete files: {named}" if named else ""
