"""Tiles are placed to the pixel by what they share, levelled, and pasted so that every pixel is one tile's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from services.imaging.mosaics.pasting import Step, levels, pasted, steps, uncovered
from services.imaging.mosaics.placing import (
    Cell,
    Grid,
    Place,
    Seam,
    TilesApartError,
    check_no_hole,
    measured,
    neighbours,
    placed,
    regular,
)
from tests.support.mosaic_tiles import OVERLAP_YX, STEP_YX, TILE_YX, Plane, cut, specimen

CELLS: tuple[Cell, ...] = ((0, 0), (0, 1), (1, 0), (1, 1))
GRID = regular(dict.fromkeys(CELLS, TILE_YX), OVERLAP_YX)


def apart(places: Mapping[Cell, Place], truth: Mapping[Cell, Place]) -> float:
    """Return by how many pixels tiles lie wrong on one another at most."""
    off = np.array([np.subtract(places[cell], truth[cell]) for cell in sorted(truth)])
    return float(np.abs(off - off[0]).max())


@pytest.mark.parametrize("seed", range(5))
def test_tiles_lie_on_one_another_as_they_were_cut_to_the_pixel(seed: int) -> None:
    planes, truth = cut(specimen(seed), seed)
    places, held = placed(GRID, measured(planes, GRID))
    assert apart(places, truth) == 0
    assert held == set(CELLS)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 3), columns=st.integers(2, 3))
def test_mosaics_of_any_grid_are_placed_to_the_pixel(seed: int, rows: int, columns: int) -> None:
    grid = regular(dict.fromkeys([(r, c) for r in range(rows) for c in range(columns)], TILE_YX), OVERLAP_YX)
    planes, truth = cut(specimen(seed % 3, (360, 430)), seed, grid=(rows, columns), stray_px=8)
    assert apart(placed(grid, measured(planes, grid))[0], truth) == 0


def test_sixteen_bits_are_placed_as_eight_are() -> None:
    planes, truth = cut(specimen(), 3)
    wide = {cell: plane.astype(np.uint16) * 30 + 20_000 for cell, plane in planes.items()}
    assert apart(placed(GRID, measured(wide, GRID))[0], truth) == 0


def test_tiles_of_different_sizes_are_placed_too() -> None:
    planes, truth = cut(specimen(1), 1)
    planes = {cell: plane[:, :110] if cell[1] else plane for cell, plane in planes.items()}
    grid = regular({cell: (plane.shape[0], plane.shape[1]) for cell, plane in planes.items()}, OVERLAP_YX)
    assert grid.shape_yx == (200, 150 + 110 - 50)
    assert apart(placed(grid, measured(planes, grid))[0], truth) == 0


def test_an_overlap_of_noise_says_nothing_and_tiles_lie_as_the_grid_has_them() -> None:
    random = np.random.default_rng(1)
    planes: dict[Cell, Plane] = {cell: random.integers(90, 110, TILE_YX).astype(np.uint8) for cell in CELLS}
    seams = measured(planes, GRID)
    assert all(seam.offset_yx is None for seam in seams)
    assert placed(GRID, seams) == (GRID.places_yx, frozenset())


def test_an_overlap_that_is_blank_or_too_narrow_says_nothing() -> None:
    blank: dict[Cell, Plane] = {cell: np.full(TILE_YX, 90, np.uint8) for cell in CELLS}
    assert all(seam.offset_yx is None for seam in measured(blank, GRID))
    narrow = regular(dict.fromkeys(CELLS, TILE_YX), (10, 10))
    planes, _ = cut(specimen(0, (280, 340)), step_yx=(110, 140))
    assert all(seam.offset_yx is None for seam in measured(planes, narrow))


def test_a_tile_that_no_overlap_holds_moves_with_its_neighbours() -> None:
    planes, truth = cut(specimen(2), 2)
    planes[1, 1][:] = 90
    places, held = placed(GRID, measured(planes, GRID))
    assert held == {(0, 0), (0, 1), (1, 0)}
    three = {cell: truth[cell] for cell in held}
    assert apart(places, three) == 0
    # It lies where the mean of what its two neighbours and the grid say has it.
    beside = [
        np.add(places[cell], np.subtract(GRID.places_yx[1, 1], GRID.places_yx[cell])) for cell in ((0, 1), (1, 0))
    ]
    assert np.abs(np.mean(beside, axis=0) - places[1, 1]).max() <= 0.5


def test_of_overlaps_that_contradict_one_another_the_least_sure_is_not_believed() -> None:
    seams = [Seam(first, second, tuple(np.subtract(GRID.places_yx[second], GRID.places_yx[first])), 0.95)
             for first, second in neighbours(CELLS)]  # fmt: skip
    seams[2] = Seam(seams[2].first, seams[2].second, (70.0, -20.0), 0.4)
    assert placed(GRID, seams)[0] == GRID.places_yx


def test_tiles_that_do_not_touch_leave_a_hole_and_are_refused() -> None:
    grid = Grid(GRID.shapes_yx, {**GRID.places_yx, (0, 1): (0, 153)})
    with pytest.raises(TilesApartError, match=r"tiles \(0, 0\) and \(0, 1\) lie 3 px apart"):
        check_no_hole(grid)


def test_every_pixel_is_one_tiles_own_and_the_cut_is_in_the_middle_of_what_is_shared() -> None:
    planes: dict[Cell, Plane] = {
        cell: np.full(TILE_YX, 10 * number + 10, np.uint8) for number, cell in enumerate(CELLS)
    }
    whole = pasted(planes, GRID, {}, GRID.shape_yx)
    middle_y, middle_x = STEP_YX[0] + OVERLAP_YX[0] // 2, STEP_YX[1] + OVERLAP_YX[1] // 2
    expected = np.empty(GRID.shape_yx, np.uint8)
    expected[:middle_y, :middle_x], expected[:middle_y, middle_x:] = 10, 20
    expected[middle_y:, :middle_x], expected[middle_y:, middle_x:] = 30, 40
    # Where four tiles meet, the cut runs between the nearest edges.
    far = np.ones(GRID.shape_yx, bool)
    far[STEP_YX[0] : TILE_YX[0], STEP_YX[1] : TILE_YX[1]] = False
    np.testing.assert_array_equal(whole[far], expected[far])
    assert uncovered(GRID, GRID.shape_yx) == 0


def test_a_slice_is_pasted_as_by_looking_at_one_pixel_at_a_time() -> None:
    planes, truth = cut(specimen(5), 5)
    grid = GRID.moved(truth)
    shape, added = (GRID.shape_yx[0] + 3, GRID.shape_yx[1] - 2), {(0, 0): 40, (0, 1): -90}
    assert uncovered(grid, shape) > 0
    expected = np.zeros(shape, np.uint8)
    # Every sixth pixel is enough to look at, and quicker.
    some = (slice(None, None, 3), slice(None, None, 2))
    for y, x in zip(*(axis[some].ravel() for axis in np.indices(shape)), strict=True):
        best = 0
        for cell in CELLS:
            here = (int(y) - grid.places_yx[cell][0], int(x) - grid.places_yx[cell][1])
            if all(0 <= at < length for at, length in zip(here, TILE_YX, strict=True)):
                depth = min(here[a] + 1 if cell[a] else TILE_YX[a] - here[a] for a in (0, 1))
                if depth > best:
                    best, expected[y, x] = depth, np.clip(int(planes[cell][here]) + added.get(cell, 0), 0, 255)
    np.testing.assert_array_equal(pasted(planes, grid, added, shape)[some], expected[some])


@settings(max_examples=20, deadline=None)
@given(said=st.lists(st.integers(-60, 60), min_size=4, max_size=4))
def test_levelled_tiles_agree_in_what_they_share(said: list[int]) -> None:
    flat: dict[Cell, Plane] = {cell: np.full(TILE_YX, 120 + by, np.uint8) for cell, by in zip(CELLS, said, strict=True)}
    added = levels(GRID.places_yx, steps(flat, GRID))
    ends = {int(plane[0, 0]) + added[cell] for cell, plane in flat.items()}
    assert max(ends) - min(ends) <= 1
    assert abs(sum(added.values())) <= 2


def test_tiles_that_share_too_little_are_not_levelled() -> None:
    grid = regular({(0, 0): (20, 20), (0, 1): (20, 20)}, (0, 5))
    planes: dict[Cell, Plane] = {cell: np.full((20, 20), 90 + 9 * cell[1], np.uint8) for cell in grid.places_yx}
    assert steps(planes, grid) == ()
    assert levels(grid.places_yx, ()) == {(0, 0): 0, (0, 1): 0}
    assert levels(grid.places_yx, (Step((0, 0), (0, 1), -9.0, 300),)) == {(0, 0): 4, (0, 1): -4}


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "z", "tile", "overlap", "stray"),
    [
        ("fib25/sample1_raw_z000-099_unlabelled.tif", 50, (130, 130), (50, 50), 8),
        ("fib25/sample2_raw_z000-149.tif", 75, (130, 130), (50, 50), 8),
        ("epfl6/train_raw.tif", 13, (400, 520), (70, 70), 10),
    ],
)
def test_real_slices_cut_into_tiles_come_together_again(
    name: str, z: int, tile: Place, overlap: Place, stray: int, real_data: Path
) -> None:
    image = tifffile.imread(real_data / name, key=z)
    step = (tile[0] - overlap[0], tile[1] - overlap[1])
    grid = regular(dict.fromkeys(CELLS, tile), overlap)
    for seed in range(5):
        planes, truth = cut(image, seed, tile_yx=tile, step_yx=step, stray_px=stray, noise=6.0)
        places, held = placed(grid, measured(planes, grid))
        assert held == set(CELLS)
        assert apart(places, truth) == 0
        here = Grid(grid.shapes_yx, places)
        added = levels(places, steps(planes, here))
        whole = pasted(planes, here, added, grid.shape_yx)
        y, x = np.subtract(truth[0, 0], places[0, 0])
        covered = image[y + stray : y + grid.shape_yx[0] - stray, x + stray : x + grid.shape_yx[1] - stray]
        off = whole[stray:-stray, stray:-stray].astype(float) - covered
        # What is left is the noise of the tiles and one brightness of the whole.
        assert off.std() == pytest.approx(6.0, abs=1.0)
        left = [one.levels + added[one.first] - added[one.second] for one in steps(planes, here)]
        assert max(map(abs, left)) <= 1.2
