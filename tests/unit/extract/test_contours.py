"""OpenCV's x and y are turned round: every figure here differs along y and x."""

import numpy as np
import pytest

from services.extract.contours import (
    count_vertices,
    fill_polygon,
    fit_ellipse,
    overlap_areas,
    signed_distance,
    solidity,
    trace_contours,
)

BAR = np.array([[10, 4], [10, 30], [14, 30], [14, 4]], np.int32)


def test_a_contour_keeps_all_its_points_in_y_x_order() -> None:
    binary = np.zeros((20, 40), np.uint8)
    binary[10:15, 4:31] = 255
    (contour,) = trace_contours(binary)
    assert len(contour) == 2 * (26 + 4)
    assert contour.min(axis=0).tolist() == [10, 4]
    assert contour.max(axis=0).tolist() == [14, 30]


def test_holes_are_contours_of_their_own() -> None:
    binary = np.zeros((20, 40), np.uint8)
    binary[2:18, 2:38] = 255
    binary[6:12, 20:30] = 0
    assert len(trace_contours(binary)) == 2


def test_a_filled_polygon_lies_where_its_points_lie() -> None:
    filled = fill_polygon(BAR, (0, 0), (20, 40))
    assert filled.sum() == 5 * 27
    assert filled[10:15, 4:31].all()


def test_a_drawing_elsewhere_shows_the_part_that_reaches_it() -> None:
    assert fill_polygon(BAR, (12, 28), (6, 6)).tolist()[0] == [1, 1, 1, 0, 0, 0]
    assert fill_polygon(BAR, (100, 100), (6, 6)).sum() == 0


def test_simplifying_leaves_the_corners() -> None:
    binary = np.zeros((20, 40), np.uint8)
    binary[10:15, 4:31] = 255
    assert count_vertices(trace_contours(binary)[0], 0.01) == 4


@pytest.mark.parametrize("degrees", [0, 30, 75, 90, 120, 179])
def test_an_ellipse_points_from_x_towards_y(degrees: int) -> None:
    turn, angle = np.deg2rad(degrees), np.linspace(0, 2 * np.pi, 80, endpoint=False)
    along, across = 40 * np.cos(angle), 15 * np.sin(angle)
    points = np.stack(
        [100 + along * np.sin(turn) + across * np.cos(turn), 300 + along * np.cos(turn) - across * np.sin(turn)], axis=1
    )
    centre, axes, direction = fit_ellipse(points)
    assert centre == pytest.approx((100, 300), abs=0.1)
    assert axes == pytest.approx((40, 15), abs=0.1)
    assert abs((direction - turn + np.pi / 2) % np.pi - np.pi / 2) < 0.01


def test_overlap_is_what_two_polygons_share() -> None:
    shared, first, second = overlap_areas(BAR, BAR + np.array([2, 20], np.int32), step_px=1)
    assert (shared, first, second) == (3 * 7, 135, 135)
    assert overlap_areas(BAR, BAR + np.array([50, 0], np.int32))[0] == 0


def test_a_bay_makes_a_contour_less_solid() -> None:
    bay = np.array([[0, 0], [0, 20], [10, 20], [10, 12], [2, 12], [2, 8], [10, 8], [10, 0]], np.int32)
    assert solidity(BAR) == pytest.approx(1.0)
    assert solidity(bay) == pytest.approx(1 - 32 / 200)
    assert solidity(np.array([[0, 0], [3, 3], [6, 6]], np.int32)) == 0.0


def test_distance_is_negative_inside_and_ends_are_not_edges() -> None:
    distance = signed_distance(BAR, (0, 10), (20, 10))
    assert distance[12, 5] == pytest.approx(-3, abs=0.1)
    assert distance[5, 0] == pytest.approx(5, abs=0.1)
    assert (distance[12] == distance[12, 5]).all()


def test_distances_of_a_polygon_that_is_away_or_all_over() -> None:
    assert np.isposinf(signed_distance(BAR, (100, 100), (4, 5))).all()
    assert np.isneginf(signed_distance(BAR, (11, 6), (2, 3))).all()
