"""What follows from what is known: where the acquisition begins, what is given up, when grey is frozen, when it ends.

Each function looks at the state and proposes at most one event; nothing here depends on a clock or on the order
in which files came, but for what the situation says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from services.contracts.values import DecisionKind, GreyMapping
from services.imaging.grey import freeze
from services.ingest.events import DecisionTaken, Ended, Event, FieldFrozen, FirstZFixed, SliceGivenUp
from services.ingest.intake import HEAD_SLICES, Claim, Intake

FINISHED_FOLDER = "policy-finished-folder"
TIME_OUT = "policy-time-out"


@dataclass(frozen=True, slots=True)
class Situation:
    """What the folder looks like just now.

    Attributes
    ----------
    in_flight_z
        z of files that were seen and not yet read or refused.
    nameless_in_flight
        Whether one of those has a name without a z, so that it may begin anywhere.
    finished
        Whether nothing will be added to the folder: it was given as finished, or somebody or a marker said so.
    may_end
        Whether a last look at the folder has also found nothing new.
    overdue_z
        Awaited z whose configured time-out has passed.
    """

    in_flight_z: frozenset[int] = frozenset()
    nameless_in_flight: bool = False
    finished: bool = False
    may_end: bool = False
    overdue_z: frozenset[int] = field(default_factory=frozenset)

    @property
    def is_quiet(self) -> bool:
        """Whether every file was read or refused."""
        return not self.in_flight_z and not self.nameless_in_flight


@dataclass(frozen=True, slots=True)
class Policy:
    """What was configured.

    Attributes
    ----------
    first_z
        Where the acquisition begins; None: found out.
    declare_gaps
        Whether the gaps of a finished folder are declared missing, rather than waited for.
    missing_after_s
        The time-out behind `Situation.overdue_z`, for the record of the decision.
    low_percentile, high_percentile
        Of 16-bit grey, mapped to 0 and 255.
    inverted
        Whether grey is turned round.
    """

    first_z: int | None = None
    declare_gaps: bool = True
    missing_after_s: float | None = None
    low_percentile: float = 0.1
    high_percentile: float = 99.9
    inverted: bool = False


def propose(intake: Intake, situation: Situation, policy: Policy) -> Event | None:
    """Return the next event that follows from the state, or None if nothing does; call it again after applying one.

    Examples
    --------
    >>> from services.contracts.values import VoxelSize
    >>> from services.ingest.intake import AcquisitionIdentity
    >>> intake = Intake(AcquisitionIdentity("a", VoxelSize(z_nm=4, y_nm=4, x_nm=4)))
    >>> propose(intake, Situation(), Policy()) is None
    True
    >>> propose(intake, Situation(), Policy(first_z=7))
    FirstZFixed(event='first_z_fixed', z=7)
    """
    if intake.ended is not None:
        return None
    rules: tuple[Callable[[Intake, Situation, Policy], Event | None], ...] = (
        _first_z,
        _given_up,
        _frozen_field,
        _gap,
        _time_out,
        _end,
    )
    return next((event for rule in rules if (event := rule(intake, situation, policy)) is not None), None)


def runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last of each run of consecutive numbers, given in order.

    >>> list(runs([3, 4, 5, 9]))
    [(3, 5), (9, 9)]
    """
    first: int | None = None
    last = 0
    for number in numbers:
        if first is not None and number != last + 1:
            yield first, last
            first = None
        first, last = number if first is None else first, number
    if first is not None:
        yield first, last


def _first_z(intake: Intake, situation: Situation, policy: Policy) -> Event | None:
    if intake.first_z is not None:
        return None
    if policy.first_z is not None:
        return FirstZFixed(z=policy.first_z)
    seen = [*situation.in_flight_z] + ([] if intake.lowest_z is None else [intake.lowest_z])
    if not seen or situation.nameless_in_flight:
        return None
    if situation.finished or min(seen) == 0:
        return FirstZFixed(z=min(seen))
    # A microscope that counts from 1 will never write slice 0.
    if all(z in intake.holders for z in range(1, HEAD_SLICES + 1)):
        return FirstZFixed(z=1)
    return None


def _given_up(intake: Intake, situation: Situation, policy: Policy) -> Event | None:
    del policy
    for z in sorted(intake.faulted):
        outside = intake.first_z is not None and z < intake.first_z
        if not outside and not intake.is_decided(z) and z not in situation.in_flight_z:
            return SliceGivenUp(z=z)
    return None


