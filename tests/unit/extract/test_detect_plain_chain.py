"""The printed profiles give the outlines of the manuscript's chain written out in plain OpenCV, point by point."""

import math
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.extract.contours import trace_contours
from services.extract.detection import detect, odd_kernel_px
from services.extract.outlines import Outline, make_outline
from services.extract.profiles import PROFILES, DetectionProfile

Grey = npt.NDArray[np.uint8]
VOXEL_NM = 16.0


def plain_chain(grey: Grey, profile: DetectionProfile) -> tuple[Outline, ...]:
    blur, window, gradient = (
        odd_kernel_px(length, VOXEL_NM)
        for length in (profile.blur_kernel_nm, profile.threshold_window_nm, profile.gradient_kernel_nm)
    )
    blurred = cv2.GaussianBlur(grey, (blur, blur), profile.blur_sigma_nm / VOXEL_NM)
    method, kind = cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY
    edges = cv2.adaptiveThreshold(blurred, 255, method, kind, window, profile.threshold_offset_grey)
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (gradient, gradient))
    for _ in range(profile.gradient_repeats):
        edges = cv2.morphologyEx(edges, cv2.MORPH_GRADIENT, ellipse)
    contours, _ = cv2.findContours(edges, cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    found = []
    for contour in (np.asarray(contour, np.int32) for contour in contours):
        area_um2 = cv2.contourArea(contour) * VOXEL_NM**2 / 1e6
        tolerance = profile.vertex_tolerance * cv2.arcLength(contour, closed=True)
        vertices = len(cv2.approxPolyDP(contour, tolerance, closed=True))
        if profile.min_area_um2 < area_um2 < profile.max_area_um2 and vertices >= profile.min_vertices:
            points = np.ascontiguousarray(contour.reshape(-1, 2)[:, ::-1])
            found.append(make_outline(points, (grey.shape[0], grey.shape[1])))
    return tuple(sorted(found, key=lambda outline: (outline.centroid_yx_px, outline.area_px)))


@pytest.mark.parametrize("name", ["manuscript", "as-run"])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_outline_is_that_of_the_plain_chain(
    draw: Callable[..., Grey], make_nucleus: Callable[..., object], name: str, seed: int
) -> None:
    nuclei = [make_nucleus(2600.0, 2900.0), make_nucleus(2700.0, 7000.0, 1500.0)]
    grey = draw(*nuclei, noise=4.0, shape=(330, 600), seed=seed)
    expected = plain_chain(grey, PROFILES[name])
    assert expected
    assert detect(grey, PROFILES[name], (VOXEL_NM, VOXEL_NM)) == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 400), st.integers(1, 4))
def test_no_contour_is_left_out_that_encloses_the_least_area(seed: int, least_area: float, grain: int) -> None:
    rng = np.random.default_rng(seed)
    binary = (cv2.blur(rng.random((48, 56)), (grain, grain)) > 0.5).astype(np.uint8)
    every, large = trace_contours(binary), trace_contours(binary, least_area)
    kept = {points.tobytes() for points in large}
    for points in every:
        if cv2.contourArea(np.ascontiguousarray(points[:, None, ::-1])) >= least_area:
            assert points.tobytes() in kept
    assert all(len(points) >= math.sqrt(2 * math.pi * least_area) for points in large)
