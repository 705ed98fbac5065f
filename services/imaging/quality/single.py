"""What one slice says by itself, at its full resolution."""

import itertools
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.imaging.quality.kernels import LAGS, displaced_energies, neighbour_energies
from services.imaging.quality.reducing import FloatPlane, Plane

_BAND_NM, _STRIPE_NM, _AROUND_NM = 1000.0, 16.0, 300.0
_TAIL_NM, _TAIL_BLOCK_NM = 400.0, 120.0
_TEAR_BIN_NM, _TEAR_BINS = 32.0, 7


@dataclass(frozen=True, slots=True)
class SingleScores:
    """Measures of one slice.

    Attributes
    ----------
    mean_grey, contrast_grey
        Mean and standard deviation of the grey levels.
    clipped_pct
        Share of pixels that are 0 or 255, in per cent.
    sharpness_y, sharpness_x
        Part of the change of grey over four pixels that happens between the first and the second, along an axis: the
        structure function at 1, 2 and 4 pixels. White noise adds the same to all three and so drops out; blur takes
        from the first steps more than from the last. Higher is sharper; no unit.
    stripe_ratio
        Largest step of the mean grey from one line to the next, in robust standard deviations of all such steps.
    tear_ratio
        How much better a line fits to the next if it is displaced, by up to 220 nm along x, than as it lies: ratio of
        the mean squared differences, of the worst line. At most about 1 where no line is displaced.
    curtain_pct
        Stripes along y: root of the covariance of the column means of neighbouring bands of 1 um, without what is
        wider than 300 nm, in per cent of the mean grey; negative where the covariance is.
    tail_pct
        How much darker it is 400 nm behind what is bright, along the fast axis x, than before it, in per cent of the
        mean grey: the trail of charge. 0 where both sides are alike.
    """

    mean_grey: float
    contrast_grey: float
    clipped_pct: float
    sharpness_y: float
    sharpness_x: float
    stripe_ratio: float
    tear_ratio: float
    curtain_pct: float
    tail_pct: float


def measured(grey: Plane, voxel_yx_nm: tuple[float, float]) -> SingleScores:
    """Measure one slice.

    Parameters
    ----------
    grey
        uint8, shape (y, x), at least 32 pixels along each axis.
    voxel_yx_nm
        Size of a pixel.
    """
    grey = np.ascontiguousarray(grey)
    counts = np.asarray(cv2.calcHist([grey], [0], None, [256], [0, 256]), dtype=np.float64).ravel()
    share = counts / counts.sum()
    levels = np.arange(256)
    mean = float(share @ levels)
    along_x, along_y = neighbour_energies(grey)
    rows = np.asarray(cv2.reduce(grey, 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F), dtype=np.float32).ravel()
    return SingleScores(
        mean_grey=mean,
        contrast_grey=math.sqrt(max(0.0, float(share @ (levels - mean) ** 2))),
        clipped_pct=100 * float(share[0] + share[255]),
        sharpness_y=_sharpness(along_y),
        sharpness_x=_sharpness(along_x),
        stripe_ratio=_stripe_ratio(rows),
        tear_ratio=_tear_ratio(grey, voxel_yx_nm),
        curtain_pct=_curtain_pct(grey, voxel_yx_nm, mean),
        tail_pct=_tail_pct(grey, voxel_yx_nm, mean),
    )


def _sharpness(energies: NDArray[np.int64]) -> float:
    """Structure function at 2 less at 1, over that at 4 less at 1; from whole-number sums, so exact."""
    one, two, four = (int(energies[lag - 1, :-LAGS].sum()) for lag in (1, 2, 4))
    return (two - one) / (four - one) if four > one else 0.0


def _stripe_ratio(rows: NDArray[np.float32]) -> float:
    steps = np.diff(rows.astype(np.float64))
    steps -= np.median(steps)
    spread = 1.4826 * float(np.median(np.abs(steps)))
    return float(np.max(np.abs(steps))) / spread if spread > 0 else 0.0


def _tear_ratio(grey: Plane, voxel_yx_nm: tuple[float, float]) -> float:
    bin_px = max(1, round(_TEAR_BIN_NM / voxel_yx_nm[1]))
    bins = grey.shape[1] // bin_px
    if bins < 8 * _TEAR_BINS:
        return 0.0
    edges = np.arange(0, bins * bin_px, bin_px)
    binned = np.add.reduceat(grey[:, : bins * bin_px], edges, axis=1, dtype=np.int32)
    straight, least = displaced_energies(binned, _TEAR_BINS)
    return float(np.max(straight / np.maximum(least, 1e-6)))


def _odd_px(length_nm: float, voxel_nm: float) -> int:
    return max(3, 2 * round(length_nm / voxel_nm / 2) + 1)


def _curtain_pct(grey: Plane, voxel_yx_nm: tuple[float, float], mean: float) -> float:
    rows = max(1, round(_BAND_NM / voxel_yx_nm[0]))
    bands = max(2, grey.shape[0] // rows)
    edges = np.linspace(0, grey.shape[0], bands + 1).astype(int)
    means = [cv2.reduce(grey[a:b], 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F) for a, b in itertools.pairwise(edges)]
    profiles = np.concatenate(means).astype(np.float32)
    width = max(0.3, _STRIPE_NM / voxel_yx_nm[1])
    fine = cv2.GaussianBlur(profiles, (_odd_px(6 * width, 1.0), 1), width)
    stripes = np.asarray(fine) - np.asarray(cv2.blur(fine, (_odd_px(_AROUND_NM, voxel_yx_nm[1]), 1)))
    persistent = float(np.mean(stripes[1:] * stripes[:-1], dtype=np.float64))
    return 100 * math.copysign(math.sqrt(abs(persistent)), persistent) / mean if mean > 0 else 0.0


def _tail_pct(grey: Plane, voxel_yx_nm: tuple[float, float], mean: float) -> float:
    size = [max(2, round(n * voxel / _TAIL_BLOCK_NM)) for n, voxel in zip(grey.shape, voxel_yx_nm, strict=True)]
    small: FloatPlane = np.asarray(cv2.resize(grey, (size[1], size[0]), interpolation=cv2.INTER_AREA), dtype=np.float32)
    reach = max(1, round(_TAIL_NM / (voxel_yx_nm[1] * grey.shape[1] / size[1])))
    if size[1] <= 2 * reach or mean <= 0:
        return 0.0
    bright = np.maximum(small - np.percentile(small, 75), 0)[:, reach:-reach]
    weight = float(bright.sum())
    difference = float((bright * (small[:, : -2 * reach] - small[:, 2 * reach :])).sum())
    return 100 * difference / weight / mean if weight > 0 else 0.0
