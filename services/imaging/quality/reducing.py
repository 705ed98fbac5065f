"""A slice reduced for comparison with its neighbours, and how much of it is structure and how much noise.

The reduced plane is made twice, from the white and from the black squares of a chessboard laid over the pixels. Noise
that is independent from pixel to pixel differs between the two, structure does not: their covariance is the power of
the structure, without the noise's.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.imaging.quality.kernels import checkered_sums

Plane = NDArray[np.uint8]
FloatPlane = NDArray[np.float32]

BLOCK_NM = 32.0
"""Edge of the blocks that are averaged; never less than two pixels."""
_FINE_BLOCKS, _COARSE_BLOCKS = 0.8, 8.0
_LEAST_BLOCKS = 16


class TooSmallSliceError(ValueError):
    """A slice with too few pixels to judge."""


@dataclass(frozen=True, slots=True)
class Reduced:
    """What is kept of a slice to compare the next ones with.

    Attributes
    ----------
    plane
        uint8, shape (y, x): mean grey of the blocks.
    block_yx_nm
        Size of a block.
    structure_grey2, noise_grey2
        Power of the structure and of the noise in the filtered plane (`filtered`), in squared grey levels.
    """

    plane: Plane
    block_yx_nm: tuple[float, float]
    structure_grey2: float
    noise_grey2: float


def block_px(voxel_nm: float) -> int:
    """Pixels along the edge of a block.

    Examples
    --------
    >>> block_px(4.0), block_px(16.0), block_px(40.0)
    (8, 2, 2)
    """
    return max(2, round(BLOCK_NM / voxel_nm))


def reduced(grey: Plane, voxel_yx_nm: tuple[float, float]) -> Reduced:
    """Average a slice over blocks of about 32 nm, and measure structure and noise.

    Parameters
    ----------
    grey
        uint8, shape (y, x).
    voxel_yx_nm
        Size of a pixel along y and x.

    Raises
    ------
    TooSmallSliceError
        If the reduced plane would have fewer than 16 blocks along an axis.
    """
    blocks = block_px(voxel_yx_nm[0]), block_px(voxel_yx_nm[1])
    if min(grey.shape[0] // blocks[0], grey.shape[1] // blocks[1]) < _LEAST_BLOCKS:
        raise TooSmallSliceError(f"a slice of {grey.shape} pixels of {voxel_yx_nm} nm is too small to be judged")
    white, black = checkered_sums(np.ascontiguousarray(grey), *blocks)
    area = blocks[0] * blocks[1]
    halves = [filtered((half * (2.0 / area)).astype(np.float32)) for half in (white, black)]
    structure = float(np.mean(halves[0] * halves[1], dtype=np.float64))
    noise = float(np.mean(np.square(halves[0] - halves[1]), dtype=np.float64)) / 4
    plane = np.clip(np.rint((white + black) / area), 0, 255).astype(np.uint8)
    return Reduced(plane, (blocks[0] * voxel_yx_nm[0], blocks[1] * voxel_yx_nm[1]), max(structure, 0.0), noise)


def filtered(plane: NDArray[np.uint8] | FloatPlane) -> FloatPlane:
    """Keep details of some 30 to 500 nm: finer ones and slow changes of brightness are taken away.

    Difference of two Gaussians of 0.8 and 8 blocks; float32, of the shape of ``plane``.
    """
    exact = plane.astype(np.float32)
    fine = cv2.GaussianBlur(exact, (0, 0), _FINE_BLOCKS, borderType=cv2.BORDER_REFLECT)
    coarse = cv2.GaussianBlur(exact, (0, 0), _COARSE_BLOCKS, borderType=cv2.BORDER_REFLECT)
    return np.asarray(fine - coarse, dtype=np.float32)
