"""The manuscript's threshold, bright against a wide Gaussian neighbourhood: OpenCV's result to the bit, sooner.

Nearly every pixel differs from the mean round it by far more than a coarse mean can be off. Only where it does not is
the mean taken as OpenCV takes it, rounding included.
"""

import functools
import math

import cv2
import numpy as np
import numpy.typing as npt
from numba import njit

from services.extract.coarse_means import coarse_means, grid_of
from services.extract.rounded_means import Pixels, gaussian_weights, rounded_means, rounding_limit, rounds_alike

GreyImage = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

_LEAST_WINDOW_PX = 101  # below, and in small images, OpenCV is as quick
_LEAST_PIXELS = 1 << 16
_MOST_UNDECIDED = 0.02  # part of an image; more, and OpenCV is quicker
_BRIGHT, _UNDECIDED = 255, 1
_VECTOR = 8  # columns; how many are left over decides how OpenCV rounds the last ones


def threshold_against_mean(grey: GreyImage, window_px: int, offset_grey: float) -> GreyImage:
    """Mark the pixels that are brighter than the Gaussian mean round them less an offset.

    Parameters
    ----------
    grey
        uint8, (y, x).
    window_px
        Odd edge of the Gaussian window, at least 3.
    offset_grey
        What is taken off the mean; rounded up to whole grey levels.

    Returns
    -------
    numpy.ndarray
        uint8, (y, x): 255 where brighter, 0 elsewhere; the bytes of ``cv2.adaptiveThreshold`` with
        ``ADAPTIVE_THRESH_GAUSSIAN_C`` and ``THRESH_BINARY``.

    Examples
    --------
    >>> threshold_against_mean(np.array([[9, 9, 0], [9, 9, 9]], np.uint8), 3, 2.0).tolist()
    [[255, 255, 0], [255, 255, 255]]
    """
    worth_it = window_px >= _LEAST_WINDOW_PX and grey.size >= _LEAST_PIXELS
    found = decided_threshold(grey, window_px, offset_grey) if worth_it else None
    if found is not None:
        return found
    method, kind = cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY
    return np.asarray(cv2.adaptiveThreshold(grey, _BRIGHT, method, kind, window_px, offset_grey), np.uint8)


def decided_threshold(grey: GreyImage, window_px: int, offset_grey: float) -> GreyImage | None:
    """Do the same by coarse means, or give None: where OpenCV rounds in another way, or too much is undecided.

    OpenCV takes no mean across an image that is one pixel high or wide; that is left to it as well.

    OpenCV rounds a mean to the nearest whole grey level, the even one of two, and compares then: so a pixel is bright
    when the mean lies below its grey and the offset by more than half a level, or by half and the even one is below.
    """
    if min(grey.shape) < 2 or not _rounds_alike(window_px, grey.shape[1] % _VECTOR):
        return None
    weights = gaussian_weights(window_px)
    grid = grid_of(weights)
    rows, error = coarse_means(grey, grid)
    error += rounding_limit(weights, float(grey.max()))
    offset = math.ceil(offset_grey)
    bright = np.empty(grey.shape, np.uint8)
    undecided = _decide(grey, rows, grid.spread, (np.float32(offset - 0.5), np.float32(error)), bright)
    if undecided > _MOST_UNDECIDED * grey.size:
        return None
    if undecided:
        y, x = np.nonzero(bright == _UNDECIDED)
        means = np.rint(rounded_means(grey, window_px, Pixels(y, x))).astype(np.int64)
        bright[y, x] = np.where(np.minimum(means, 255) < grey[y, x].astype(np.int64) + offset, _BRIGHT, 0)
    return bright


@functools.lru_cache(maxsize=64)
def _rounds_alike(window_px: int, left_over: int) -> bool:
    return rounds_alike(window_px, left_over)


@njit(cache=True, nogil=True)
def _decide(
    grey: GreyImage, rows: FloatArray, spread: FloatArray, limits: tuple[np.float32, np.float32], bright: GreyImage
) -> int:
    """Decide what the coarse means decide, mark the rest, and count it."""
    limit, error = limits
    step, undecided = spread.shape[0], 0
    for y in range(grey.shape[0]):
        node, phase = y // step, y % step
        a, b, c, d = spread[phase, 0], spread[phase, 1], spread[phase, 2], spread[phase, 3]
        before, first, second, behind = rows[node], rows[node + 1], rows[node + 2], rows[node + 3]
        count = 0
        for x in range(grey.shape[1]):
            mean = a * before[x] + b * first[x] + c * second[x] + d * behind[x]
            above = mean - np.float32(grey[y, x]) - limit
            near = abs(above) <= error
            bright[y, x] = np.uint8(_UNDECIDED) if near else (np.uint8(_BRIGHT) if above < 0 else np.uint8(0))
            count += near
        undecided += count
    return undecided
