"""Depths of planes from measured thickness: increasing, nominal where nothing is known, over gaps as told behind."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.imaging.quality.depths import DepthsFormatError, PlaneDepths, PlaneNotMeasuredError, plane_depths

VOXEL_NM = 4.0
TOLD = st.one_of(st.none(), st.just(math.nan), st.floats(0, 50))


def steps(measured: Mapping[int, float | None], last_z: int = 40) -> list[float]:
    depths = plane_depths(measured, 0, last_z, VOXEL_NM)
    return [float(step) for step in (np.diff(depths.depths_nm) / VOXEL_NM).round(3)]


def varied(count: int = 60, spread: float = 0.1) -> dict[int, float | None]:
    """Return a run whose slices vary a little, about 1."""
    return {z: math.exp(spread * math.sin(7.0 * z)) for z in range(count)}


@given(told=st.lists(TOLD, min_size=1, max_size=80), first_z=st.integers(0, 40), planes=st.integers(1, 40))
def test_depths_increase_from_where_the_first_plane_lies(told: list[float | None], first_z: int, planes: int) -> None:
    found = plane_depths(dict(enumerate(told)), first_z, first_z + planes - 1, VOXEL_NM)
    assert len(found.depths_nm) == planes
    assert found.depths_nm[0] == (first_z + 0.5) * VOXEL_NM
    assert np.all(np.diff(found.depths_nm) > 0)
    assert PlaneDepths.from_bytes(found.to_bytes()) == found


@given(told=st.lists(TOLD, min_size=1, max_size=80), factor=st.floats(0.5, 2))
def test_the_median_of_the_run_is_the_nominal_thickness(told: list[float | None], factor: float) -> None:
    known = [value for value in told if value is not None and value > 0.2]
    run = dict(enumerate([*known, *([1.0] * (len(known) + 9))]))
    scaled = {z: value * factor for z, value in run.items()}
    assert np.allclose(steps(run, len(run) - 1), steps(scaled, len(run) - 1), atol=2e-3)


@given(thick=st.integers(1, 39), ratio=st.floats(1.7, 6))
def test_what_no_noise_explains_counts_in_full_and_the_rest_by_the_share_that_is_no_noise(
    thick: int, ratio: float
) -> None:
    found = steps({**varied(), thick: ratio})
    assert found[thick - 1] == pytest.approx(ratio, rel=0.03)
    others = [step for z, step in enumerate(found, 1) if z != thick]
    assert max(others) < math.exp(0.4 * 0.1 * 1.3)
    assert min(others) > math.exp(-0.4 * 0.1 * 1.3)


@given(gap=st.integers(1, 3), first=st.integers(10, 30))
def test_over_a_gap_every_slice_is_as_thick_as_the_next_good_one_says(gap: int, first: int) -> None:
    absent = dict.fromkeys(range(first, first + gap))
    found = steps({**varied(), **absent, first + gap: 3.0})
    assert found[first - 1 : first + gap] == pytest.approx([3.0] * (gap + 1), rel=0.03)


def test_over_a_longer_gap_and_where_nothing_could_be_compared_slices_are_nominal() -> None:
    lost = {**varied(), **dict.fromkeys(range(10, 14)), 14: math.nan}
    assert steps(lost)[9:14] == [1.0] * 5


def test_a_run_of_a_few_slices_is_nominal() -> None:
    assert steps({1: 2.0, 2: 3.0, 3: 0.5}, 4) == [1.0] * 4


def test_what_was_not_milled_keeps_a_little_depth() -> None:
    assert steps({**varied(), 20: 0.0})[19] == 0.05


def test_places_return_to_where_the_indices_of_planes_put_them() -> None:
    depths = plane_depths({**varied(), 20: 3.0}, 5, 40, VOXEL_NM)
    for z in (5, 19, 20, 33, 40):
        assert depths.nominal_nm(depths.at(z)) == pytest.approx((z + 0.5) * VOXEL_NM)
    assert depths.nominal_nm(depths.at(5) - 3.0) == pytest.approx(5.5 * VOXEL_NM - 3.0)
    assert depths.nominal_nm(depths.at(40) + 3.0) == pytest.approx(40.5 * VOXEL_NM + 3.0)


@pytest.mark.parametrize("z", [9, 13])
def test_a_plane_outside_has_no_depth(z: int) -> None:
    with pytest.raises(PlaneNotMeasuredError, match=f"plane {z} is not one of 3 from 10 on"):
        PlaneDepths(10, 4.0, (42.0, 46.0, 54.0)).at(z)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{}",
        b'{"first_z":1,"voxel_z_nm":4,"depths_nm":[4,4]}',
        b'{"first_z":1,"voxel_z_nm":4,"depths_nm":[]}',
    ],
)
def test_other_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(DepthsFormatError, match="depths of planes"):
        PlaneDepths.from_bytes(payload)
