"""Boxes of voxels on the grid of the truth, and the slabs in which they are read."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from services.imaging.geometry import Grid

# A slab is as deep as the chunks of a volume, but holds no more voxels than this.
_SLAB_PLANES = 32
_SLAB_VOXELS = 1 << 23

Grids = tuple[Grid, Grid, Grid]
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def whole(grids: Grids) -> Box:
    """Return the box of all voxels."""
    z, y, x = ((0, grid.count) for grid in grids)
    return z, y, x


def covered(grids: Grids, others: Grids) -> Box:
    """Return the voxels of `grids` that other grids cover, in part or in whole."""
    z, y, x = (_covered(grid, other) for grid, other in zip(grids, others, strict=True))
    return z, y, x


def _covered(grid: Grid, other: Grid) -> tuple[int, int]:
    first = math.floor((other.origin_nm - grid.origin_nm) / grid.edge_nm)
    stop = math.ceil((other.origin_nm + other.count * other.edge_nm - grid.origin_nm) / grid.edge_nm)
    return min(max(first, 0), grid.count), min(max(stop, 0), grid.count)


def joined(first: Box, second: Box) -> Box:
    """Return the smallest box that holds both.

    >>> joined(((0, 2), (5, 6), (0, 9)), ((1, 3), (0, 2), (1, 2)))
    ((0, 3), (0, 6), (0, 9))
    """
    z, y, x = ((min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(first, second, strict=True))
    return z, y, x


def volume(box: Box) -> int:
    """Return the number of voxels in a box.

    >>> volume(((0, 3), (2, 4), (1, 6)))
    30
    """
    return math.prod(max(0, stop - first) for first, stop in box)


def bounding_box(mask: NDArray[np.bool_]) -> Box | None:
    """Return the smallest box that holds every true voxel of a mask (z, y, x), or None if there is none.

    >>> bounding_box(np.array([[[0, 0, 0], [0, 1, 0]], [[0, 0, 0], [0, 0, 1]]], bool))
    ((0, 2), (1, 2), (1, 3))
    """
    # The first reduction makes the others cheap.
    flat: NDArray[np.bool_] = np.any(mask, axis=0)
    held = [np.flatnonzero(line) for line in (mask.any(axis=(1, 2)), flat.any(axis=1), flat.any(axis=0))]
    if not flat.any():
        return None
    z, y, x = ((int(places[0]), int(places[-1]) + 1) for places in held)
    return z, y, x


def placed(grids: Grids, box: Box) -> Grids:
    """Return the part of the grids that a box holds."""
    z, y, x = (
        Grid(grid.origin_nm + first * grid.edge_nm, grid.edge_nm, stop - first)
        for grid, (first, stop) in zip(grids, box, strict=True)
    )
    return z, y, x


def slabs(box: Box) -> Iterator[Box]:
    """Yield a box in slabs along z, of bounded size.

    >>> list(slabs(((3, 40), (0, 2), (0, 2))))
    [((3, 35), (0, 2), (0, 2)), ((35, 40), (0, 2), (0, 2))]
    """
    (z_first, z_stop), rows, columns = box
    plane = volume(((0, 1), rows, columns))
    depth = min(_SLAB_PLANES, max(1, _SLAB_VOXELS // max(1, plane)))
    for first in range(z_first, z_stop, depth):
        yield (first, min(first + depth, z_stop)), rows, columns
