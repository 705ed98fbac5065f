"""Results of a registered run, read where their voxels lay in the slices: truth is exact there, and is never moved."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.evaluation.windows import Grids
from services.imaging.geometry import Grid
from services.imaging.registration.affine import IDENTITY, Affine

Labels = NDArray[np.unsignedinteger]

PLACE_COLUMNS = ("z", "yy", "yx", "xy", "xx", "shift_y_px", "shift_x_px")


class Readable(Protocol):
    """Labels that are read by their place."""

    @property
    def grids(self) -> Grids:
        """Voxels along z, y and x that hold every label."""

    def read(self, targets: Grids) -> Labels:
        """Return the label at the centre of every voxel of other grids; 0 where there is none."""


@dataclass(frozen=True)
class SlicePlaces:
    """Where slices lie in the results of a registered run.

    Attributes
    ----------
    of_slice
        By z: map of (y, x) from the slice to the acquisition, in nanometres.
    z_nm
        From slice to slice.
    """

    of_slice: Mapping[int, Affine]
    z_nm: float

    def at(self, z_nm: NDArray[np.float64]) -> list[Affine]:
        """Return the places at some depths; a slice that is missing lies beside the one before it."""
        known = np.array(sorted(self.of_slice), np.int64)
        if not known.size:
            return [IDENTITY] * len(z_nm)
        wanted = np.floor(z_nm / self.z_nm).astype(np.int64)
        nearest = np.maximum(np.searchsorted(known, wanted, side="right") - 1, 0)
        return [self.of_slice[int(known[place])] for place in nearest]


def places_of(rows: Iterable[Mapping[str, float]], voxel_nm: Sequence[float]) -> SlicePlaces:
    """Return where the slices of a run lie in its results.

    Parameters
    ----------
    rows
        `PLACE_COLUMNS` of the table of transforms.
    voxel_nm
        Voxel edges of the acquisition (z, y, x).

    Raises
    ------
    ValueError, ArithmeticError, KeyError, TypeError
        If these are no such rows or edges.
    """
    z_nm, y_nm, x_nm = (float(edge) for edge in voxel_nm)
    _, *names = PLACE_COLUMNS
    return SlicePlaces({int(row["z"]): _in_nm([row[name] for name in names], y_nm, x_nm) for row in rows}, z_nm)


def _in_nm(numbers: Sequence[float], y_nm: float, x_nm: float) -> Affine:
    """Return a map of pixel indices as one of nanometres: pixel p is centred at (p + 1/2) times its edge."""
    to_pixels = Affine(1 / y_nm, 0.0, 0.0, 1 / x_nm, -0.5, -0.5)
    return to_pixels.inverse().after(Affine(*numbers).after(to_pixels))


@dataclass(frozen=True)
class MovedArray:
    """Labels that lie where registration put them, read where they lay in the slices.

    Attributes
    ----------
    placed
        As it lies in the results.
    places
        Of the slices.
    """

    placed: Readable
    places: SlicePlaces

    @cached_property
    def grids(self) -> Grids:
        """Pixels of the slices that hold every voxel: slices that lie apart make the box larger than the array."""
        z, y, x = self.placed.grids
        low, high = _bounds(y, x, (place.inverse() for place in self._places_along(z)))
        rows, columns = (
            Grid(first * grid.edge_nm, grid.edge_nm, stop - first)
            for grid, first, stop in (
                (grid, math.floor(low[axis] / grid.edge_nm), math.ceil(high[axis] / grid.edge_nm))
                for axis, grid in enumerate((y, x))
            )
        )
        return z, rows, columns

    def read(self, targets: Grids) -> Labels:
        """Return the label at the centre of every voxel of other grids; 0 where there is none."""
        z, y, x = targets
        window = self._window(targets)
        block = self.placed.read(window)
        labels = np.zeros((z.count, y.count, x.count), block.dtype)
        for plane, label, place in zip(block, labels, self.places.at(_centres_nm(z)), strict=True):
            _take(label, plane, place, targets, window)
        return labels

    def _window(self, targets: Grids) -> Grids:
        """Return the voxels of the array that any plane of other grids meets; planes are those of the others."""
        z, y, x = targets
        low, high = _bounds(y, x, self._places_along(z))
        rows, columns = (_part(grid, low[axis], high[axis]) for axis, grid in enumerate(self.placed.grids[1:]))
        return z, rows, columns

    def _places_along(self, z: Grid) -> Iterable[Affine]:
        return set(self.places.at(_centres_nm(z))) or {IDENTITY}


def _take(label: Labels, plane: Labels, place: Affine, targets: Grids, window: Grids) -> None:
    """Fill one plane of the targets from that of the window it lies in."""
    y, x = _centres_nm(targets[1])[:, None], _centres_nm(targets[2])[None, :]
    if place.yx == place.xy == 0:
        # Rows and columns by themselves: no array of the plane's size.
        rows = _nearest(place.yy * y[:, 0] + place.shift_y, window[1])
        columns = _nearest(place.xx * x[0] + place.shift_x, window[2])
        label[np.ix_(rows >= 0, columns >= 0)] = plane[np.ix_(rows[rows >= 0], columns[columns >= 0])]
        return
    rows = _nearest(place.yy * y + place.yx * x + place.shift_y, window[1])
    columns = _nearest(place.xy * y + place.xx * x + place.shift_x, window[2])
    inside = (rows >= 0) & (columns >= 0)
    label[inside] = plane[rows[inside], columns[inside]]


def _bounds(y: Grid, x: Grid, places: Iterable[Affine]) -> tuple[list[float], list[float]]:
    """Return the least and the greatest (y, x), in nanometres, to which places move the corners of a plane."""
    corners_nm = np.array(list(product(*((grid.origin_nm, _end_nm(grid)) for grid in (y, x)))))
    moved = np.stack([place.points(corners_nm) for place in places])
    return moved.min(axis=(0, 1)).tolist(), moved.max(axis=(0, 1)).tolist()


def _part(grid: Grid, low_nm: float, high_nm: float) -> Grid:
    """Return the voxels of a grid that a range meets."""
    first = min(max(0, math.floor((low_nm - grid.origin_nm) / grid.edge_nm)), grid.count)
    stop = min(max(first, math.ceil((high_nm - grid.origin_nm) / grid.edge_nm)), grid.count)
    return Grid(grid.origin_nm + first * grid.edge_nm, grid.edge_nm, stop - first)


def _nearest(places_nm: NDArray[np.float64], grid: Grid) -> NDArray[np.int64]:
    indices = np.floor((places_nm - grid.origin_nm) / grid.edge_nm).astype(np.int64)
    indices[(indices < 0) | (indices >= grid.count)] = -1
    return indices


def _centres_nm(grid: Grid) -> NDArray[np.float64]:
    return np.asarray(grid.origin_nm + (np.arange(grid.count) + 0.5) * grid.edge_nm)


def _end_nm(grid: Grid) -> float:
    return grid.origin_nm + grid.count * grid.edge_nm
