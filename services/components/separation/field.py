"""The part of a nucleus that is separated: chromatin and synaptonemal complex on a working grid of a bounding box."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from services.contracts.classes import LabelClass
from services.imaging.labelling import LabelTables

CHROMOSOME = int(LabelClass.CHROMOSOME)
SYNAPTONEMAL_COMPLEX = int(LabelClass.SYNAPTONEMAL_COMPLEX)

WORKING_NM = 16.0
"""Voxels finer than this are taken together: no chromosome is told apart by less (the networks see no more)."""
_MARGIN = 1

Zyx = tuple[float, float, float]
Labels = NDArray[np.uint8]


class VoxelSizeError(ValueError):
    """Edges of a voxel that are no lengths."""


@dataclass(frozen=True, eq=False)
class ChromatinField:
    """Chromatin and synaptonemal complex (SC) of a nucleus, in the bounding box of the two and a margin of one voxel.

    Attributes
    ----------
    tables
        What it was painted from.
    voxel_zyx_nm
        Edges of a voxel of the tables.
    origin_zyx
        Plane, row and column of the canvas at which the grid begins; may lie outside of the canvas by the margin.
    strides_zyx
        Voxels of the tables in a voxel of the grid, along each axis.
    classes
        uint8 (z, y, x): 2 chromatin, 4 SC where there is any in the voxel, 0 elsewhere. Its outermost layer is 0.
    """

    tables: LabelTables
    voxel_zyx_nm: Zyx
    origin_zyx: tuple[int, int, int]
    strides_zyx: tuple[int, int, int]
    classes: Labels

    @property
    def step_zyx_nm(self) -> Zyx:
        """Edges of a voxel of the grid."""
        z, y, x = (edge * stride for edge, stride in zip(self.voxel_zyx_nm, self.strides_zyx, strict=True))
        return z, y, x

    @cached_property
    def chromatin(self) -> NDArray[np.bool_]:
        """Bool (z, y, x): chromatin or SC."""
        return self.classes > 0

    @property
    def complex(self) -> NDArray[np.bool_]:
        """Bool (z, y, x): SC."""
        found: NDArray[np.bool_] = self.classes == SYNAPTONEMAL_COMPLEX
        return found

    def paint_plane(self, z: int) -> Labels:
        """Return the classes of the window plane of the tables at z, uint8: 2, 4, 0 elsewhere."""
        return self.tables.paint_plane(z, _class_of_object(self.tables))

    def place_nm(self, points_nm: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return places on the canvas, nm from its first corner (plane 0 of the acquisition), of places on the grid."""
        origin = np.array(self.origin_zyx) * np.array(self.voxel_zyx_nm)
        places: NDArray[np.float64] = np.asarray(points_nm, np.float64) + origin
        return places


def paint_field(tables: LabelTables, voxel_zyx_nm: Zyx) -> ChromatinField:
    """Paint the chromatin and the SC of a nucleus, plane by plane, into their bounding box.

    Parameters
    ----------
    tables
        Run tables; those of a nucleus that is still open are painted as far as they go.
    voxel_zyx_nm
        Edges of a voxel of the tables. The grid is as much coarser as `WORKING_NM` allows.

    Raises
    ------
    VoxelSizeError
        If an edge is not a positive length.
    """
    if not all(np.isfinite(edge) and edge > 0 for edge in voxel_zyx_nm):
        raise VoxelSizeError(f"voxel edges must be positive lengths, got {voxel_zyx_nm} nm")
    strides = tuple(max(1, int(WORKING_NM / edge + 1e-6)) for edge in voxel_zyx_nm)
    origin, shape = _bounds(tables, strides)
    classes = np.zeros(shape, np.uint8)
    for z, (y0, x0), plane in chromatin_planes(tables):
        rows, columns = np.nonzero(plane)
        if rows.size:
            held = classes[(z - origin[0]) // strides[0]]
            at = ((rows + y0 - origin[1]) // strides[1], (columns + x0 - origin[2]) // strides[2])
            # SC over chromatin: 4 is the larger id.
            np.maximum.at(held, at, plane[rows, columns])
    return ChromatinField(tables, voxel_zyx_nm, origin, (strides[0], strides[1], strides[2]), classes)


def chromatin_planes(tables: LabelTables) -> Iterator[tuple[int, tuple[int, int], Labels]]:
    """Yield z, origin (y, x) on the canvas and classes (2, 4, 0 elsewhere) of every present plane."""
    value = _class_of_object(tables)
    for window in tables.windows():
        yield window.z, (window.y0, window.x0), tables.paint_plane(window.z, value)


def _class_of_object(tables: LabelTables) -> Labels:
    wanted = tables.kept & np.isin(tables.objects["class_id"], (CHROMOSOME, SYNAPTONEMAL_COMPLEX))
    return np.where(wanted, tables.objects["class_id"], 0).astype(np.uint8)


def _bounds(tables: LabelTables, strides: tuple[int, ...]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return where the grid begins on the canvas and its shape, a margin on every side included."""
    rows = tables.objects[tables.kept & np.isin(tables.objects["class_id"], (CHROMOSOME, SYNAPTONEMAL_COMPLEX))]
    if not rows.size:
        return (0, 0, 0), (1, 1, 1)
    origin, shape = [], []
    for axis, stride in zip("zyx", strides, strict=True):
        low, high = int(rows[f"{axis}0"].min()), int(rows[f"{axis}1"].max())
        first = low // stride - _MARGIN
        origin.append(first * stride)
        shape.append(-(-high // stride) + _MARGIN - first)
    return (origin[0], origin[1], origin[2]), (shape[0], shape[1], shape[2])
