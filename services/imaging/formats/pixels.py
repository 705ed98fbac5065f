"""What pixels themselves give away: contrast turned round, and a data bar that no metadata mention."""

from __future__ import annotations

from enum import StrEnum

import cv2
import numpy as np

from services.imaging.formats.description import GreyPlane

_SMOOTHING_PX = 1.5
_WIDTH_PX = 9
# Measured on real and simulated slices: the balance was at least 0.023 away from 0 on each (docs/formats.md).
_DECIDED = 0.02
_LARGEST_PX = 2048
# A bar has a flat background: so much of a row has the grey of its last row, and hardly any of the row above it.
_BAR_SHARE, _IMAGE_SHARE = 0.25, 0.1
_SMALLEST_BAR_PX, _LARGEST_BAR_SHARE = 12, 0.2


class Contrast(StrEnum):
    """How stained material looks."""

    METAL_DARK = "metal_dark"
    METAL_BRIGHT = "metal_bright"
    UNDECIDED = "undecided"


def balance_of_lines(plane_yx: GreyPlane) -> float:
    """Return how far thin dark structures outweigh thin bright ones, -1 to 1.

    Membranes are the thinnest stained structures of tissue, so that in images as they are commonly kept (stained
    material dark, as in transmission) dark lines outweigh bright ones; turning the grey round turns the sign.

    Parameters
    ----------
    plane_yx
        (y, x) uint8 or uint16; the middle 2048 x 2048 pixels are looked at.

    Notes
    -----
    Black top-hat against white top-hat (an ellipse 9 pixels wide) after a blur of 1.5 pixels.
    """
    height, width = plane_yx.shape
    y0, x0 = max(0, (height - _LARGEST_PX) // 2), max(0, (width - _LARGEST_PX) // 2)
    middle = np.ascontiguousarray(plane_yx[y0 : y0 + _LARGEST_PX, x0 : x0 + _LARGEST_PX])
    smooth = cv2.GaussianBlur(middle, (0, 0), _SMOOTHING_PX)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_WIDTH_PX, _WIDTH_PX))
    dark, bright = (
        float(np.mean(cv2.morphologyEx(smooth, kind, kernel))) for kind in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT)
    )
    return 0.0 if dark + bright == 0 else (dark - bright) / (dark + bright)


def contrast_of(plane_yx: GreyPlane) -> Contrast:
    """Say whether stained material is dark or bright in a slice; see `balance_of_lines`."""
    balance = balance_of_lines(plane_yx)
    if abs(balance) < _DECIDED:
        return Contrast.UNDECIDED
    return Contrast.METAL_DARK if balance > 0 else Contrast.METAL_BRIGHT


def data_bar_rows(plane_yx: GreyPlane) -> int:
    """Return how many rows at the bottom are a bar of writing on a flat ground; 0 if there is none.

    Examples
    --------
    >>> grey = np.random.default_rng(1).integers(0, 256, (100, 60)).astype(np.uint8)
    >>> data_bar_rows(grey)
    0
    >>> grey[85:] = 40
    >>> grey[90:93, ::2] = 255
    >>> data_bar_rows(grey)
    15
    """
    height = plane_yx.shape[0]
    ground = np.bincount(plane_yx[-1]).argmax()
    shares = (plane_yx == ground).mean(axis=1)
    image = np.flatnonzero(shares < _BAR_SHARE)
    if not len(image):
        return 0
    rows = height - 1 - int(image[-1])
    above = shares[max(0, height - rows - 5) : height - rows]
    fits = _SMALLEST_BAR_PX <= rows <= height * _LARGEST_BAR_SHARE
    return rows if fits and float(above.max(initial=0.0)) < _IMAGE_SHARE else 0
