"""What a slice says beside one before it: how far the field moved, how much was milled away, what is new.

Both are reduced slices (`reducing`). Nothing here knows what is usual; `judging` learns that from the run.
"""

import itertools
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.imaging.quality.reducing import FloatPlane, Reduced, filtered

_BORDER_BLOCKS = 3
_LEAST_BLOCKS = 12
_BAND_NM = 1000.0
_SLOW_NM = 250.0
_NEW_NM = 80.0
_TAIL_NM = 400.0
_NEW_DEVIATIONS, _NEW_LEAST_GREY = 8.0, 10.0


class OtherSizeError(ValueError):
    """Two slices whose reduced planes have other shapes or blocks."""


@dataclass(frozen=True, slots=True)
class PairScores:
    """Comparison of a slice with a reference before it.

    Attributes
    ----------
    shift_y_nm, shift_x_nm
        Where the reference's content lies in this slice, less where it lay. Peak of the cross-correlation of the
        filtered planes, refined by parabolas.
    decorrelation
        1 less the correlation of the structure of both after the shift: 0 for the same surface, more the deeper was
        milled. Noise neither adds to it nor takes from it: the noise of two images is independent, so that it is not
        in their covariance, and its power (`reducing`) is taken out of their variances. 1 where nothing is alike.
    sameness
        Power of what differs after the shift, in units of what the noise of both explains: about 1 where nothing was
        milled, about 0 where the very image came again, more where structure changed.
    new_um2
        Area of the largest spot that differs by more than 8 robust standard deviations, and 10 grey levels, after
        smoothing over 80 nm.
    tail_change_pct
        How much darker it became 400 nm behind what is bright, along the fast axis x, than before it, in per cent of
        the mean grey: a new trail of charge. What the specimen itself has of this is in both slices and drops out.
    slow_change_grey
        Change of grey, smoothed over 250 nm, that is not the same all over the field: robust standard deviation.
    curtain_change_pct
        New stripes along y: root of the covariance of the column means of neighbouring bands of 1 um of the
        difference, in per cent of the mean grey; negative where the covariance is.
    """

    shift_y_nm: float
    shift_x_nm: float
    decorrelation: float
    sameness: float
    new_um2: float
    tail_change_pct: float
    slow_change_grey: float
    curtain_change_pct: float


def compared(current: Reduced, reference: Reduced) -> PairScores:
    """Compare a slice with one before it.

    Raises
    ------
    OtherSizeError
        If the two have not the same size.
    """
    _require_same_size(current, reference)
    here, there = filtered(current.plane), filtered(reference.plane)
    shift = shift_blocks(here, there)
    overlap = _overlap(here.shape, shift)
    moved = _moved(there, shift)[overlap]
    here = here[overlap]
    powers = [_power(here) - current.noise_grey2, _power(moved) - reference.noise_grey2]
    structure = math.sqrt(max(powers[0], 0.0) * max(powers[1], 0.0))
    covariance = float(np.mean(here * moved, dtype=np.float64))
    gain = math.sqrt(powers[0] / powers[1]) if min(powers) > 0 else 1.0
    difference = here - np.float32(gain) * moved
    noise = current.noise_grey2 + gain**2 * reference.noise_grey2
    grey, change = _grey_change(current, reference, shift, overlap)
    return PairScores(
        shift_y_nm=shift[0] * current.block_yx_nm[0],
        shift_x_nm=shift[1] * current.block_yx_nm[1],
        decorrelation=min(1.0, max(0.0, 1 - covariance / structure)) if structure > 0 else 1.0,
        sameness=_power(difference) / noise if noise > 0 else 0.0,
        new_um2=_new_um2(change, current),
        tail_change_pct=_tail_change_pct(grey, change, current),
        slow_change_grey=robust_sd(_smooth(change, _SLOW_NM, current)),
        curtain_change_pct=_curtain_pct(difference, current),
    )


