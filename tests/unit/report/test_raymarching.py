import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from services.report.fields import clearance, pyramid, smooth
from services.report.raymarching import FAR, cone_visibility, next_entry, normal_at, open_sky, part_at, sample

RADIUS = 11.0
_GRID = np.indices((40, 44, 48), dtype=np.float64)
CENTRE = (19.0, 21.0, 23.0)
BALL = smooth(sum((axis - c) ** 2 for axis, c in zip(_GRID, CENTRE, strict=True)) < RADIUS**2, (1.1, 1.1, 1.1))
CLEARANCE = clearance(BALL)
PYRAMID = pyramid(BALL)

offsets = st.floats(-16.0, 16.0)


@settings(max_examples=60, deadline=None)
@given(offsets, offsets)
def test_a_ray_meets_a_ball_where_geometry_says(dy: float, dx: float) -> None:
    origin = (-5.0, CENTRE[1] + dy, CENTRE[2] + dx)
    found = next_entry(BALL, CLEARANCE, origin, (1.0, 0.0, 0.0), (0.0, 100.0))
    aside = dy * dy + dx * dx
    if aside < (RADIUS - 1.5) ** 2:
        assert found == pytest.approx(CENTRE[0] + 5.0 - np.sqrt(RADIUS**2 - aside), abs=1.2)
    elif aside > (RADIUS + 1.0) ** 2:
        assert found == FAR


def test_a_ray_that_starts_inside_finds_no_entry() -> None:
    assert next_entry(BALL, CLEARANCE, CENTRE, (0.0, 0.0, 1.0), (0.0, 100.0)) == FAR


@settings(max_examples=50, deadline=None)
@given(st.tuples(st.floats(0, 38.9), st.floats(0, 42.9), st.floats(0, 46.9)))
def test_sampling_is_trilinear(point: tuple[float, float, float]) -> None:
    expected = ndimage.map_coordinates(BALL.astype(np.float64), [[c] for c in point], order=1)[0]
    assert sample(BALL, *point) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_normal_points_out_of_the_solid_along_its_own_axis(axis: int) -> None:
    point = [float(c) for c in CENTRE]
    point[axis] += RADIUS
    normal = normal_at(BALL, (point[0], point[1], point[2]))
    assert normal[axis] > 0.95


def test_a_cone_towards_matter_is_dark_and_one_away_from_it_is_light() -> None:
    start = (CENTRE[0], CENTRE[1], CENTRE[2] + RADIUS + 4.0)
    towards = cone_visibility(PYRAMID, start, (0.0, 0.0, -1.0), 0.3, 40.0)
    away = cone_visibility(PYRAMID, start, (0.0, 0.0, 1.0), 0.3, 40.0)
    assert towards < 0.2
    assert away > 0.95


def test_the_top_of_a_ball_sees_the_sky_and_a_pit_does_not() -> None:
    top = (CENTRE[0] - RADIUS - 1.0, CENTRE[1], CENTRE[2])
    free = open_sky(PYRAMID, top, (-1.0, 0.0, 0.0), 30.0)
    pit = BALL.copy()
    pit[:, 20:23, 22:25] = 0
    inside = open_sky(pyramid(pit), (CENTRE[0] - 3.0, CENTRE[1], CENTRE[2]), (-1.0, 0.0, 0.0), 30.0)
    assert free > 0.75
    assert inside < 0.6 * free


def test_the_part_that_weighs_most_nearby_wins() -> None:
    parts = np.zeros((9, 9, 9), np.uint8)
    parts[:, :, :4], parts[:, :, 5:] = 3, 7
    weights = np.zeros(256)
    assert part_at(parts, (4.0, 4.0, 3.4), weights) == 3
    assert part_at(parts, (4.0, 4.0, 4.6), weights) == 7
    assert part_at(np.zeros_like(parts), (4.0, 4.0, 4.0), weights) == 0
    assert not weights.any()
