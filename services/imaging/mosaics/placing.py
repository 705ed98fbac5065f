"""Where the tiles of a mosaic lie: overlaps are compared, and the places that fit them best are found.

Places that the instrument states, or a person, are good to some tens of pixels; the overlap of two tiles says more.
Every overlap is registered by itself, and all of them together give the places (Preibisch, Saalfeld and Tomancak 2009,
Bioinformatics 25:1463, with the registration of slices in the place of phase correlation). Tiles are moved by whole
pixels and never resampled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.imaging.formats.description import GreyPlane
from services.imaging.registration.pairs import Registrable, register_pair
from services.imaging.registration.planes import EmptyPlaneError, Grey, reduced, reduction_of

Cell = tuple[int, int]
"""Row and column of a tile in its mosaic."""
Place = tuple[int, int]
"""y and x of a tile's first pixel, or of its shape, in pixels."""

SURE_NCC = 0.25
"""Overlaps whose contrast agrees less are not believed: those of noise reach 0.1."""
LEAST_OVERLAP_PX = 24
_LARGEST_OVERLAP_PX = 1_600_000
_LOOKS = 4
_DISAGREEING_PX = 2.5
_SUREST = 20.0
# An overlap that says nothing holds two tiles as the grid has them, unless anything else says where they are.
_UNMEASURED = 1e-3


class TilesApartError(ValueError):
    """Tiles of a grid that neither overlap nor touch would leave a hole."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the tiles of a mosaic are expected.

    Attributes
    ----------
    shapes_yx
        Rows and columns of pixels, by cell.
    places_yx
        First pixel of each tile in the slice; the least y and the least x are 0.
    """

    shapes_yx: Mapping[Cell, Place]
    places_yx: Mapping[Cell, Place]

    @property
    def shape_yx(self) -> Place:
        """Shape of the slice.

        >>> Grid({(0, 0): (20, 30), (0, 1): (20, 30)}, {(0, 0): (0, 0), (0, 1): (2, 25)}).shape_yx
        (22, 55)
        """
        ends = [(y + self.shapes_yx[cell][0], x + self.shapes_yx[cell][1]) for cell, (y, x) in self.places_yx.items()]
        return max(y for y, _ in ends), max(x for _, x in ends)

    def moved(self, places_yx: Mapping[Cell, Place]) -> Grid:
        """Return a grid of the same tiles at other places, counted from the least."""
        top, left = min(y for y, _ in places_yx.values()), min(x for _, x in places_yx.values())
        return Grid(self.shapes_yx, {cell: (y - top, x - left) for cell, (y, x) in sorted(places_yx.items())})


@dataclass(frozen=True, slots=True)
class Seam:
    """How two neighbours lie on each other.

    Attributes
    ----------
    first, second
        The tiles; the second is the one to the right or below.
    offset_yx
        From the first pixel of the first tile to that of the second; None if the overlap does not say.
    ncc
        Correlation of the contrast of the overlap; 0 if it does not say.
    """

    first: Cell
    second: Cell
    offset_yx: tuple[float, float] | None = None
    ncc: float = 0.0


def regular(shapes_yx: Mapping[Cell, Place], overlap_yx: Place) -> Grid:
    """Return the grid of tiles that overlap by the same everywhere.

    Examples
    --------
    >>> regular({(0, 0): (20, 30), (1, 0): (20, 30)}, (4, 5)).places_yx
    {(0, 0): (0, 0), (1, 0): (16, 0)}
    """
    heights = {row: max(y for (r, _), (y, _) in shapes_yx.items() if r == row) for row, _ in shapes_yx}
    widths = {column: max(x for (_, c), (_, x) in shapes_yx.items() if c == column) for _, column in shapes_yx}
    places = {
        (row, column): (
            sum(height - overlap_yx[0] for other, height in heights.items() if other < row),
            sum(width - overlap_yx[1] for other, width in widths.items() if other < column),
        )
        for row, column in sorted(shapes_yx)
    }
    return Grid(shapes_yx, places).moved(places)


