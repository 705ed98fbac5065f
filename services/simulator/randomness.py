"""Reproducible randomness: numbered streams, and noise that is coherent in space.

Spatial noise is value noise on a lattice fixed in the specimen. The value of a lattice point is a hash of its
indices, so that any place can be evaluated at any time, in any order, without keeping planes.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray


class Stream(IntEnum):
    """One number per independent source of randomness of an acquisition."""

    LAYOUT = 0
    NUCLEUS = 1
    ROUGHNESS = 2
    TEXTURE = 3
    NOISE = 4
    STAGE = 5
    FAULTS = 6
    CYTOPLASM = 7
    CURTAINS = 8
    GLITCHES = 9
    CONTACTS = 10


def generator(seed: int, stream: Stream, index: int = 0) -> np.random.Generator:
    """Make the generator of one stream, e.g. of nucleus ``index`` or of slice ``index``.

    Examples
    --------
    >>> a = generator(7, Stream.NOISE, 3).integers(0, 1000, 2)
    >>> b = generator(7, Stream.NOISE, 3).integers(0, 1000, 2)
    >>> bool((a == b).all())
    True
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, int(stream), index])))


def lattice_key(seed: int, stream: Stream, index: int = 0) -> np.uint64:
    """Key of a spatial noise field, for `lattice_noise`."""
    return np.uint64(np.random.SeedSequence([seed, int(stream), index]).generate_state(1, np.uint64)[0])


class Grid(NamedTuple):
    """Values on a regular grid of the specimen, to be interpolated between.

    ``values`` is float32 of shape (y, x); node (j, i) lies at ``(y0 + j / per_nm, x0 + i / per_nm)`` nm.
    """

    values: NDArray[np.float32]
    y0: float
    x0: float
    per_nm: float


@njit(cache=True, nogil=True)
def sample(grid: Grid, y_nm: float, x_nm: float) -> float:
    """Bilinear value of a grid at a place in the specimen, which must lie on the grid."""
    fy = np.float32((y_nm - grid.y0) * grid.per_nm)
    fx = np.float32((x_nm - grid.x0) * grid.per_nm)
    j = int(fy)
    i = int(fx)
    wy = fy - np.float32(j)
    wx = fx - np.float32(i)
    top = grid.values[j, i] + wx * (grid.values[j, i + 1] - grid.values[j, i])
    low = grid.values[j + 1, i] + wx * (grid.values[j + 1, i + 1] - grid.values[j + 1, i])
    value: float = top + wy * (low - top)
    return value


@njit(cache=True, nogil=True)
def _mixed(key: np.uint64, index: int) -> np.uint64:
    """One round of a 64-bit finaliser over a key and an index."""
    h = (key ^ np.uint64(index)) * np.uint64(0x9E3779B97F4A7C15)
    h = (h ^ (h >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return h ^ (h >> np.uint64(32))


@njit(cache=True, nogil=True)
def _bell(h: np.uint64) -> float:
    """Sum of four 16-bit parts of a hash: mean 0, variance 1, nearly normal, bounded at 3.5."""
    mask = np.uint64(0xFFFF)
    total = (
        np.int64(h & mask)
        + np.int64((h >> np.uint64(16)) & mask)
        + np.int64((h >> np.uint64(32)) & mask)
        + np.int64(h >> np.uint64(48))
    )
    return (total - 131070) * (1.7320508075688772 / 65536.0)


@njit(cache=True, nogil=True)
def _fill_lattice(
    key: np.uint64, layer: int, weights: tuple[float, float], first: tuple[int, int], out: NDArray[np.float32]
) -> None:
    """Values of lattice points between two layers, mixed so that the variance stays 1."""
    low = _mixed(key, layer)
    high = _mixed(key, layer + 1)
    for j in range(out.shape[0]):
        low_row = _mixed(low, first[0] + j)
        high_row = _mixed(high, first[0] + j)
        for i in range(out.shape[1]):
            a = _bell(_mixed(low_row, first[1] + i))
            b = _bell(_mixed(high_row, first[1] + i))
            out[j, i] = weights[0] * a + weights[1] * b


def lattice_noise(key: np.uint64, cell_nm: float, z_nm: float, box_yx_nm: tuple[float, float, float, float]) -> Grid:
    """Coherent noise of unit variance in the plane ``z_nm`` over a box of the specimen.

    Parameters
    ----------
    key
        From `lattice_key`.
    cell_nm
        Lattice constant: the distance over which the noise changes.
    z_nm
        Depth of the plane.
    box_yx_nm
        ``(y0, x0, y1, x1)`` that the grid must cover.

    Returns
    -------
    Grid
        Its nodes are the lattice points, so that a shifted box has the same values at the same places.
    """
    y0, x0, y1, x1 = box_yx_nm
    first = (int(np.floor(y0 / cell_nm)), int(np.floor(x0 / cell_nm)))
    last = (int(np.ceil(y1 / cell_nm)) + 1, int(np.ceil(x1 / cell_nm)) + 1)
    values = np.empty((last[0] - first[0] + 1, last[1] - first[1] + 1), dtype=np.float32)
    layer = int(np.floor(z_nm / cell_nm))
    t = z_nm / cell_nm - layer
    norm = float(np.hypot(1 - t, t))
    _fill_lattice(key, layer, ((1 - t) / norm, t / norm), first, values)
    return Grid(values, first[0] * cell_nm, first[1] * cell_nm, 1.0 / cell_nm)
