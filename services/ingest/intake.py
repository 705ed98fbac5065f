"""Which file gives which z: the state of an acquisition, as the journal's events make it.

Everything here follows from the events alone, in their order. `Intake.apply` takes one event and returns the
messages that follow from it, so that reading the journal again says what was, or should have been, published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from services.contracts.messages import (
    AcquisitionFinished,
    AcquisitionOpened,
    DeadLettered,
    DecisionRecorded,
    Message,
    SliceAbsent,
    SliceIngested,
)
from services.contracts.values import AbsenceReason, ArtefactRef, DecisionKind, Identifier, Transform, VoxelSize
from services.imaging.grey import Histogram
from services.ingest.events import (
    DecisionTaken,
    Ended,
    Event,
    Fault,
    FieldFrozen,
    FileRead,
    FileRefused,
    FileVersion,
    FinishRequested,
    FirstZFixed,
    PageSeen,
    SliceGivenUp,
)
from services.ingest.histograms import unpack

SERVICE = "ingest"
# Slices whose grey values fix the mapping of the acquisition (design decision 12).
HEAD_SLICES = 16
# More histograms than that are kept, since a chosen conflict can turn out blank.
_KEPT_HISTOGRAMS = 2 * HEAD_SLICES


class FileState(StrEnum):
    """What became of a file, or of one page of it."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    DEAD_LETTERED = "dead_lettered"


class OutOfOrderError(ValueError):
    """The journal holds an event that cannot follow on those before it."""


@dataclass(frozen=True, slots=True)
class AcquisitionIdentity:
    """What the caller says about the acquisition."""

    acquisition_id: Identifier
    voxel_size: VoxelSize


@dataclass(slots=True)
class Claim:
    """One page of one file, and whether it gives its z."""

    file: KnownFile
    page: int
    z: int | None
    state: FileState
    seen: PageSeen | None = None
    fault: Fault | None = None

    @property
    def content(self) -> tuple[str, int]:
        """Two claims of equal content show the same pixels."""
        return (self.file.raw.sha256, self.page)


@dataclass(slots=True)
class KnownFile:
    """A file about which everything is known."""

    version: FileVersion
    raw: ArtefactRef
    claims: list[Claim]
    channel: int | None = None
    attempts: int = 1

    @property
    def state(self) -> FileState:
        """The best that became of its pages."""
        states = {claim.state for claim in self.claims}
        return next(state for state in FileState if state in states)