def neighbours(cells: Collection[Cell]) -> Iterator[tuple[Cell, Cell]]:
    """Yield the pairs of cells that lie side by side, the upper or left one first, in order.

    >>> list(neighbours([(0, 0), (0, 1), (1, 1)]))
    [((0, 0), (0, 1)), ((0, 1), (1, 1))]
    """
    for row, column in sorted(cells):
        for other in ((row, column + 1), (row + 1, column)):
            if other in cells:
                yield (row, column), other


def overlap_of(grid: Grid, first: Cell, second: Cell) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """Return what two tiles share, as rows and columns of the first and of the second; None if they share nothing."""
    parts = []
    for axis in (0, 1):
        offset = grid.places_yx[second][axis] - grid.places_yx[first][axis]
        start, stop = max(0, offset), min(grid.shapes_yx[first][axis], offset + grid.shapes_yx[second][axis])
        if stop <= start:
            return None
        parts.append((slice(start, stop), slice(start - offset, stop - offset)))
    (y1, y2), (x1, x2) = parts
    return (y1, x1), (y2, x2)


def check_no_hole(grid: Grid) -> None:
    """Refuse a grid whose neighbours do not even touch.

    Raises
    ------
    TilesApartError
        The message names the tiles and how far apart they are.
    """
    for first, second in neighbours(grid.places_yx):
        axis = 0 if first[1] == second[1] else 1
        gap = grid.places_yx[second][axis] - grid.places_yx[first][axis] - grid.shapes_yx[first][axis]
        if gap > 0:
            raise TilesApartError(f"tiles {first} and {second} lie {gap} px apart: a mosaic has no holes")


def measured(planes: Mapping[Cell, GreyPlane], grid: Grid) -> tuple[Seam, ...]:
    """Register the overlap of every two neighbours.

    Parameters
    ----------
    planes
        Tiles, (y, x), uint8 or uint16, by cell; of the shapes of the grid.
    grid
        Where they are expected: right to at most three quarters of the overlap's width.

    Returns
    -------
    tuple of Seam
        One for each pair of neighbours, in their order, whether the overlap says anything or not.
    """
    return tuple(_measured(planes, grid, first, second) for first, second in neighbours(grid.places_yx))


def _measured(planes: Mapping[Cell, GreyPlane], grid: Grid, first: Cell, second: Cell) -> Seam:
    """Register an overlap, and again where that has it: then both strips show the same, up to their edges."""
    here = grid
    for _ in range(_LOOKS):
        found = _compared(planes, here, first, second)
        if found.offset_yx is None:
            return found
        before, (y, x) = here.places_yx[second], here.places_yx[first]
        place = (y + round(found.offset_yx[0]), x + round(found.offset_yx[1]))
        if place == before:
            return found
        here = Grid(grid.shapes_yx, {**here.places_yx, second: place})
    # Half-way between two pixels it may be either; what still wanders farther is no place.
    return found if max(abs(place[0] - before[0]), abs(place[1] - before[1])) <= 1 else Seam(first, second)


def _compared(planes: Mapping[Cell, GreyPlane], grid: Grid, first: Cell, second: Cell) -> Seam:
    nothing = Seam(first, second)
    shared = overlap_of(grid, first, second)
    if shared is None:
        return nothing
    fixed, moving = _middle(planes[first][shared[0]]), _middle(planes[second][shared[1]])
    if min(fixed.shape) < LEAST_OVERLAP_PX:
        return nothing
    factor = reduction_of((fixed.shape[0], fixed.shape[1]))
    try:
        pair = [Registrable(reduced(_eight_bit(part), factor)) for part in (fixed, moving)]
    except EmptyPlaneError:
        return nothing
    found = register_pair(pair[0], pair[1], "translation")
    if found is None or found[0].ncc < SURE_NCC:
        return nothing
    shift = found[0].to_fixed
    y, x = np.subtract(grid.places_yx[second], grid.places_yx[first])
    return Seam(first, second, (float(y) + factor * shift.shift_y, float(x) + factor * shift.shift_x), found[0].ncc)


