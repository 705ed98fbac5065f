"""The rows of the result tables: every object and the nucleus it belongs to, in nanometres of the acquisition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.components.measuring.painting import CanvasPlace, NothingLabelledError, painted
from services.components.measuring.record import at_nominal_depths, measured_nucleus
from services.contracts.classes import LabelClass
from services.contracts.messages import NucleusClosed
from services.contracts.rows import MeasuredNucleus, NucleusRow, ObjectRow
from services.contracts.values import Side
from services.imaging.labelling import LabelTables
from services.imaging.quality.depths import PlaneDepths

NM3_PER_UM3 = 1e9
Edges = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the canvas of a nucleus lies in the acquisition.

    Attributes
    ----------
    canvas_origin_yx
        First row and column of the canvas, in pixels of the label planes; may be negative.
    plane_voxel_zyx_nm
        Voxel of the label planes.
    voxel_zyx_nm
        Voxel of the acquisition, in which bounding boxes are given.
    depths
        Measured depths of the planes, by which volumes, areas and lengths are measured; None where slices count as
        equally thick. Places are told by the planes' indices all the same: there they are found in the label volume.
    """

    canvas_origin_yx: tuple[int, int]
    plane_voxel_zyx_nm: tuple[float, float, float]
    voxel_zyx_nm: tuple[float, float, float]
    depths: PlaneDepths | None = None

    @property
    def canvas_origin_nm(self) -> tuple[float, float, float]:
        """First corner of the canvas in the acquisition (z of planes is that of the acquisition already)."""
        y, x = (first * edge for first, edge in zip(self.canvas_origin_yx, self.plane_voxel_zyx_nm[1:], strict=True))
        return (0.0, y, x)

    @property
    def voxel_um3(self) -> float:
        """Volume of a voxel of the label planes."""
        return float(np.prod(self.plane_voxel_zyx_nm)) / NM3_PER_UM3

    def volumes_um3(self, tables: LabelTables) -> NDArray[np.float64]:
        """Return the volume of every object of the tables, in their order."""
        if self.depths is None:
            return tables.objects["voxels"] * self.voxel_um3
        counted = np.zeros(tables.objects.size, np.float64)
        thickness_nm = self.depths.thickness_nm()
        for window in tables.windows():
            runs = tables.object_plane(window.z).runs
            pixels = runs.end.astype(np.int64) - runs.start
            share = thickness_nm[window.z - self.depths.first_z] / self.plane_voxel_zyx_nm[0]
            counted += np.bincount(runs.node, pixels, counted.size) * share
        return counted * self.voxel_um3

    def centroid_nm(self, row: np.void) -> tuple[float, float, float]:
        """Return the centre of gravity of an object, from the first corner of the acquisition's first voxel."""
        offset = (0, *self.canvas_origin_yx)
        sums = (row["sum_z"], row["sum_y"], row["sum_x"])
        z_nm, y_nm, x_nm = (
            (float(total) / float(row["voxels"]) + 0.5 + first) * edge
            for total, first, edge in zip(sums, offset, self.plane_voxel_zyx_nm, strict=True)
        )
        return (z_nm, y_nm, x_nm)

    def box(self, row: np.void) -> Edges:
        """Return the bounding box in voxels of the acquisition, half open."""
        offset = (0, *self.canvas_origin_yx)
        edges = ((row["z0"], row["z1"]), (row["y0"], row["y1"]), (row["x0"], row["x1"]))
        z, y, x = (
            (
                int(np.floor((int(low) + first) * plane / voxel)),
                int(np.ceil((int(high) + first) * plane / voxel)),
            )
            for (low, high), first, plane, voxel in zip(
                edges, offset, self.plane_voxel_zyx_nm, self.voxel_zyx_nm, strict=True
            )
        )
        return (z, y, x)


def object_rows(
    tables: LabelTables, chromosome_of_object: NDArray[np.integer], nucleus: NucleusClosed, placement: Placement
) -> tuple[ObjectRow, ...]:
    """Return one row per kept object, by object id.

    Parameters
    ----------
    tables
        Run tables of the closed nucleus.
    chromosome_of_object
        For each row of the tables the chromosome that holds most of it, 0 for none.
    nucleus
        What is known about its planes and where it is cut.
    placement
        Where its canvas lies.
    """
    numbers = tables.object_numbers()
    cut = _cut_faces(tables, nucleus)
    volumes = placement.volumes_um3(tables)
    rows = []
    for index in np.flatnonzero(numbers):
        row = tables.objects[index]
        z_nm, y_nm, x_nm = placement.centroid_nm(row)
        (z0, z1), (y0, y1), (x0, x1) = placement.box(row)
        rows.append(
            ObjectRow(
                nucleus_id=nucleus.nucleus_id,
                object_id=int(numbers[index]),
                label_class=LabelClass(int(row["class_id"])).label,
                chromosome=int(chromosome_of_object[index]) or None,
                voxels=int(row["voxels"]),
                volume_um3=float(volumes[index]),
                z0=z0, y0=y0, x0=x0, z1=z1, y1=y1, x1=x1,
                centroid_z_nm=z_nm,
                centroid_y_nm=y_nm,
                centroid_x_nm=x_nm,
                touches_border=bool(row["touches_border"]) or _touches(row, cut),
                open=bool(row["is_open"]),
                bridged=bool(row["bridged"]),
            )
        )  # fmt: skip
    return tuple(rows)


