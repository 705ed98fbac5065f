"""Tiles cover an image once with their cores, read enough around them, and start where strides start."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter

from services.imaging.tiling import TileSizeError, stitch, tiles

SHAPES = st.tuples(st.integers(1, 90), st.integers(1, 90))


@given(SHAPES, st.integers(0, 5), st.sampled_from([1, 2, 4]), st.integers(1, 4))
def test_cores_partition_the_image_and_lie_a_margin_inside_what_is_read(
    shape: tuple[int, int], margin: int, multiple: int, cells: int
) -> None:
    tile_px = -(-(2 * margin) // multiple) * multiple + cells * multiple
    covered = np.zeros(shape, int)
    for tile in tiles(shape, tile_px, margin, multiple):
        covered[tile.keep_y, tile.keep_x] += 1
        for read, keep, size in ((tile.read_y, tile.keep_y, shape[0]), (tile.read_x, tile.keep_x, shape[1])):
            assert read.start % multiple == 0
            assert read.stop - read.start <= tile_px
            assert read.start == 0 or keep.start - read.start >= margin
            assert read.stop == size or read.stop - keep.stop >= margin
    assert (covered == 1).all()


@given(SHAPES, st.integers(0, 10))
def test_a_filter_of_limited_reach_gives_the_same_by_tiles(shape: tuple[int, int], seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 250, shape).astype(np.uint8)

    def filtered(plane: np.ndarray) -> np.ndarray:
        return np.asarray(uniform_filter(plane.astype(np.int64), 5) % 251, np.uint8)

    pieces = [(tile, filtered(image[tile.read_y, tile.read_x])) for tile in tiles(shape, 24, 2, 4)]
    np.testing.assert_array_equal(stitch(shape, pieces), filtered(image))


@pytest.mark.parametrize(("tile_px", "margin_px", "multiple_px"), [(10, 2, 4), (16, 8, 4), (16, 7, 4)])
def test_a_tile_without_a_core_or_off_the_stride_is_refused(tile_px: int, margin_px: int, multiple_px: int) -> None:
    with pytest.raises(TileSizeError):
        tiles((50, 50), tile_px, margin_px, multiple_px)
