"""Which prediction is which true nucleus."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.evaluation.matching import NucleusCounts, count_nuclei, match_nuclei


def test_a_nucleus_is_found_by_a_prediction_that_holds_more_than_half_of_it() -> None:
    matching = match_nuclei({1: 100, 2: 100}, {(1, "a"): 51, (2, "b"): 50})
    assert matching.prediction_of == {1: "a"}
    assert count_nuclei(matching, [1, 2]) == NucleusCounts(truth=2, found=1, missed=1, split=0, merged=0)


def test_a_nucleus_in_two_predictions_is_split_and_found_by_the_larger() -> None:
    matching = match_nuclei({1: 100}, {(1, "a"): 30, (1, "b"): 60})
    assert matching.prediction_of == {1: "b"}
    assert count_nuclei(matching, [1]) == NucleusCounts(truth=1, found=1, missed=0, split=1, merged=0)


def test_two_nuclei_in_one_prediction_are_merged_and_one_of_them_is_missed() -> None:
    matching = match_nuclei({1: 100, 2: 120}, {(1, "a"): 90, (2, "a"): 110})
    assert matching.prediction_of == {2: "a"}
    assert count_nuclei(matching, [1, 2]) == NucleusCounts(truth=2, found=1, missed=1, split=0, merged=2)


def test_a_sliver_of_a_neighbour_is_neither_a_split_nor_a_merge() -> None:
    matching = match_nuclei({1: 100, 2: 100}, {(1, "a"): 90, (2, "a"): 9, (2, "b"): 91, (1, "b"): 9})
    assert count_nuclei(matching, [1, 2]) == NucleusCounts(truth=2, found=2, missed=0, split=0, merged=0)


def test_a_prediction_that_holds_no_nucleus_has_no_home() -> None:
    matching = match_nuclei({1: 100}, {(1, "a"): 90})
    assert matching.home_of == {"a": 1}
    assert match_nuclei({1: 100}, {}).home_of == {}


def test_only_the_nuclei_asked_for_are_counted() -> None:
    matching = match_nuclei({1: 100, 2: 100}, {(1, "a"): 90})
    assert count_nuclei(matching, [2]) == NucleusCounts(truth=1, found=0, missed=1, split=0, merged=0)


@given(
    overlaps=st.dictionaries(st.tuples(st.integers(1, 4), st.sampled_from("abcd")), st.integers(1, 50), max_size=10),
    data=st.data(),
)
def test_matching_is_one_to_one_and_independent_of_order(
    overlaps: dict[tuple[int, str], int], data: st.DataObject
) -> None:
    sizes = dict.fromkeys(range(1, 5), 60)
    matching = match_nuclei(sizes, overlaps)
    assert len(set(matching.prediction_of.values())) == len(matching.prediction_of)
    shuffled = dict(data.draw(st.permutations(list(overlaps.items()))))
    assert match_nuclei(sizes, shuffled) == matching
