"""Windows on canvases, and grids on one another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.imaging.geometry import Grid, GridError, nearest_indices, overlap, paste

STARTS = st.integers(-6, 6)
SIZES = st.integers(0, 8)


@given(first=STARTS, first_size=SIZES, second=STARTS, second_size=SIZES)
def test_an_overlap_is_what_both_ranges_hold(first: int, first_size: int, second: int, second_size: int) -> None:
    one, other = range(first, first + first_size), range(second, second + second_size)
    shared = overlap(first, first_size, second, second_size)
    assert list(one[shared.in_first]) == list(other[shared.in_second]) == sorted(set(one) & set(other))


@given(y0=STARTS, x0=STARTS, height=st.integers(1, 5), width=st.integers(1, 5))
def test_a_plane_lands_where_it_lies_and_nowhere_else(y0: int, x0: int, height: int, width: int) -> None:
    plane = np.arange(1, height * width + 1, dtype=np.uint8).reshape(height, width)
    canvas = np.zeros((4, 6), np.uint8)
    fits = paste(canvas, (-1, 2), plane, (y0, x0))
    for (row, column), pixel in np.ndenumerate(canvas):
        y, x = row - 1 - y0, column + 2 - x0
        assert pixel == (plane[y, x] if 0 <= y < height and 0 <= x < width else 0)
    assert fits == (np.count_nonzero(canvas) == plane.size)


@given(shift=st.integers(-5, 5), count=st.integers(0, 6), source=st.integers(0, 6))
def test_voxels_of_one_size_meet_one_to_one(shift: int, count: int, source: int) -> None:
    found = nearest_indices(Grid(shift * 4.5, 4.5, count), Grid(0.0, 4.5, source))
    assert found.tolist() == [i if 0 <= i < source else -1 for i in range(shift, shift + count)]


def test_large_voxels_take_the_one_that_holds_their_centre() -> None:
    assert nearest_indices(Grid(0.0, 16.0, 2), Grid(0.0, 4.0, 8)).tolist() == [2, 6]


@pytest.mark.parametrize(
    "grid", [Grid(0.0, 0.0, 3), Grid(0.0, -4.0, 3), Grid(0.0, float("nan"), 3), Grid(0.0, 4.0, -1)]
)
def test_a_grid_without_edges_is_refused(grid: Grid) -> None:
    good = Grid(0.0, 4.0, 3)
    with pytest.raises(GridError):
        nearest_indices(grid, good)
    with pytest.raises(GridError):
        nearest_indices(good, grid)
