"""The compiled loops over the pixels of a slice: whole-number sums, the same whatever the processor."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

P = ParamSpec("P")
R = TypeVar("R")

Integer: TypeAlias = int | np.integer[Any]

LAGS = 4
"""Pixels between the neighbours that are compared: 1 to this many, along each axis."""


def _compiled(function: Callable[P, R]) -> Callable[P, R]:
    return cast("Callable[P, R]", numba.njit(cache=True, nogil=True)(function))


@_compiled
def neighbour_energies(grey: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sum the squared differences of pixels 1 to 4 apart, row by row.

    Parameters
    ----------
    grey
        uint8, shape (y, x), each side at least 5.

    Returns
    -------
    tuple of ndarray
        int64, each of shape (4, y): along x within each row, and along y from each row to that 1 to 4 below, 0 where
        there is none. Row k of an array holds the distance k + 1; only pixels that have all four neighbours to the
        right, of rows that have all four below, are counted along x and y alike.
    """
    height, width = grey.shape
    along_x = np.zeros((LAGS, height), np.int64)
    along_y = np.zeros((LAGS, height), np.int64)
    for y in range(height):
        row = grey[y]
        sums: tuple[Integer, Integer, Integer, Integer] = (0, 0, 0, 0)
        for x in range(width - LAGS):
            here = np.int32(row[x])
            d1 = here - np.int32(row[x + 1])
            d2 = here - np.int32(row[x + 2])
            d3 = here - np.int32(row[x + 3])
            d4 = here - np.int32(row[x + 4])
            sums = (sums[0] + d1 * d1, sums[1] + d2 * d2, sums[2] + d3 * d3, sums[3] + d4 * d4)
        for k in range(LAGS):
            along_x[k, y] = sums[k]
        for k in range(min(LAGS, height - 1 - y)):
            below = grey[y + k + 1]
            total: Integer = 0
            for x in range(width - LAGS):
                difference = np.int32(row[x]) - np.int32(below[x])
                total += difference * difference
            along_y[k, y] = total
    return along_x, along_y


@_compiled
def displaced_energies(binned: NDArray[np.int32], reach: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compare each line with the next, as it lies and displaced.

    Parameters
    ----------
    binned
        int32, shape (y, x): sums of pixels, more than ``2 * reach`` along x.
    reach
        Most bins by which a line is displaced, to both sides.

    Returns
    -------
    tuple of ndarray
        float64, shape (y - 1,): mean squared difference of a line and the next without their difference in mean; as
        they lie, and the least of all displacements.
    """
    height, width = binned.shape
    count = width - 2 * reach
    straight = np.zeros(height - 1)
    least = np.zeros(height - 1)
    for y in range(height - 1):
        best = np.inf
        for lag in range(-reach, reach + 1):
            total = np.int64(0)
            squares = np.int64(0)
            for x in range(reach, width - reach):
                difference = np.int64(binned[y, x]) - np.int64(binned[y + 1, x + lag])
                total += difference
                squares += difference * difference
            energy = squares / count - (total / count) ** 2
            if lag == 0:
                straight[y] = energy
            elif energy < best:
                best = energy
        least[y] = best
    return straight, least


@_compiled
def checkered_sums(grey: NDArray[np.uint8], block_y: int, block_x: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Sum the white and the black squares of a chessboard, block by block.

    Parameters
    ----------
    grey
        uint8, shape (y, x).
    block_y, block_x
        Size of a block, each 2 or more. Rows and columns that fill no block are left out.

    Returns
    -------
    tuple of ndarray
        int32, shape (y // block_y, x // block_x): sums over pixels whose y + x, counted in the slice, is even, and
        over the others.
    """
    height, width = grey.shape[0] // block_y, grey.shape[1] // block_x
    white = np.zeros((height, width), np.int32)
    black = np.zeros((height, width), np.int32)
    for y in range(height * block_y):
        row = grey[y]
        even, odd = (
            (white[y // block_y], black[y // block_y]) if y % 2 == 0 else (black[y // block_y], white[y // block_y])
        )
        for i in range(width):
            total_even = 0
            total_odd = 0
            for x in range(i * block_x, (i + 1) * block_x):
                if x % 2 == 0:
                    total_even += row[x]
                else:
                    total_odd += row[x]
            even[i] += total_even
            odd[i] += total_odd
    return white, black
