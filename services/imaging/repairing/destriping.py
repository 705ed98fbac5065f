"""Curtains taken out of a slice: stripes along y that the milling beam leaves."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]
FloatPlane = NDArray[np.float32]

_BAND_NM = 250.0
_AROUND_NM = 500.0
_ALONG_NM = 6000.0
_CLIP = 0.7
_CORE_DEVIATIONS, _FLANK_DEVIATIONS = 3.5, 1.5
_LEAST_GREY = 0.5
_LEAST_AGREEMENT = 0.5
_LEAST_HEIGHT_NM = 8000.0


def destriped(grey: Plane, voxel_yx_nm: tuple[float, float]) -> Plane:
    """Take curtains out of a slice; what is too faint to be told from the specimen stays.

    Parameters
    ----------
    grey
        uint8, shape (y, x).
    voxel_yx_nm
        Size of a pixel.

    Returns
    -------
    ndarray
        uint8, of the same shape; the very array where there are no stripes.

    Notes
    -----
    The slice less its mean over 500 nm along x is clipped at 0.7 robust standard deviations, so that edges of membranes
    count for little, and averaged along y over some 10 um: the specimen averages out, stripes stay. The mean of clipped
    values is raised by the share of pixels that were not clipped (Huber's estimate of location, one step). Filters of
    columns, and of wavelets after Muench et al. 2009, take a stripe for what lasts along y as well, but being linear
    they take away as much from every slice; here a stripe must show 3.5 robust standard deviations, and the same sign
    in three of four bands of 250 nm; then its flanks down to 1.5 belong to it. In less than 8 um along y the specimen
    does not average out, and nothing is done: on real fields of 2.5 and 5 um it took objects for stripes.
    """
    stripes = stripes_of(grey, voxel_yx_nm)
    if not stripes.any():
        return grey
    height = grey.shape[0]
    full = np.asarray(cv2.resize(stripes, (grey.shape[1], height), interpolation=cv2.INTER_LINEAR), np.float32)
    return np.asarray(np.clip(np.rint(grey - full), 0, 255), np.uint8)


def stripes_of(grey: Plane, voxel_yx_nm: tuple[float, float]) -> FloatPlane:
    """Return the stripes of a slice in grey levels, float32, a row for every 250 nm; 0 where there is none."""
    height, width = grey.shape
    bands = max(1, round(height * voxel_yx_nm[0] / _BAND_NM))
    none = np.zeros((bands, width), np.float32)
    if height * voxel_yx_nm[0] < _LEAST_HEIGHT_NM:
        return none
    around = 2 * round(_AROUND_NM / voxel_yx_nm[1] / 2) + 1
    exact = grey.astype(np.float32)
    detail = np.asarray(cv2.subtract(exact, cv2.blur(exact, (around, 1))), np.float32)
    sample = np.abs(detail[:: max(1, height // 500), :: max(1, width // 500)])
    limit = _CLIP * 1.4826 * float(np.median(sample))
    if limit <= 0:
        return none
    inside = np.asarray(np.abs(detail) < limit, np.float32)
    np.clip(detail, -limit, limit, out=detail)
    sums, counts = (_banded(part, bands) for part in (detail, inside))
    signs = cv2.GaussianBlur(np.sign(sums), (3, 1), sigmaX=1)
    sigma = _ALONG_NM / (height * voxel_yx_nm[0] / bands)
    size = (1, 2 * math.ceil(2.5 * sigma) + 1)
    sums, counts, agreement = (
        np.asarray(cv2.GaussianBlur(part, size, sigmaX=1, sigmaY=sigma), np.float32) for part in (sums, counts, signs)
    )
    found = np.asarray(sums / np.maximum(counts, np.float32(0.1)), np.float32)
    spread = max(_LEAST_GREY, 1.4826 * float(np.median(np.abs(found))))
    lasting = np.abs(agreement) > _LEAST_AGREEMENT
    return np.asarray(_with_flanks(found, lasting, spread) - _with_flanks(-found, lasting, spread), np.float32)


def _banded(plane: FloatPlane, bands: int) -> FloatPlane:
    """Average a plane along y over so many bands."""
    return np.asarray(cv2.resize(plane, (plane.shape[1], bands), interpolation=cv2.INTER_AREA), np.float32)


def _with_flanks(found: FloatPlane, lasting: NDArray[np.bool_], spread: float) -> FloatPlane:
    """Keep what is bright beyond doubt, as far as it is bright at all; 0 elsewhere."""
    _, part = cv2.connectedComponents((found > _FLANK_DEVIATIONS * spread).astype(np.uint8), connectivity=4)
    certain = np.zeros(int(part.max()) + 1, bool)
    certain[np.unique(part[lasting & (found > _CORE_DEVIATIONS * spread)])] = True
    certain[0] = False
    return np.asarray(np.where(certain[part], found, 0), np.float32)
