"""The whole method as a bare loop: the same pure functions on the same slices, with no bus, store or crash-safety."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.components.measuring.painting import CanvasPlace, painted
from services.components.measuring.record import measured_nucleus
from services.components.separation import Nucleus, Separated, separate, target_of
from services.contracts.rows import NucleusRow
from services.extract.crops import window
from services.extract.detection import detect
from services.extract.events import Closed, Crop, Event, Opened
from services.extract.following import advance, earliest_needed_z, finish
from services.extract.masks import mask_plane, resolve_outline
from services.extract.outlines import Outline
from services.extract.profiles import PROFILES
from services.extract.tracks import FollowerState, FollowingParams, OutlineRef
from services.imaging.geometry import paste
from services.imaging.grey import freeze, histogram
from services.imaging.labelling import LabelTables
from services.imaging.omezarr import CHROMOSOMES, CLASSES, GREY, OBJECTS, VolumeLayout, encode_slab
from services.imaging.tiff import read_page
from services.inference.regions import Region, region_of_interest
from services.postprocess.cleaning import REMOVED, filled, masked, minimum_voxels
from services.postprocess.volume import NucleusVolume
from services.runtime.segmenter.port import Normalisation, Segmenter

Plane = npt.NDArray[np.uint8]
BATCH = 8
SLAB = 32


@dataclass
class _Nucleus:
    z_first: int
    origin: tuple[int, int]
    shape: tuple[int, int]
    volume: NucleusVolume
    planes: dict[int, tuple[Plane, Plane, tuple[int, int]]] = field(default_factory=dict)
    written_z: int = 0


@dataclass
class BareLoop:
    """Segments a finished folder; `volumes` holds the classes of every nucleus on its canvas."""

    segmenter: Segmenter
    normalisation: Normalisation
    voxel_nm: float
    volumes: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    chromosomes: dict[str, int] = field(default_factory=dict)

    def run(self, slices: list[Path]) -> None:
        """Work through the slices in order."""
        self._params = FollowingParams(voxel_zyx_nm=(self.voxel_nm,) * 3)
        self._nuclei: dict[str, _Nucleus] = {}
        self._queue: list[tuple[str, int, Plane, Plane, tuple[int, int]]] = []
        self._slices: dict[int, tuple[Plane, tuple[Outline, ...]]] = {}
        self._slabs: dict[str, list[Plane]] = {}
        state = FollowerState()
        for z, path in enumerate(slices):
            grey = np.asarray(read_page(path.read_bytes()), np.uint8)
            outlines = detect(grey, PROFILES["recommended"], (self.voxel_nm, self.voxel_nm))
            self._slices[z] = (grey, outlines)
            state, events = advance(state, z, outlines, self._params)
            self._take(events)
            oldest = earliest_needed_z(state, self._params)
            for old in [known for known in self._slices if known < oldest]:
                del self._slices[old]
        self._take(finish(state, self._params)[1])

    def _outline(self, ref: OutlineRef) -> Outline:
        return self._slices[ref.z][1][ref.index]

    def _take(self, events: tuple[Event, ...]) -> None:
        for event in events:
            if isinstance(event, Opened):
                shape = event.canvas_shape_yx_px
                volume = NucleusVolume(event.z_first, shape, minimum_voxels(self.voxel_nm**3))
                self._nuclei[event.nucleus_id] = _Nucleus(
                    event.z_first, event.canvas_origin_yx_px, shape, volume, written_z=event.z_first
                )
            elif isinstance(event, Crop):
                self._crop(event)
            elif isinstance(event, Closed):
                self._segment()
                self._close(event)

    def _crop(self, event: Crop) -> None:
        grey, _ = self._slices[event.z]
        outline = resolve_outline(event.source, self._outline, (grey.shape[0], grey.shape[1]))
        origin, shape = window(outline.centroid_yx_px, self._params.window_yx_px, (grey.shape[0], grey.shape[1]))
        neighbours = [self._outline(ref) for ref in event.neighbours]
        mask = mask_plane(outline, neighbours, (origin, shape), inside_scale=event.source.inside_scale)
        pixels = grey[origin[0] : origin[0] + shape[0], origin[1] : origin[1] + shape[1]].copy()
        self._queue.append((event.nucleus_id, event.z, pixels, mask, origin))
        if len(self._queue) >= BATCH:
            self._segment()

    def _segment(self) -> None:
        regions = [self._region(mask) for _, _, _, mask, _ in self._queue]
        wanted = [entry[2][region] for entry, region in zip(self._queue, regions, strict=True) if region is not None]
        results = iter(self.segmenter.segment([np.ascontiguousarray(pixels) for pixels in wanted], self.normalisation))
        for (name, z, pixels, mask, origin), region in zip(self._queue, regions, strict=True):
            nucleus = self._nuclei[name]
            place = (origin[0] - nucleus.origin[0], origin[1] - nucleus.origin[1])
            classes = np.zeros_like(pixels)
            if region is not None:
                classes[region] = next(results).classes_yx
            nucleus.volume.add(z, masked(classes, mask), place)
            nucleus.planes[z] = (pixels, mask, place)
            while nucleus.written_z + SLAB <= nucleus.volume.clean_final_z:
                self._write(name, nucleus.written_z + SLAB)
        self._queue.clear()

    def _region(self, mask: Plane) -> Region | None:
        """Return the part of a crop that the pipeline segments too."""
        architectures = [card.architecture for card in self.segmenter.model_set().cards]
        context_px = max(architecture.context_px for architecture in architectures)
        multiple_px = max(architecture.shape_multiple_px for architecture in architectures)
        return region_of_interest(mask, context_px, multiple_px)

    def _write(self, name: str, stop: int) -> None:
        nucleus = self._nuclei[name]
        layout = VolumeLayout(nucleus.shape, (self.voxel_nm,) * 3, (0.0, 0.0, 0.0), SLAB)
        classes = np.zeros((stop - nucleus.written_z, *nucleus.shape), np.uint8)
        grey = np.zeros_like(classes)
        for index, z in enumerate(range(nucleus.written_z, stop)):
            pixels, mask, place = nucleus.planes.pop(z)
            cleaned, where = nucleus.volume.cleaned(z, REMOVED)
            paste(classes[index], (0, 0), filled(cleaned, nucleus.volume.on_canvas(mask, place)), where)
            paste(grey[index], (0, 0), pixels, place)
        first = nucleus.written_z - nucleus.z_first
        encode_slab(layout, CLASSES, first, classes)
        encode_slab(layout, GREY, first, grey)
        self._slabs.setdefault(name, []).append(classes)
        nucleus.written_z = stop

    def _close(self, event: Closed) -> None:
        name = event.nucleus_id
        nucleus = self._nuclei.pop(name)
        self._nuclei[name] = nucleus
        tables = nucleus.volume.close()
        while nucleus.written_z < tables.next_z:
            self._write(name, min(nucleus.written_z + SLAB, tables.next_z))
        voxel = (self.voxel_nm,) * 3
        target = target_of(12)
        separated = separate(tables, Nucleus(voxel, clipped=bool(event.clipped)), target)
        # A nucleus that the last slice cuts is the case here: what is cut is measured less.
        cut = {(0, 1): tables.next_z} if event.clipped else {}
        image = painted(tables, separated.paint_plane, CanvasPlace(nucleus.origin, voxel), cut)
        row = NucleusRow(nucleus_id=name, z_first=event.z_first, z_last=event.z_last, state="closed")
        measured_nucleus(image, row, target.count)
        self._paint(tables, separated, nucleus.shape)
        self.chromosomes[name] = len(separated.chromosomes)
        self.volumes[name] = np.concatenate(self._slabs.pop(name))
        del self._nuclei[name]

    def _paint(self, tables: LabelTables, separated: Separated, shape: tuple[int, int]) -> None:
        layout = VolumeLayout(shape, (self.voxel_nm,) * 3, (0.0, 0.0, 0.0), SLAB)
        windows = {window.z: window for window in tables.windows()}
        numbers = tables.object_numbers()
        for first in range(tables.first_z, tables.next_z, SLAB):
            stop = min(first + SLAB, tables.next_z)
            objects = np.zeros((stop - first, *shape), np.uint32)
            chromosomes = np.zeros(objects.shape, np.uint8)
            for z in range(first, stop):
                if z in windows:
                    place = (windows[z].y0, windows[z].x0)
                    paste(objects[z - first], (0, 0), tables.labels_plane(z, numbers), place)
                    paste(chromosomes[z - first], (0, 0), separated.paint_plane(z).astype(np.uint8), place)
            encode_slab(layout, OBJECTS, first - tables.first_z, objects)
            encode_slab(layout, CHROMOSOMES, first - tables.first_z, chromosomes)


def normalisation_of(slices: list[Path], first: int = 16) -> Normalisation:
    """Return mean and standard deviation of the first slices, as ingest freezes them."""
    counts = [histogram(read_page(path.read_bytes())) for path in slices[:first]]
    statistics = freeze(counts)
    return Normalisation(offset=statistics.mean, scale=statistics.sd)
