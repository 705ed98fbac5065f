"""Plane geometry agrees with figures whose measures are known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.extract.polygons import centroid, clip_to_rectangle, fit_circles, signed_area


def regular(y: float, x: float, radius: float, corners: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    angle = np.arange(corners) * 2 * np.pi / corners
    return np.stack([y + radius * np.sin(angle), x + radius * np.cos(angle)], axis=1)


@settings(deadline=None)
@given(st.floats(-500, 500), st.floats(-500, 500), st.floats(1, 300), st.integers(3, 40))
def test_a_regular_polygon_has_its_area_and_its_middle(y: float, x: float, radius: float, corners: int) -> None:
    points = regular(y, x, radius, corners)
    assert signed_area(points) == pytest.approx(corners / 2 * math.sin(2 * math.pi / corners) * radius**2, rel=1e-6)
    assert signed_area(points[::-1]) == pytest.approx(-signed_area(points))
    assert centroid(points) == pytest.approx([y, x], abs=1e-6)


def test_several_polygons_are_measured_at_once() -> None:
    both = np.stack([regular(0, 5, 2, 6), regular(7, 1, 3, 6)])
    assert centroid(both) == pytest.approx(np.array([[0, 5], [7, 1]]))
    assert signed_area(both).shape == (2,)


def test_points_on_a_line_have_their_mean_for_a_middle() -> None:
    assert centroid(np.array([[0, 0], [1, 1], [2, 2]])).tolist() == [1.0, 1.0]


@settings(deadline=None)
@given(st.floats(-900, 900), st.floats(-900, 900), st.floats(50, 2000), st.integers(12, 40))
def test_a_circle_is_found_from_a_part_of_it(y: float, x: float, radius: float, seen: int) -> None:
    points = regular(y, x, radius, 40)[None]
    weights = (np.arange(40) < seen).astype(np.float64)[None]
    points[:, seen:] += 1e4
    centres, radii, residuals = fit_circles(points, weights)
    assert centres[0] == pytest.approx([y, x], abs=radius * 1e-3)
    assert radii[0] == pytest.approx(radius, rel=1e-3)
    assert residuals[0] == pytest.approx(0, abs=1e-3)


def test_an_ellipse_is_no_circle() -> None:
    points = regular(0, 0, 1, 40)[None] * np.array([2.0, 1.0])
    assert fit_circles(points, np.ones((1, 40)))[2][0] > 0.2


@settings(deadline=None)
@given(st.floats(-20, 70), st.floats(-20, 120), st.floats(5, 80))
def test_a_clipped_polygon_is_what_the_two_have_in_common(y: float, x: float, radius: float) -> None:
    points = regular(y, x, radius, 60)
    clipped = clip_to_rectangle(points, (50.0, 100.0))
    if len(clipped):
        assert clipped.min() >= 0
        assert (clipped <= np.array([50.0, 100.0]) + 1e-9).all()
    fine = np.stack(np.meshgrid(np.arange(0.5, 50), np.arange(0.5, 100), indexing="ij"), axis=-1).reshape(-1, 2)
    apothem = radius * math.cos(math.pi / 60)
    inside = np.hypot(*(fine - [y, x]).T) <= apothem
    area = abs(float(signed_area(clipped))) if len(clipped) else 0.0
    assert area == pytest.approx(inside.sum(), abs=0.02 * radius**2 + 2 * radius + 4)


def test_a_polygon_outside_is_clipped_away() -> None:
    assert len(clip_to_rectangle(regular(-50, -50, 10, 8), (50.0, 50.0))) == 0
