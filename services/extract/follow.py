"""Following as a service: outlines put in z order, nuclei opened and closed, crops cut out.

One follower per acquisition, since it must see the slices in order; everything before and behind scales out.
"""

from __future__ import annotations

import dataclasses
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from services.contracts.keys import crop_key, depths_key, digest, sha256
from services.contracts.messages import (
    AcquisitionFinished,
    AcquisitionOpened,
    CropAbsent,
    CropExtracted,
    DecisionRecorded,
    Message,
    NucleusClosed,
    NucleusOpened,
    OutlinesDetected,
    SliceAbsent,
    SliceJudged,
)
from services.contracts.values import AbsenceReason, AbsentPlane, ArtefactRef, PixelWindow, PlaneKind, Side
from services.extract.cutting import Cutter
from services.extract.events import Absent, AbsentCrop, Closed, Crop, Event, Opened
from services.extract.following import advance, earliest_needed_z, finish
from services.extract.judging import SliceJudge, thickness_of
from services.extract.outlines import Outline, OutlineFormatError, outlines_from_bytes
from services.extract.outlook import Outlook
from services.extract.places import Solution
from services.extract.quality import QualityRecord
from services.extract.reading import SliceReader
from services.extract.registering import RegistrationRecord, SliceRegistrar, restored
from services.extract.repairing import RepairingReader, level_with, repair_recipe
from services.extract.settings import following_parameters
from services.extract.tracks import FollowerState, FollowingParams, OutlineRef, state_from_bytes, state_to_bytes
from services.imaging.forecasting.sizes import GERM_LINE, SizePrior
from services.imaging.planes import encode_crop
from services.imaging.quality.depths import plane_depths
from services.imaging.registration.affine import IDENTITY
from services.imaging.registration.stream import RegistrationParams
from services.imaging.repairing.gain import NO_SHIFT, Level, Shift
from services.runtime.errors import PermanentError
from services.runtime.handler import Answer, Publication, Received
from services.runtime.metrics.port import Metrics
from services.runtime.steps import Entry, Step, StepLog
from services.runtime.store.port import ArtefactCorruptError, ArtefactMissingError, ArtefactStore

# Raised by hand when the same outlines give other crops.
STAGE_VERSION = 1
NAME = "extract-follow"
OUTLINES_KEPT = 128

_SIDES = {
    "z_min": Side.Z_FIRST,
    "z_max": Side.Z_LAST,
    "y_min": Side.Y_FIRST,
    "y_max": Side.Y_LAST,
    "x_min": Side.X_FIRST,
    "x_max": Side.X_LAST,
}


@dataclass(frozen=True, slots=True)
class FollowSettings:
    """What following needs to know besides the outlines.

    Attributes
    ----------
    window_um
        Edge of a crop; wider than a nucleus.
    model_set
        Digest of the networks that segment nuclei where the slices name no others (design decision 14).
    plane_voxel_nm
        Pixel edge of those networks: crops begin on its grid where the voxel size allows.
    whole_field
        Whether the field is one region, not nuclei.
    registration
        How slices are laid on one another; None: they stay where they are.
    measured_thickness
        Whether the planes of a nucleus lie as deep as was measured, not as they should.
    repair
        Names of the repairs of slices before crops are cut out.
    solution
        Final places that an earlier version found with all its slices.
    sizes, least_area_um2
        Sizes of nuclei expected before any is complete, and the smallest section that detection finds: for forecasts,
        which no result depends on.
    """

    window_um: float
    model_set: str
    plane_voxel_nm: float
    whole_field: bool = False
    registration: RegistrationParams | None = None
    measured_thickness: bool = False
    repair: tuple[str, ...] = ()
    solution: Solution | None = None
    sizes: SizePrior = GERM_LINE
    least_area_um2: float = 4.8


