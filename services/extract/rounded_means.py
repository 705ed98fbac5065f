"""Gaussian means of single pixels, rounded to the last bit as OpenCV rounds those of a whole image.

OpenCV sums in float32, first along x from the left, then along y from the middle outwards, and multiplies and adds in
one step (fused) but for the last columns that do not fill a vector. A mean depends on that order in its last bits, so
the same is done here; whether the OpenCV at hand does so as well is found out by `rounds_alike`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from numba import njit
from numba.core.errors import TypingError
from numba.core.types import float32
from numba.extending import intrinsic

GreyImage = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

_ROWS = 64  # rows whose sums are taken side by side: whole vectors, and a working set that stays near
_WHOLE_ROW_VECTOR, _WHOLE_COLUMN_VECTOR = 4, 8
_BORDER = cv2.BORDER_REPLICATE | cv2.BORDER_ISOLATED


class Pixels(NamedTuple):
    """Places of pixels, int64 (n,), as `numpy.nonzero` gives them."""

    y: Indices
    x: Indices


def gaussian_weights(window_px: int) -> FloatArray:
    """Weights that OpenCV gives to the pixels of a Gaussian window, float32 (window_px,).

    Examples
    --------
    >>> gaussian_weights(3).tolist()
    [0.25, 0.5, 0.25]
    """
    return np.asarray(cv2.getGaussianKernel(window_px, 0.0, cv2.CV_32F), np.float32).ravel()


def rounded_means(grey: GreyImage, window_px: int, pixels: Pixels) -> FloatArray:
    """Give the Gaussian mean round each of some pixels, as `cv2.GaussianBlur` gives it for the image in float32.

    Parameters
    ----------
    grey
        uint8, (y, x), at least two pixels either way. Beyond its border the outermost pixels go on.
    window_px
        Odd edge of the window; its sigma is the one OpenCV derives from it.
    pixels
        Where.

    Returns
    -------
    numpy.ndarray
        float32, (n,), in the order of the pixels.

    Examples
    --------
    >>> grey = np.array([[0, 0, 0], [0, 64, 0], [0, 0, 0]], np.uint8)
    >>> rounded_means(grey, 3, Pixels(np.array([1, 0]), np.array([1, 1]))).tolist()
    [16.0, 8.0]
    """
    weights, reach = gaussian_weights(window_px), window_px // 2
    height, width = grey.shape
    blocks = -(-height // _ROWS)
    wanted = np.zeros((blocks, width), np.bool_)
    _mark(pixels.y, pixels.x, reach, height, wanted)
    sums = np.empty((width, blocks * _ROWS), np.float32)
    fused_end = width - width % _WHOLE_ROW_VECTOR
    for block in range(blocks):
        rows = np.minimum(np.arange(block * _ROWS, (block + 1) * _ROWS), height - 1)
        columns = cv2.copyMakeBorder(cv2.transpose(grey[rows]), reach, reach, 0, 0, cv2.BORDER_REPLICATE)
        part = sums[:, block * _ROWS : (block + 1) * _ROWS]
        _sum_rows(columns.astype(np.float32), weights, np.flatnonzero(wanted[block]), fused_end, part)
    means = np.empty(len(pixels.y), np.float32)
    _sum_columns(sums, (height, width - width % _WHOLE_COLUMN_VECTOR), weights, (pixels.y, pixels.x), means)
    return means


def rounds_alike(window_px: int, width_px: int) -> bool:
    """Say whether the OpenCV at hand rounds a Gaussian mean as `rounded_means` does, by trying it.

    It depends on the processor: on one without fused multiplication, OpenCV takes other ways.

    Parameters
    ----------
    window_px
        Edge of the window.
    width_px
        Width of the images in question; how many of their columns fill no vector decides.
    """
    width = 5 * _WHOLE_COLUMN_VECTOR + width_px % _WHOLE_COLUMN_VECTOR
    trial = np.random.default_rng(window_px).integers(0, 256, (6, width), np.uint8)
    theirs = cv2.GaussianBlur(trial.astype(np.float32), (window_px, window_px), 0, borderType=_BORDER)
    y, x = np.indices(trial.shape).reshape(2, -1)
    return bool((rounded_means(trial, window_px, Pixels(y, x)) == theirs.ravel()).all())


def rounding_limit(weights: FloatArray, brightest: float) -> float:
    """Bound what OpenCV's rounding adds to a mean: half a unit in the last place of every partial sum.

    Parameters
    ----------
    weights
        float32, (window_px,), of sum 1 but for rounding.
    brightest
        Greatest grey value of the image.
    """
    middle = len(weights) // 2
    outwards = weights[middle] + 2 * np.concatenate([[0.0], np.cumsum(weights[middle + 1 :], dtype=np.float64)])
    partial = np.concatenate([np.cumsum(weights, dtype=np.float64), outwards]) * brightest * (1 + 1e-4)
    half_units = np.spacing(partial.astype(np.float32)).astype(np.float64) / 2
    # Three more: products that are not fused, in both directions, and the sums of pixels at equal distance.
    others = 4 * np.finfo(np.float32).eps * brightest
    return float(half_units.sum() * (1 + 1e-4) + others)


def _typed_fused(typing_context: Any, a: Any, b: Any, c: Any) -> Any:  # noqa: ANN401
    """Return ``a * b + c`` rounded once."""
    if (a, b, c) != (float32, float32, float32):
        raise TypingError("fused multiplication is for float32")

    def generate(context: Any, builder: Any, signature: Any, values: Sequence[Any]) -> Any:  # noqa: ANN401
        return builder.fma(*values)

    return float32(float32, float32, float32), generate


_fused: Any = intrinsic(_typed_fused)


@njit(cache=True, nogil=True)
def _mark(y: Indices, x: Indices, reach: int, height: int, wanted: npt.NDArray[np.bool_]) -> None:
    """Mark the blocks of rows whose sums the means of some pixels need, column by column."""
    for i in range(y.size):
        first, last = max(y[i] - reach, 0) // _ROWS, min(y[i] + reach, height - 1) // _ROWS
        for block in range(first, last + 1):
            wanted[block, x[i]] = True


@njit(cache=True, nogil=True)
def _sum_rows(columns: FloatArray, weights: FloatArray, wanted: Indices, fused_end: int, sums: FloatArray) -> None:
    """Sum along x, from the left, for ``_ROWS`` rows at a time; ``columns`` is (x with borders, row)."""
    acc = np.empty(_ROWS, np.float32)
    for x in wanted:
        window = columns[x : x + weights.size]
        for r in range(_ROWS):
            acc[r] = window[0, r] * weights[0]
        if x < fused_end:
            _add_fused(window, weights, acc)
        else:
            _add_apart(window, weights, acc)
        sums[x] = acc


@njit(cache=True, nogil=True)
def _add_fused(window: FloatArray, weights: FloatArray, acc: FloatArray) -> None:
    """Add all but the first, four at a time, so that sums stay in registers meanwhile."""
    whole = 1 + (weights.size - 1) // 4 * 4
    for k in range(1, whole, 4):
        a, b, c, d = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        for r in range(_ROWS):
            near = _fused(window[k + 1, r], b, _fused(window[k, r], a, acc[r]))
            acc[r] = _fused(window[k + 3, r], d, _fused(window[k + 2, r], c, near))
    for k in range(whole, weights.size):
        for r in range(_ROWS):
            acc[r] = _fused(window[k, r], weights[k], acc[r])


@njit(cache=True, nogil=True)
def _add_apart(window: FloatArray, weights: FloatArray, acc: FloatArray) -> None:
    for k in range(1, weights.size):
        for r in range(_ROWS):
            acc[r] += window[k, r] * weights[k]


@njit(cache=True, nogil=True)
def _sum_columns(
    sums: FloatArray, ends: tuple[int, int], weights: FloatArray, pixels: tuple[Indices, Indices], means: FloatArray
) -> None:
    """Sum along y, from the middle outwards."""
    y, x = pixels
    height, fused_end = ends
    middle = weights.size // 2
    for i in range(means.size):
        row = sums[x[i]]
        total = row[y[i]] * weights[middle]
        for k in range(1, middle + 1):
            pair = row[min(y[i] + k, height - 1)] + row[max(y[i] - k, 0)]
            if x[i] < fused_end:
                total = _fused(pair, weights[middle + k], total)
            else:
                total += pair * weights[middle + k]
        means[i] = total
