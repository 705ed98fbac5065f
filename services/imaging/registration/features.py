"""Where one plane lies on another when nothing is known: SIFT features, matched, and what most of them agree on.

Lowe 2004 (IJCV 60:91) for the features; ratio 0.92 and a robust rigid model as the field's habits are (Fiji's Linear
Stack Alignment with SIFT; domain.md, Alignment habits).
"""

from __future__ import annotations

import math
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from services.imaging.registration.affine import Affine
from services.imaging.registration.planes import Grey, Pyramid, reduced, reduction_of

LARGEST_FEATURE_PLANE_PX = 160_000
_MOST_FEATURES = 1500
_LEAST_CONTRAST, _EDGE, _NOISE = 0.02, 10, 1.6
_RATIO = 0.92
_TOLERANCE_PX = 3.0
_LEAST_AGREEING = 8
_LEAST_SHARE = 0.05
_LARGEST_DISTORTION = 0.25


class Features:
    """The SIFT features of a plane; found when they are asked for.

    Parameters
    ----------
    pyramid
        The plane. One of more than 160,000 pixels is reduced first: features need to be right to a few pixels only.
    """

    def __init__(self, pyramid: Pyramid) -> None:
        self._pyramid = pyramid

    @cached_property
    def found(self) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Places (y, x) from the middle of the plane, in its pixels, (n, 2); descriptors (n, 128)."""
        plane = self._pyramid.plane
        factor = reduction_of((plane.shape[0], plane.shape[1]), LARGEST_FEATURE_PLANE_PX)
        small = _levelled(reduced(plane, factor))
        sift = cv2.SIFT.create(_MOST_FEATURES, 3, _LEAST_CONTRAST, _EDGE, _NOISE)
        points, descriptors = sift.detectAndCompute(small, None)
        if descriptors is None or not points:
            return np.zeros((0, 2)), np.zeros((0, 128), np.float32)
        places = np.array([point.pt[::-1] for point in points], np.float64)
        whole = factor * places + (factor - 1) / 2 - np.array(self._pyramid.centre_yx)
        return whole, np.asarray(descriptors, np.float32)


def _levelled(grey: Grey) -> Grey:
    """Stretch grey to its range, so that a restart with other contrast changes no feature."""
    low, high = (float(value) for value in np.percentile(grey, (0.5, 99.5)))
    if high <= low:
        return grey
    return np.asarray(np.clip((grey.astype(np.float32) - low) * (255 / (high - low)), 0, 255), np.uint8)


def matched(fixed: Features, moving: Features) -> Affine | None:
    """Return the rigid map, with scale, from moving to fixed that most matched features agree on; None without any.

    Both are counted from the middles of their planes. Translation is what remains of it where they agree on nothing
    finer; the caller refines it in any case.
    """
    (there, of_fixed), (here, of_moving) = fixed.found, moving.found
    if min(len(there), len(here)) < _LEAST_AGREEING:
        return None
    pairs = [
        (best.queryIdx, best.trainIdx)
        for best, second in (
            two for two in cv2.BFMatcher(cv2.NORM_L2).knnMatch(of_moving, of_fixed, 2) if len(two) == 2
        )
        if best.distance < _RATIO * second.distance
    ]
    if len(pairs) < _LEAST_AGREEING:
        return None
    source = np.array([here[first] for first, _ in pairs])
    target = np.array([there[second] for _, second in pairs])
    # OpenCV draws its samples from a generator with a fixed seed: the same points give the same map.
    matrix, agreeing = cv2.estimateAffinePartial2D(
        source[:, ::-1].copy(), target[:, ::-1].copy(), method=cv2.RANSAC, ransacReprojThreshold=_TOLERANCE_PX,
        maxIters=4000, confidence=0.999,
    )  # fmt: skip
    if matrix is None or not np.isfinite(matrix).all():
        return None
    count = int(np.count_nonzero(agreeing))
    if count < max(_LEAST_AGREEING, math.ceil(_LEAST_SHARE * len(pairs))):
        return None
    (xx, xy, shift_x), (yx, yy, shift_y) = (tuple(float(value) for value in row) for row in matrix)
    found = Affine(yy, yx, xy, xx, shift_y, shift_x)
    return found if found.distortion <= _LARGEST_DISTORTION else None
