"""Builds a small results folder, as a run leaves one behind, without running anything."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from numpy.typing import NDArray

Labels = NDArray[np.uint8]

SHAPE_ZYX = (44, 60, 64)
VOXEL_NM = (100.0, 90.0, 90.0)
CHROMOSOME_IDS = tuple(range(101, 113))


@dataclass(frozen=True)
class FakeNucleus:
    """A nucleus to be put into a results folder; `columns` override those of its row.

    Without a volume it has no objects either.
    """

    nucleus_id: str
    columns: Mapping[str, object] = field(default_factory=dict)
    has_volume: bool = True


def nucleus_volumes(shape_zyx: tuple[int, int, int] = SHAPE_ZYX) -> tuple[Labels, Labels, NDArray[np.uint32]]:
    """Return grey, classes and objects (z, y, x) of a toy nucleus: envelope, nucleolus, 12 rods in 6 pairs with SC."""
    z, y, x = np.indices(shape_zyx, dtype=np.float32)
    centre = [(n - 1) / 2.0 for n in shape_zyx]
    half = [n / 2.0 - 5.0 for n in shape_zyx]
    axes = zip((z, y, x), centre, half, strict=True)
    radius = np.sqrt(sum(((axis - c) / h) ** 2 for axis, c, h in axes))
    classes = np.where(radius < 0.92, 1, np.where(radius < 1.0, 5, 0)).astype(np.uint8)
    objects = np.zeros(shape_zyx, np.uint32)
    classes[radius < 0.38] = 3
    along_z = np.abs(z - centre[0]) < half[0] * 0.45
    for pair in range(6):
        angle = np.pi * pair / 3.0
        cy, cx = centre[1] + 0.64 * half[1] * np.sin(angle), centre[2] + 0.64 * half[2] * np.cos(angle)
        length = np.abs(z - centre[0]) < half[0] * (0.45 - 0.03 * pair)
        for side in (-1, 1):
            rod = (
                (y - cy - 3.2 * side * np.cos(angle)) ** 2 + (x - cx + 3.2 * side * np.sin(angle)) ** 2 < 4.5
            ) & length
            classes[rod] = 2
            objects[rod] = CHROMOSOME_IDS[2 * pair + (side > 0)]
        classes[((y - cy) ** 2 + (x - cx) ** 2 < 1.6) & along_z] = 4
    grey_of_class = np.array([172, 212, 150, 130, 190, 90], np.uint8)
    noise = np.random.default_rng(5).integers(-12, 13, shape_zyx)
    grey = np.clip(grey_of_class[classes].astype(np.int16) + noise, 1, 255).astype(np.uint8)
    return grey, classes, objects


def write_volume(path: Path, grey: Labels, classes: Labels, objects: NDArray[np.uint32]) -> None:
    """Write an OME-Zarr 0.5 with `labels/classes` and `labels/objects`."""
    group = zarr.create_group(path, zarr_format=3)
    scale = {"type": "scale", "scale": list(VOXEL_NM)}
    translation = {"type": "translation", "translation": [0.0, 500.0, 700.0]}
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    datasets = [{"path": "0", "coordinateTransformations": [scale, translation]}]
    ome = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    group.attrs["ome"] = ome  # type: ignore[assignment]
    labels = group.create_group("labels")
    for parent, array in (
        (group, grey),
        (labels.create_group("classes"), classes),
        (labels.create_group("objects"), objects),
    ):
        parent.create_array("0", data=array, chunks=(16, 256, 256))


def nucleus_columns(nucleus_id: str, **overrides: object) -> dict[str, object]:
    """Return a row of the table of nuclei: a whole one, unless overridden."""
    return {
        "nucleus_id": nucleus_id,
        "z_first": 10,
        "z_last": 53,
        "clipped": "",
        "state": "closed",
        "volume_um3": 33.5,
        "chromosome_count": 12,
        "nucleolus_volume_um3": 3.1,
        "chromosome_volume_um3": 4.4,
        "sc_volume_um3": 0.24,
        "membrane_volume_um3": 2.2,
        "centroid_z_nm": 3100.0,
        "centroid_y_nm": 5200.0,
        "centroid_x_nm": 7300.0,
        "absent_planes": 0,
        "bridged_planes": 0,
        "mean_confidence": 0.97,
    } | overrides


def object_columns(nucleus_id: str) -> list[dict[str, object]]:
    """Return the rows of the table of objects of one nucleus: 12 ranked chromosomes and a nucleolus."""
    shared: dict[str, object] = {"nucleus_id": nucleus_id, "touches_border": False, "open": False, "bridged": False}
    shared |= dict.fromkeys(("z0", "y0", "x0"), 4) | dict.fromkeys(("z1", "y1", "x1"), 20)
    shared |= dict.fromkeys(("centroid_z_nm", "centroid_y_nm", "centroid_x_nm"), 1200.0)
    chromosomes = [
        {"object_id": object_id, "class": "chromosome", "chromosome": rank, "voxels": 500 - 10 * rank}
        | {"volume_um3": 0.41 - 0.01 * rank}
        for rank, object_id in enumerate(CHROMOSOME_IDS, start=1)
    ]
    nucleolus = {"object_id": 1, "class": "nucleolus", "chromosome": None, "voxels": 4000, "volume_um3": 3.1}
    return [shared | row for row in [*chromosomes, nucleolus]]


def write_table(out: Path, name: str, rows: Sequence[Mapping[str, object]], parquet: bool = True) -> None:
    """Write rows as `<name>.csv` and, unless told otherwise, `<name>.parquet`."""
    with (out / f"{name}.csv").open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, fieldnames=list(rows[0]) if rows else ["nucleus_id"])
        writer.writeheader()
        writer.writerows(rows)
    if parquet:
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), out / f"{name}.parquet")


def write_overview(out: Path, z: int, nucleus_ids: Sequence[str]) -> None:
    """Write a thumbnail of a slice with a square outline for each nucleus."""
    folder = out / ".state" / "overview"
    folder.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(z).integers(100, 220, (120, 200)).astype(np.uint8)
    cv2.imwrite(str(folder / f"z{z:06d}.png"), image)
    outlines = [
        {"nucleus_id": name, "contour": [[20, 10 + 60 * i], [20, 50 + 60 * i], [80, 50 + 60 * i], [80, 10 + 60 * i]]}
        for i, name in enumerate(nucleus_ids)
    ]
    (folder / f"z{z:06d}.json").write_text(json.dumps({"z": z, "pixel_nm": 64.0, "outlines": outlines}), "utf-8")


EVALUATION = {
    "classes": {
        "chromosome": {"precision": 0.96, "recall": 0.95, "f1": 0.955, "iou": 0.914},
        "nucleolus": {"precision": 0.99, "recall": 0.99, "f1": 0.991, "iou": 0.982},
        "synaptonemal_complex": {"precision": 0.8, "recall": 0.79, "f1": 0.795, "iou": 0.66},
        "nuclear_membrane": {"precision": 0.92, "recall": 0.92, "f1": 0.921, "iou": 0.853},
    },
    "f1_macro": 0.9155,
    "f1_micro": 0.981,
    "f1_weighted": 0.98,
    "f1_macro_without_exterior": 0.91,
    "nuclei": {"truth": 3, "found": 3, "missed": 0, "split": 0, "merged": 0},
    "chromosomes": {"count_exact_fraction": 1.0, "adapted_rand_error": 0.02, "vi_split": 0.1, "vi_merge": 0.2},
}
TIMING = {
    "wall_s": 60.0,
    "stages": {"ingest": {"seconds": 4.0, "count": 64}, "inference": {"seconds": 41.5, "count": 120}, "report": 6.0},
    "progress": [[0, 0, 0], [20, 30, 11], [60, 64, 64]],
}
LEDGER: tuple[Mapping[str, object], ...] = (
    *({"z": z, "state": "done", "reason": "", "file": f"s{z:04d}.tif", "sha256": "0" * 64} for z in range(10, 14)),
    {"z": 14, "state": "missing", "reason": "declared at the end", "file": "", "sha256": ""},
    {"z": 15, "state": "dead-lettered", "reason": "truncated in strip 3", "file": "s0015.tif", "sha256": "1" * 64},
)


def build_results(
    out: Path, nuclei: Sequence[FakeNucleus] = (FakeNucleus("n0001"),), scores: bool = False, parquet: bool = True
) -> Path:
    """Write a whole results folder and return it; with `scores`, as if the truth were known."""
    out.mkdir(parents=True, exist_ok=True)
    write_table(out, "nuclei", [nucleus_columns(n.nucleus_id, **n.columns) for n in nuclei], parquet)
    measured = [n.nucleus_id for n in nuclei if n.has_volume]
    write_table(out, "objects", [row for name in measured for row in object_columns(name)], parquet)
    write_table(out, "ledger", LEDGER, parquet=False)
    arrays = nucleus_volumes()
    for nucleus in nuclei:
        if nucleus.has_volume:
            write_volume(out / "nuclei" / nucleus.nucleus_id / "volume.ome.zarr", *arrays)
    (out / "events.jsonl").write_text('{"event": "nucleus_opened"}\n{"event": "nucleus_closed"}\n', "utf-8")
    provenance = {"acquisition": "toy", "voxel_nm": list(VOXEL_NM), "models": {"net1": "abc"}, "profile": "exact"}
    (out / "provenance.json").write_text(json.dumps(provenance), "utf-8")
    (out / "MANIFEST.sha256").write_text("0" * 64 + "  nuclei.csv\n", "utf-8")
    for z in (12, 30):
        write_overview(out, z, [n.nucleus_id for n in nuclei])
    (out / ".state" / "report.json").write_text(json.dumps(TIMING), "utf-8")
    if scores:
        (out / ".state" / "evaluation.json").write_text(json.dumps(EVALUATION), "utf-8")
    return out
