"""Small regions of single planes against `skimage`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.morphology import remove_small_objects

from services.imaging.labelling import InvalidParametersError, InvalidPlaneError, remove_small_regions
from tests.unit.imaging.labelling_reference import MIN_VOXELS, Stack, stacks


@given(stacks(absent=False, moving=False), st.sampled_from([4, 8]))
@settings(max_examples=40, deadline=None)
def test_regions_are_removed_class_by_class(stack: Stack, connectivity: int) -> None:
    for plane in stack.planes:
        assert plane is not None
        expected = plane.copy()
        for class_id, least in MIN_VOXELS.items():
            of_class = plane == class_id
            left = remove_small_objects(of_class, max_size=least - 1, connectivity=connectivity // 4)
            expected[of_class & ~left] = 77
        found = remove_small_regions(plane, MIN_VOXELS, connectivity, removed_value=77)
        np.testing.assert_array_equal(found, expected)


def test_the_plane_given_is_left_as_it_is() -> None:
    plane = np.array([[2, 0]], np.uint8)
    assert remove_small_regions(plane, {2: 2}).tolist() == [[255, 0]]
    assert plane.tolist() == [[2, 0]]


def test_what_is_not_a_plane_is_refused() -> None:
    for wrong in (np.zeros((2, 2), np.int32), np.zeros(3, np.uint8), np.zeros((2, 2, 2), np.uint8)):
        with pytest.raises(InvalidPlaneError):
            remove_small_regions(wrong, {})  # type: ignore[arg-type]


def test_connectivity_and_thresholds_out_of_range_are_refused() -> None:
    plane = np.zeros((2, 2), np.uint8)
    with pytest.raises(InvalidParametersError, match="4 or 8"):
        remove_small_regions(plane, {}, connectivity=6)
    with pytest.raises(InvalidParametersError, match="class 1 to 255"):
        remove_small_regions(plane, {0: 4})
