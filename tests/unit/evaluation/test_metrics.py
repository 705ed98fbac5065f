"""Scores from counts, against known answers and other implementations."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from skimage import metrics

from services.evaluation.metrics import (
    LabelRangeError,
    ShapeMismatchError,
    adapted_rand_error,
    averages,
    class_scores,
    confusion,
    count_pairs,
    matched_dice,
    mean,
    panoptic_quality,
    variation_of_information,
)

Labels = np.ndarray[Any, Any]
reference: Any = metrics


@st.composite
def label_pairs(draw: st.DrawFn, top: int, smallest: int = 0) -> tuple[Labels, Labels]:
    shape = draw(arrays.array_shapes(min_dims=1, max_dims=3, max_side=5))
    elements = st.integers(smallest, top)
    first: Labels = draw(arrays.arrays(np.uint8, shape, elements=elements))
    second: Labels = draw(arrays.arrays(np.uint8, shape, elements=elements))
    return first, second


@given(pair=label_pairs(top=3))
def test_scores_follow_from_their_definitions(pair: tuple[Labels, Labels]) -> None:
    truth, prediction = pair
    for label, score in enumerate(class_scores(confusion(truth, prediction, 4))):
        true, predicted = truth == label, prediction == label
        right, either = int((true & predicted).sum()), int((true | predicted).sum())
        assert score.voxels == true.sum()
        assert score.iou == (right / either if either else None)
        assert score.precision == (right / predicted.sum() if predicted.any() else None)
        assert score.recall == (right / true.sum() if true.any() else None)
        if score.precision and score.recall:
            harmonic = 2 / (1 / score.precision + 1 / score.recall)
            assert score.f1 == pytest.approx(harmonic)


@given(pair=label_pairs(top=3))
def test_micro_f1_is_the_share_of_voxels_that_are_right(pair: tuple[Labels, Labels]) -> None:
    truth, prediction = pair
    assert averages(confusion(truth, prediction, 4)).micro == pytest.approx(float((truth == prediction).mean()))


@given(pair=label_pairs(top=3), cut=st.integers(0, 5))
def test_counts_of_parts_add_up_to_counts_of_the_whole(pair: tuple[Labels, Labels], cut: int) -> None:
    truth, prediction = (labels.ravel() for labels in pair)
    parts = confusion(truth[:cut], prediction[:cut], 4) + confusion(truth[cut:], prediction[cut:], 4)
    assert np.array_equal(parts, confusion(truth, prediction, 4))
    pairs = count_pairs(truth[:cut], prediction[:cut]) + count_pairs(truth[cut:], prediction[cut:])
    assert pairs == count_pairs(truth, prediction)


def test_averages_of_a_case_worked_out_by_hand() -> None:
    counts = np.array([[6, 2, 0], [0, 4, 0], [1, 1, 2]])
    f1 = [12 / 15, 8 / 11, 4 / 6]
    found = averages(counts)
    assert found.macro == pytest.approx(sum(f1) / 3)
    assert found.micro == pytest.approx(12 / 16)
    assert found.weighted == pytest.approx((8 * f1[0] + 4 * f1[1] + 4 * f1[2]) / 16)
    assert found.macro_without_exterior == pytest.approx((f1[1] + f1[2]) / 2)


def test_rows_are_truth_and_columns_prediction() -> None:
    score = class_scores(confusion(np.array([1, 1, 1, 0]), np.array([1, 0, 0, 0]), 2))[1]
    assert score.precision == 1.0
    assert score.recall == pytest.approx(1 / 3)


def test_a_class_that_is_nowhere_has_no_score_and_no_part_in_the_mean() -> None:
    counts = np.array([[4, 0, 0], [0, 4, 0], [0, 0, 0]])
    assert class_scores(counts)[2].f1 is None
    assert averages(counts).macro == 1.0


def test_nothing_counted_gives_no_score() -> None:
    empty = averages(np.zeros((3, 3), np.int64))
    assert (empty.macro, empty.micro, empty.weighted, empty.macro_without_exterior) == (None, None, None, None)
    assert mean([]) is None


@pytest.mark.parametrize(("truth", "prediction"), [([0, 3], [0, 0]), ([0, 0], [0, 3])])
def test_a_label_that_is_no_class_is_refused(truth: list[int], prediction: list[int]) -> None:
    with pytest.raises(LabelRangeError, match="0 to 2"):
        confusion(np.array(truth), np.array(prediction), 3)


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ShapeMismatchError):
        confusion(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 2)
    with pytest.raises(ShapeMismatchError):
        count_pairs(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))


@given(pair=label_pairs(top=4, smallest=1))
def test_partitions_score_as_in_scikit_image(pair: tuple[Labels, Labels]) -> None:
    truth, prediction = pair
    pairs = count_pairs(truth, prediction)
    # Where either has no two voxels in one segment, scikit-image divides by zero.
    if all(max(Counter(labels.ravel()).values()) > 1 for labels in pair):
        assert adapted_rand_error(pairs) == pytest.approx(reference.adapted_rand_error(truth, prediction)[0])
    expected = reference.variation_of_information(truth, prediction)
    assert np.allclose(variation_of_information(pairs), expected, atol=1e-9)


def test_a_cut_segment_is_a_split_and_two_in_one_are_a_merge() -> None:
    whole, cut = np.array([1, 1, 1, 1]), np.array([1, 1, 2, 2])
    assert variation_of_information(count_pairs(whole, cut)) == (1.0, 0.0)
    assert variation_of_information(count_pairs(cut, whole)) == (0.0, 1.0)


@given(labels=arrays.arrays(np.uint8, (3, 4), elements=st.integers(0, 5)))
def test_renaming_segments_costs_nothing(labels: Labels) -> None:
    pairs = count_pairs(labels, 9 - labels)
    assert adapted_rand_error(pairs) == 0.0
    assert variation_of_information(pairs) == (0.0, 0.0)


def test_no_elements_cost_nothing() -> None:
    nothing = count_pairs(np.zeros(0, np.uint8), np.zeros(0, np.uint8))
    assert adapted_rand_error(nothing) == 0.0
    assert variation_of_information(nothing) == (0.0, 0.0)


def best_dice(truth: Labels, prediction: Labels) -> float:
    """Mean Dice of the best one-to-one matching, found among all of them."""
    known, found = np.unique(truth[truth > 0]).tolist(), np.unique(prediction[prediction > 0]).tolist()
    found += [-1] * len(known)
    best = 0.0
    for partners in itertools.permutations(found, len(known)):
        total = 0.0
        for t, p in zip(known, partners, strict=True):
            together = np.count_nonzero((truth == t) & (prediction == p))
            total += 2 * together / (np.count_nonzero(truth == t) + np.count_nonzero(prediction == p))
        best = max(best, total / len(known))
    return best


@given(pair=label_pairs(top=3, smallest=1))
def test_matched_dice_is_that_of_the_best_matching(pair: tuple[Labels, Labels]) -> None:
    truth, prediction = pair
    inside = truth > 0
    pairs = count_pairs(truth[inside], prediction[inside])
    expected = best_dice(truth[inside], prediction[inside]) if inside.any() else None
    assert matched_dice(pairs) == (None if expected is None else pytest.approx(expected))


def test_panoptic_quality_counts_what_has_no_partner_by_half() -> None:
    # One match of IoU 1, one true segment missed, two predictions invented: 1 / (1 + 1/2 + 2/2).
    assert panoptic_quality({(1, 1): 5, (2, 2): 2, (2, 3): 2}) == pytest.approx(1 / 2.5)
    assert panoptic_quality({(1, 0): 5}) == 0.0
    assert panoptic_quality({}) is None
    assert matched_dice({}) is None


def test_a_match_needs_more_than_half() -> None:
    assert panoptic_quality({(1, 1): 2, (1, 0): 2}) == 0.0
    assert panoptic_quality({(1, 1): 3, (1, 0): 2}) == pytest.approx(0.6)
