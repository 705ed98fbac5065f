"""Detection of nuclei in one slice: no state, no memory of other slices."""

import math

import cv2
import numpy as np
import numpy.typing as npt

from services.extract.contours import count_vertices, solidity, trace_contours
from services.extract.learned import find_learned
from services.extract.membranes import find_membranes
from services.extract.outlines import Outline, PixelPoints, make_outline
from services.extract.polygons import signed_area
from services.extract.profiles import DetectionProfile
from services.extract.thresholds import threshold_against_mean

GreyImage = npt.NDArray[np.uint8]
_LEAST_KERNEL_PX = 3


class DetectionInputError(ValueError):
    """A slice that detection cannot read: not two-dimensional uint8, or a voxel size outside 1 to 1000 nm."""


def detect(grey: GreyImage, profile: DetectionProfile, voxel_yx_nm: tuple[float, float]) -> tuple[Outline, ...]:
    """Find the outlines of the nuclei in one slice.

    Parameters
    ----------
    grey
        uint8, (y, x), metal dark.
    profile
        Settings, in nm.
    voxel_yx_nm
        Size of a pixel along y and x. Pixels that are not square are resampled to squares of the larger size first.

    Returns
    -------
    tuple of Outline
        In the order of their centroids (y, then x). Empty for a blank slice.

    Raises
    ------
    DetectionInputError
        If ``grey`` is not uint8 and two-dimensional or a pixel size is not in [1, 1000] nm.
    """
    if grey.ndim != 2 or grey.dtype != np.uint8 or min(grey.shape) < 1:
        raise DetectionInputError(f"detection needs a uint8 (y, x) image; got {grey.dtype} of shape {grey.shape}")
    if not all(1.0 <= size <= 1000.0 for size in voxel_yx_nm):
        raise DetectionInputError(f"a pixel is between 1 and 1000 nm; got {voxel_yx_nm}")
    square, voxel_nm, shape = _square_pixels(grey, voxel_yx_nm)
    if profile.method == "network":
        found = find_learned(square, profile, voxel_nm)
    elif profile.method == "rings":
        found = [outline for _, outline in find_membranes(square, profile, voxel_nm)]
    else:
        found = _find_contours(square, profile, voxel_nm)
    if square.shape != grey.shape:
        found = [_stretched(outline, square.shape, shape) for outline in found]
    return tuple(sorted(found, key=lambda outline: (outline.centroid_yx_px, outline.area_px)))


def odd_kernel_px(length_nm: float, voxel_nm: float) -> int:
    """Nearest odd number of pixels to a length, at least 3.

    Examples
    --------
    >>> odd_kernel_px(44.0, 4.0), odd_kernel_px(2508.0, 16.0), odd_kernel_px(28.0, 40.0)
    (11, 157, 3)
    """
    return max(_LEAST_KERNEL_PX, 2 * math.floor(length_nm / voxel_nm / 2) + 1)


def _find_contours(grey: GreyImage, profile: DetectionProfile, voxel_nm: float) -> list[Outline]:
    """Blur, threshold against the neighbourhood, draw the edges, and keep the elliptical contours of the right size."""
    kernel = odd_kernel_px(profile.blur_kernel_nm, voxel_nm)
    sigma = profile.blur_sigma_nm / voxel_nm
    blurred = np.asarray(cv2.GaussianBlur(grey, (kernel, kernel), sigma), np.uint8)
    window = odd_kernel_px(profile.threshold_window_nm, voxel_nm)
    bright = threshold_against_mean(blurred, window, profile.threshold_offset_grey)
    size = odd_kernel_px(profile.gradient_kernel_nm, voxel_nm)
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    edges = bright
    for _ in range(profile.gradient_repeats):
        edges = np.asarray(cv2.morphologyEx(edges, cv2.MORPH_GRADIENT, ellipse), np.uint8)
    contours = trace_contours(edges, profile.min_area_um2 * 1e6 / voxel_nm**2)
    shape = (grey.shape[0], grey.shape[1])
    return [make_outline(points, shape) for points in contours if _is_nucleus(points, profile, voxel_nm)]


def _is_nucleus(points_yx: PixelPoints, profile: DetectionProfile, voxel_nm: float) -> bool:
    area_um2 = abs(float(signed_area(points_yx))) * voxel_nm**2 / 1e6
    if not profile.min_area_um2 < area_um2 < profile.max_area_um2:
        return False
    if count_vertices(points_yx, profile.vertex_tolerance) < profile.min_vertices:
        return False
    return profile.min_solidity <= 0 or solidity(points_yx) >= profile.min_solidity


def _square_pixels(grey: GreyImage, voxel_yx_nm: tuple[float, float]) -> tuple[GreyImage, float, tuple[int, int]]:
    height, width = grey.shape
    voxel = max(voxel_yx_nm)
    if voxel_yx_nm[0] == voxel_yx_nm[1]:
        return grey, voxel, (height, width)
    size = (max(2, round(width * voxel_yx_nm[1] / voxel)), max(2, round(height * voxel_yx_nm[0] / voxel)))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.uint8), voxel, (height, width)


def _stretched(outline: Outline, from_shape: tuple[int, ...], to_shape: tuple[int, int]) -> Outline:
    scale = np.divide(to_shape, from_shape)
    points = np.rint((outline.polygon_yx_px + 0.5) * scale - 0.5)
    return make_outline(np.clip(points, 0, np.subtract(to_shape, 1)).astype(np.int32), to_shape)