def shift_blocks(here: FloatPlane, there: FloatPlane) -> tuple[float, float]:
    """Find how far the content of one filtered plane moved to lie as in another, in blocks along y and x.

    Examples
    --------
    >>> plane = np.random.default_rng(1).normal(size=(64, 48)).astype(np.float32)
    >>> [round(shift) for shift in shift_blocks(np.roll(plane, (5, -3), (0, 1)), plane)]
    [5, -3]
    """
    size = here.shape
    spectra = [np.fft.rfft2(_windowed(plane)) for plane in (here, there)]
    product = spectra[0] * np.conj(spectra[1])
    correlation = np.fft.irfft2(product, size)
    peak = np.unravel_index(int(np.argmax(correlation)), size)
    found = []
    for axis in (0, 1):
        low, high = list(peak), list(peak)
        low[axis], high[axis] = (peak[axis] - 1) % size[axis], (peak[axis] + 1) % size[axis]
        before, middle, after = (float(correlation[tuple(place)]) for place in (low, peak, high))
        bend = before - 2 * middle + after
        fraction = 0.5 * (before - after) / bend if bend < 0 else 0.0
        whole = int(peak[axis])
        found.append((whole - size[axis] if whole > size[axis] // 2 else whole) + fraction)
    return float(found[0]), float(found[1])


def _windowed(plane: FloatPlane) -> FloatPlane:
    """Fade a plane out at its border, so that what leaves on one side does not come in on the other."""
    height, width = plane.shape
    edge_y, edge_x = (
        np.minimum(1.0, (np.minimum(k, k[::-1]) + 0.5) / max(1.0, 0.1 * len(k)))
        for k in (np.arange(height), np.arange(width))
    )
    return np.asarray(plane * edge_y[:, None] * edge_x[None, :], dtype=np.float32)


def _require_same_size(current: Reduced, reference: Reduced) -> None:
    if current.plane.shape != reference.plane.shape or current.block_yx_nm != reference.block_yx_nm:
        raise OtherSizeError(
            f"a slice of {current.plane.shape} blocks of {current.block_yx_nm} nm cannot be compared with one of"
            f" {reference.plane.shape} blocks of {reference.block_yx_nm} nm"
        )


def _overlap(shape: tuple[int, ...], shift: tuple[float, float]) -> tuple[slice, slice]:
    """Return the part that both show, without a border; all of it where too little would be left."""
    parts = []
    for size, distance in zip(shape, shift, strict=True):
        first = _BORDER_BLOCKS + max(0, math.ceil(distance))
        last = size - _BORDER_BLOCKS + min(0, math.floor(distance))
        parts.append(slice(first, last) if last - first >= _LEAST_BLOCKS else slice(0, size))
    return parts[0], parts[1]


def _moved(plane: FloatPlane, shift: tuple[float, float]) -> FloatPlane:
    """Move a plane by parts of blocks, with Lanczos' kernel; by none at all it stays as it is."""
    if max(map(abs, shift)) < 1e-3:
        return plane
    matrix = np.array([[1, 0, shift[1]], [0, 1, shift[0]]], dtype=np.float64)
    size = (plane.shape[1], plane.shape[0])
    return np.asarray(
        cv2.warpAffine(plane, matrix, size, flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT), dtype=np.float32
    )


def _power(plane: FloatPlane) -> float:
    return float(np.mean(np.square(plane), dtype=np.float64))


def robust_sd(values: NDArray[np.float32]) -> float:
    """Return the standard deviation of normal values with the same median absolute deviation.

    Examples
    --------
    >>> round(robust_sd(np.array([1.0, 2.0, 3.0, 4.0, 900.0], dtype=np.float32)), 4)
    1.4826
    """
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _grey_change(
    current: Reduced, reference: Reduced, shift: tuple[float, float], overlap: tuple[slice, slice]
) -> tuple[FloatPlane, FloatPlane]:
    """Return the reference where the slice lies, and the change of grey from it but for contrast and brightness."""
    here = current.plane.astype(np.float32)[overlap]
    moved = _moved(reference.plane.astype(np.float32), shift)[overlap]
    spread = robust_sd(moved)
    gain = robust_sd(here) / spread if spread > 0 else 1.0
    return moved, np.asarray(here - np.median(here) - np.float32(gain) * (moved - np.median(moved)), dtype=np.float32)


def _smooth(plane: FloatPlane, sigma_nm: float, current: Reduced) -> FloatPlane:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), max(0.5, sigma_nm / max(current.block_yx_nm))), dtype=np.float32)


def _new_um2(change: FloatPlane, current: Reduced) -> float:
    smooth = _smooth(change, _NEW_NM, current)
    limit = max(_NEW_DEVIATIONS * robust_sd(smooth), _NEW_LEAST_GREY)
    _, _, found, _ = cv2.connectedComponentsWithStats((np.abs(smooth) > limit).astype(np.uint8), connectivity=8)
    largest = int(found[1:, cv2.CC_STAT_AREA].max()) if len(found) > 1 else 0
    return largest * current.block_yx_nm[0] * current.block_yx_nm[1] / 1e6


def _tail_change_pct(grey: FloatPlane, change: FloatPlane, current: Reduced) -> float:
    reach = max(1, round(_TAIL_NM / current.block_yx_nm[1]))
    mean = float(current.plane.mean())
    if change.shape[1] <= 4 * reach or mean <= 0:
        return 0.0
    smooth = _smooth(grey, _NEW_NM, current)
    bright = np.maximum(smooth - np.percentile(smooth, 75), 0)[:, reach:-reach]
    darker = _smooth(change, _NEW_NM, current)
    difference = darker[:, : -2 * reach] - darker[:, 2 * reach :]
    weight = float(bright.sum())
    return 100 * float((bright * difference).sum()) / weight / mean if weight > 0 else 0.0


def _curtain_pct(difference: FloatPlane, current: Reduced) -> float:
    rows = max(1, round(_BAND_NM / current.block_yx_nm[0]))
    bands = max(2, difference.shape[0] // rows)
    edges = np.linspace(0, difference.shape[0], bands + 1).astype(int)
    profiles = np.stack([difference[a:b].mean(axis=0) for a, b in itertools.pairwise(edges)])
    persistent = float(np.mean(profiles[1:] * profiles[:-1], dtype=np.float64))
    grey = float(current.plane.mean())
    return 100 * math.copysign(math.sqrt(abs(persistent)), persistent) / grey if grey > 0 else 0.0