def nucleus_row(
    rows: tuple[ObjectRow, ...],
    nucleus: NucleusClosed,
    *,
    chromosome_count: int,
    mean_confidence: float | None,
    continues: str | None,
    method: str,
) -> NucleusRow:
    """Return the row of a nucleus from those of its objects; its volume includes the membrane."""
    volume = {label.label: 0.0 for label in LabelClass}
    moment = np.zeros(3)
    for row in rows:
        volume[row.label_class] += row.volume_um3
        moment += row.volume_um3 * np.array([row.centroid_z_nm, row.centroid_y_nm, row.centroid_x_nm])
    total = sum(volume.values())
    centroid = moment / total if total else None
    return NucleusRow(
        nucleus_id=nucleus.nucleus_id,
        z_first=nucleus.z_first,
        z_last=nucleus.z_last,
        clipped=nucleus.clipped,
        state="closed",
        volume_um3=total,
        chromosome_count=chromosome_count,
        nucleolus_volume_um3=volume[LabelClass.NUCLEOLUS.label],
        chromosome_volume_um3=volume[LabelClass.CHROMOSOME.label],
        sc_volume_um3=volume[LabelClass.SYNAPTONEMAL_COMPLEX.label],
        membrane_volume_um3=volume[LabelClass.NUCLEAR_MEMBRANE.label],
        centroid_z_nm=None if centroid is None else float(centroid[0]),
        centroid_y_nm=None if centroid is None else float(centroid[1]),
        centroid_x_nm=None if centroid is None else float(centroid[2]),
        absent_planes=len(nucleus.absent),
        bridged_planes=nucleus.bridged_planes,
        mean_confidence=mean_confidence,
        continues=continues,
        method=method,
    )


def measured_row(
    tables: LabelTables,
    chromosome_plane: Callable[[int], NDArray[np.uint32]],
    row: NucleusRow,
    where: tuple[NucleusClosed, Placement],
    expected_chromosomes: int,
) -> MeasuredNucleus:
    """Return the row of a nucleus with everything that is measured on its voxels.

    Parameters
    ----------
    tables
        Run tables of the closed nucleus.
    chromosome_plane
        Gives the chromosome numbers of the window plane at z.
    row
        What its objects say (see `nucleus_row`).
    where
        What is known of its planes and where it is cut, and where its canvas lies.
    expected_chromosomes
        The karyotype.
    """
    nucleus, placement = where
    place = CanvasPlace(placement.canvas_origin_yx, placement.plane_voxel_zyx_nm)
    cut = {_FACES[name]: face for name, face in _cut_faces(tables, nucleus).items()}
    depths = placement.depths
    try:
        image = painted(tables, chromosome_plane, place, cut, None if depths is None else depths.at)
    except NothingLabelledError:
        return MeasuredNucleus(**dict(row))
    measured = measured_nucleus(image, row, expected_chromosomes)
    return measured if depths is None else at_nominal_depths(measured, depths)


_FACES = {"z0": (0, 0), "z1": (0, 1), "y0": (1, 0), "y1": (1, 1), "x0": (2, 0), "x1": (2, 1)}


def _cut_faces(tables: LabelTables, nucleus: NucleusClosed) -> dict[str, int]:
    """Return the coordinate of every face at which the acquisition cuts the nucleus, by field of the object rows.

    Windows are shifted at the border of the field, so that the outermost edge of all of them is the field's.
    """
    windows = tables.windows()
    if not windows:
        return {}
    faces = {
        Side.Z_FIRST: ("z0", nucleus.z_first),
        Side.Z_LAST: ("z1", nucleus.z_last + 1),
        Side.Y_FIRST: ("y0", min(window.y0 for window in windows)),
        Side.Y_LAST: ("y1", max(window.y0 + window.height for window in windows)),
        Side.X_FIRST: ("x0", min(window.x0 for window in windows)),
        Side.X_LAST: ("x1", max(window.x0 + window.width for window in windows)),
    }
    return dict(faces[side] for side in nucleus.clipped)


def _touches(row: np.void, cut: dict[str, int]) -> bool:
    return any(int(row[name]) <= face if name.endswith("0") else int(row[name]) >= face for name, face in cut.items())