def _frozen_field(intake: Intake, situation: Situation, policy: Policy) -> Event | None:
    """Freeze shape and grey as soon as the first slices in z order are known, whatever came before them."""
    if intake.field is not None or intake.first_z is None:
        return None
    head = _head(intake, intake.first_z)
    if len(head) < HEAD_SLICES:
        open_z = next(intake.undecided(intake.highest_z), None) if intake.highest_z is not None else None
        if not (head and situation.finished and situation.is_quiet and open_z is None):
            return None
    machines = Counter(claim.seen.machine for _, claim in head if claim.seen is not None and claim.seen.machine)
    # Counter keeps the order of first appearance, which is that of z: the lowest z settles a tie.
    machine = machines.most_common(1)[0][0] if machines else None
    own = [(z, claim.seen) for z, claim in head if claim.seen is not None and claim.seen.machine in {None, machine}]
    shapes = Counter((seen.height_px, seen.width_px, seen.bits) for _, seen in own)
    (height_px, width_px, bits), _ = shapes.most_common(1)[0]
    fitting = [
        intake.histograms[z]
        for z, seen in own
        if (seen.height_px, seen.width_px, seen.bits) == (height_px, width_px, bits)
    ]
    grey = freeze(
        fitting,
        low_percentile=policy.low_percentile,
        high_percentile=policy.high_percentile,
        inverted=policy.inverted,
    )
    mapping = GreyMapping(low=grey.low, high=grey.high, mean=grey.mean, sd=grey.sd, inverted=policy.inverted)
    return FieldFrozen(height_px=height_px, width_px=width_px, bits=bits, grey=mapping, machine=machine)


def _head(intake: Intake, first_z: int) -> list[tuple[int, Claim]]:
    """Return the first slices that show something, up to the first z of which nothing is known."""
    head: list[tuple[int, Claim]] = []
    z = first_z
    while len(head) < HEAD_SLICES and intake.is_decided(z):
        claim = intake.holders.get(z)
        if claim is not None and z in intake.histograms:
            head.append((z, claim))
        z += 1
    return head


def _gap(intake: Intake, situation: Situation, policy: Policy) -> Event | None:
    """Declare the gaps of a finished folder, from the bottom up to the first file that is not read yet."""
    if not (situation.finished and policy.declare_gaps) or situation.nameless_in_flight or intake.highest_z is None:
        return None
    # A file in flight may hold many pages, from its own z upwards.
    z_last = min([z - 1 for z in situation.in_flight_z], default=intake.highest_z)
    for z_first, z_end in runs(intake.undecided(min(z_last, intake.highest_z))):
        return _missing(z_first, z_end, FINISHED_FOLDER, "the folder is finished and holds no slice for it")
    return None


def _time_out(intake: Intake, situation: Situation, policy: Policy) -> Event | None:
    overdue = sorted(z for z in situation.overdue_z if not intake.is_decided(z))
    for z_first, z_last in runs(overdue):
        reason = f"it did not come within {policy.missing_after_s:g} s of a later slice"
        return _missing(z_first, z_last, TIME_OUT, reason)
    return None


def _end(intake: Intake, situation: Situation, policy: Policy) -> Event | None:
    del policy
    if not (situation.may_end and situation.is_quiet) or intake.first_z is None or intake.highest_z is None:
        return None
    if next(intake.undecided(intake.highest_z), None) is not None:
        return None
    z_last = max(intake.highest_z, intake.first_z)
    if not any(decision.kind is DecisionKind.ACQUISITION_FINISHED for decision in intake.decisions):
        return DecisionTaken(
            kind=DecisionKind.ACQUISITION_FINISHED,
            z_first=intake.first_z,
            z_last=z_last,
            decided_by=intake.finish.decided_by if intake.finish else FINISHED_FOLDER,
            reason=intake.finish.reason if intake.finish else "the folder is finished",
        )
    return Ended(z_first=intake.first_z, z_last=z_last)


def _missing(z_first: int, z_last: int, decided_by: str, reason: str) -> DecisionTaken:
    return DecisionTaken(
        kind=DecisionKind.SLICES_MISSING, z_first=z_first, z_last=z_last, decided_by=decided_by, reason=reason
    )
