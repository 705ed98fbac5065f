"""One plane as runs: scanning it, finding its sections, painting it."""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling.errors import InvalidPlaneError, WindowOutsideCanvasError
from services.imaging.labelling.kernels import (
    Coordinates,
    Indices,
    Reach,
    RunBuffer,
    Runs,
    number_sections,
    paint_runs,
    scan_rows,
    unite_in_plane,
)
from services.imaging.labelling.rows import OBJECT_DTYPE, ObjectRows

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
    """

    def __init__(self, canvas_shape_yx: tuple[int, int], dtype: np.dtype[np.integer[Any]]) -> None:
        self._canvas_shape_yx = canvas_shape_yx
        self._buffer = _run_buffer(1 << 12, dtype)

    def scan(self, z: int, plane: NDArray[np.uint8], origin_yx: tuple[int, int]) -> PlaneRuns:
        """Return the runs of a plane; ``node`` is the index of the run.

        Raises
        ------
        InvalidPlaneError
            When the plane is not uint8 with two axes.
        WindowOutsideCanvasError
            When the window does not lie inside the canvas.
        """
        if plane.dtype != np.uint8 or plane.ndim != 2:
            raise InvalidPlaneError(f"A plane is uint8 with two axes. Got: {plane.dtype}, {plane.ndim} axes, z = {z}")
        window = PlaneWindow(z, int(origin_yx[0]), int(origin_yx[1]), *plane.shape)
        self._check_inside(window)
        row_offset = self._fill(np.ascontiguousarray(plane), window.x0)
        n = int(row_offset[-1])
        runs = Runs(
            y0=window.y0,
            row_offset=row_offset,
            start=self._buffer.start[:n].copy(),
            end=self._buffer.end[:n].copy(),
            kind=self._buffer.kind[:n].copy(),
            node=np.arange(n, dtype=np.int32),
        )
        return PlaneRuns(window, runs)

    def _check_inside(self, window: PlaneWindow) -> None:
        height, width = self._canvas_shape_yx
        inside_y = window.y0 >= 0 and window.y0 + window.height <= height
        inside_x = window.x0 >= 0 and window.x0 + window.width <= width
        if not (inside_y and inside_x):
            raise WindowOutsideCanvasError(f"{window} does not lie inside the canvas of {height} x {width} px")

    def _fill(self, plane: NDArray[np.uint8], x0: int) -> Indices:
        height, width = plane.shape
        row_offset = np.zeros(height + 1, np.int32)
        row = scan_rows(plane, x0, 0, row_offset, self._buffer)
        while row < height:
            room = max(2 * self._buffer.start.size, int(row_offset[row]) + width)
            grown = _run_buffer(room, self._buffer.start.dtype)
            for old, new in zip(self._buffer, grown, strict=True):
                new[: old.size] = old
            self._buffer = grown
            row = scan_rows(plane, x0, row, row_offset, self._buffer)
        return row_offset


def _run_buffer(room: int, dtype: np.dtype[np.integer[Any]]) -> RunBuffer:
    start: Coordinates = np.empty(room, dtype)
    end: Coordinates = np.empty(room, dtype)
    return RunBuffer(start, end, np.empty(room, np.uint8))


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
