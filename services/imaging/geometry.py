"""Where windows, canvases and volumes lie: in pixels of a slice, and in nanometres of the acquisition.

Voxel i of a grid covers [origin + i * edge, origin + (i + 1) * edge): positions are those of first corners.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Pixel = TypeVar("Pixel", bound=np.generic)


class GridError(ValueError):
    """A grid without length, or with an edge that is not a positive length."""


class Overlap(NamedTuple):
    """The part two ranges share, as half-open ranges of either; both are empty where they share nothing."""

    in_first: slice
    in_second: slice


@dataclass(frozen=True, slots=True)
class Grid:
    """A row of voxels along one axis."""

    origin_nm: float
    edge_nm: float
    count: int


def overlap(first_start: int, first_size: int, second_start: int, second_size: int) -> Overlap:
    """Return the part that two ranges along one axis share.

    Parameters
    ----------
    first_start, second_start
        First index of each range on their common axis, in pixels; may be negative.
    first_size, second_size
        Lengths in pixels.

    Examples
    --------
    >>> overlap(-2, 5, 0, 10)
    Overlap(in_first=slice(2, 5, None), in_second=slice(0, 3, None))
    >>> overlap(0, 2, 7, 2)
    Overlap(in_first=slice(0, 0, None), in_second=slice(0, 0, None))
    """
    start = max(first_start, second_start)
    stop = min(first_start + first_size, second_start + second_size)
    if stop <= start:
        return Overlap(slice(0, 0), slice(0, 0))
    return Overlap(
        slice(start - first_start, stop - first_start),
        slice(start - second_start, stop - second_start),
    )


def paste(
    canvas_yx: NDArray[Pixel],
    canvas_origin_yx: tuple[int, int],
    plane_yx: NDArray[Pixel],
    plane_origin_yx: tuple[int, int],
) -> bool:
    """Copy a plane onto a canvas, in place, where the two lie over one another.

    Parameters
    ----------
    canvas_yx, plane_yx
        (y, x) of one dtype and pixel size.
    canvas_origin_yx, plane_origin_yx
        First row and column of either on the slice, in pixels.

    Returns
    -------
    bool
        Whether the whole plane found room.

    Examples
    --------
    >>> canvas = np.zeros((3, 4), np.uint8)
    >>> paste(canvas, (10, 20), np.array([[1, 2], [3, 4]], np.uint8), (11, 23))
    False
    >>> canvas.tolist()
    [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 3]]
    """
    rows = overlap(canvas_origin_yx[0], canvas_yx.shape[0], plane_origin_yx[0], plane_yx.shape[0])
    columns = overlap(canvas_origin_yx[1], canvas_yx.shape[1], plane_origin_yx[1], plane_yx.shape[1])
    part = plane_yx[rows.in_second, columns.in_second]
    if part.size:
        canvas_yx[rows.in_first, columns.in_first] = part
    return part.shape == plane_yx.shape


def origin_nm(
    z_first: int, origin_yx_px: tuple[int, int], voxel_zyx_nm: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Return the position of a canvas in the acquisition.

    Parameters
    ----------
    z_first
        Index of the first slice.
    origin_yx_px
        First row and column on the slice, in pixels of the acquisition; may be negative.
    voxel_zyx_nm
        Voxel edges of the acquisition.

    Examples
    --------
    >>> origin_nm(10, (-2, 100), (8.0, 4.0, 4.0))
    (80.0, -8.0, 400.0)
    """
    return (z_first * voxel_zyx_nm[0], origin_yx_px[0] * voxel_zyx_nm[1], origin_yx_px[1] * voxel_zyx_nm[2])


def nearest_indices(target: Grid, source: Grid) -> NDArray[np.int64]:
    """Return, for each voxel of `target`, the voxel of `source` that holds its centre, or -1.

    Examples
    --------
    >>> nearest_indices(Grid(-4.0, 4.0, 6), Grid(0.0, 8.0, 2)).tolist()
    [-1, 0, 0, 1, 1, -1]
    """
    for grid in (target, source):
        if grid.count < 0 or not (math.isfinite(grid.edge_nm) and grid.edge_nm > 0):
            raise GridError(f"no grid has {grid.count} voxels of {grid.edge_nm} nm")
    centres_nm = target.origin_nm + (np.arange(target.count) + 0.5) * target.edge_nm
    indices: NDArray[np.int64] = np.floor((centres_nm - source.origin_nm) / source.edge_nm).astype(np.int64)
    indices[(indices < 0) | (indices >= source.count)] = -1
    return indices
