"""Outlines measure what they enclose, and survive being written and read."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.extract.outlines import (
    Circle,
    Outline,
    OutlineFormatError,
    OutlineShapeError,
    make_outline,
    outline_to_json,
    outlines_from_bytes,
    outlines_to_bytes,
)

FIELD = (300, 500)


def ring(y: float, x: float, semi_y: float, semi_x: float) -> Outline:
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    points = np.stack([y + semi_y * np.sin(angle), x + semi_x * np.cos(angle)], axis=1)
    return make_outline(np.clip(np.rint(points), 0, np.subtract(FIELD, 1)).astype(np.int32), FIELD)


@settings(deadline=None)
@given(st.floats(60, 240), st.floats(60, 440), st.floats(20, 50), st.floats(20, 50))
def test_an_ellipse_is_measured_along_its_own_axes(y: float, x: float, semi_y: float, semi_x: float) -> None:
    outline = ring(y, x, semi_y, semi_x)
    assert outline.centroid_yx_px == pytest.approx((y, x), abs=0.5)
    assert outline.centre_yx_px == pytest.approx((y, x), abs=0.5)
    assert outline.area_px == pytest.approx(math.pi * semi_y * semi_x, rel=0.05)
    assert outline.semi_axes_px == pytest.approx((max(semi_y, semi_x), min(semi_y, semi_x)), abs=1.0)
    assert outline.bbox_yx_px == pytest.approx((y - semi_y, x - semi_x, y + semi_y + 1, x + semi_x + 1), abs=1.0)


def test_each_side_of_the_field_is_noticed() -> None:
    assert ring(150, 250, 30, 30).border_sides == ring(150, 400, 30, 30).border_sides == ()
    assert ring(10, 250, 30, 30).border_sides == ("y_min",)
    assert ring(290, 490, 30, 30).border_sides == ("x_max", "y_max")
    assert ring(150, 5, 30, 30).border_sides == ("x_min",)
    assert ring(150, 5, 30, 30).touches_border


def test_a_given_circle_takes_the_place_of_the_fitted_ellipse() -> None:
    polygon = ring(0, 250, 30, 30).polygon_yx_px
    outline = make_outline(polygon, FIELD, Circle((-10.0, 250.0), 40.0))
    assert (outline.centre_yx_px, outline.semi_axes_px, outline.angle_rad) == ((-10.0, 250.0), (40.0, 40.0), 0.0)


@pytest.mark.parametrize("points", [[[0, 0], [1, 1]], [[0, 0], [1, 1], [2, 2]], [[3, 3], [3, 3], [3, 3]]])
def test_what_encloses_nothing_is_no_outline(points: list[list[int]]) -> None:
    with pytest.raises(OutlineShapeError):
        make_outline(np.array(points, np.int32), FIELD)


def test_points_of_another_shape_are_no_outline() -> None:
    with pytest.raises(OutlineShapeError, match=r"\(4, 3\)"):
        make_outline(np.zeros((4, 3), np.int32), FIELD)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 299), st.floats(0, 499), st.floats(3, 60), st.floats(3, 60)), max_size=4))
def test_what_is_written_is_read_again_and_gives_the_same_bytes(rings: list[tuple[float, float, float, float]]) -> None:
    outlines = tuple(ring(*values) for values in rings)
    content = outlines_to_bytes(outlines)
    assert outlines_from_bytes(content) == outlines
    assert outlines_to_bytes(outlines_from_bytes(content)) == content


def test_outlines_that_differ_in_one_point_are_not_equal() -> None:
    outline = ring(150, 250, 30, 30)
    moved = outline.polygon_yx_px.copy()
    moved[0, 0] += 1
    assert outline == dataclasses.replace(outline)
    assert outline != dataclasses.replace(outline, polygon_yx_px=moved)
    assert outline != "outline"
    assert hash(outline) == hash(dataclasses.replace(outline))


def _damaged(**changes: object) -> bytes:
    entry = outline_to_json(ring(150, 250, 30, 30)) | changes
    return json.dumps({"format": "fibsem-outlines/1", "outlines": [entry]}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"format": "fibsem-outlines/2", "outlines": []}',
        b'{"format": "fibsem-outlines/1", "outlines": [1]}',
        b'{"format": "fibsem-outlines/1", "outlines": [{}]}',
        _damaged(polygon=[1, 2, 3]),
        _damaged(polygon=["a", "b"]),
        _damaged(polygon=[10**12, 1]),
        _damaged(bbox=[1, 2, 3]),
        _damaged(centroid=[1.0]),
        _damaged(axes="wide"),
        _damaged(scalars=[1.0]),
        _damaged(sides=["above"]),
        _damaged(sides=3),
    ],
)
def test_other_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(OutlineFormatError):
        outlines_from_bytes(content)
