"""Tiles pasted into one slice: every pixel is one tile's own, moved by whole pixels, and levelled if that is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.imaging.formats.description import GreyPlane
from services.imaging.mosaics.placing import Cell, Grid, Place, neighbours, overlap_of

_BAND_ROWS = 512
_FAR_PX = 2**30
_LEAST_SHARED_PX = 256
_UNMEASURED = 1e-6


@dataclass(frozen=True, slots=True)
class Step:
    """How much brighter the first of two neighbours is than the second in what they share, in grey levels."""

    first: Cell
    second: Cell
    levels: float
    shared_px: int


def steps(planes: Mapping[Cell, GreyPlane], grid: Grid) -> tuple[Step, ...]:
    """Compare the brightness of neighbours: the mean difference of what they share, without its outer tenths.

    Parameters
    ----------
    planes
        Tiles, (y, x), uint8 or uint16, by cell.
    grid
        Where they lie.

    Returns
    -------
    tuple of Step
        One for each two that share at least 256 pixels.
    """
    found = []
    for first, second in neighbours(grid.places_yx):
        shared = overlap_of(grid, first, second)
        if shared is None:
            continue
        difference = planes[first][shared[0]].astype(np.int32) - planes[second][shared[1]]
        if difference.size < _LEAST_SHARED_PX:
            continue
        low, high = np.percentile(difference, (10, 90))
        usual = difference[(difference >= low) & (difference <= high)]
        found.append(Step(first, second, float(usual.mean(dtype=np.float64)), int(difference.size)))
    return tuple(found)


def levels(cells: Mapping[Cell, Place], found: tuple[Step, ...]) -> dict[Cell, int]:
    """Return the whole grey levels to add to each tile so that what neighbours share agrees best; their mean is 0.

    Parameters
    ----------
    cells
        The tiles.
    found
        As `steps` gave them; they count by the pixels that are shared.

    Examples
    --------
    >>> levels({(0, 0): (0, 0), (0, 1): (0, 9)}, (Step((0, 0), (0, 1), 10.0, 500),))
    {(0, 0): -5, (0, 1): 5}
    """
    index = {cell: number for number, cell in enumerate(sorted(cells))}
    normal, right = _UNMEASURED * np.eye(len(index)), np.zeros(len(index))
    total = sum(step.shared_px for step in found)
    for step in found:
        one, other, weight = index[step.first], index[step.second], step.shared_px / total
        normal[[one, other], [one, other]] += weight
        normal[[one, other], [other, one]] -= weight
        right[one] -= weight * step.levels
        right[other] += weight * step.levels
    said = np.linalg.solve(normal, right)
    return {cell: round(float(said[number] - said.mean())) for cell, number in index.items()}


def pasted(planes: Mapping[Cell, GreyPlane], grid: Grid, added: Mapping[Cell, int], shape_yx: Place) -> GreyPlane:
    """Paste tiles into a slice.

    What two tiles share is cut in its middle: a pixel is that of the tile whose edge towards the other is farther
    away. Nothing is blended, so that noise is the same everywhere and nothing is seen twice.

    Parameters
    ----------
    planes
        Tiles, (y, x), uint8 or uint16, all of one type.
    grid
        Where they lie; parts outside the slice are cut off.
    added
        Grey levels to add to each; what leaves the range of the type is clipped.
    shape_yx
        Of the slice.

    Returns
    -------
    ndarray
        (y, x), of the tiles' type; 0 where there is no tile: `uncovered` counts those.
    """
    levelled = {cell: _levelled(plane, added.get(cell, 0)) for cell, plane in sorted(planes.items())}
    whole: GreyPlane = np.zeros(shape_yx, next(iter(planes.values())).dtype)
    for top in range(0, shape_yx[0], _BAND_ROWS):
        band = whole[top : top + _BAND_ROWS]
        inwards = np.zeros(band.shape, np.int32)
        for cell, plane in levelled.items():
            _paste(band, inwards, top, plane, grid, cell)
    return whole


def _levelled(plane: GreyPlane, added: int) -> GreyPlane:
    if not added:
        return plane
    return np.clip(plane.astype(np.int32) + added, 0, np.iinfo(plane.dtype).max).astype(plane.dtype)


def _paste(band: GreyPlane, inwards: NDArray[np.int32], top: int, plane: GreyPlane, grid: Grid, cell: Cell) -> None:
    """Paste one tile into a band of rows, where it is farther inwards than what lies there."""
    y, x = grid.places_yx[cell]
    first_y, stop_y = max(top, y), min(top + band.shape[0], y + plane.shape[0])
    first_x, stop_x = max(0, x), min(band.shape[1], x + plane.shape[1])
    if first_y >= stop_y or first_x >= stop_x:
        return
    from_y, from_x = _inwards(grid, cell)
    depth = np.minimum(from_y[first_y - y : stop_y - y, None], from_x[None, first_x - x : stop_x - x])
    there = (slice(first_y - top, stop_y - top), slice(first_x, stop_x))
    wins = depth > inwards[there]
    inwards[there][wins] = depth[wins]
    band[there][wins] = plane[first_y - y : stop_y - y, first_x - x : stop_x - x][wins]


def _inwards(grid: Grid, cell: Cell) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return how far each row and each column of a tile is from those of its edges that face a neighbour, from 1."""
    found = []
    for axis in (0, 1):
        length = grid.shapes_yx[cell][axis]
        depth = np.full(length, _FAR_PX, np.int32)
        before = (cell[0] - (axis == 0), cell[1] - (axis == 1))
        behind = (cell[0] + (axis == 0), cell[1] + (axis == 1))
        if before in grid.places_yx:
            depth = np.minimum(depth, np.arange(1, length + 1, dtype=np.int32))
        if behind in grid.places_yx:
            depth = np.minimum(depth, np.arange(length, 0, -1, dtype=np.int32))
        found.append(depth)
    return found[0], found[1]


def uncovered(grid: Grid, shape_yx: Place) -> int:
    """Return how many pixels of a slice no tile covers.

    >>> uncovered(Grid({(0, 0): (2, 3)}, {(0, 0): (0, 1)}), (2, 4))
    2
    """
    free = np.ones(shape_yx, np.bool_)
    for cell, (y, x) in grid.places_yx.items():
        height, width = grid.shapes_yx[cell]
        free[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)] = False
    return int(free.sum())
