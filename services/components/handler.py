"""Volumes in, objects and chromosomes out: events while a nucleus grows, tables when it closes."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from services.components.measurement import Placement, measured_row, nucleus_row, object_rows
from services.components.separation import DEFAULT, Nucleus, Separated, named, separate, target_of
from services.components.separation.record import with_doubts
from services.contracts.keys import digest
from services.contracts.messages import ComponentsMeasured, ObjectChanged, VolumeClosed, VolumeExtended
from services.contracts.rows import OBJECT_ROWS
from services.contracts.values import ArtefactRef
from services.imaging.geometry import paste
from services.imaging.labelling import LabelTables
from services.imaging.omezarr import CHROMOSOMES, OBJECTS, VolumeLayout, encode_slab
from services.runtime.errors import PermanentError
from services.runtime.handler import Answer, Publication, Received
from services.runtime.store.port import ArtefactStore

# Raised by hand when the same tables give other rows.
STAGE_VERSION = 4


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

    def handle(self, received: Sequence[Received]) -> Sequence[Answer]:
        """Answer each volume message; nothing is remembered between them."""
        return [self._answer(item) for item in received]

    def dead_lettered(self, received: Received, fault: PermanentError) -> Sequence[Publication]:
        """Nothing waits for the components of a nucleus; the dead letter says what is missing."""
        del received, fault
        return ()

    def _answer(self, item: Received) -> Answer:
        message = item.message
        if isinstance(message, VolumeExtended):
            return Answer(
                self._events(message.acquisition_id, message.nucleus_id, message.changes, message.clean_final_z)
            )
        if isinstance(message, VolumeClosed):
            nucleus = message.nucleus
            events = self._events(nucleus.acquisition_id, nucleus.nucleus_id, message.changes, nucleus.z_last + 1)
            return Answer((*events, self._measured(message)))
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

    def _measured(self, message: VolumeClosed) -> Publication:
        nucleus, opened = message.nucleus, message.opened
        tables = LabelTables.from_bytes(self._store.get(message.tables))
        summary = json.loads(self._store.get(message.summary))
        placement = Placement(
            canvas_origin_yx=tuple(summary["canvas_origin_yx"]),
            plane_voxel_zyx_nm=tuple(summary["plane_voxel_nm"]),
            voxel_zyx_nm=opened.voxel_size.zyx_nm,
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
        recipe = digest(
            {
                "method": self._method,
                "expected": self._target.count,
                "homologs": self._target.homologs,
                "version": STAGE_VERSION,
            }
        )
        prefix = f"{message.volume_prefix}/components-{recipe}"
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
        return Publication("components", measured)

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