@dataclass(slots=True)
class _Planes:
    """What was said about the planes of an open nucleus: how many of each kind, and which could not be read."""

    counts: dict[str, int] = field(default_factory=dict)
    unreadable: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Acquisition:
    """What is known of one acquisition; rebuilt from its steps after a restart."""

    log: StepLog
    state: FollowerState | None = None
    opened: AcquisitionOpened | None = None
    finished: AcquisitionFinished | None = None
    waiting: dict[int, OutlinesDetected | SliceAbsent] = field(default_factory=dict)
    recent: dict[int, OutlinesDetected] = field(default_factory=dict)
    planes: dict[str, _Planes] = field(default_factory=dict)
    # Networks that the last slice named, and those of every open nucleus.
    model_set: str = ""
    pinned: dict[str, str] = field(default_factory=dict)
    quality: QualityRecord = field(default_factory=QualityRecord)
    # Where depths are measured, the thickness of every slice so far; where gain is repaired, how the detector moved.
    thickness: dict[int, float | None] = field(default_factory=dict)
    level: Level = field(default_factory=Level)
    shifts: dict[int, Shift] = field(default_factory=dict)
    registration: RegistrationRecord = field(default_factory=RegistrationRecord)
    ended: bool = False
    outlook: Outlook | None = None


class FollowHandler:
    """Follows the nuclei of every acquisition it is given.

    Parameters
    ----------
    store
        Outlines and slices in, crops out.
    settings
        How to follow.
    metrics
        Counts nuclei.
    voxel_of
        From the digest of a model set that slices name to the pixel edge of its networks, in nm.
    """

    name = NAME
    topics = ("outlines", "acquisitions")
    batch_size = 16

    def __init__(
        self,
        store: ArtefactStore,
        settings: FollowSettings,
        metrics: Metrics,
        voxel_of: Callable[[str], float] | None = None,
    ) -> None:
        self._store = store
        self._voxel_of = voxel_of
        self._voxels_nm = {settings.model_set: settings.plane_voxel_nm}
        self._settings = settings
        self._metrics = metrics
        self._reader = RepairingReader(SliceReader(store, keep=2), destripe="destripe" in settings.repair)
        self._judge = SliceJudge(store, metrics)
        self._registrar = SliceRegistrar(store, settings.registration, settings.solution)
        self._acquisitions: dict[str, _Acquisition] = {}
        self._outlines: OrderedDict[str, tuple[Outline, ...]] = OrderedDict()
        self.nuclei_closed = 0

    @property
    def followed(self) -> int:
        """Slices followed so far, over all acquisitions in hand."""
        states = (acquisition.state for acquisition in self._acquisitions.values())
        return sum(state.next_z - state.first_z for state in states if state is not None and state.next_z >= 0)

    @property
    def nuclei_open(self) -> int:
        """Nuclei that may still grow."""
        states = (acquisition.state for acquisition in self._acquisitions.values())
        return sum(bool(track.nucleus_id) for state in states if state is not None for track in state.tracks)

    def handle(self, received: Sequence[Received]) -> Sequence[Answer]:
        """Apply messages to their acquisitions; one step record per acquisition and call."""
        entries: dict[str, list[Entry]] = {}
        try:
            answers = [self._answer(item, entries) for item in received]
            for key, applied in entries.items():
                acquisition = self._acquisitions[key]
                acquisition.log.append(Step(tuple(applied), _state_text(acquisition)))
                if acquisition.outlook is not None:
                    acquisition.outlook.keep()
        except Exception:
            # What was applied but not recorded never happened: the next turn starts from the records.
            self._acquisitions.clear()
            raise
        self._measure(entries)
        return answers

    def _measure(self, applied: Iterable[str]) -> None:
        for key in applied:
            state = self._acquisitions[key].state
            if state is not None:
                nuclei = sum(bool(track.nucleus_id) for track in state.tracks)
                self._metrics.set("fibsem_nuclei_open", nuclei, acquisition=key)
                self._metrics.set("fibsem_slice_frontier_index", state.next_z - 1, acquisition=key, stage=NAME)

    def dead_lettered(self, received: Received, fault: PermanentError) -> Sequence[Publication]:
        """Return the slice as absent: its outlines cannot be read."""
        message = received.message
        if not isinstance(message, OutlinesDetected):
            return ()
        place = message.slice
        absent = SliceAbsent(
            acquisition_id=place.acquisition_id,
            z=place.z,
            reason=AbsenceReason.DEAD_LETTERED,
            detail=str(fault)[:4000],
        )
        return (Publication("outlines", absent),)

    def _answer(self, item: Received, entries: dict[str, list[Entry]]) -> Answer:
        message = item.message
        key = _acquisition_of(message)
        acquisition = self._acquisition(key)
        if _is_known(acquisition, message):
            return Answer(acquisition.log.publications_of(item) or ())
        _take(acquisition, message)
        if isinstance(message, OutlinesDetected):
            # Read at once: damaged outlines are a fault of this message, not of the one that makes it its turn.
            self._read_outlines(message)
            self._judge.read(message)
            self._registrar.check(message)
        publications = self._advance(acquisition)
        entries.setdefault(key, []).append(Entry(item, publications))
        return Answer(publications)

    def _acquisition(self, key: str) -> _Acquisition:
        acquisition = self._acquisitions.get(key)
        if acquisition is None:
            acquisition = self._acquisitions[key] = _Acquisition(StepLog(self._store, NAME, key))
            text = ""
            for step in acquisition.log:
                for entry in step.entries:
                    _take(acquisition, entry.received.message)
                    for publication in entry.publications:
                        if isinstance(publication.message, SliceJudged):
                            self._noted(acquisition, publication.message)
                text = step.state
            if text:
                self._restore(acquisition, text)
        return acquisition

    def _restore(self, acquisition: _Acquisition, text: str) -> None:
        content = json.loads(text)
        acquisition.planes = {name: _Planes(**planes) for name, planes in content["planes"].items()}
        acquisition.ended = content["ended"]
        acquisition.model_set, acquisition.pinned = content.get("model_set", ""), content.get("pinned", {})
        acquisition.quality = self._judge.restored(content.get("quality"))
        acquisition.registration = restored(content.get("registration"))
        if content["follower"] is None:
            return
        state = acquisition.state = state_from_bytes(content["follower"].encode())
        for z in sorted(acquisition.waiting):
            if z < state.next_z:
                self._remember(acquisition, acquisition.waiting.pop(z))
        self._forget(acquisition)

    def _advance(self, acquisition: _Acquisition) -> tuple[Publication, ...]:
        """Take every slice that is next in z."""
        opened, finished = acquisition.opened, acquisition.finished
        if opened is None or acquisition.ended:
            return ()
        placed, last_z = acquisition.registration, finished.z_last if finished else None
        settled = self._registrar.settle(placed, acquisition.waiting, opened.z_first, last_z)
        publications = [Publication("transforms", told) for told in settled]
        if unlinked := sum(not told.linked for told in settled):
            self._metrics.increment("fibsem_slices_unlinked_total", unlinked, acquisition=opened.acquisition_id)
        state = acquisition.state or FollowerState()
        next_z = opened.z_first if acquisition.state is None else state.next_z
        while next_z in acquisition.waiting and self._registrar.may_follow(placed, next_z):
            message = acquisition.waiting.pop(next_z)
            self._remember(acquisition, message)
            acquisition.model_set = _model_set_named(message) or acquisition.model_set
            judged = self._judge.judged(acquisition.quality, message)
            publications += [] if judged is None else [Publication("quality", self._noted(acquisition, judged))]
            state, events = advance(state, next_z, self._seen(acquisition, message), self._params(opened))
            acquisition.state, next_z = state, state.next_z
            publications += self._publications(acquisition, events)
            self._look_ahead(acquisition, events)
            self._forget(acquisition)
        if finished and next_z > finished.z_last:
            acquisition.state, events = finish(state, self._params(opened))
            publications += self._publications(acquisition, events)
            self._look_ahead(acquisition, events)
            acquisition.ended = True
        return tuple(publications)

    def _noted(self, acquisition: _Acquisition, told: SliceJudged) -> SliceJudged:
        """Remember what was told of a slice, as far as results depend on it; return it with what is repaired of it."""
        if self._settings.measured_thickness:
            assert acquisition.opened is not None
            acquisition.thickness[told.z] = thickness_of(told, acquisition.opened.voxel_size.z_nm)
        if "gain" not in self._settings.repair:
            return told
        acquisition.level = level_with(acquisition.level, told)
        if told.absent is not None or acquisition.level.now == NO_SHIFT:
            return told
        acquisition.shifts[told.z] = acquisition.level.now
        return told.model_copy(update={"repairs": tuple(sorted({*told.repairs, "gain"}))})

    def _look_ahead(self, acquisition: _Acquisition, events: Sequence[Event]) -> None:
        """Take in for forecasts what following a slice gave."""
        opened, state, settings = acquisition.opened, acquisition.state, self._settings
        if opened is None or state is None or settings.whole_field:
            return
        if acquisition.outlook is None:
            sizes = settings.sizes, settings.least_area_um2
            acquisition.outlook = Outlook(self._store, self._metrics, opened, *sizes)
        acquisition.outlook.take(state, events, lambda ref: self._outline(acquisition, ref), self._params(opened))

    def _params(self, opened: AcquisitionOpened) -> FollowingParams:
        return following_parameters(opened.voxel_size, self._settings.window_um)

    def _cutter(self, opened: AcquisitionOpened, model_set: str) -> Cutter:
        settings = self._settings
        if model_set not in self._voxels_nm:
            if self._voxel_of is None:
                raise PermanentError("other_models", f"a slice names the models {model_set[:12]}, unknown here")
            self._voxels_nm[model_set] = self._voxel_of(model_set)
        return Cutter(self._params(opened).window_yx_px, self._voxels_nm[model_set], whole_field=settings.whole_field)

    def _pinned(self, acquisition: _Acquisition, nucleus_id: str) -> str:
        return acquisition.pinned.get(nucleus_id, self._settings.model_set)

    def _seen(self, acquisition: _Acquisition, message: OutlinesDetected | SliceAbsent) -> Sequence[Outline] | Absent:
        if isinstance(message, SliceAbsent):
            return Absent(message.reason.value)
        return self._registrar.in_frame(acquisition.registration, message.slice.z, self._read_outlines(message))

    def _read_outlines(self, message: OutlinesDetected) -> tuple[Outline, ...]:
        try:
            return outlines_from_bytes(self._store.get(message.outlines))
        except OutlineFormatError as error:
            raise PermanentError("damaged_outlines", f"{message.identity}: {error}") from error

    def _remember(self, acquisition: _Acquisition, message: OutlinesDetected | SliceAbsent) -> None:
        if isinstance(message, OutlinesDetected):
            acquisition.recent[message.slice.z] = message

    def _forget(self, acquisition: _Acquisition) -> None:
        """Keep what an event may still name, no more: memory does not grow with the slices."""
        assert acquisition.state is not None
        assert acquisition.opened is not None
        oldest_z = earliest_needed_z(acquisition.state, self._params(acquisition.opened))
        for z in [z for z in acquisition.recent if z < oldest_z]:
            del acquisition.recent[z]
        for z in [z for z in acquisition.shifts if z < oldest_z]:
            del acquisition.shifts[z]
        self._registrar.forget(acquisition.registration, oldest_z)

    def _publications(self, acquisition: _Acquisition, events: Sequence[Event]) -> list[Publication]:
        """Return what follows from events, in their order; each slice is read once, however many nuclei opened."""
        opened = [event.nucleus_id for event in events if isinstance(event, Opened)]
        acquisition.pinned |= dict.fromkeys(opened, acquisition.model_set or self._settings.model_set)
        found = sorted((event.z, number, event) for number, event in enumerate(events) if isinstance(event, Crop))
        crops = {number: Publication("crops", self._crop(acquisition, event)) for _, number, event in found}
        return [crops.get(number) or self._publication(acquisition, event) for number, event in enumerate(events)]

    def _publication(self, acquisition: _Acquisition, event: Event) -> Publication:
        match event:
            case Opened():
                return Publication("nuclei", self._opened(acquisition, event))
            case Closed():
                self.nuclei_closed += 1
                self._metrics.increment("fibsem_nuclei_closed_total", 1, acquisition=_id(acquisition))
                return Publication("nuclei", self._closed(acquisition, event))
            case AbsentCrop():
                return Publication("crops", _absent(_id(acquisition), event, AbsenceReason(event.reason), "no slice"))
            case Crop():
                return Publication("crops", self._crop(acquisition, event))

    def _opened(self, acquisition: _Acquisition, event: Opened) -> NucleusOpened:
        opened = acquisition.opened
        assert opened is not None
        model_set = self._pinned(acquisition, event.nucleus_id)
        event = self._laid_out(acquisition, event)
        self._metrics.increment("fibsem_nuclei_opened_total", 1, acquisition=opened.acquisition_id)
        return NucleusOpened(
            acquisition_id=opened.acquisition_id,
            nucleus_id=event.nucleus_id,
            z_first=event.z_first,
            canvas=self._cutter(opened, model_set).canvas(event, opened),
            voxel_size=opened.voxel_size,
            grey=opened.grey,
            model_set=model_set,
            continues=event.continues or None,
            registration=self._registrar.registration,
        )

    def _laid_out(self, acquisition: _Acquisition, event: Opened) -> Opened:
        """Return an opening with its canvas where final places will put its planes."""
        placed = acquisition.registration
        y, x = self._registrar.settling_yx_px(placed, event.z_first_detected, event.centroid_yx_px)
        first_y, first_x = event.canvas_origin_yx_px
        return dataclasses.replace(event, canvas_origin_yx_px=(first_y + y, first_x + x))

    def _closed(self, acquisition: _Acquisition, event: Closed) -> NucleusClosed:
        planes = acquisition.planes.pop(event.nucleus_id, _Planes())
        acquisition.pinned.pop(event.nucleus_id, None)
        absent = {z: AbsenceReason(reason) for z, reason in event.absent}
        absent |= dict.fromkeys(planes.unreadable, AbsenceReason.DEAD_LETTERED)
        return NucleusClosed(
            acquisition_id=_id(acquisition),
            nucleus_id=event.nucleus_id,
            z_first=event.z_first,
            z_last=event.z_last,
            absent=tuple(AbsentPlane(z=z, reason=reason) for z, reason in sorted(absent.items())),
            clipped=tuple(side for name, side in _SIDES.items() if name in event.clipped),
            detected_planes=planes.counts.get("detected", 0),
            bridged_planes=planes.counts.get("bridged", 0),
            cap_planes=planes.counts.get("cap", 0),
            depths=self._depths(acquisition, event) if self._settings.measured_thickness else None,
        )

    def _depths(self, acquisition: _Acquisition, event: Closed) -> ArtefactRef:
        """Store the depths of a nucleus's planes, by what is known when it closes."""
        assert acquisition.opened is not None
        voxel_z_nm = acquisition.opened.voxel_size.z_nm
        payload = plane_depths(acquisition.thickness, event.z_first, event.z_last, voxel_z_nm).to_bytes()
        key = depths_key(_id(acquisition), event.nucleus_id, event.z_last, digest({"depths": sha256(payload)}))
        return self._store.put(key, payload)

    def _crop(self, acquisition: _Acquisition, event: Crop) -> CropExtracted | CropAbsent:
        found = acquisition.recent[event.z]
        place = found.slice
        planes = acquisition.planes.setdefault(event.nucleus_id, _Planes())
        try:
            grey = self._reader.read(place, acquisition.shifts.get(event.z, NO_SHIFT))
        except (PermanentError, ArtefactCorruptError, ArtefactMissingError) as error:
            # The file was readable when it was ingested; somebody took or changed it since.
            planes.unreadable.append(event.z)
            return _absent(_id(acquisition), event, AbsenceReason.DEAD_LETTERED, str(error)[:4000])
        planes.counts[event.kind] = planes.counts.get(event.kind, 0) + 1
        assert acquisition.opened is not None
        model_set = self._pinned(acquisition, event.nucleus_id)
        cutter = self._cutter(acquisition.opened, model_set)
        window, pixels, mask = cutter.cut(grey, event, self._outlines_at(acquisition, event.z), place)
        return CropExtracted(
            acquisition_id=place.acquisition_id,
            nucleus_id=event.nucleus_id,
            z=event.z,
            kind=PlaneKind(event.kind.upper()),
            window=window,
            crop=self._store.put(self._key(acquisition, event, window), encode_crop(pixels, mask)),
            voxel_size=place.voxel_size,
            grey=place.grey,
            transform=self._registrar.transform(acquisition.registration, event.z, place.transform),
            model_set=model_set,
        )

    def _outlines_at(self, acquisition: _Acquisition, z: int) -> Callable[[OutlineRef], Outline]:
        """Return what gives outlines of any slice as they lie in slice `z`."""
        found = acquisition.recent[z].slice
        field_shape = (found.height_px, found.width_px)
        placed = acquisition.registration
        return lambda ref: self._registrar.moved(placed, self._outline(acquisition, ref), (ref.z, z), field_shape)

    def _outline(self, acquisition: _Acquisition, ref: OutlineRef) -> Outline:
        return self._outlines_of(acquisition.recent[ref.z])[ref.index]

    def _outlines_of(self, message: OutlinesDetected) -> tuple[Outline, ...]:
        known = self._outlines.get(message.outlines.key)
        if known is None:
            known = self._outlines[message.outlines.key] = self._read_outlines(message)
            while len(self._outlines) > OUTLINES_KEPT:
                self._outlines.popitem(last=False)
        return known

    def _repairs(self, acquisition: _Acquisition, z: int) -> dict[str, object]:
        """Return what the key of a crop says of the repairs of its slice; nothing where none changed it."""
        shift = acquisition.shifts.get(z, NO_SHIFT)
        gain = () if shift == NO_SHIFT else ("gain",)
        return repair_recipe((*acquisition.recent[z].repairs, *gain), shift)

    def _key(self, acquisition: _Acquisition, event: Crop, window: PixelWindow) -> str:
        place = acquisition.recent[event.z].slice
        source = dataclasses.asdict(event.source)
        refs = {event.z, event.source.before.z, event.source.after.z, *(ref.z for ref in event.neighbours)}
        beside = {z: self._registrar.beside(acquisition.registration, z, event.z) for z in sorted(refs)}
        moved = {str(z): list(one.numbers) for z, one in beside.items() if one != IDENTITY}
        recipe = digest(
            ({"moved": moved} if moved else {})
            | self._repairs(acquisition, event.z)
            | {
                "raw": place.raw.sha256,
                "page": place.page,
                "grey": place.grey.model_dump(),
                "outlines": {str(z): acquisition.recent[z].outlines.sha256 for z in sorted(refs)},
                "source": source,
                "window": window.model_dump(),
                "version": STAGE_VERSION,
            }
        )
        return crop_key(place.acquisition_id, event.nucleus_id, event.z, recipe)


