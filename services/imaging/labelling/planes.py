"""One plane as runs: scanning it, finding its sections, painting it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling.errors import InvalidPlaneError, WindowOutsideCanvasError
from services.imaging.labelling.kernels import (
    BlockRuns,
    Coordinates,
    Indices,
    Kinds,
    Reach,
    RunBuffer,
    Runs,
    number_sections,
    unite_in_plane,
)
from services.imaging.labelling.painting import paint_runs
from services.imaging.labelling.rows import OBJECT_DTYPE, ObjectRows
from services.imaging.labelling.scanning import scan_rows, scan_wide_rows

Value = TypeVar("Value", bound=np.generic)


@dataclass(frozen=True)
class PlaneWindow:
    """Where a plane lies on the canvas.

    Attributes
    ----------
    z
        Plane index.
    y0, x0
        Canvas position of the window's first pixel.
    height, width
        Size of the window in pixels.
    """

    z: int
    y0: int
    x0: int
    height: int
    width: int

    @property
    def slices_yx(self) -> tuple[slice, slice]:
        """The window as an index into a canvas plane."""
        return slice(self.y0, self.y0 + self.height), slice(self.x0, self.x0 + self.width)


@dataclass(frozen=True, eq=False)
class PlaneRuns:
    """A plane as runs; what ``runs.node`` means is said where one is made."""

    window: PlaneWindow
    runs: Runs


class Scanner:
    """Turns planes into runs; keeps the buffers, which grow with the busiest plane seen.

    Parameters
    ----------
    canvas_shape_yx
        Height and width of the canvas in pixels.
    dtype
        Type of the run ends.
    plane_dtype
        Type of the planes.
    """

    def __init__(
        self,
        canvas_shape_yx: tuple[int, int],
        dtype: np.dtype[np.integer[Any]],
        plane_dtype: np.dtype[np.unsignedinteger[Any]],
    ) -> None:
        self._canvas_shape_yx = canvas_shape_yx
        self._plane_dtype = plane_dtype
        self._buffer = _run_buffer(1 << 12, dtype, plane_dtype)

    def scan(self, z: int, plane: Kinds, origin_yx: tuple[int, int]) -> PlaneRuns:
        """Return the runs of a plane; ``node`` is the index of the run.

        Raises
        ------
        InvalidPlaneError
            When the plane is of another type or has not two axes.
        WindowOutsideCanvasError
            When the window does not lie inside the canvas.
        """
        if plane.dtype != self._plane_dtype or plane.ndim != 2:
            wanted = f"A plane is {self._plane_dtype} with two axes"
            raise InvalidPlaneError(f"{wanted}. Got: {plane.dtype}, {plane.ndim} axes, z = {z}")
        window = PlaneWindow(z, int(origin_yx[0]), int(origin_yx[1]), *plane.shape)
        self._check_inside(window)
        row_offset = self._fill(np.ascontiguousarray(plane), window.x0)
        return PlaneRuns(window, Runs(window.y0, row_offset, *self._found(int(row_offset[-1]))))

    def scan_planes(self, first_z: int, planes: Kinds) -> BlockRuns:
        """Return the runs of canvas planes that follow one another, shape (planes, y, x); ``node`` counts the runs.

        Raises
        ------
        InvalidPlaneError
            When they are of another type or shape.
        """
        height, width = self._canvas_shape_yx
        if planes.dtype != self._plane_dtype or planes.shape[1:] != (height, width):
            raise InvalidPlaneError(
                f"Planes are {self._plane_dtype}, {height} x {width} px. Got: {planes.dtype}, {planes.shape}"
            )
        n = len(planes)
        offsets = self._fill(np.ascontiguousarray(planes).reshape(n * height, width), 0)
        row_offset = np.empty((n, height + 1), np.int32)
        row_offset[:, :-1] = offsets[:-1].reshape(n, height)
        row_offset[:, -1] = offsets[height::height]
        return BlockRuns(
            np.arange(first_z, first_z + n),
            np.zeros(n, np.int64),
            np.arange(n + 1) * (height + 1),
            row_offset.ravel(),
            *self._found(int(offsets[-1])),
        )

    def _found(self, n: int) -> tuple[Coordinates, Coordinates, Kinds, Indices]:
        start, end, kind = self._buffer
        return start[:n].copy(), end[:n].copy(), kind[:n].copy(), np.arange(n, dtype=np.int32)

    def _check_inside(self, window: PlaneWindow) -> None:
        height, width = self._canvas_shape_yx
        inside_y = window.y0 >= 0 and window.y0 + window.height <= height
        inside_x = window.x0 >= 0 and window.x0 + window.width <= width
        if not (inside_y and inside_x):
            raise WindowOutsideCanvasError(f"{window} does not lie inside the canvas of {height} x {width} px")

    def _fill(self, plane: Kinds, x0: int) -> Indices:
        scan = scan_rows if self._plane_dtype.itemsize == 1 else scan_wide_rows
        height, width = plane.shape
        row_offset = np.zeros(height + 1, np.int32)
        row = scan(plane, x0, 0, row_offset, self._buffer)
        while row < height:
            room = max(2 * self._buffer.start.size, int(row_offset[row]) + width)
            grown = _run_buffer(room, self._buffer.start.dtype, self._plane_dtype)
            for old, new in zip(self._buffer, grown, strict=True):
                new[: old.size] = old
            self._buffer = grown
            row = scan(plane, x0, row, row_offset, self._buffer)
        return row_offset


def _run_buffer(
    room: int, dtype: np.dtype[np.integer[Any]], plane_dtype: np.dtype[np.unsignedinteger[Any]]
) -> RunBuffer:
    start: Coordinates = np.empty(room, dtype)
    end: Coordinates = np.empty(room, dtype)
    return RunBuffer(start, end, np.empty(room, plane_dtype))


def stacked(planes: Sequence[PlaneRuns]) -> BlockRuns:
    """Return the runs of several planes, in z order, as those of a block; what ``node`` means stays."""
    runs = [plane.runs for plane in planes]
    ends = np.cumsum([0, *(r.start.size for r in runs)])
    return BlockRuns(
        np.array([plane.window.z for plane in planes], np.int64),
        np.array([plane.window.y0 for plane in planes], np.int64),
        np.cumsum([0, *(r.row_offset.size for r in runs)]),
        np.concatenate([r.row_offset + np.int32(end) for r, end in zip(runs, ends[:-1], strict=True)]),
        np.concatenate([r.start for r in runs]),
        np.concatenate([r.end for r in runs]),
        np.concatenate([r.kind for r in runs]),
        np.concatenate([r.node for r in runs]),
    )


def find_sections(plane: PlaneRuns, reach: Reach) -> tuple[PlaneRuns, int]:
    """Return a scanned plane with the section of each run as ``node``, and the number of sections.

    A section is what is connected within the plane, of one class; sections are numbered from 0 in raster order.
    """
    parent = plane.runs.node
    unite_in_plane(parent, plane.runs, reach)
    section, count = number_sections(parent)
    return PlaneRuns(plane.window, plane.runs._replace(node=section)), count


def paint(plane: PlaneRuns, value: NDArray[Value], out: NDArray[Value] | None = None) -> NDArray[Value]:
    """Return the window plane with ``value[node]`` under every run and 0 elsewhere, of the type of ``value``.

    ``out``, when given, is written and returned; it must have the window's shape and C order.
    """
    shape = (plane.window.height, plane.window.width)
    if out is None:
        out = np.empty(shape, value.dtype)
    elif out.shape != shape:
        raise InvalidPlaneError(f"The plane at z = {plane.window.z} has shape {shape}. Got: {out.shape}")
    paint_runs(out, plane.window.x0, plane.runs, value)
    return out


def empty_rows(count: int) -> ObjectRows:
    """Return object rows of zeros."""
    return np.zeros(count, OBJECT_DTYPE)