def _middle(strip: GreyPlane) -> GreyPlane:
    """Return the middle of a long strip: enough of it to register by, so that it need not be reduced much."""
    along = int(strip.shape[1] > strip.shape[0])
    longest = max(512, _LARGEST_OVERLAP_PX // max(1, strip.shape[1 - along]))
    cut = max(0, strip.shape[along] - longest) // 2
    return strip[cut : strip.shape[0] - cut] if along == 0 else strip[:, cut : strip.shape[1] - cut]


def _eight_bit(plane: GreyPlane) -> Grey:
    """Return grey stretched to 8 bits; registration looks at contrast alone."""
    if plane.dtype == np.uint8:
        return np.ascontiguousarray(plane, dtype=np.uint8)
    low, high = (float(value) for value in np.percentile(plane, (0.5, 99.5)))
    stretched = (plane.astype(np.float32) - low) * (255 / max(1.0, high - low))
    return np.asarray(np.clip(stretched, 0, 255), np.uint8)


def placed(grid: Grid, seams: Sequence[Seam]) -> tuple[dict[Cell, Place], frozenset[Cell]]:
    """Find the places that fit all overlaps best.

    Tiles that no overlap holds stay beside their neighbours as the grid has them. As a whole the mosaic stays where
    the grid is, to a pixel. Of overlaps that contradict one another by more than 2.5 px the least sure is not believed.

    Parameters
    ----------
    grid
        Where the tiles are expected.
    seams
        As `measured` gave them.

    Returns
    -------
    tuple
        First pixel of each tile in the slice, whole pixels; and the cells that an overlap placed.
    """
    cells = sorted(grid.places_yx)
    believed = list(seams)
    while True:
        moves = _moves(grid, cells, believed)
        off = [seam for seam in believed if seam.offset_yx and _off_px(grid, moves, seam) > _DISAGREEING_PX]
        if not off:
            break
        worst = min(off, key=lambda seam: (seam.ncc, seam.first, seam.second))
        believed[believed.index(worst)] = dataclasses.replace(worst, offset_yx=None, ncc=0.0)
    # What is rounded is how tiles lie on one another, not where the whole of them is.
    whole = np.rint(moves[cells[0]]) - moves[cells[0]]
    places = {cell: grid.places_yx[cell] + moves[cell] + whole for cell in cells}
    held = frozenset(cell for seam in believed if seam.offset_yx for cell in (seam.first, seam.second))
    return {cell: (round(float(y)), round(float(x))) for cell, (y, x) in places.items()}, held


def _moves(grid: Grid, cells: Sequence[Cell], seams: Sequence[Seam]) -> dict[Cell, NDArray[np.float64]]:
    """Return by how much each tile lies off the grid: weighted least squares, their sum held at 0."""
    index = {cell: number for number, cell in enumerate(cells)}
    # A trace of weight on every tile keeps the whole where it is.
    normal = 1e-9 * np.eye(len(cells))
    right = np.zeros((len(cells), 2))
    for seam in seams:
        weight = min(seam.ncc / max(1e-6, 1 - seam.ncc), _SUREST) if seam.offset_yx else _UNMEASURED
        step = np.array(_beyond(grid, seam))
        one, other = index[seam.first], index[seam.second]
        normal[[one, other], [one, other]] += weight
        normal[[one, other], [other, one]] -= weight
        right[one] -= weight * step
        right[other] += weight * step
    found = np.linalg.solve(normal, right)
    return {cell: found[number] - found.mean(axis=0) for cell, number in index.items()}


def _beyond(grid: Grid, seam: Seam) -> tuple[float, float]:
    """Return how much further apart than in the grid an overlap says two tiles are."""
    if seam.offset_yx is None:
        return 0.0, 0.0
    (y1, x1), (y2, x2) = grid.places_yx[seam.first], grid.places_yx[seam.second]
    return seam.offset_yx[0] - (y2 - y1), seam.offset_yx[1] - (x2 - x1)


def _off_px(grid: Grid, moves: Mapping[Cell, NDArray[np.float64]], seam: Seam) -> float:
    return float(np.hypot(*(moves[seam.second] - moves[seam.first] - np.array(_beyond(grid, seam)))))
