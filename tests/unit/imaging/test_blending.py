"""Blended windows cover an image, agree where they agree, and hide no seam."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.imaging.blending import Blend, WindowSizeError, hann_weights, windows

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda pair: (max(pair), min(pair)))


@settings(deadline=None)
@given(st.tuples(SIZES, SIZES))
def test_windows_cover_every_pixel_and_stay_inside(axes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    shape, window = tuple(whole for whole, _ in axes), tuple(part for _, part in axes)
    seen = np.zeros(shape, int)
    for where in windows(shape, window):
        assert seen[where].shape == window
        seen[where] += 1
    assert seen.min() >= 1


@settings(deadline=None)
@given(st.tuples(SIZES, SIZES, SIZES))
def test_answers_that_agree_are_left_as_they_are(axes: tuple[tuple[int, int], ...]) -> None:
    shape = tuple(min(whole, 12) for whole, _ in axes)
    window = tuple(min(part, size) for (_, part), size in zip(axes, shape, strict=True))
    image = np.random.default_rng(0).random((2, *shape)).astype(np.float32)
    blend = Blend(2, shape)
    for where in windows(shape, window):
        blend.add(image[(slice(None), *where)], where)
    np.testing.assert_allclose(blend.mean(), image, rtol=1e-5)


def test_windows_that_disagree_meet_without_a_seam() -> None:
    blend = Blend(1, (48,))
    for answer, where in enumerate(windows((48,), (32,))):
        blend.add(np.full((1, 32), float(answer), np.float32), where)
    steps = np.diff(blend.mean()[0])
    assert blend.mean()[0, 0] == 0.0
    assert blend.mean()[0, -1] == 1.0
    assert (steps >= 0).all()
    # Laid side by side, one step would be the whole difference.
    assert steps.max() < 0.15


def test_the_middle_of_a_window_counts_most() -> None:
    weights = hann_weights((7, 9))
    assert weights.argmax() == 3 * 9 + 4
    assert weights[0, 0] < 0.01 < weights[3, 4]
    assert (weights > 0).all()


def test_a_window_larger_than_the_image_is_refused() -> None:
    with pytest.raises(WindowSizeError):
        list(windows((8, 8), (4, 9)))


def test_a_pixel_in_no_window_is_noticed() -> None:
    blend = Blend(1, (4,))
    blend.add(np.ones((1, 2), np.float32), (slice(0, 2),))
    with pytest.raises(WindowSizeError, match="in no window"):
        blend.mean()
