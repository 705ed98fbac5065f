"""Overlapping classes become one label per pixel, and what that costs is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.benchmarks.science.bits import BitClass, Precedence, UnknownBitError
from tests.benchmarks.science.epfl6 import CLASSES

BITS = hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 63))


def test_the_rim_of_a_mitochondrion_is_mitochondrion() -> None:
    labels = CLASSES.labels(np.array([[0, 1, 3, 2]], np.uint8))
    assert CLASSES.mask(labels, "mitochondrion").tolist() == [[False, True, True, True]]
    assert CLASSES.mask(labels, "mitochondrial_boundary").tolist() == [[False, False, True, True]]


def test_the_later_class_wins() -> None:
    rule = Precedence((BitClass("a", 1), BitClass("b", 4)))
    assert rule.labels(np.array([5, 1, 4], np.uint8)).tolist() == [2, 1, 2]
    assert Precedence((BitClass("b", 4), BitClass("a", 1))).labels(np.array([5], np.uint8)).tolist() == [2]


def test_a_bit_of_no_class_is_refused() -> None:
    with pytest.raises(UnknownBitError, match="0x40"):
        CLASSES.labels(np.array([[64]], np.uint8))


@given(BITS)
def test_nothing_is_invented(bits: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> None:
    labels = CLASSES.labels(bits)
    assert np.array_equal(labels == 0, bits == 0)
    for each in CLASSES.classes:
        found = CLASSES.mask(labels, each.name)
        own = [other.bit for other in CLASSES.classes if each.name in {other.name, other.within}]
        assert not (found & ((bits & sum(own)) == 0)).any()


@given(BITS)
def test_what_has_one_bit_keeps_it(bits: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> None:
    labels = CLASSES.labels(bits)
    for each in CLASSES.classes:
        assert CLASSES.mask(labels, each.name)[bits == each.bit].all()


def test_labels_and_names_agree() -> None:
    ids = CLASSES.class_ids
    assert ids["background"] == 0
    for each in CLASSES.classes:
        assert CLASSES.labels(np.array([each.bit], np.uint8)).tolist() == [ids[each.name]]
    assert sum(each.bit for each in CLASSES.classes) == 63
