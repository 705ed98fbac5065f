"""Histograms, the frozen mapping to 8 bits, and blank planes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.imaging.grey import GreyStatisticsError, freeze, histogram, is_blank, to_uint8
from tests.support.tiff_corpus import plane


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30)))
    | arrays(np.uint16, st.tuples(st.integers(1, 30), st.integers(1, 30)))
)
def test_a_histogram_counts_every_pixel_once(plane_yx: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> None:
    counts = histogram(plane_yx)
    values, expected = np.unique(plane_yx, return_counts=True)
    np.testing.assert_array_equal(np.flatnonzero(counts), values)
    np.testing.assert_array_equal(counts[values], expected)


def test_a_histogram_of_more_than_one_block_counts_every_pixel() -> None:
    large = plane(1, shape_yx=(1100, 1500))
    assert histogram(large).sum() == large.size
    np.testing.assert_array_equal(histogram(large), np.bincount(large.ravel(), minlength=256))


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_constant_plane_is_blank_at_any_level(level: int) -> None:
    assert is_blank(histogram(np.full((50, 60), level, np.uint8)))


def test_a_black_frame_with_hot_pixels_and_detector_noise_is_blank() -> None:
    random = np.random.default_rng(0)
    frame = random.integers(0, 3, (200, 200), dtype=np.uint8)
    frame[::40, ::60] = 255
    assert is_blank(histogram(frame))


def test_a_saturated_16_bit_frame_is_blank() -> None:
    frame = np.full((100, 100), 65535, np.uint16)
    frame[0, :15] = 0
    assert is_blank(histogram(frame))


def test_a_faint_image_is_not_blank() -> None:
    faint = (plane(2).astype(np.int64) // 32 + 100).astype(np.uint8)
    assert not is_blank(histogram(faint))


def test_an_image_in_one_corner_is_not_blank() -> None:
    frame = np.zeros((100, 100), np.uint8)
    frame[:10, :10] = plane(1, shape_yx=(10, 10)) + 5
    assert not is_blank(histogram(frame))


def test_the_tolerance_for_blank_planes_is_a_parameter() -> None:
    counts = histogram(np.repeat(np.arange(6, dtype=np.uint8), 100)[None])
    assert not is_blank(counts)
    assert is_blank(counts, spread_levels=5)
    assert is_blank(counts, outlier_share=0.5)


def test_8_bit_grey_is_mapped_to_itself() -> None:
    grey = plane(1)
    statistics = freeze([histogram(grey)])
    assert (statistics.low, statistics.high) == (0, 255)
    assert statistics.mean == pytest.approx(grey.mean())
    assert statistics.sd == pytest.approx(grey.std())
    assert to_uint8(grey, statistics.low, statistics.high) is grey


def test_16_bit_grey_is_stretched_between_its_percentiles() -> None:
    deep = plane(1, 16, (300, 400))
    statistics = freeze([histogram(deep)], low_percentile=1, high_percentile=99)
    assert statistics.low == np.percentile(deep, 1, method="inverted_cdf")
    assert statistics.high == np.percentile(deep, 99, method="inverted_cdf")
    mapped = to_uint8(deep, statistics.low, statistics.high)
    assert mapped.dtype == np.uint8
    assert statistics.mean == pytest.approx(mapped.mean())
    assert statistics.sd == pytest.approx(mapped.std())


def test_values_outside_the_mapping_are_clipped() -> None:
    assert to_uint8(np.array([[0, 999, 1000, 1255, 1256, 65535]], np.uint16), 1000, 1255).tolist() == [
        [0, 0, 0, 255, 255, 255]
    ]


def test_8_bit_grey_can_be_stretched_too() -> None:
    assert to_uint8(np.array([[50, 100, 150]], np.uint8), 50, 150).tolist() == [[0, 128, 255]]


@given(st.permutations(range(5)))
def test_statistics_do_not_depend_on_the_order_of_slices(order: list[int]) -> None:
    counts = [histogram(plane(seed, 16)) for seed in range(5)]
    assert freeze([counts[number] for number in order]) == freeze(counts)


def test_a_plane_that_is_flat_but_for_rare_values_is_stretched_over_its_whole_range() -> None:
    rare = np.full((100, 100), 500, np.uint16)
    rare[0, 0], rare[0, 1] = 100, 900
    statistics = freeze([histogram(rare)])
    assert (statistics.low, statistics.high) == (100, 900)
    assert statistics.sd > 0


@pytest.mark.parametrize("histograms", [[], [histogram(np.full((4, 4), 9, np.uint8))]])
def test_there_is_no_mapping_without_contrast(histograms: list[np.ndarray[tuple[int], np.dtype[np.int64]]]) -> None:
    with pytest.raises(GreyStatisticsError):
        freeze(histograms)
