"""Comparison of label images: worked out by hand, and what must not change it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from services.evaluation.comparison import (
    IGNORED,
    Comparison,
    LabelPair,
    NothingToCompareError,
    Settings,
    compare,
)
from services.evaluation.comparison_text import format_comparison
from services.evaluation.metrics import LabelRangeError, ShapeMismatchError

Labels = np.ndarray[Any, Any]
SETTINGS = Settings({0: "exterior", 1: "chromosome", 2: "membrane"})
FEW = Settings(SETTINGS.class_names, resamples=20)
LIGHT = settings(max_examples=25, deadline=None)
SHAPE = (6, 7)
labels = arrays.arrays(np.uint8, SHAPE, elements=st.integers(0, 2))


def image(*rows: str) -> Labels:
    """Return labels from digits; `?` is unlabelled."""
    return np.array([[IGNORED if sign == "?" else int(sign) for sign in row] for row in rows], np.uint8)


@pytest.fixture
def pairs() -> list[LabelPair]:
    return [
        LabelPair("b", image("0011", "0011"), image("0011", "0111")),
        LabelPair("a", image("0022", "0???"), image("0020", "0112")),
    ]


def test_scores_are_of_all_images_together_and_of_pixels_with_a_truth(pairs: list[LabelPair]) -> None:
    found = compare(pairs, SETTINGS)
    assert found.confusion.tolist() == [[6, 1, 0], [0, 4, 0], [1, 0, 1]]
    assert found.ignored == 3
    chromosome = found.pixels.classes["chromosome"]
    assert (chromosome.precision, chromosome.recall, chromosome.f1, chromosome.iou) == (4 / 5, 1.0, 8 / 9, 4 / 5)
    assert found.f1["micro"] == 11 / 13
    assert found.f1["micro_without_exterior"] == 10 / 12
    assert found.f1["macro"] == pytest.approx((12 / 14 + 8 / 9 + 2 / 3) / 3)
    assert found.f1["macro_without_exterior"] == pytest.approx((8 / 9 + 2 / 3) / 2)


def test_images_are_scored_one_by_one_in_the_order_of_names(pairs: list[LabelPair]) -> None:
    found = compare(pairs, SETTINGS)
    assert [(one.name, one.pixels) for one in found.images] == [("a", 5), ("b", 8)]
    assert found.images[0].f1_macro == pytest.approx((6 / 7 + 2 / 3) / 2)


def test_only_thin_classes_have_a_centreline(pairs: list[LabelPair]) -> None:
    assert list(compare(pairs, SETTINGS).cldice) == ["membrane"]
    assert list(compare(pairs, Settings(SETTINGS.class_names, frozenset({"chromosome"}))).cldice) == ["chromosome"]


def test_intervals_hold_the_score_and_widen_with_the_spread(pairs: list[LabelPair]) -> None:
    found = compare(pairs, SETTINGS)
    # Of two images a resample is one of them twice, or both: the ends are the images' own scores.
    assert found.intervals["f1_micro"].low == pytest.approx(4 / 5)
    assert found.intervals["f1_micro"].high == pytest.approx(7 / 8)
    same = [LabelPair(name, pairs[0].truth, pairs[0].prediction) for name in "ab"]
    assert compare(same, SETTINGS).intervals["f1_micro"].low == pytest.approx(7 / 8)
    assert compare(same, SETTINGS).intervals["f1_micro"].high == pytest.approx(7 / 8)


def test_one_image_has_no_interval(pairs: list[LabelPair]) -> None:
    assert compare(pairs[:1], SETTINGS).intervals == {}


def test_confidences_are_judged_where_there_is_a_truth(pairs: list[LabelPair]) -> None:
    sure = [LabelPair(p.name, p.truth, p.prediction, np.ones(p.truth.shape, np.float32)) for p in pairs]
    found = compare(sure, SETTINGS).calibration
    assert found is not None
    assert found.ece == pytest.approx(1 - 11 / 13)
    assert sum(one.pixels for one in found.bins) == 13
    assert compare(pairs, SETTINGS).calibration is None


def test_a_stack_scores_as_its_planes(pairs: list[LabelPair]) -> None:
    stack = LabelPair("s", np.stack([p.truth for p in pairs]), np.stack([p.prediction for p in pairs]))
    apart, together = compare(pairs, SETTINGS), compare([stack], SETTINGS)
    assert together.f1 == apart.f1
    assert together.boundary_f == apart.boundary_f
    assert together.cldice == apart.cldice


def plain(found: Comparison) -> dict[str, Any]:
    return json.loads(json.dumps(found.as_json(), allow_nan=False))  # type: ignore[no-any-return]


@LIGHT
@given(truths=st.lists(labels, min_size=2, max_size=3), data=st.data())
def test_the_order_of_images_does_not_matter(truths: list[Labels], data: st.DataObject) -> None:
    given_pairs = [LabelPair(f"{k}", truth, data.draw(labels)) for k, truth in enumerate(truths)]
    shuffled = data.draw(st.permutations(given_pairs))
    assert plain(compare(shuffled, FEW)) == plain(compare(given_pairs, FEW))


@LIGHT
@given(truth=labels)
def test_the_truth_scores_one_and_has_nothing_to_say_of_absent_classes(truth: Labels) -> None:
    found = compare([LabelPair("a", truth, truth)], FEW)
    for label, (name, score) in enumerate(found.pixels.classes.items()):
        present = bool((truth == label).any())
        assert score.f1 == (1.0 if present else None)
        assert found.boundary_f[name] in ({1.0, None} if present else {None})
    assert found.f1["macro"] == 1.0


@LIGHT
@given(truth=labels, prediction=labels, hidden=arrays.arrays(np.bool_, SHAPE), other=labels)
def test_what_is_predicted_where_there_is_no_truth_does_not_matter(
    truth: Labels, prediction: Labels, hidden: Labels, other: Labels
) -> None:
    hidden[0, 0] = False
    sparse = np.where(hidden, IGNORED, truth).astype(np.uint8)
    changed = np.where(hidden, other, prediction).astype(np.uint8)
    first, second = (compare([LabelPair("a", sparse, found)], FEW) for found in (prediction, changed))
    assert plain(first) == plain(second)


def test_the_json_keeps_the_keys_of_other_evaluations(pairs: list[LabelPair]) -> None:
    content = plain(compare(pairs, SETTINGS))
    assert {"classes", "f1_macro", "f1_micro", "f1_weighted", "f1_macro_without_exterior", "nuclei"} <= content.keys()
    assert content["confusion"]["classes"] == ["exterior", "chromosome", "membrane"]
    assert content["bootstrap"] == {"over": "images", "resamples": 1000, "seed": 0, "level": 0.95}


def test_the_text_names_every_class_and_fits_a_terminal(pairs: list[LabelPair]) -> None:
    text = format_comparison(compare(pairs, SETTINGS))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    chromosome = next(line for line in lines if line.startswith("chromosome"))
    assert chromosome.split()[1:4] == ["0.800", "1.000", "0.889"]
    macro = next(line for line in lines if line.startswith("macro"))
    assert macro.split()[1] == "0.804"


@pytest.mark.parametrize(
    ("pair", "error", "said"),
    [
        (LabelPair("a", image("00"), image("03")), LabelRangeError, "prediction has label 3"),
        (LabelPair("a", image("04"), image("00")), LabelRangeError, "truth has label 4"),
        (LabelPair("a", image("00"), image("0?")), LabelRangeError, "prediction has label 255"),
        (LabelPair("a", image("00"), image("000")), ShapeMismatchError, "one shape"),
        (LabelPair("a", image("00")[0], image("00")[0]), ShapeMismatchError, r"\(y, x\)"),
        (LabelPair("a", image("00"), image("00"), np.ones(2)), ShapeMismatchError, "confidence"),
        (LabelPair("a", image("??"), image("00")), NothingToCompareError, "no pixel has a truth"),
    ],
)
def test_what_does_not_fit_is_refused(pair: LabelPair, error: type[ValueError], said: str) -> None:
    with pytest.raises(error, match=said):
        compare([pair], SETTINGS)


def test_no_image_is_refused() -> None:
    with pytest.raises(NothingToCompareError):
        compare([], SETTINGS)
