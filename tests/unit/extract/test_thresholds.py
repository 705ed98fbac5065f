"""The threshold against a wide mean, compared with OpenCV's own: every byte is the same."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.extract.coarse_means import coarse_means, grid_of
from services.extract.rounded_means import (
    Pixels,
    gaussian_weights,
    rounded_means,
    rounding_limit,
    rounds_alike,
)
from services.extract.thresholds import decided_threshold, threshold_against_mean

Grey = npt.NDArray[np.uint8]
WINDOWS = (3, 5, 21, 61, 157, 301, 627)


def plain(grey: Grey, window_px: int, offset: float) -> Grey:
    """What the manuscript's program calls."""
    method, kind = cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY
    return np.asarray(cv2.adaptiveThreshold(grey, 255, method, kind, window_px, offset), np.uint8)


def opencv_means(grey: Grey, window_px: int) -> npt.NDArray[np.float32]:
    border = cv2.BORDER_REPLICATE | cv2.BORDER_ISOLATED
    return np.asarray(cv2.GaussianBlur(grey.astype(np.float32), (window_px, window_px), 0, borderType=border))


def textured(shape: tuple[int, int], seed: int) -> Grey:
    """Slopes, spots and noise: most pixels near the mean round them."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    slope = 120 + 30 * np.sin(x / 40 + seed) + 25 * np.cos(y / 23)
    return np.asarray(np.clip(np.rint(slope + rng.normal(0, 9, shape)), 0, 255), np.uint8)


def in_two_levels(shape: tuple[int, int], seed: int) -> Grey:
    """Levels whose means often lie on the very limit."""
    rng = np.random.default_rng(seed)
    low = int(rng.integers(0, 200))
    blocks = rng.integers(0, 2, (shape[0] // 7 + 1, shape[1] // 5 + 1))
    drawn: npt.NDArray[np.int64] = np.kron(blocks, np.ones((7, 5), int))[: shape[0], : shape[1]]
    return (low + drawn * int(rng.integers(1, 55))).astype(np.uint8)


@st.composite
def images(draw: st.DrawFn) -> Grey:
    shape = draw(st.tuples(st.integers(2, 60), st.integers(2, 60)))
    kind = draw(st.sampled_from([textured, in_two_levels]))
    image: Grey = kind(shape, draw(st.integers(0, 10_000)))
    return image


OFFSETS = st.one_of(st.integers(-30, 30), st.floats(-30, 30, allow_nan=False))


@settings(max_examples=40, deadline=None)
@given(images(), st.sampled_from(WINDOWS), OFFSETS)
def test_every_pixel_is_as_opencv_decides_it(grey: Grey, window_px: int, offset: float) -> None:
    decided = decided_threshold(grey, window_px, offset)
    assume(decided is not None)
    assert decided is not None
    assert (decided == plain(grey, window_px, offset)).all()
    assert (threshold_against_mean(grey, window_px, offset) == decided).all()


@settings(max_examples=25, deadline=None)
@given(images(), st.sampled_from(WINDOWS))
def test_a_mean_has_the_bits_of_opencv_s(grey: Grey, window_px: int) -> None:
    y, x = np.indices(grey.shape).reshape(2, -1)
    assert (rounded_means(grey, window_px, Pixels(y, x)) == opencv_means(grey, window_px).ravel()).all()


@pytest.mark.parametrize("width", [16, 17, 18, 19, 20, 21, 22, 23])
def test_this_opencv_rounds_as_expected_whatever_columns_are_left_over(width: int) -> None:
    assert rounds_alike(157, width)


@settings(max_examples=25, deadline=None)
@given(images(), st.sampled_from(WINDOWS))
def test_coarse_means_keep_their_bound(grey: Grey, window_px: int) -> None:
    weights = gaussian_weights(window_px)
    grid = grid_of(weights)
    rows, error = coarse_means(grey, grid)
    exact = cv2.sepFilter2D(
        grey.astype(np.float64),
        cv2.CV_64F,
        weights.astype(float),
        weights.astype(float),
        borderType=cv2.BORDER_REPLICATE,
    )
    found = np.array([grid.spread[y % grid.step] @ rows[y // grid.step : y // grid.step + 4] for y in range(len(grey))])
    assert np.abs(found - exact).max() <= error
    rounding = rounding_limit(weights, float(grey.max()))
    assert np.abs(opencv_means(grey, window_px) - exact).max() <= rounding


@pytest.mark.parametrize(("window_px", "bound"), [(627, 0.04), (301, 0.08), (157, 0.09)])
def test_the_bound_is_small_enough_to_decide_nearly_every_pixel(window_px: int, bound: float) -> None:
    full_range = np.array([[0, 255]], np.uint8)
    assert coarse_means(full_range, grid_of(gaussian_weights(window_px)))[1] < bound


def test_a_large_image_with_windows_of_the_method_is_as_opencv_decides_it() -> None:
    grey = textured((330, 517), 4)
    assert (threshold_against_mean(grey, 157, 7.0) == plain(grey, 157, 7.0)).all()
    assert decided_threshold(grey, 157, 7.0) is not None


def test_an_image_that_lies_on_the_limit_all_over_is_left_to_opencv() -> None:
    grey = np.full((300, 400), 90, np.uint8)
    grey[::2, ::2] = 92  # a mean of 90.5: half a level above most pixels, and a limit of half a level
    assert decided_threshold(grey, 157, 1.0) is None
    assert (threshold_against_mean(grey, 157, 1.0) == plain(grey, 157, 1.0)).all()


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("offset", [-3.0, 0.0, 0.4, 7.0, 600.0])
def test_a_blank_image_is_bright_or_dark_as_opencv_says(value: int, offset: float) -> None:
    grey = np.full((260, 260), value, np.uint8)
    assert (threshold_against_mean(grey, 157, offset) == plain(grey, 157, offset)).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (90, 1)])
def test_a_line_of_pixels_is_left_to_opencv(shape: tuple[int, int]) -> None:
    grey = textured(shape, 1)
    assert decided_threshold(grey, 61, 3.0) is None
    assert (threshold_against_mean(grey, 61, 3.0) == plain(grey, 61, 3.0)).all()
