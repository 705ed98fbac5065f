"""Steps of brightness and contrast taken out, so that slices keep the grey with which their run began.

The mean and the contrast of a slice change with the specimen too: by 16 grey levels and 40 % in phantoms where nuclei
come and go. So no slice is compared with the beginning of the run, but with its neighbour, which shows the same, and
only where judging told of a step; what such steps add up to is what the detector has moved since the beginning.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]

_LARGEST_RATIO = math.log(4.0)


@dataclass(frozen=True, slots=True)
class Shift:
    """How far the detector has moved since the beginning of a run.

    Attributes
    ----------
    grey
        Brightness, in grey levels.
    log_contrast
        Logarithm of the ratio of contrasts.
    """

    grey: float = 0.0
    log_contrast: float = 0.0


NO_SHIFT = Shift()


@dataclass(frozen=True, slots=True)
class Level:
    """Where the detector stands after a slice; the default before the first.

    Attributes
    ----------
    now, before
        The shift of the slice, and that before the last step.
    grey, log_contrast
        Mean and logarithm of the contrast that the last good slice would have without its shift; None before it.
    """

    now: Shift = NO_SHIFT
    before: Shift = NO_SHIFT
    grey: float | None = None
    log_contrast: float = 0.0


def level_after(level: Level, mean_grey: float, log_contrast: float, *, stepped: bool) -> Level:
    """Return where the detector stands with the next good slice in z order.

    Parameters
    ----------
    level
        After the slice before.
    mean_grey, log_contrast
        Of the slice.
    stepped
        Whether judging told of a step of brightness. A step back is not told, so that the shift before the last step is
        taken again where it fits better.

    Examples
    --------
    >>> level = level_after(Level(), 170.0, 3.0, stepped=False)
    >>> level = level_after(level, 182.0, 3.0, stepped=True)
    >>> level.now, level_after(level, 183.0, 3.0, stepped=False).now
    (Shift(grey=12.0, log_contrast=0.0), Shift(grey=12.0, log_contrast=0.0))
    >>> level_after(level, 171.0, 3.0, stepped=False).now
    Shift(grey=0.0, log_contrast=0.0)
    """
    now, before = level.now, level.before
    if level.grey is not None and stepped:
        now, before = _rounded(Shift(mean_grey - level.grey, log_contrast - level.log_contrast)), now
    elif level.grey is not None and abs(mean_grey - before.grey - level.grey) < abs(mean_grey - now.grey - level.grey):
        now, before = before, now
    return dataclasses.replace(
        level, now=now, before=before, grey=mean_grey - now.grey, log_contrast=log_contrast - now.log_contrast
    )


def _rounded(shift: Shift) -> Shift:
    return Shift(round(shift.grey, 2), round(min(_LARGEST_RATIO, max(-_LARGEST_RATIO, shift.log_contrast)), 4))


def regained(grey: Plane, shift: Shift) -> Plane:
    """Take a shift of the detector out of a slice.

    Parameters
    ----------
    grey
        uint8, shape (y, x).
    shift
        How far the detector has moved.

    Returns
    -------
    ndarray
        uint8, of the same shape; the very array where the detector has not moved. What was cut off at 0 or 255 is lost.

    Examples
    --------
    >>> regained(np.array([[100, 140]], np.uint8), Shift(12.0, 0.0)).tolist()
    [[88, 128]]
    """
    if shift == NO_SHIFT:
        return grey
    mean = float(cv2.mean(grey)[0])
    levels = (np.arange(256) - mean) * math.exp(-shift.log_contrast) + mean - shift.grey
    return np.asarray(cv2.LUT(grey, np.clip(np.rint(levels), 0, 255).astype(np.uint8)), np.uint8)
