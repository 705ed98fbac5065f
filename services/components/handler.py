"""Volumes in, objects and chromosomes out: events while a nucleus grows, tables when it closes.

Chromosomes in what is closed are told at once, provisionally; those of the nucleus are found afresh when all of it is
there, so that its rows do not depend on what was told before, and what was told is then confirmed or revised.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.components.measurement import Placement, measured_row, nucleus_row, object_rows
from services.components.separation import (
    DEFAULT,
    Group,
    GroupChromosome,
    GroupRows,
    Nucleus,
    Separated,
    chromosomes_by_group,
    groups_of,
    named,
    separate,
    stands,
    target_of,
    worth_telling,
)
from services.components.separation.record import with_doubts
from services.contracts.keys import digest
from services.contracts.messages import (
    ChromosomesSeparated,
    ComponentsMeasured,
    NucleusClosed,
    ObjectChanged,
    VolumeClosed,
    VolumeExtended,
)
from services.contracts.rows import OBJECT_ROWS
from services.contracts.values import ArtefactRef, GroupStanding
from services.imaging.geometry import paste
from services.imaging.labelling import CorruptTablesError, LabelTables
from services.imaging.omezarr import CHROMOSOMES, OBJECTS, VolumeLayout, encode_slab
from services.imaging.quality.depths import DepthsFormatError, PlaneDepths
from services.runtime.errors import PermanentError
from services.runtime.handler import Answer, Publication, Received
from services.runtime.store.port import ArtefactStore

# Raised by hand when the same tables give other rows.
STAGE_VERSION = 5


@dataclass(frozen=True, slots=True)
class _Where:
    """What a group of objects is told of."""

    acquisition_id: str
    nucleus_id: str
    volume_prefix: str
    z_front: int


class ComponentsHandler:
    """Tells what becomes of objects; separates and measures the chromosomes of closed nuclei.

    Parameters
    ----------
    store
        Run tables in; labels and rows out.
    expected
        Chromosomes of a whole nucleus: 12 homologs, or 6 bivalents.
    method
        Name of the separation.
    homologs
        Whether chromosomes are counted one by one, or as bivalents; None: one by one where more than 6 are expected.
    """

    name = "components"
    topics = ("volumes",)
    batch_size = 1

    def __init__(
        self, store: ArtefactStore, expected: int, method: str = DEFAULT, *, homologs: bool | None = None
    ) -> None:
        named(method)
        self._store = store
        self._target = target_of(expected, homologs)
        self._method = method
        self._settings = {
            "method": method,
            "expected": self._target.count,
            "homologs": self._target.homologs,
            "version": STAGE_VERSION,
        }
        self._recipe = digest(self._settings)

    def handle(self, received: Sequence[Received]) -> Sequence[Answer]:
        """Answer each volume message; nothing is remembered between them.

        Raises
        ------
        PermanentError
            If what it names cannot be read as what it should be.
        """
        try:
            return [self._answer(item) for item in received]
        except (json.JSONDecodeError, CorruptTablesError, DepthsFormatError) as error:
            (damaged,) = received
            raise PermanentError("damaged_volume", f"{damaged.message.identity}: {error}") from error

    def dead_lettered(self, received: Received, fault: PermanentError) -> Sequence[Publication]:
        """Nothing waits for the components of a nucleus; the dead letter says what is missing."""
        del received, fault
        return ()

    def _answer(self, item: Received) -> Answer:
        message = item.message
        if isinstance(message, VolumeExtended):
            events = self._events(message.acquisition_id, message.nucleus_id, message.changes, message.clean_final_z)
            return Answer((*events, *self._separated_early(message)))
        if isinstance(message, VolumeClosed):
            nucleus = message.nucleus
            events = self._events(nucleus.acquisition_id, nucleus.nucleus_id, message.changes, nucleus.z_last + 1)
            return Answer((*events, *self._measured(message)))
        return Answer(fault=PermanentError("unexpected_message", f"{type(message).__name__} on {item.topic}"))

    def _events(
        self, acquisition_id: str, nucleus_id: str, changes: ArtefactRef, z_front: int
    ) -> tuple[Publication, ...]:
        return tuple(
            Publication(
                "objects",
                ObjectChanged(acquisition_id=acquisition_id, nucleus_id=nucleus_id, z_front=z_front, **change),
            )
            for change in json.loads(self._store.get(changes))
        )

    def _separated_early(self, message: VolumeExtended) -> tuple[Publication, ...]:
        """Separate the groups that closed, one after the other; nothing of them is kept but their rows."""
        if message.closed_tables is None or message.plane_voxel_size is None:
            return ()
        tables = LabelTables.from_bytes(self._store.get(message.closed_tables))
        part = Nucleus(message.plane_voxel_size.zyx_nm, part=True)
        where = _Where(message.acquisition_id, message.nucleus_id, message.volume_prefix, message.clean_final_z)
        told = []
        for group in groups_of(tables):
            of_group = group.tables(tables)
            separated = separate(of_group, part, self._target, self._method)
            (alone,) = groups_of(of_group)
            (chromosomes,) = chromosomes_by_group(separated, [alone])
            if worth_telling(chromosomes):
                told.append(self._told(where, group, chromosomes, GroupStanding.PROVISIONAL))
        return tuple(told)

    def _judged(self, message: VolumeClosed, separated: Separated) -> tuple[Publication, ...]:
        """Say of every group that was separated early whether it stands."""
        nucleus = message.nucleus
        where = _Where(nucleus.acquisition_id, nucleus.nucleus_id, message.volume_prefix, nucleus.z_last + 1)
        early = []
        for group in groups_of(separated.field.tables):
            # Messages of a nucleus come in order: the rows of every group that closed before lie there.
            ref = self._store.find(self._group_key(where, group, GroupStanding.PROVISIONAL))
            if ref is not None:
                early.append((group, GroupRows.model_validate_json(self._store.get(ref))))
        final = chromosomes_by_group(separated, [group for group, _ in early]) if early else ()
        told = []
        for (group, rows), chromosomes in zip(early, final, strict=True):
            confirmed = stands(rows.chromosomes, chromosomes)
            standing = GroupStanding.CONFIRMED if confirmed else GroupStanding.REVISED
            told.append(self._told(where, group, chromosomes, standing))
        return tuple(told)

    def _told(
        self, where: _Where, group: Group, chromosomes: tuple[GroupChromosome, ...], standing: GroupStanding
    ) -> Publication:
        """Store the rows of a group, and return the message that tells of them."""
        rows = GroupRows(nucleus_id=where.nucleus_id, group=group.key, method=self._method, chromosomes=chromosomes)
        message = ChromosomesSeparated(
            acquisition_id=where.acquisition_id,
            nucleus_id=where.nucleus_id,
            group=group.key,
            standing=standing,
            method=self._method,
            chromosome_count=len(chromosomes),
            voxels=group.voxels,
            z_front=where.z_front,
            rows=self._store.put(self._group_key(where, group, standing), rows.model_dump_json().encode()),
            confidence=rows.confidence,
        )
        return Publication("objects", message)

    def _group_key(self, where: _Where, group: Group, standing: GroupStanding) -> str:
        when = "provisional" if standing is GroupStanding.PROVISIONAL else "closed"
        return f"{where.volume_prefix}/components-{self._recipe}/groups/{group.key}-{when}.json"

    def _measured(self, message: VolumeClosed) -> tuple[Publication, ...]:
        nucleus, opened = message.nucleus, message.opened
        tables = LabelTables.from_bytes(self._store.get(message.tables))
        summary = json.loads(self._store.get(message.summary))
        placement = Placement(
            canvas_origin_yx=tuple(summary["canvas_origin_yx"]),
            plane_voxel_zyx_nm=tuple(summary["plane_voxel_nm"]),
            voxel_zyx_nm=opened.voxel_size.zyx_nm,
            depths=self._depths(nucleus),
        )
        whole = Nucleus(placement.plane_voxel_zyx_nm, clipped=bool(nucleus.clipped))
        separated = separate(tables, whole, self._target, self._method)
        rows = object_rows(tables, separated.chromosome_of_object(), nucleus, placement)
        row = nucleus_row(
            rows,
            nucleus,
            chromosome_count=len(separated.chromosomes),
            mean_confidence=summary["mean_confidence"],
            continues=opened.continues,
            method=self._method,
        )
        measures = measured_row(tables, separated.paint_plane, row, (nucleus, placement), self._target.count)
        details = with_doubts(measures, separated, placement.canvas_origin_nm)
        self._paint_labels(message.volume_prefix, separated, placement)
        prefix = f"{message.volume_prefix}/components-{self._recipe_of(nucleus)}"
        measured = ComponentsMeasured(
            acquisition_id=nucleus.acquisition_id,
            nucleus_id=nucleus.nucleus_id,
            method=self._method,
            expected_count=self._target.count,
            chromosome_count=len(separated.chromosomes),
            volume_prefix=message.volume_prefix,
            objects=self._store.put(f"{prefix}/objects.json", OBJECT_ROWS.dump_json(rows)),
            measurements=self._store.put(f"{prefix}/nucleus.json", details.model_dump_json().encode()),
        )
        return (*self._judged(message, separated), Publication("components", measured))

    def _depths(self, nucleus: NucleusClosed) -> PlaneDepths | None:
        """Return the measured depths of a nucleus's planes; None where slices count as equally thick."""
        if nucleus.depths is None:
            return None
        depths = PlaneDepths.from_bytes(self._store.get(nucleus.depths))
        if (depths.first_z, depths.last_z) != (nucleus.z_first, nucleus.z_last):
            raise DepthsFormatError(f"depths of planes {depths.first_z} to {depths.last_z}, not of the nucleus's")
        return depths

    def _recipe_of(self, nucleus: NucleusClosed) -> str:
        """Return the digest of what the rows of a nucleus depend on."""
        if nucleus.depths is None:
            return self._recipe
        return digest({**self._settings, "depths": nucleus.depths.sha256})

    def _paint_labels(self, prefix: str, separated: Separated, placement: Placement) -> None:
        """Write `labels/objects` and `labels/chromosomes`, slab by slab: identities are final now."""
        tables = separated.field.tables
        layout = VolumeLayout(tables.parameters.canvas_shape_yx, placement.plane_voxel_zyx_nm, (0.0, 0.0, 0.0))
        windows = {window.z: window for window in tables.windows()}
        numbers = tables.object_numbers()
        for first in range(tables.first_z, tables.next_z, layout.slab_planes):
            stop = min(first + layout.slab_planes, tables.next_z)
            objects = np.zeros((stop - first, *layout.canvas_shape_yx), np.uint32)
            chromosomes = np.zeros(objects.shape, np.uint8)
            for z in range(first, stop):
                if z in windows:
                    origin = (windows[z].y0, windows[z].x0)
                    paste(objects[z - first], (0, 0), tables.labels_plane(z, numbers), origin)
                    paste(chromosomes[z - first], (0, 0), separated.paint_plane(z).astype(np.uint8), origin)
            at = first - tables.first_z
            files = encode_slab(layout, OBJECTS, at, objects) | encode_slab(layout, CHROMOSOMES, at, chromosomes)
            for key, payload in files.items():
                self._store.put(f"{prefix}/volume.ome.zarr/{key}", payload)
