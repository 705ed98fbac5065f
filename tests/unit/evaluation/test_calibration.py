"""Calibration against its definition, and on networks that are as sure as they are right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from services.evaluation.calibration import Calibration, ConfidenceRangeError, calibration, reliability

Array = np.ndarray[Any, Any]


def ece(confidence: Array, right: Array, bins: int = 15) -> float:
    value = calibration(reliability(confidence, right, bins)).ece
    assert value is not None
    return value


def plain_ece(confidence: Array, right: Array, bins: int) -> float:
    """Guo's equation 3, bin by bin: |B| / n times |accuracy - confidence|."""
    total = 0.0
    for k in range(bins):
        inside = (confidence * bins > k) & (confidence * bins <= k + 1)
        if k == 0:
            inside |= confidence == 0
        if inside.any():
            total += inside.sum() / confidence.size * abs(right[inside].mean() - confidence[inside].mean())
    return total


@settings(max_examples=40, deadline=None)
@given(
    confidence=arrays.arrays(np.float64, 40, elements=st.floats(0.0, 1.0)),
    right=arrays.arrays(np.bool_, 40),
    bins=st.integers(1, 20),
)
def test_the_error_is_its_definition(confidence: Array, right: Array, bins: int) -> None:
    assert ece(confidence, right, bins) == pytest.approx(plain_ece(confidence, right, bins), abs=1e-9)


def test_a_network_that_is_sure_and_half_right_is_off_by_a_half() -> None:
    assert ece(np.ones(10), np.arange(10) < 5) == 0.5


def test_a_network_as_sure_as_it_is_right_is_calibrated() -> None:
    confidence = np.array([0.75] * 4 + [0.25] * 4)
    right = np.array([True, True, True, False, True, False, False, False])
    assert ece(confidence, right) == 0.0


def test_tables_of_two_images_add_up() -> None:
    confidence, right = np.linspace(0.0, 1.0, 30), np.arange(30) % 3 > 0
    apart = reliability(confidence[:11], right[:11]) + reliability(confidence[11:], right[11:])
    assert np.allclose(apart, reliability(confidence, right))


def test_the_table_holds_every_pixel_once_and_empty_bins_have_no_value() -> None:
    table = calibration(reliability(np.array([0.0, 0.5, 1.0]), np.array([False, True, True]), 4))
    assert [found.pixels for found in table.bins] == [1, 1, 0, 1]
    assert table.bins[2].accuracy is None
    assert (table.bins[1].above, table.bins[1].up_to, table.bins[1].confidence) == (0.25, 0.5, 0.5)


def test_without_pixels_there_is_no_error() -> None:
    empty: Calibration = calibration(np.zeros((3, 3)))
    assert empty.ece is None


@pytest.mark.parametrize("value", [-0.1, 1.1, 255.0, float("nan")])
def test_what_is_no_probability_is_refused(value: float) -> None:
    with pytest.raises(ConfidenceRangeError, match="0 to 1"):
        reliability(np.array([0.5, value]), np.array([True, True]))
