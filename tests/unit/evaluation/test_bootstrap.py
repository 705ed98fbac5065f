"""Averages of F1 against exact fractions, and the bootstrap against resampling by hand."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from services.evaluation.bootstrap import average_f1, f1_by_class, intervals, resample_weights, resampled
from services.evaluation.metrics import averages

Counts = np.ndarray[Any, Any]
confusions = arrays.arrays(np.int64, (4, 4), elements=st.integers(0, 50))


def plain_f1(counts: Counts, label: int) -> tuple[int, int]:
    right = int(counts[label, label])
    return 2 * right, int(counts[label].sum() + counts[:, label].sum())


def plain_averages(counts: Counts, first: int) -> dict[str, Fraction | None]:
    """As scikit-learn defines `f1_score(labels=range(first, n))`, over classes that occur."""
    labels = [label for label in range(first, len(counts)) if plain_f1(counts, label)[1]]
    parts = {label: plain_f1(counts, label) for label in labels}
    true = {label: int(counts[label].sum()) for label in labels}
    scores = {label: Fraction(*parts[label]) for label in labels}
    wholes = sum(whole for _, whole in parts.values())
    return {
        "macro": sum(scores.values(), Fraction(0)) / len(labels) if labels else None,
        "micro": Fraction(sum(part for part, _ in parts.values()), wholes) if wholes else None,
        "weighted": sum((scores[k] * true[k] for k in labels), Fraction(0)) / sum(true.values())
        if sum(true.values())
        else None,
    }


@settings(max_examples=40, deadline=None)
@given(counts=confusions)
def test_averages_are_exact_with_and_without_exterior(counts: Counts) -> None:
    found = average_f1(counts)
    for suffix, first in (("", 0), ("_without_exterior", 1)):
        for name, expected in plain_averages(counts, first).items():
            value = float(found[name + suffix])
            assert np.isnan(value) if expected is None else value == pytest.approx(float(expected), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(counts=confusions)
def test_averages_are_those_of_every_other_evaluation(counts: Counts) -> None:
    found, known = average_f1(counts), averages(counts)
    for name in ("macro", "micro", "weighted", "macro_without_exterior"):
        expected = getattr(known, name)
        assert np.isnan(found[name]) if expected is None else float(found[name]) == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(counts=confusions, order=st.permutations([1, 2, 3]))
def test_averages_do_not_depend_on_the_order_of_classes(counts: Counts, order: list[int]) -> None:
    places = [0, *order]
    found, shuffled = average_f1(counts), average_f1(counts[np.ix_(places, places)])
    for name, value in found.items():
        assert float(shuffled[name]) == pytest.approx(float(value), nan_ok=True)


def test_averages_of_a_small_matrix_by_hand() -> None:
    counts = np.array([[6, 0, 0], [1, 2, 1], [0, 0, 0]])
    assert f1_by_class(counts).tolist() == pytest.approx([12 / 13, 4 / 6, 0.0])
    found = average_f1(counts)
    assert float(found["micro"]) == 0.8
    assert float(found["micro_without_exterior"]) == pytest.approx(4 / 7)
    assert float(found["macro_without_exterior"]) == pytest.approx(1 / 3)
    assert float(found["weighted_without_exterior"]) == pytest.approx(2 / 3)


def test_every_resample_draws_as_many_images_as_there_are() -> None:
    weights = resample_weights(7, 500, seed=4)
    assert weights.shape == (500, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.15)
    assert len(np.unique(weights, axis=0)) > 300


def test_the_same_seed_draws_the_same_images() -> None:
    assert (resample_weights(5, 20, seed=1) == resample_weights(5, 20, seed=1)).all()
    assert (resample_weights(5, 20, seed=1) != resample_weights(5, 20, seed=2)).any()


@settings(max_examples=40, deadline=None)
@given(per_image=arrays.arrays(np.int64, (4, 3, 3), elements=st.integers(0, 9)), seed=st.integers(0, 99))
def test_resampled_counts_are_sums_of_the_images_drawn(per_image: Counts, seed: int) -> None:
    weights = resample_weights(4, 3, seed)
    for row, counts in zip(weights, resampled(per_image, weights), strict=True):
        drawn = [per_image[image] for image, times in enumerate(row) for _ in range(times)]
        assert (counts == np.sum(drawn, axis=0)).all()


def test_intervals_hold_the_share_asked_for_and_leave_out_what_has_no_value() -> None:
    values = np.append(np.arange(1001.0), [np.nan] * 50)
    found = intervals({"f1": values, "absent": np.full(5, np.nan)}, 0.95)
    assert list(found) == ["f1"]
    assert (found["f1"].low, found["f1"].high) == pytest.approx((25.0, 975.0))


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation() -> None:
    """Share of right pixels over images with 100 pixels each: its standard error is known from statistics."""
    generator = np.random.default_rng(11)
    right = generator.integers(60, 96, size=80)
    per_image = np.zeros((80, 2, 2), np.int64)
    per_image[:, 0, 0], per_image[:, 0, 1] = right, 100 - right
    drawn = average_f1(resampled(per_image, resample_weights(80, 4000, seed=0)))["micro"]
    found = intervals({"micro": drawn}, 0.95)["micro"]
    shares = right / 100
    half = 1.96 * shares.std() / np.sqrt(80)
    assert found.low == pytest.approx(shares.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(shares.mean() + half, abs=0.1 * half)
