import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.report.fields import (
    EmptyVolumeError,
    bounding_box,
    clearance,
    fit_grid,
    pyramid,
    resample,
    sheet_field,
    smooth,
    solid_field,
)
from services.report.raymarching import SURFACE

small_volumes = arrays(np.uint8, st.tuples(*[st.integers(1, 9)] * 3), elements=st.integers(0, 2))


@given(small_volumes)
def test_a_bounding_box_holds_every_labelled_voxel_and_is_tight(volume: np.ndarray) -> None:
    if not volume.any():
        with pytest.raises(EmptyVolumeError):
            bounding_box(volume)
        return
    start, stop = bounding_box(volume)
    where = np.argwhere(volume)
    assert start == tuple(where.min(axis=0))
    assert stop == tuple(where.max(axis=0) + 1)


@settings(max_examples=40)
@given(small_volumes)
def test_clearance_is_the_distance_in_cubes_to_the_nearest_matter(volume: np.ndarray) -> None:
    field = (volume > 1).astype(np.uint8) * np.uint8(255)
    cubes = clearance(field)
    solid = np.unique(np.argwhere(field) // 2, axis=0)
    for place, distance in np.ndenumerate(cubes):
        nearest = np.abs(solid - np.array(place)).max(axis=1).min() if len(solid) else 255
        assert distance == nearest


@given(
    st.tuples(*[st.integers(1, 60)] * 3),
    st.tuples(*[st.sampled_from([4.0, 16.0, 30.0])] * 3),
    st.integers(5_000, 200_000),
)
def test_a_grid_keeps_to_its_limit(
    shape: tuple[int, int, int], voxel_nm: tuple[float, float, float], limit: int
) -> None:
    volume = np.ones(shape, np.uint8)
    grid = fit_grid(volume, voxel_nm, limit)
    # One voxel an axis is the least that a grid can have, margin apart.
    assert resample(volume, grid).size <= limit * 1.3 or max(resample(volume, grid).shape) == 13


def test_resampling_takes_labels_as_they_are() -> None:
    volume = np.zeros((3, 4, 5), np.uint8)
    volume[1, 1:3, 2:4] = [[3, 4], [5, 2]]
    inner = resample(volume, fit_grid(volume, (16.0, 16.0, 16.0)))[6:-6, 6:-6, 6:-6]
    np.testing.assert_array_equal(inner, [[[3, 4], [5, 2]]])


def test_a_smoothed_ball_keeps_its_volume() -> None:
    grid = np.indices((31, 31, 31))
    ball = ((grid - 15) ** 2).sum(axis=0) < 100
    field = smooth(ball, (1.2, 1.2, 1.2))
    assert int((field > SURFACE).sum()) == pytest.approx(int(ball.sum()), rel=0.02)
    assert field[15, 15, 15] == 255
    assert field[0, 0, 0] == 0


def test_a_thread_thinner_than_the_blur_does_not_vanish() -> None:
    thread = np.zeros((20, 20, 20), bool)
    thread[:, 10, 10:12] = True
    field = smooth(thread, (1.2, 1.2, 1.2))
    assert field[10, 10, 10] > SURFACE
    assert int((field > SURFACE).sum()) == pytest.approx(int(thread.sum()), rel=0.5)


def test_two_parts_that_touch_keep_a_groove_between_them() -> None:
    parts = np.zeros((24, 24, 24), np.uint8)
    parts[8:16, 8:16, 6:12] = 1
    apart = parts.copy()
    parts[8:16, 8:16, 12:18] = 1
    apart[8:16, 8:16, 12:18] = 2
    grid = fit_grid(parts, (16.0, 16.0, 16.0))
    one, two = solid_field(parts, grid), solid_field(apart, grid)
    assert int(two[12, 12, 11]) < int(one[12, 12, 11])
    np.testing.assert_array_equal(one[12, 12, 8], two[12, 12, 8])


def test_a_thin_sheet_stays_closed_however_much_it_is_smoothed_and_a_hole_stays_a_hole() -> None:
    grid = np.indices((41, 41, 41))
    radius = np.sqrt(((grid - 20) ** 2).sum(axis=0))
    enclosed, sheet = radius < 14, (radius >= 14) & (radius < 16)
    whole = sheet_field(sheet, enclosed, 2.3)
    assert whole[20, 20, 34:37].max() > SURFACE
    sheet[20 - 6 : 20 + 7, 20 - 6 : 20 + 7, 30:] = False
    holed = sheet_field(sheet, enclosed & (radius < 13), 2.3)
    assert holed[20, 20, 30:].max() < SURFACE
    assert holed[20, 20, :12].max() > SURFACE


def test_a_pyramid_keeps_the_mean() -> None:
    field = np.random.default_rng(1).integers(0, 255, (16, 16, 16)).astype(np.uint8)
    levels = pyramid(field, 4)
    assert [level.shape[0] for level in levels] == [16, 8, 4, 2]
    assert float(levels[3].mean()) == pytest.approx(float(field.mean()), abs=3.0)