class Intake:
    """The state of one acquisition's intake.

    Parameters
    ----------
    identity
        Name and voxel size, which all messages carry.
    """

    def __init__(self, identity: AcquisitionIdentity) -> None:
        self.identity = identity
        self.files: list[KnownFile] = []
        self.file_counts: Counter[FileState] = Counter()
        self.holders: dict[int, Claim] = {}
        self.contenders: dict[int, list[Claim]] = {}
        self.absent: dict[int, AbsenceReason] = {}
        self.faulted: dict[int, list[Claim]] = {}
        self.histograms: dict[int, Histogram] = {}
        self.first_z: int | None = None
        self.lowest_z: int | None = None
        self.highest_z: int | None = None
        self.highest_held_z: int | None = None
        self.field: FieldFrozen | None = None
        self.decisions: list[DecisionTaken] = []
        self.finish: FinishRequested | None = None
        self.answered: set[str] = set()
        self.ended: Ended | None = None
        self._frontier = 0
        self._pages: dict[PageSeen, PageSeen] = {}

    def apply(self, event: Event) -> tuple[Message, ...]:
        """Take an event into account; return the messages that follow from it, in the order to publish them.

        Raises
        ------
        OutOfOrderError
            If the event cannot follow on those before it.
        """
        if self.ended is not None:
            raise OutOfOrderError(f"{event.event} after the end of the acquisition")
        return tuple(self._follow(event))

    def _follow(self, event: Event) -> Iterator[Message]:  # noqa: C901 - one line per kind of event
        match event:
            case FileRead():
                yield from self._read(event)
            case FileRefused():
                yield from self._refused(event)
            case FirstZFixed():
                self._begin_at(event.z)
            case FieldFrozen():
                yield from self._freeze(event)
            case SliceGivenUp():
                yield from self._leave_out(event.z, AbsenceReason.DEAD_LETTERED)
            case FinishRequested():
                self.finish = event
                self.answered.add(event.request_id)
            case DecisionTaken():
                yield from self._decide(event)
            case Ended():
                yield from self._end(event)

    def is_decided(self, z: int) -> bool:
        """Say whether it is known what this z gives: a slice, or nothing."""
        return z in self.holders or z in self.absent

    def undecided(self, z_last: int) -> Iterator[int]:
        """Yield, in order, every z from the first to `z_last` of which nothing is known yet."""
        if self.first_z is None:
            return
        self._frontier = max(self._frontier, self.first_z)
        while self._frontier <= z_last and self.is_decided(self._frontier):
            self._frontier += 1
        for z in range(self._frontier, z_last + 1):
            if not self.is_decided(z):
                yield z

    def wants_histogram(self, z: int) -> bool:
        """Say whether this z may be among the slices that fix the grey mapping."""
        return self.field is None and (len(self.histograms) < _KEPT_HISTOGRAMS or z < max(self.histograms))

    def _read(self, event: FileRead) -> Iterator[Message]:
        known = KnownFile(event.file, event.raw, [], event.channel)
        self.files.append(known)
        for number, page in enumerate(event.pages, event.first_page):
            # Nearly all pages of an acquisition are alike: one object says it for all.
            seen = self._pages.setdefault(page, page)
            claim = Claim(known, number, event.z_zero + number, FileState.DEAD_LETTERED, seen)
            claim.state, claim.fault = self._verdict(claim, seen)
            known.claims.append(claim)
            yield from self._admit(claim, event.z_zero + number, seen)
        self.file_counts[known.state] += 1

    def _verdict(self, claim: Claim, seen: PageSeen) -> tuple[FileState, Fault | None]:
        fault = seen.fault or self._misfit(seen)
        if fault is not None or claim.z is None:
            return FileState.DEAD_LETTERED, fault
        if any(other.content == claim.content for other in self.contenders.get(claim.z, ())):
            return FileState.DUPLICATE, Fault(reason="same_bytes", detail="another file holds the same bytes")
        if claim.z in self.holders:
            holder = self.holders[claim.z].file.version.name
            return FileState.CONFLICT, Fault(reason="other_bytes", detail=f"{holder} was accepted before")
        if claim.z in self.absent or (self.first_z is not None and claim.z < self.first_z):
            return FileState.CONFLICT, Fault(reason="late", detail="it came after this z was settled without it")
        return FileState.ACCEPTED, None

    def _misfit(self, seen: PageSeen) -> Fault | None:
        field = self.field
        if field is not None and seen.machine is not None and field.machine not in {None, seen.machine}:
            detail = f"it is from {seen.machine}, the acquisition from {field.machine}: one microscope, one folder"
            return Fault(reason="other_machine", detail=detail)
        if field is None or (seen.height_px, seen.width_px, seen.bits) == (field.height_px, field.width_px, field.bits):
            return None
        reason = "wrong_dtype" if seen.bits != field.bits else "wrong_shape"
        return Fault(
            reason=reason,
            detail=f"{seen.height_px} x {seen.width_px} pixels of {seen.bits} bits in an acquisition of "
            f"{field.height_px} x {field.width_px} pixels of {field.bits} bits",
        )

    def _admit(self, claim: Claim, z: int, seen: PageSeen) -> Iterator[Message]:
        self._reach(z)
        if claim.state is FileState.DEAD_LETTERED:
            yield from self._dead_letter(claim)
            return
        if claim.state is not FileState.DUPLICATE:
            self.contenders.setdefault(z, []).append(claim)
        if claim.state is FileState.ACCEPTED:
            self._hold(claim, z)
            self._keep_histogram(z, seen)
            if self.field is not None:
                yield self._slice_message(z)

    def _reach(self, z: int) -> None:
        self.lowest_z = z if self.lowest_z is None else min(self.lowest_z, z)
        self.highest_z = z if self.highest_z is None else max(self.highest_z, z)

    def _hold(self, claim: Claim, z: int) -> None:
        self.holders[z] = claim
        self.highest_held_z = z if self.highest_held_z is None else max(self.highest_held_z, z)

    def _keep_histogram(self, z: int, seen: PageSeen) -> None:
        if seen.histogram is None or seen.blank or not self.wants_histogram(z):
            return
        self.histograms[z] = unpack(seen.histogram)
        if len(self.histograms) > _KEPT_HISTOGRAMS:
            del self.histograms[max(self.histograms)]

    def _refused(self, event: FileRefused) -> Iterator[Message]:
        known = KnownFile(event.file, event.original, [], attempts=event.attempts)
        claim = Claim(known, 0, event.z, FileState.DEAD_LETTERED, fault=event.fault)
        known.claims.append(claim)
        self.files.append(known)
        self.file_counts[known.state] += 1
        if event.z is not None:
            self._reach(event.z)
        yield from self._dead_letter(claim)

    def _dead_letter(self, claim: Claim) -> Iterator[Message]:
        if claim.z is not None and not self.is_decided(claim.z):
            self.faulted.setdefault(claim.z, []).append(claim)
        version, fault = claim.file.version, claim.fault or Fault(reason="unknown", detail="unknown")
        yield DeadLettered(
            service=SERVICE,
            subject=f"z {claim.z}" if claim.z is not None else version.name,
            origin=f"folder {version.folder}: {version.name}, page {claim.page}",
            message_type="file",
            message_key=version.name,
            original=claim.file.raw,
            reason=fault.reason,
            detail=fault.detail,
            attempts=claim.file.attempts,
            acquisition_id=self.identity.acquisition_id,
            z=claim.z,
        )

    def _begin_at(self, z: int) -> None:
        if self.first_z is not None:
            raise OutOfOrderError(f"the acquisition begins at z {self.first_z}, not at {z}")
        self.first_z = z

    def _freeze(self, event: FieldFrozen) -> Iterator[Message]:
        if self.field is not None or self.first_z is None:
            raise OutOfOrderError("the field is frozen once, after the first z is known")
        self.field = event
        yield AcquisitionOpened(
            acquisition_id=self.identity.acquisition_id,
            voxel_size=self.identity.voxel_size,
            height_px=event.height_px,
            width_px=event.width_px,
            bits=event.bits,
            z_first=self.first_z,
            grey=event.grey,
        )
        self.histograms.clear()
        for z in sorted(self.contenders):
            yield from self._refuse_misfits(z)
        self._frontier = self.first_z
        for z in sorted([*self.holders, *self.absent]):
            yield self._slice_message(z)

    def _refuse_misfits(self, z: int) -> Iterator[Message]:
        """Dead-letter what was accepted before the shape was known; the next file for that z takes its place."""
        holder = self.holders.pop(z, None)
        fitting: list[Claim] = []
        for claim in self.contenders[z]:
            claim_fault = self._misfit(claim.seen) if claim.seen else None
            if claim_fault is None:
                fitting.append(claim)
                continue
            self._change(claim, FileState.DEAD_LETTERED, claim_fault)
            yield from self._dead_letter(claim)
        self.contenders[z] = fitting
        if holder is not None and fitting:
            chosen = holder if holder in fitting else fitting[0]
            self._change(chosen, FileState.ACCEPTED, None)
            self._hold(chosen, z)

    def _change(self, claim: Claim, state: FileState, fault: Fault | None) -> None:
        self.file_counts[claim.file.state] -= 1
        claim.state, claim.fault = state, fault
        self.file_counts[claim.file.state] += 1

    def _slice_message(self, z: int) -> SliceIngested | SliceAbsent:
        """Return what is published about a z that is decided, once the field is frozen or nothing will be."""
        claim = self.holders.get(z)
        if claim is None or claim.seen is None or claim.seen.blank or self.field is None:
            reason = self.absent.get(z, AbsenceReason.BLANK)
            return SliceAbsent(
                acquisition_id=self.identity.acquisition_id, z=z, reason=reason, detail=self.absence_detail(z)
            )
        return SliceIngested(
            acquisition_id=self.identity.acquisition_id,
            z=z,
            raw=claim.file.raw,
            page=claim.page,
            file_name=claim.file.version.name,
            height_px=claim.seen.height_px,
            width_px=claim.seen.width_px,
            bits=claim.seen.bits,
            voxel_size=self.identity.voxel_size,
            grey=self.field.grey,
            transform=Transform(),
            channel=claim.file.channel,
            model_set=self.model_set_at(z),
        )

    def model_set_at(self, z: int) -> str | None:
        """Return the networks that were chosen last for slices from some z up to this one on; None before any swap."""
        swaps = [event for event in self.decisions if event.kind is DecisionKind.MODELS_SWAPPED and event.z_first <= z]
        return swaps[-1].model_set if swaps else None

    def absence_detail(self, z: int) -> str:
        """Say in words why this z has no slice."""
        if z in self.holders:
            return "nearly all pixels have one grey value"
        if self.absent.get(z) is AbsenceReason.DEAD_LETTERED:
            faults = {
                f"{claim.file.version.name}: {claim.fault.reason}" for claim in self.faulted.get(z, ()) if claim.fault
            }
            return "; ".join(sorted(faults))[:4000] or "its file was refused"
        return "declared missing"

    def _leave_out(self, z: int, reason: AbsenceReason) -> Iterator[Message]:
        if self.is_decided(z):
            raise OutOfOrderError(f"z {z} is decided already")
        self.absent[z] = reason
        self._reach(z)
        if self.field is not None:
            yield self._slice_message(z)

    def _decide(self, event: DecisionTaken) -> Iterator[Message]:
        self.decisions.append(event)
        if event.request_id is not None:
            self.answered.add(event.request_id)
        yield DecisionRecorded(
            acquisition_id=self.identity.acquisition_id,
            kind=event.kind,
            z_first=event.z_first,
            z_last=event.z_last,
            decided_by=event.decided_by,
            reason=event.reason,
            model_set=event.model_set,
            request_id=event.request_id if event.kind is DecisionKind.MODELS_SWAPPED else None,
        )
        if event.kind is DecisionKind.SLICES_MISSING:
            for z in range(event.z_first, event.z_last + 1):
                if not self.is_decided(z):
                    yield from self._leave_out(z, AbsenceReason.MISSING)
        elif event.kind is DecisionKind.CONFLICT_RESOLVED:
            self._choose(event.z_first, event.sha256)

    def _choose(self, z: int, sha256: str | None) -> None:
        holder = self.holders.get(z)
        chosen = next((claim for claim in self.contenders.get(z, ()) if claim.file.raw.sha256 == sha256), None)
        if holder is None or chosen is None or chosen is holder:
            return
        if self.field is not None:
            raise OutOfOrderError(f"z {z} has been published")
        self._change(holder, FileState.CONFLICT, Fault(reason="other_bytes", detail="another file was chosen"))
        self._change(chosen, FileState.ACCEPTED, None)
        self._hold(chosen, z)
        self.histograms.pop(z, None)
        if chosen.seen is not None:
            self._keep_histogram(z, chosen.seen)

    def _end(self, event: Ended) -> Iterator[Message]:
        self.ended = event
        if self.field is None:
            # Nothing could be read: followers learn at least why.
            for z in sorted([*self.holders, *self.absent]):
                yield self._slice_message(z)
        yield AcquisitionFinished(
            acquisition_id=self.identity.acquisition_id, z_first=event.z_first, z_last=event.z_last
        )
