"""Messages and artefacts of a small run, for tests of the results."""

from __future__ import annotations

from typing import Any

import numpy as np

from services.contracts.classes import LABEL_STYLES
from services.contracts.messages import (
    AcquisitionFinished,
    ComponentsMeasured,
    DeadLettered,
    DecisionRecorded,
    Message,
    NucleusClosed,
    NucleusOpened,
    ObjectChanged,
    VolumeClosed,
    VolumeExtended,
)
from services.contracts.rows import OBJECT_ROWS, NucleusRow, ObjectRow
from services.contracts.values import (
    AbsenceReason,
    AbsentPlane,
    ArtefactRef,
    DecisionKind,
    GreyMapping,
    ObjectChange,
    PixelWindow,
    Side,
    VoxelSize,
)
from services.imaging.omezarr import CLASSES, GREY, OBJECTS, VolumeLayout, encode_metadata, encode_slab
from services.runtime.store.directory import DirectoryStore

ACQUISITION = "roi1"
SHA = "0" * 64
VOXEL = VoxelSize(z_nm=8, y_nm=4, x_nm=4)
LAYOUT = VolumeLayout((6, 9), (8.0, 4.0, 4.0), (80.0, -8.0, 40.0), slab_planes=8, chunk_yx=8)


def opened(nucleus_id: str, z_first: int = 10, continues: str | None = None) -> NucleusOpened:
    return NucleusOpened(
        acquisition_id=ACQUISITION,
        nucleus_id=nucleus_id,
        z_first=z_first,
        canvas=PixelWindow(y0_px=-2, x0_px=10, height_px=6, width_px=9),
        voxel_size=VOXEL,
        grey=GreyMapping(low=0, high=255, mean=127, sd=32),
        model_set=SHA,
        continues=continues,
    )


def closed(nucleus_id: str, z_first: int = 10, z_last: int = 19) -> NucleusClosed:
    return NucleusClosed(
        acquisition_id=ACQUISITION,
        nucleus_id=nucleus_id,
        z_first=z_first,
        z_last=z_last,
        absent=(AbsentPlane(z=z_first + 1, reason=AbsenceReason.MISSING),),
        clipped=(Side.X_FIRST, Side.Z_FIRST),
        detected_planes=z_last - z_first - 2,
        bridged_planes=2,
        cap_planes=0,
    )


def planes(count: int, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    return {
        GREY: rng.integers(0, 255, (count, 6, 9)).astype(np.uint8),
        CLASSES: rng.integers(0, 6, (count, 6, 9)).astype(np.uint8),
        OBJECTS: rng.integers(0, 9, (count, 6, 9)).astype(np.uint32),
    }


def put_volume(store: DirectoryStore, prefix: str, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    count = len(arrays[GREY])
    files = encode_metadata(LAYOUT, count, LABEL_STYLES, with_objects=True)
    for name, array in arrays.items():
        for first in range(0, count, LAYOUT.slab_planes):
            files |= encode_slab(LAYOUT, name, first, array[first : first + LAYOUT.slab_planes])
    for key, payload in files.items():
        store.put(f"{prefix}/volume.ome.zarr/{key}", payload)


def prefix_of(nucleus_id: str, recipe: str = "aa") -> str:
    return f"{ACQUISITION}/nuclei/{nucleus_id}/volume-{recipe}"


def extended(nucleus_id: str, clean_final_z: int, recipe: str = "aa") -> VolumeExtended:
    return VolumeExtended(
        acquisition_id=ACQUISITION,
        nucleus_id=nucleus_id,
        z_first=10,
        clean_final_z=clean_final_z,
        volume_prefix=prefix_of(nucleus_id, recipe),
        changes=ref("changes"),
    )


def volume_closed(nucleus_id: str, recipe: str = "aa") -> VolumeClosed:
    return VolumeClosed(
        nucleus=closed(nucleus_id),
        opened=opened(nucleus_id),
        volume_prefix=prefix_of(nucleus_id, recipe),
        tables=ref("tables"),
        changes=ref("changes"),
        summary=ref("summary"),
    )


def object_row(nucleus_id: str, object_id: int, **change: object) -> ObjectRow:
    fields: dict[str, object] = {
        "nucleus_id": nucleus_id, "object_id": object_id, "class": "chromosome", "chromosome": object_id,
        "voxels": 10, "volume_um3": 0.1, "z0": 10, "y0": -1, "x0": 12, "z1": 12, "y1": 3, "x1": 15,
        "centroid_z_nm": 88.0, "centroid_y_nm": 2.5, "centroid_x_nm": 54.0,
        "touches_border": False, "open": False, "bridged": False,
    }  # fmt: skip
    return ObjectRow.model_validate(fields | change)


def nucleus_row(nucleus_id: str) -> NucleusRow:
    return NucleusRow(
        nucleus_id=nucleus_id,
        z_first=10,
        z_last=19,
        clipped=(Side.Z_FIRST, Side.X_FIRST),
        state="closed",
        volume_um3=61.5,
        chromosome_count=2,
        mean_confidence=0.875,
        method="cc26",
    )


def measured(store: DirectoryStore, nucleus_id: str, rows: tuple[ObjectRow, ...], recipe: str = "aa") -> Message:
    prefix = prefix_of(nucleus_id, recipe)
    return ComponentsMeasured(
        acquisition_id=ACQUISITION,
        nucleus_id=nucleus_id,
        method="cc26",
        expected_count=12,
        chromosome_count=2,
        volume_prefix=prefix,
        objects=store.put(f"{prefix}/objects.json", OBJECT_ROWS.dump_json(rows)),
        measurements=store.put(f"{prefix}/nucleus.json", nucleus_row(nucleus_id).model_dump_json().encode()),
    )


def object_changed(nucleus_id: str, change: ObjectChange, z_front: int, voxels: int = 7) -> ObjectChanged:
    return ObjectChanged(
        acquisition_id=ACQUISITION,
        nucleus_id=nucleus_id,
        object_key="10-3-4",
        change=change,
        label_class=2,
        voxels=voxels,
        z_front=z_front,
        merged_into="10-1-1" if change is ObjectChange.MERGED else None,
    )


def missing(z_first: int, z_last: int) -> DecisionRecorded:
    return DecisionRecorded(
        acquisition_id=ACQUISITION,
        kind=DecisionKind.SLICES_MISSING,
        z_first=z_first,
        z_last=z_last,
        decided_by="finished-folder",
        reason="not in the folder",
    )


def finish_decision() -> DecisionRecorded:
    return DecisionRecorded(
        acquisition_id=ACQUISITION,
        kind=DecisionKind.ACQUISITION_FINISHED,
        z_first=0,
        z_last=30,
        decided_by="operator",
        reason="done for today",
    )


def finished() -> AcquisitionFinished:
    return AcquisitionFinished(acquisition_id=ACQUISITION, z_first=0, z_last=30)


def dead_letter(origin: str = "slices/3/17", attempts: int = 3, z: int | None = 12) -> DeadLettered:
    return DeadLettered(
        service="ingest",
        subject="slice_00012.tif",
        origin=origin,
        message_type="SliceIngested",
        message_key="roi1/12",
        original=ArtefactRef(key="dead/a", sha256="ab" * 32, size_bytes=4),
        reason="truncated_tiff",
        detail="the file ends early",
        attempts=attempts,
        acquisition_id=ACQUISITION,
        z=z,
    )


def ref(name: str) -> ArtefactRef:
    return ArtefactRef(key=name, sha256=SHA, size_bytes=0)
