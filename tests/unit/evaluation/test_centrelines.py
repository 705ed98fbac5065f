"""ClDice against its formula on scikit-image's skeletons, and on lines drawn by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays
from skimage import morphology

from services.evaluation.centrelines import centreline_hits
from services.evaluation.hits import harmonic_f

Mask = np.ndarray[Any, Any]
SHAPE = (9, 11)
EVERYWHERE = np.ones(SHAPE, bool)
reference: Any = morphology
masks = arrays.arrays(np.bool_, SHAPE)


def line(rows: slice, columns: slice = slice(None)) -> Mask:
    mask = np.zeros(SHAPE, bool)
    mask[rows, columns] = True
    return mask


def test_a_line_three_times_as_thick_is_still_the_line() -> None:
    thin, thick = line(slice(4, 5)), line(slice(3, 6))
    # The skeleton of a bar may bend at its ends, by a pixel or two.
    assert float(harmonic_f(centreline_hits(thick, thin, EVERYWHERE))) > 0.9
    dice = 2 * np.count_nonzero(thin & thick) / (np.count_nonzero(thin) + np.count_nonzero(thick))
    assert dice == 0.5


def test_half_a_line_has_full_precision_and_half_sensitivity() -> None:
    whole, half = line(slice(4, 5), slice(0, 10)), line(slice(4, 5), slice(0, 5))
    hits = centreline_hits(whole, half, EVERYWHERE)
    assert hits.tolist() == [5, 5, 5, 10]
    assert float(harmonic_f(hits)) == pytest.approx(2 / 3)


def test_a_line_elsewhere_scores_nothing() -> None:
    hits = centreline_hits(line(slice(1, 2)), line(slice(7, 8)), EVERYWHERE)
    assert hits.tolist() == [0, 11, 0, 11]
    assert float(harmonic_f(hits)) == 0.0


def test_pixels_without_a_truth_do_not_count() -> None:
    counted = EVERYWHERE.copy()
    counted[:, 5:] = False
    hits = centreline_hits(line(slice(4, 5)), line(slice(4, 5), slice(0, 5)), counted)
    assert hits.tolist() == [5, 5, 5, 5]


@settings(max_examples=40, deadline=None)
@given(truth=masks, prediction=masks)
def test_cldice_is_its_formula(truth: Mask, prediction: Mask) -> None:
    true_line = np.asarray(reference.skeletonize(truth), bool)
    found_line = np.asarray(reference.skeletonize(prediction), bool)
    value = float(harmonic_f(centreline_hits(truth, prediction, EVERYWHERE)))
    if not true_line.any() and not found_line.any():
        assert np.isnan(value)
    elif not true_line.any() or not found_line.any():
        assert value == 0.0
    else:
        precision = (found_line & truth).sum() / found_line.sum()
        sensitivity = (true_line & prediction).sum() / true_line.sum()
        product = precision * sensitivity
        assert value == pytest.approx(2 * product / (precision + sensitivity) if product else 0.0)


@settings(max_examples=40, deadline=None)
@given(truth=masks)
def test_the_truth_agrees_with_itself(truth: Mask) -> None:
    hits = centreline_hits(truth, truth, EVERYWHERE).tolist()
    assert hits[0] == hits[1] == hits[2] == hits[3]
    assert (hits[0] > 0) == truth.any()
