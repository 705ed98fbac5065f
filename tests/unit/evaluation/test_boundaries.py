"""Boundary F against a plain reference, hand-made outlines and its symmetries."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from services.evaluation.boundaries import ToleranceError, boundary, boundary_hits
from services.evaluation.hits import harmonic_f

Mask = np.ndarray[Any, Any]
SHAPE = (7, 8)
masks = arrays.arrays(np.bool_, SHAPE)
few = arrays.arrays(np.bool_, SHAPE, elements=st.sampled_from([False] * 9 + [True]))
tolerances = st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0])


def plain_boundary(mask: Mask, counted: Mask) -> set[tuple[int, int]]:
    """The definition, pixel by pixel: a 4-neighbour that counts and is not of the mask."""
    found = set()
    for y, x in itertools.product(*(range(size) for size in mask.shape)):
        if mask[y, x] and counted[y, x]:
            for near in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                inside = 0 <= near[0] < mask.shape[0] and 0 <= near[1] < mask.shape[1]
                if inside and counted[near] and not mask[near]:
                    found.add((y, x))
    return found


def plain_hits(truth: Mask, prediction: Mask, counted: Mask, tolerance: float) -> list[int]:
    """Csurka's definition by distances between all pairs of pixels."""
    unknown = {(int(y), int(x)) for y, x in np.argwhere(~counted)}

    def near(pixel: tuple[int, int], others: set[tuple[int, int]]) -> bool:
        return any(math.dist(pixel, other) <= tolerance for other in others)

    true_edge, found_edge = plain_boundary(truth, counted), plain_boundary(prediction, counted)
    true = {pixel for pixel in true_edge if not near(pixel, unknown)}
    found = {pixel for pixel in found_edge if not near(pixel, unknown)}
    hit_found, hit_true = [p for p in found if near(p, true_edge)], [p for p in true if near(p, found_edge)]
    return [len(hit_found), len(found), len(hit_true), len(true)]


def square(first: int, last: int, size: int = 20) -> Mask:
    mask = np.zeros((size, size), bool)
    mask[first:last, first:last] = True
    return mask


@settings(max_examples=40, deadline=None)
@given(truth=masks, prediction=masks, unknown=few, tolerance=tolerances)
def test_hits_are_those_of_the_definition(truth: Mask, prediction: Mask, unknown: Mask, tolerance: float) -> None:
    hits = boundary_hits(truth, prediction, ~unknown, tolerance)
    assert hits.tolist() == plain_hits(truth, prediction, ~unknown, tolerance)


@settings(max_examples=40, deadline=None)
@given(truth=masks, prediction=masks, tolerance=tolerances)
def test_truth_and_prediction_change_places_with_precision_and_recall(
    truth: Mask, prediction: Mask, tolerance: float
) -> None:
    counted = np.ones(SHAPE, bool)
    there = boundary_hits(truth, prediction, counted, tolerance).tolist()
    assert boundary_hits(prediction, truth, counted, tolerance).tolist() == [*there[2:], *there[:2]]


@settings(max_examples=40, deadline=None)
@given(truth=masks, prediction=masks, tolerance=tolerances)
def test_turned_and_flipped_images_have_the_same_hits(truth: Mask, prediction: Mask, tolerance: float) -> None:
    counted = np.ones(SHAPE, bool)
    hits = boundary_hits(truth, prediction, counted, tolerance).tolist()
    for turn in (np.rot90, np.flipud, np.fliplr):
        first, second = (np.ascontiguousarray(turn(mask)) for mask in (truth, prediction))
        assert boundary_hits(first, second, np.ones(first.shape, bool), tolerance).tolist() == hits


def test_an_outline_off_by_two_pixels_is_a_hit_at_two_and_a_miss_at_one() -> None:
    counted = np.ones((20, 20), bool)
    truth, grown = square(5, 15), square(3, 17)
    close = harmonic_f(boundary_hits(truth, grown, counted, 1.0))
    assert float(close) == 0.0
    # A grown square's corners lie further off than 2 px, by Pythagoras 2 * sqrt(2).
    hits = boundary_hits(truth, grown, counted, 2.0).tolist()
    assert hits[2:] == [36, 36]
    assert hits[1] == 52
    assert hits[0] == 40


def test_the_edge_of_the_image_is_no_boundary() -> None:
    everything = np.ones((4, 5), bool)
    assert not boundary(everything, everything).any()


def test_what_lies_beside_unlabelled_pixels_is_not_judged() -> None:
    counted = np.ones((1, 10), bool)
    counted[0, 5] = False
    truth = np.zeros((1, 10), bool)
    truth[0, :4] = True
    assert boundary_hits(truth, ~truth, counted, 2.0).tolist() == [0, 0, 0, 0]
    assert boundary_hits(truth, truth, counted, 1.0).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("tolerance", [-1.0, 51.0, float("nan")])
def test_a_senseless_tolerance_is_refused(tolerance: float) -> None:
    mask = square(5, 9)
    with pytest.raises(ToleranceError, match="0 to 50"):
        boundary_hits(mask, mask, np.ones_like(mask), tolerance)
