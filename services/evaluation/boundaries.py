"""Boundary F: whether outlines lie where the true ones do (Csurka et al. 2013)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.evaluation.hits import Hits

Mask = NDArray[np.bool_]
MOST_TOLERANCE_PX = 50.0
_CROSS = ndimage.generate_binary_structure(2, 1)


class ToleranceError(ValueError):
    """A tolerance is negative, no number, or so large that everything is a hit."""


def boundary(mask_yx: Mask, counted_yx: Mask) -> Mask:
    """Return the pixels of a mask that have a 4-neighbour outside of it.

    Neither the edge of the image nor a pixel that does not count makes a boundary: nobody knows what lies there.

    Parameters
    ----------
    mask_yx
        bool (y, x).
    counted_yx
        bool (y, x); where there is a truth.

    Examples
    --------
    >>> mask = np.array([[1, 1, 1, 0, 0]], bool)
    >>> boundary(mask, np.ones((1, 5), bool)).astype(int).tolist()
    [[0, 0, 1, 0, 0]]
    """
    outside = counted_yx & ~mask_yx
    edge: Mask = mask_yx & counted_yx & ndimage.binary_dilation(outside, _CROSS)
    return edge


def boundary_hits(truth_yx: Mask, prediction_yx: Mask, counted_yx: Mask, tolerance_px: float) -> Hits:
    """Count boundary pixels, and those that have a boundary pixel of the other mask within a distance.

    Csurka, Larlus and Perronnin, What is a good evaluation measure for semantic segmentation?, BMVC 2013: precision is
    the share of the predicted boundary within the tolerance of the true one, recall the share of the true boundary
    within the tolerance of the predicted one; distances are Euclidean. Boundary pixels that lie within the tolerance
    of a pixel that does not count are left out, since what they may match is not known.

    Parameters
    ----------
    truth_yx, prediction_yx
        bool (y, x), one class in truth and prediction.
    counted_yx
        bool (y, x); where there is a truth.
    tolerance_px
        Largest distance between pixel centres that is still a hit, 0 to 50.

    Returns
    -------
    numpy.ndarray
        int64 (4,), see `services.evaluation.hits`.

    Raises
    ------
    ToleranceError
        If the tolerance is not within those bounds.

    Examples
    --------
    >>> truth = np.array([[1, 1, 0, 0, 0, 0]], bool)
    >>> found = np.array([[1, 1, 1, 1, 0, 0]], bool)
    >>> boundary_hits(truth, found, np.ones((1, 6), bool), 1.0).tolist()
    [0, 1, 0, 1]
    >>> boundary_hits(truth, found, np.ones((1, 6), bool), 2.0).tolist()
    [1, 1, 1, 1]
    """
    if not 0.0 <= tolerance_px <= MOST_TOLERANCE_PX:
        raise ToleranceError(f"a tolerance of {tolerance_px:g} px is not 0 to {MOST_TOLERANCE_PX:g} px")
    true_edge, found_edge = boundary(truth_yx, counted_yx), boundary(prediction_yx, counted_yx)
    judged = ~_within(~counted_yx, tolerance_px)
    true, found = true_edge & judged, found_edge & judged
    hit_found = found & _within(true_edge, tolerance_px)
    hit_true = true & _within(found_edge, tolerance_px)
    return np.array([np.count_nonzero(part) for part in (hit_found, found, hit_true, true)], np.int64)


def _within(mask_yx: Mask, distance_px: float) -> Mask:
    """Return the pixels no further than so many pixels from a mask, by a dilation that is exact in integers."""
    reach = int(distance_px)
    steps = np.arange(-reach, reach + 1)
    disc = (steps[:, None] ** 2 + steps[None, :] ** 2 <= distance_px**2).astype(np.uint8)
    near: Mask = np.asarray(cv2.dilate(mask_yx.astype(np.uint8), disc), np.bool_)
    return near
