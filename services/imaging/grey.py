"""Grey values: histograms, the mapping to 8 bits that is frozen for an acquisition, and blank planes.

Statistics are computed on whole-number histograms, so they are the same in whatever order slices came.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Histogram = NDArray[np.int64]
# Rows of pixels counted at once: numpy widens what it counts to eight bytes a pixel.
_BLOCK_PX = 2**20


class GreyStatisticsError(ValueError):
    """There are no pixels to take statistics of, or they are all the same."""


@dataclass(frozen=True, slots=True)
class GreyStatistics:
    """A mapping of grey to 8 bits, and the statistics of what it gives.

    Attributes
    ----------
    low, high
        Raw grey that becomes 0 and 255.
    mean, sd
        Of the mapped grey, 0 to 255.
    """

    low: float
    high: float
    mean: float
    sd: float


def histogram(plane_yx: NDArray[np.uint8 | np.uint16]) -> Histogram:
    """Count the pixels of each grey value.

    Returns
    -------
    ndarray
        (256,) or (65536,) int64, by the plane's dtype.

    Examples
    --------
    >>> counts = histogram(np.array([[3, 3], [0, 255]], np.uint8))
    >>> counts.shape, counts[[0, 3, 255]].tolist()
    ((256,), [1, 2, 1])
    """
    levels = int(np.iinfo(plane_yx.dtype).max) + 1
    counts = np.zeros(levels, np.int64)
    flat = np.ravel(plane_yx)
    for start in range(0, flat.size, _BLOCK_PX):
        counts += np.bincount(flat[start : start + _BLOCK_PX], minlength=levels)
    return counts


def is_blank(counts: Histogram, *, spread_levels: int = 2, outlier_share: float = 0.002) -> bool:
    """Say whether a plane shows nothing: nearly all of it has nearly one grey value.

    Black frames, saturated frames and frames of a beam that was off are constant but for a few hot pixels
    and the last bits of the detector.

    Parameters
    ----------
    counts
        Histogram of the plane.
    spread_levels
        Grey values within this distance count as one.
    outlier_share
        Share of the pixels that may lie elsewhere.

    Examples
    --------
    >>> is_blank(histogram(np.full((9, 9), 17, np.uint8)))
    True
    >>> is_blank(histogram(np.arange(81, dtype=np.uint8).reshape(9, 9)))
    False
    """
    total = int(counts.sum())
    cumulative = np.concatenate([[0], np.cumsum(counts)])
    width = min(spread_levels + 1, len(counts))
    fullest = int((cumulative[width:] - cumulative[:-width]).max())
    return fullest >= total * (1.0 - outlier_share)


def freeze(
    histograms: Sequence[Histogram],
    *,
    low_percentile: float = 0.1,
    high_percentile: float = 99.9,
    inverted: bool = False,
) -> GreyStatistics:
    """Return the grey mapping of an acquisition from the histograms of its first slices.

    8-bit grey is kept as it is (low 0, high 255). 16-bit grey is stretched between two percentiles.

    Parameters
    ----------
    histograms
        One per slice, all of one length (256 or 65536).
    low_percentile, high_percentile
        Of all pixels together; used for 16 bits only.
    inverted
        Whether grey is turned round once it is mapped, so that `high` becomes 0; the moments are those of the result.

    Raises
    ------
    GreyStatisticsError
        If there is nothing to measure, or all pixels are the same.

    Examples
    --------
    >>> freeze([histogram(np.array([[100, 200]], np.uint8))])
    GreyStatistics(low=0.0, high=255.0, mean=150.0, sd=50.0)
    """
    counts: Histogram = np.sum(histograms, axis=0, dtype=np.int64) if histograms else np.zeros(0, np.int64)
    levels = np.flatnonzero(counts)
    if len(levels) < 2:
        raise GreyStatisticsError("the first slices have fewer than two grey values")
    low, high = 0, 255
    if len(counts) > 256:
        low, high = _level(counts, low_percentile), _level(counts, high_percentile)
        if low >= high:
            low, high = int(levels[0]), int(levels[-1])
    mapped = _lookup(len(counts), float(low), float(high))[levels]
    if inverted:
        mapped = np.invert(mapped)
    mean, sd = _moments(counts[levels], mapped)
    return GreyStatistics(float(low), float(high), mean, sd)


def to_uint8(
    plane_yx: NDArray[np.uint8 | np.uint16], low: float, high: float, *, inverted: bool = False
) -> NDArray[np.uint8]:
    """Map raw grey to 8 bits: `low` to 0, `high` to 255, linearly, clipped, rounded to the nearest.

    Parameters
    ----------
    plane_yx
        (y, x) uint8 or uint16.
    low, high
        As frozen for the acquisition; 0 and 255 leave an 8-bit plane as it is (the same array).
    inverted
        Whether to turn the result round, 0 to 255 and 255 to 0.

    Examples
    --------
    >>> to_uint8(np.array([[0, 1000, 1510, 3000]], np.uint16), 1000, 2020).tolist()
    [[0, 0, 128, 255]]
    >>> to_uint8(np.array([[0, 7, 255]], np.uint8), 0, 255, inverted=True).tolist()
    [[255, 248, 0]]
    """
    if inverted:
        return np.invert(to_uint8(plane_yx, low, high))
    if plane_yx.dtype == np.uint8 and (low, high) == (0, 255):
        return plane_yx.astype(np.uint8, copy=False)
    return _lookup(int(np.iinfo(plane_yx.dtype).max) + 1, low, high)[plane_yx]


def _lookup(levels: int, low: float, high: float) -> NDArray[np.uint8]:
    stretched = np.rint((np.arange(levels, dtype=np.float64) - low) * 255.0 / (high - low))
    return np.clip(stretched, 0, 255).astype(np.uint8)


def _level(counts: Histogram, percentile: float) -> int:
    """Return the smallest grey value that at least `percentile` of the pixels do not exceed."""
    cumulative = np.cumsum(counts)
    return int(np.searchsorted(cumulative, percentile / 100.0 * float(cumulative[-1])))


def _moments(counts: Histogram, values: NDArray[np.uint8]) -> tuple[float, float]:
    """Return mean and standard deviation, exact until the last division."""
    total = int(counts.sum())
    first = sum(int(count) * int(value) for count, value in zip(counts, values, strict=True))
    second = sum(int(count) * int(value) ** 2 for count, value in zip(counts, values, strict=True))
    sd = math.sqrt(max(0, total * second - first * first)) / total
    if sd == 0:
        raise GreyStatisticsError("the first slices have one grey value once mapped to 8 bits")
    return first / total, sd