def _acquisition_of(message: Message) -> str:
    return (
        message.slice.acquisition_id
        if isinstance(message, OutlinesDetected)
        else str(getattr(message, "acquisition_id", ""))
    )


def _take(acquisition: _Acquisition, message: Message) -> None:
    match message:
        case OutlinesDetected():
            acquisition.waiting[message.slice.z] = message
        case SliceAbsent():
            acquisition.waiting[message.z] = message
        case AcquisitionOpened():
            acquisition.opened = message
        case AcquisitionFinished():
            acquisition.finished = message
        case DecisionRecorded():
            pass  # its consequences travel as absent slices
        case _:
            raise PermanentError("unexpected_message", f"{type(message).__name__} is not for {NAME}")


def _is_known(acquisition: _Acquisition, message: Message) -> bool:
    match message:
        case OutlinesDetected() | SliceAbsent():
            z = message.slice.z if isinstance(message, OutlinesDetected) else message.z
            return z in acquisition.waiting or (acquisition.state is not None and z < acquisition.state.next_z)
        case AcquisitionOpened():
            return acquisition.opened is not None
        case AcquisitionFinished():
            return acquisition.finished is not None
        case _:
            return False


def _state_text(acquisition: _Acquisition) -> str:
    follower = None if acquisition.state is None else state_to_bytes(acquisition.state).decode()
    planes = {name: dataclasses.asdict(planes) for name, planes in acquisition.planes.items()}
    content: dict[str, object] = {
        "follower": follower,
        "planes": planes,
        "model_set": acquisition.model_set,
        "pinned": acquisition.pinned,
        "quality": acquisition.quality.to_json(),
        "ended": acquisition.ended,
    }
    if acquisition.registration.acquisition_id:
        content["registration"] = acquisition.registration.to_json()
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def _model_set_named(message: OutlinesDetected | SliceAbsent) -> str | None:
    return message.slice.model_set if isinstance(message, OutlinesDetected) else None


def _id(acquisition: _Acquisition) -> str:
    assert acquisition.opened is not None
    return acquisition.opened.acquisition_id


def _absent(acquisition_id: str, event: Crop | AbsentCrop, reason: AbsenceReason, detail: str) -> CropAbsent:
    return CropAbsent(
        acquisition_id=acquisition_id,
        nucleus_id=event.nucleus_id,
        z=event.z,
        reason=reason,
        detail=detail or "no slice",
    )
