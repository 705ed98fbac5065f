"""A mask gives every pixel to one nucleus at most."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.extract.contours import overlap_areas, signed_distance
from services.extract.crops import canvas, window
from services.extract.events import OutlineSource
from services.extract.masks import INSIDE, MARGIN, OUTSIDE, interpolate_outlines, mask_plane, resolve_outline
from services.extract.outlines import Outline, make_outline
from services.extract.tracks import OutlineRef

FIELD = (300, 400)
WHOLE = ((0, 0), FIELD)


def disc(y: float, x: float, radius: float) -> Outline:
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    points = np.stack([y + radius * np.sin(angle), x + radius * np.cos(angle)], axis=1)
    return make_outline(np.clip(np.rint(points), 0, np.subtract(FIELD, 1)).astype(np.int32), FIELD)


def test_the_widened_outline_is_a_tenth_larger_in_radius() -> None:
    mask = mask_plane(disc(150, 200, 100), [], WHOLE)
    assert (mask == INSIDE).sum() == pytest.approx(math.pi * 100**2, rel=0.02)
    assert (mask > OUTSIDE).sum() == pytest.approx(math.pi * 110**2, rel=0.02)


def test_a_window_shows_the_same_pixels_as_the_whole_field() -> None:
    outline, neighbour = disc(120, 180, 80), disc(130, 345, 80)
    whole = mask_plane(outline, [neighbour], WHOLE)
    part = mask_plane(outline, [neighbour], ((25, 60), (200, 240)))
    assert (part == whole[25:225, 60:300]).mean() > 0.999


@settings(max_examples=30, deadline=None)
@given(st.floats(70, 230), st.floats(60, 160), st.floats(30, 60), st.floats(70, 140), st.floats(-60, 60))
def test_no_pixel_belongs_to_two_nuclei(y: float, x: float, radius: float, apart: float, down: float) -> None:
    first = disc(y, x, radius)
    second = disc(min(max(y + down, 70), 230), x + apart, 45)
    one, other = mask_plane(first, [second], WHOLE), mask_plane(second, [first], WHOLE)
    alone = mask_plane(first, [], WHOLE)
    if math.hypot(second.centroid_yx_px[0] - y, apart) > 60:
        assert not ((one > OUTSIDE) & (other > OUTSIDE)).any()
    assert ((one == OUTSIDE) | (one == alone)).all()


def test_what_two_nuclei_share_is_parted_halfway() -> None:
    left, right = disc(150, 140, 60), disc(150, 264, 60)
    mask = mask_plane(left, [right], WHOLE)
    assert mask[150, 199:205].tolist() == [INSIDE, INSIDE, MARGIN, MARGIN, OUTSIDE, OUTSIDE]
    mirrored = mask_plane(right, [left], WHOLE)
    assert mirrored[150, 199:205].tolist() == [OUTSIDE, OUTSIDE, OUTSIDE, OUTSIDE, MARGIN, INSIDE]


def test_the_same_nucleus_found_twice_takes_nothing_from_itself() -> None:
    outline = disc(150, 200, 60)
    assert (mask_plane(outline, [disc(151, 204, 62)], WHOLE) == mask_plane(outline, [], WHOLE)).all()


def test_in_a_cap_the_inside_shrinks_and_another_nucleus_goes_first() -> None:
    outline = disc(150, 200, 60)
    shrunk = mask_plane(outline, [], WHOLE, inside_scale=0.5)
    assert (shrunk == INSIDE).sum() == pytest.approx(math.pi * 30**2, rel=0.1)
    assert (shrunk > OUTSIDE).sum() == (mask_plane(outline, [], WHOLE) > OUTSIDE).sum()
    assert (mask_plane(outline, [], WHOLE, inside_scale=0.0) != INSIDE).all()
    beside = disc(150, 230, 50)
    assert (mask_plane(outline, [beside], WHOLE, inside_scale=0.3)[140:160, 190:270] == OUTSIDE).mean() > 0.95


def test_an_outline_between_two_others_lies_between_them() -> None:
    between = interpolate_outlines(disc(100, 150, 40), disc(120, 190, 60), 0.25, FIELD)
    assert between.centroid_yx_px == pytest.approx((105, 160), abs=0.5)
    assert math.sqrt(between.area_px / math.pi) == pytest.approx(45, abs=0.5)
    assert between.semi_axes_px == pytest.approx((45, 45), abs=1)


def test_an_outline_at_an_end_has_the_shape_of_that_end() -> None:
    square = make_outline(np.array([[100, 100], [100, 180], [160, 180], [160, 100]], np.int32), FIELD)
    again = interpolate_outlines(square, disc(130, 140, 20), 0.0, FIELD)
    assert again.area_px == pytest.approx(square.area_px, rel=0.02)
    assert again.bbox_yx_px == pytest.approx(square.bbox_yx_px, abs=3)


def test_a_crop_is_resolved_to_the_outline_it_follows() -> None:
    found = {OutlineRef(3, 1): disc(100, 150, 40), OutlineRef(5, 0): disc(110, 150, 40)}
    detected = resolve_outline(OutlineSource(OutlineRef(3, 1), OutlineRef(3, 1)), found.__getitem__, FIELD)
    bridged = resolve_outline(OutlineSource(OutlineRef(3, 1), OutlineRef(5, 0), 0.5), found.__getitem__, FIELD)
    assert detected is found[OutlineRef(3, 1)]
    assert bridged.centroid_yx_px == pytest.approx((105, 150), abs=0.5)


def test_a_mask_of_a_crop_is_quick() -> None:
    outline, neighbours = disc(150, 200, 128), [disc(150, 10, 60), disc(290, 390, 60)]
    spent = []
    for _ in range(5):
        start = time.process_time()
        mask_plane(outline, neighbours, WHOLE)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.05


@settings(deadline=None)
@given(st.floats(0, 500), st.floats(0, 900), st.integers(1, 700), st.tuples(st.integers(1, 600), st.integers(1, 1000)))
def test_a_window_holds_nothing_but_pixels_of_the_slice(y: float, x: float, edge: int, field: tuple[int, int]) -> None:
    (top, left), (height, width) = window((y, x), (edge, edge), field)
    assert (height, width) == (min(edge, field[0]), min(edge, field[1]))
    assert 0 <= top <= field[0] - height
    assert 0 <= left <= field[1] - width
    if edge < field[0] and edge / 2 + 1 < y < field[0] - edge / 2 - 1:
        assert abs(top + height / 2 - y) <= 0.5


def test_a_canvas_holds_every_window_that_is_moved_by_half_a_window() -> None:
    (top, left), (height, width) = canvas((100.0, 250.0), (80, 80))
    assert (height, width) == (160, 160)
    for dy, dx in ((-40, 0), (40, 40), (0, -40)):
        (y, x), (h, w) = window((100.0 + dy, 250.0 + dx), (80, 80), (1000, 1000))
        assert top <= y
        assert left <= x
        assert y + h <= top + height
        assert x + w <= left + width


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.floats(20, 280), st.floats(20, 380), st.floats(8, 90)),
    st.lists(st.tuples(st.floats(20, 280), st.floats(20, 380), st.floats(8, 90)), max_size=3),
    st.sampled_from([1.0, 0.8, 0.3, 0.0]),
    st.sampled_from([1.1, 1.0, 1.5]),
    st.tuples(st.integers(0, 150), st.integers(0, 200), st.integers(40, 150), st.integers(40, 200)),
)
def test_only_the_surroundings_of_an_outline_are_looked_at_and_nothing_changes(
    own: tuple[float, float, float],
    others: list[tuple[float, float, float]],
    inside_scale: float,
    widen: float,
    part: tuple[int, int, int, int],
) -> None:
    outline, neighbours = disc(*own), [disc(*other) for other in others]
    for window_of in (WHOLE, (part[:2], part[2:])):
        found = mask_plane(outline, neighbours, window_of, widen, inside_scale)
        assert np.array_equal(found, by_definition(outline, neighbours, window_of, widen, inside_scale))


def by_definition(
    outline: Outline,
    neighbours: list[Outline],
    place: tuple[tuple[int, int], tuple[int, int]],
    widen: float,
    inside_scale: float,
) -> np.ndarray:
    """The rule of `mask_plane` with every distance of the whole window, and no neighbour left out for being far."""
    radius = math.sqrt(outline.area_px / math.pi)
    distance = signed_distance(outline.polygon_yx_px, *place)
    own = distance + np.float32((1 - inside_scale) * radius)
    inside = (distance < 0 if inside_scale == 1 else own <= 0) & (inside_scale > 0)
    mask = np.where(distance <= (widen - 1) * radius, MARGIN, OUTSIDE)
    mask[inside & (mask == MARGIN)] = INSIDE
    for neighbour in neighbours:
        shared, one, other = overlap_areas(outline.polygon_yx_px, neighbour.polygon_yx_px)
        if inside_scale == 1 and shared > 0.5 * min(one, other):
            continue
        theirs = signed_distance(neighbour.polygon_yx_px, *place)
        first = (outline.centroid_yx_px, outline.area_px) < (neighbour.centroid_yx_px, neighbour.area_px)
        mask[theirs < own if first else theirs <= own] = OUTSIDE
    return mask
