"""Label planes in, a clean growing volume out: each nucleus in z order, final slabs behind the front."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np

from services.contracts.classes import LABEL_STYLES
from services.contracts.keys import digest, volume_prefix
from services.contracts.messages import (
    CropAbsent,
    CropSegmented,
    Message,
    NucleusClosed,
    NucleusOpened,
    VolumeClosed,
    VolumeExtended,
)
from services.contracts.values import AbsenceReason, ArtefactRef, VoxelSize
from services.imaging.geometry import paste
from services.imaging.omezarr import CLASSES, GREY, VolumeLayout, encode_metadata, encode_slab
from services.imaging.planes import decode_planes
from services.postprocess.cleaning import (
    AS_RUN_PIXELS_AT_4_NM,
    REMOVED,
    UInt8Plane,
    filled,
    masked,
    minimum_pixels,
    minimum_voxels,
    without_small_regions,
)
from services.postprocess.crops import CropReader
from services.postprocess.layout import canvas_origin, plane_placement, straightened, volume_layout
from services.postprocess.volume import NucleusVolume
from services.runtime.errors import PermanentError
from services.runtime.handler import Answer, Publication, Received
from services.runtime.steps import Entry, Step, StepLog
from services.runtime.store.port import ArtefactStore

# Slabs of this canvas are held in memory, several planes deep.
LARGEST_CANVAS_PX = 2**27
# Raised by hand when the same planes give another volume.
STAGE_VERSION = 2
NAME = "postprocess"
SmallObjects = Literal["3d", "2d"]


@dataclass(slots=True)
class _Nucleus:
    """What is known of one nucleus; rebuilt from its steps after a restart."""

    log: StepLog
    opened: NucleusOpened | None = None
    closed: NucleusClosed | None = None
    waiting: dict[int, CropSegmented | CropAbsent] = field(default_factory=dict)
    unwritten: dict[int, CropSegmented | CropAbsent] = field(default_factory=dict)
    volume: NucleusVolume | None = None
    layout: VolumeLayout | None = None
    prefix: str = ""
    written_z: int = 0
    confidence: list[int] = field(default_factory=lambda: [0, 0])
    left_canvas: int = 0
    ended: bool = False


class PostprocessHandler:
    """Assembles, labels and cleans the volume of every nucleus.

    Parameters
    ----------
    store
        Label planes in, volumes and tables out.
    plane_voxel_nm
        Edge of a label plane's pixel: that of the models.
    voxel_of
        From the digest of a model set to the edge of its planes' pixels in nm, where nuclei have different ones.
    small_objects
        "3d" removes objects by their voxels, 26-connected; "2d" by their pixels in each slice, as the authors ran it.
    """

    name = NAME
    topics = ("segmentations", "nuclei")
    batch_size = 16

    def __init__(
        self,
        store: ArtefactStore,
        plane_voxel_nm: float,
        small_objects: SmallObjects = "3d",
        voxel_of: Callable[[str], float] | None = None,
    ) -> None:
        self._store = store
        self._voxel_of = voxel_of or (lambda _: plane_voxel_nm)
        self._small_objects = small_objects
        self._nuclei: dict[str, _Nucleus] = {}
        self._crops = CropReader(store)

    def handle(self, received: Sequence[Received]) -> Sequence[Answer]:
        """Apply messages to their nuclei; one step record per nucleus and call."""
        entries: dict[str, list[Entry]] = {}
        try:
            answers = [self._answer(item, entries) for item in received]
            for key, applied in entries.items():
                self._nuclei[key].log.append(Step(tuple(applied)))
        except Exception:
            # What was applied but not recorded never happened: the next turn starts from the records.
            for item in received:
                self._nuclei.pop(item.message.key, None)
            raise
        for item in received:
            _let_go(self._nuclei[item.message.key])
        return answers

    def _answer(self, item: Received, entries: dict[str, list[Entry]]) -> Answer:
        nucleus = self._nucleus(item.message.key)
        if self._is_known(nucleus, item.message):
            return Answer(_said_again(nucleus.log, item))
        publications = self._apply(nucleus, item.message, write=True)
        entries.setdefault(item.message.key, []).append(Entry(item, publications))
        return Answer(publications)

    def dead_lettered(self, received: Received, fault: PermanentError) -> Sequence[Publication]:
        """Return the plane as absent, so that its nucleus goes on without it."""
        message = received.message
        if not isinstance(message, CropSegmented):
            return ()
        crop = message.crop
        absent = CropAbsent(
            acquisition_id=crop.acquisition_id,
            nucleus_id=crop.nucleus_id,
            z=crop.z,
            reason=AbsenceReason.DEAD_LETTERED,
            detail=str(fault)[:4000],
        )
        return (Publication("segmentations", absent),)

    def open_nuclei(self) -> list[tuple[str, int]]:
        """Return the nuclei in hand, each with the z below which it is final."""
        return [
            (key, nucleus.volume.clean_final_z if nucleus.volume else 0)
            for key, nucleus in sorted(self._nuclei.items())
            if not nucleus.ended
        ]

    def _nucleus(self, key: str) -> _Nucleus:
        nucleus = self._nuclei.get(key)
        if nucleus is None:
            nucleus = self._nuclei[key] = _Nucleus(StepLog(self._store, NAME, key))
            for step in nucleus.log:
                for entry in step.entries:
                    # Everything that was to be written was written before its step was.
                    self._apply(nucleus, entry.received.message, write=False)
        return nucleus

    def _is_known(self, nucleus: _Nucleus, message: Message) -> bool:
        if nucleus.ended:
            return True
        if isinstance(message, NucleusOpened):
            return nucleus.opened is not None
        if isinstance(message, NucleusClosed):
            return nucleus.closed is not None
        z = message.crop.z if isinstance(message, CropSegmented) else getattr(message, "z", -1)
        return z in nucleus.waiting or (nucleus.volume is not None and z < nucleus.volume.next_z)

    def _apply(self, nucleus: _Nucleus, message: Message, *, write: bool) -> tuple[Publication, ...]:
        if isinstance(message, NucleusOpened):
            self._open(nucleus, message)
        elif isinstance(message, NucleusClosed):
            nucleus.closed = message
        elif isinstance(message, CropSegmented):
            if write and (nucleus.volume is None or message.crop.z > nucleus.volume.next_z):
                # It will be read in another message's turn: a damaged one must be refused in its own.
                self._read(message)
            nucleus.waiting[message.crop.z] = message
        elif isinstance(message, CropAbsent):
            nucleus.waiting[message.z] = message
        else:
            raise PermanentError("unexpected_message", f"{type(message).__name__} is not for {NAME}")
        return self._advance(nucleus, write=write) if nucleus.volume else ()

    def _open(self, nucleus: _Nucleus, opened: NucleusOpened) -> None:
        voxel = self._plane_voxel(opened)
        minimum = minimum_voxels(voxel.volume_nm3) if self._small_objects == "3d" else {}
        layout = volume_layout(opened, voxel)
        rows, columns = layout.canvas_shape_yx
        if rows * columns > LARGEST_CANVAS_PX:
            raise PermanentError(
                "canvas_too_large",
                f"{opened.identity} has a canvas of {rows} x {columns} pixels; at most {LARGEST_CANVAS_PX} are held",
            )
        nucleus.opened, nucleus.layout = opened, layout
        nucleus.volume = NucleusVolume(opened.z_first, nucleus.layout.canvas_shape_yx, minimum)
        nucleus.written_z = opened.z_first
        registered = {} if opened.registration is None else {"registration": opened.registration}
        recipe = digest(
            registered
            | {
                "models": opened.model_set,
                "grey": opened.grey.model_dump(),
                "voxel": voxel.model_dump(),
                "small_objects": self._small_objects,
                "version": STAGE_VERSION,
            }
        )
        nucleus.prefix = volume_prefix(opened.acquisition_id, opened.nucleus_id, recipe)

    def _plane_voxel(self, opened: NucleusOpened) -> VoxelSize:
        side_nm = self._voxel_of(opened.model_set)
        return VoxelSize(z_nm=opened.voxel_size.z_nm, y_nm=side_nm, x_nm=side_nm)

    def _advance(self, nucleus: _Nucleus, *, write: bool) -> tuple[Publication, ...]:
        """Take every plane that is next in z; write what became final; close when all have come."""
        publications: list[Publication] = []
        volume, layout = _growing(nucleus)
        while (message := nucleus.waiting.get(volume.next_z)) is not None:
            self._add(nucleus, message)
            # Only a plane that was added is no longer waited for: a damaged one is tried again, then dead-lettered.
            del nucleus.waiting[volume.next_z - 1]
            while nucleus.written_z + layout.slab_planes <= volume.clean_final_z:
                publications.append(self._extend(nucleus, write=write))
        if nucleus.closed is not None and volume.next_z > nucleus.closed.z_last:
            publications.append(self._close(nucleus, write=write))
        return tuple(publications)

    def _add(self, nucleus: _Nucleus, message: CropSegmented | CropAbsent) -> None:
        volume, _ = _growing(nucleus)
        if isinstance(message, CropAbsent):
            volume.skip(message.z)
            nucleus.unwritten[message.z] = message
            return
        classes, confidence, mask = self._read(message)
        origin, (classes, confidence, mask) = self._placed(nucleus, message, (classes, confidence, mask))
        inside = masked(classes, mask)
        if self._small_objects == "2d":
            pixel_nm2 = message.plane_voxel_size.y_nm * message.plane_voxel_size.x_nm
            inside = without_small_regions(inside, mask, minimum_pixels(pixel_nm2, AS_RUN_PIXELS_AT_4_NM))
        if not volume.add(message.crop.z, inside, origin):
            nucleus.left_canvas += 1
        nucleus.unwritten[message.crop.z] = message
        nucleus.confidence[0] += int(confidence[inside > 0].sum(dtype=np.int64))
        nucleus.confidence[1] += int(np.count_nonzero(inside))

    def _placed(
        self, nucleus: _Nucleus, message: CropSegmented, labels: tuple[UInt8Plane, ...]
    ) -> tuple[tuple[int, int], tuple[UInt8Plane, ...]]:
        """Return where planes lie on the canvas, and the planes, straightened where their slice is stretched."""
        placement = plane_placement(message, _opened(nucleus), (labels[0].shape[0], labels[0].shape[1]))
        return placement.origin_yx, tuple(straightened(plane, placement) for plane in labels)

    def _read(self, message: CropSegmented) -> tuple[UInt8Plane, UInt8Plane, UInt8Plane]:
        """Return the classes and the confidence of a label plane, and the mask of its crop."""
        try:
            classes, confidence = decode_planes(self._store.get(message.planes))
        except ValueError as error:
            # Not a stack, or a stack of another number of planes.
            raise PermanentError("damaged_planes", f"{message.identity}: {error}") from error
        return classes, confidence, self._crops.mask(message, classes.shape)

    def _extend(self, nucleus: _Nucleus, *, write: bool) -> Publication:
        _, layout = _growing(nucleus)
        opened = _opened(nucleus)
        first, stop = nucleus.written_z, nucleus.written_z + layout.slab_planes
        self._write_slab(nucleus, first, stop, write=write)
        changes = self._keep_changes(nucleus, f"z{stop:06d}")
        closed_tables = self._keep_closed(nucleus, f"z{stop:06d}")
        extended = VolumeExtended(
            acquisition_id=opened.acquisition_id,
            nucleus_id=opened.nucleus_id,
            z_first=opened.z_first,
            clean_final_z=stop,
            volume_prefix=nucleus.prefix,
            changes=changes,
            closed_tables=closed_tables,
            plane_voxel_size=None if closed_tables is None else self._plane_voxel(opened),
        )
        return Publication("volumes", extended)

    def _close(self, nucleus: _Nucleus, *, write: bool) -> Publication:
        volume, layout = _growing(nucleus)
        opened, closed = _opened(nucleus), nucleus.closed
        assert closed is not None
        tables = volume.close()
        while nucleus.written_z <= closed.z_last:
            stop = min(nucleus.written_z + layout.slab_planes, closed.z_last + 1)
            self._write_slab(nucleus, nucleus.written_z, stop, write=write)
        total, count = nucleus.confidence
        summary = {
            "mean_confidence": total / count / 255 if count else None,
            "left_canvas_planes": nucleus.left_canvas,
            "plane_voxel_nm": layout.voxel_zyx_nm,
            "canvas_origin_yx": canvas_origin(opened, self._plane_voxel(opened)),
        }
        nucleus.ended = True
        message = VolumeClosed(
            nucleus=closed,
            opened=opened,
            volume_prefix=nucleus.prefix,
            tables=self._store.put(f"{nucleus.prefix}/tables", tables.to_bytes()),
            changes=self._keep_changes(nucleus, "closed"),
            summary=self._store.put(f"{nucleus.prefix}/summary.json", json.dumps(summary, sort_keys=True).encode()),
        )
        return Publication("volumes", message)

    def _keep_changes(self, nucleus: _Nucleus, name: str) -> ArtefactRef:
        changes = [asdict(change) for change in _growing(nucleus)[0].changes()]
        payload = json.dumps(changes, sort_keys=True).encode()
        return self._store.put(f"{nucleus.prefix}/changes/{name}.json", payload)

    def _keep_closed(self, nucleus: _Nucleus, name: str) -> ArtefactRef | None:
        """Store what closed of the chromatin since the last slab; also after a restart: the bytes are the same."""
        tables = _growing(nucleus)[0].closed_groups()
        if tables is None:
            return None
        return self._store.put(f"{nucleus.prefix}/closed/{name}", tables.to_bytes())

    def _write_slab(self, nucleus: _Nucleus, first: int, stop: int, *, write: bool) -> None:
        _, layout = _growing(nucleus)
        nucleus.written_z = stop
        messages = [nucleus.unwritten.pop(z) for z in range(first, stop)]
        if not write:
            for message in messages:
                if isinstance(message, CropSegmented):
                    self._crops.let_go(message)
            return
        origin = _opened(nucleus).z_first
        classes = np.zeros((stop - first, *layout.canvas_shape_yx), np.uint8)
        grey = np.zeros_like(classes)
        for index, message in enumerate(messages):
            if isinstance(message, CropSegmented):
                self._paint(nucleus, message, classes[index], grey[index])
        files = encode_slab(layout, CLASSES, first - origin, classes) | encode_slab(layout, GREY, first - origin, grey)
        # Metadata last: it says how many planes there are, and they must be there when it does.
        files |= encode_metadata(layout, stop - origin, LABEL_STYLES, with_objects=True, with_chromosomes=True)
        for key, payload in files.items():
            self._store.put(f"{nucleus.prefix}/volume.ome.zarr/{key}", payload)

    def _paint(self, nucleus: _Nucleus, message: CropSegmented, classes: UInt8Plane, grey: UInt8Plane) -> None:
        volume, _ = _growing(nucleus)
        crop_grey, mask = self._crops.take(message)
        placement = plane_placement(message, _opened(nucleus), (mask.shape[0], mask.shape[1]))
        origin, mask = placement.origin_yx, straightened(mask, placement)
        crop_grey = straightened(crop_grey, placement, smooth=True)
        cleaned, place = volume.cleaned(message.crop.z, REMOVED)
        paste(classes, (0, 0), filled(cleaned, volume.on_canvas(mask, origin)), place)
        paste(grey, (0, 0), crop_grey, origin)


def _growing(nucleus: _Nucleus) -> tuple[NucleusVolume, VolumeLayout]:
    if nucleus.volume is None or nucleus.layout is None:
        raise LookupError("the nucleus has not opened yet")
    return nucleus.volume, nucleus.layout


def _opened(nucleus: _Nucleus) -> NucleusOpened:
    if nucleus.opened is None:
        raise LookupError("the nucleus has not opened yet")
    return nucleus.opened


def _said_again(log: StepLog, item: Received) -> tuple[Publication, ...]:
    """Return what follows from a repeated message.

    What closed a nucleus may come before planes that had come first: they have another topic. Whoever reads of the
    close must have read of everything before it, also where it is to compute anew: so all is said once more.
    """
    said = log.publications_of(item) or ()
    if any(isinstance(publication.message, VolumeClosed) for publication in said):
        return tuple(publication for step in log for entry in step.entries for publication in entry.publications)
    return said


def _let_go(nucleus: _Nucleus) -> None:
    """Keep of a nucleus that has ended only where its steps are: a repeated message is answered from them."""
    if nucleus.ended:
        nucleus.volume, nucleus.layout = None, None
        nucleus.waiting.clear()
        nucleus.unwritten.clear()
