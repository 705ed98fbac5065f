"""The planes of one slice under construction, and where in the specimen each of their pixels was taken."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray


class Frame(NamedTuple):
    """Where the pixels of a slice lie in the specimen.

    Pixel (y, x) was taken at ``(oy + yy * y + yx * x, ox + row_nm[y] + xy * y + xx * x)`` nm, in the plane ``z``.
    """

    z: float
    voxel: float
    oy: float
    ox: float
    yy: float
    yx: float
    xy: float
    xx: float
    row_nm: NDArray[np.float32]


class Box(NamedTuple):
    """Pixels from (y0, x0) to before (y1, x1)."""

    y0: int
    x0: int
    y1: int
    x1: int


class View(NamedTuple):
    """A box of the pixels of a slice."""

    frame: Frame
    box: Box


class Canvas(NamedTuple):
    """Planes of one slice under construction, all of shape (y, x)."""

    classes: NDArray[np.uint8]
    nuclei: NDArray[np.uint16]
    bivalents: NDArray[np.uint8]
    chromosomes: NDArray[np.uint8]
    tissue: NDArray[np.uint8]
    grey: NDArray[np.float32]


@njit(cache=True, nogil=True)
def share(middle: float, width: float, low: float, high: float) -> float:
    """Part of an interval of a width about a middle that lies between two bounds."""
    return max(0.0, min(middle + width / 2, high) - max(middle - width / 2, low)) / width


@njit(cache=True, nogil=True)
def covered(depth: float, width: float) -> float:
    """Part of a pixel that lies inside a surface at a signed distance."""
    return min(1.0, max(0.0, 0.5 - depth / width))
