"""Splits: the manuscript's by image, and those in which nothing leaks."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from services.trainer.splits import (
    Leak,
    Part,
    Sample,
    Split,
    SplitError,
    SplitRule,
    distance_in_planes,
    leaks,
    split_by_block,
    split_by_image,
    split_by_nucleus,
    split_by_place,
)


def stack(nucleus: str, zs: range | list[int]) -> list[Sample]:
    return [Sample(f"{nucleus}_z{z:04d}", nucleus, z) for z in zs]


samples_of_nuclei = st.dictionaries(
    st.sampled_from("abcdefgh"), st.sets(st.integers(0, 400), min_size=1, max_size=10), min_size=1
).map(lambda drawn: [sample for nucleus, zs in sorted(drawn.items()) for sample in stack(nucleus, sorted(zs))])


@st.composite
def tied(draw: st.DrawFn) -> list[Sample]:
    """Images of nuclei, some without a plane, some without a nucleus, some the same picture as another."""
    samples = draw(samples_of_nuclei)
    names = [sample.name for sample in samples]
    lost = draw(st.lists(st.sampled_from("abc"), max_size=2))
    samples += [Sample(f"{nucleus}_lost{k}", nucleus) for k, nucleus in enumerate(lost)]
    samples += [Sample(f"alone{k}") for k in range(draw(st.integers(0, 3)))]
    return [
        Sample(s.name, s.nucleus, s.z, tuple(draw(st.lists(st.sampled_from(names), max_size=1)))) if k % 4 == 0 else s
        for k, s in enumerate(samples)
    ]


# The manuscript's


def test_the_manuscripts_260_images_give_its_numbers() -> None:
    split = split_by_image([Sample(f"image{k:03d}") for k in range(260)])
    assert (len(split.training), len(split.validation), len(split.test)) == (211, 23, 26)


@pytest.mark.parametrize("count", [10, 57, 260])
@pytest.mark.parametrize("seed", [0, 5])
def test_the_manuscripts_split_is_scikit_learns(count: int, seed: int) -> None:
    selection: Any = importlib.import_module("sklearn.model_selection")
    shuffle: Any = importlib.import_module("sklearn.utils").shuffle
    names = [f"image{k:03d}" for k in range(count)]
    rest, test = selection.train_test_split(shuffle(names, random_state=123), test_size=0.1, random_state=seed)
    split = split_by_image([Sample(name) for name in reversed(names)], SplitRule(seed=seed))
    n_validation = max(1, len(rest) // 10)
    assert split.test == tuple(sorted(test))
    assert split.validation == tuple(sorted(rest[-n_validation:]))
    assert split.training == tuple(sorted(rest[:-n_validation]))


def test_the_manuscripts_split_leaks_and_is_told_so() -> None:
    samples = stack("n", range(100))
    found = leaks(split_by_image(samples), samples, 1)
    assert found
    assert all(leak.why == "neighbours" and leak.distance_planes == 1 for leak in found)


# Leaks


def test_a_leak_names_both_images_their_parts_and_their_distance() -> None:
    samples = [*stack("a", [3, 8, 30]), Sample("copy", "b", 0, ("a_z0030",))]
    split = Split(
        kind="image",
        seed=0,
        distance_planes=0,
        test_share=0.1,
        validation_share=0.1,
        training=("a_z0003", "copy"),
        validation=("a_z0008",),
        test=("a_z0030",),
    )
    neighbours = Leak(
        first="a_z0003",
        first_part=Part.TRAINING,
        second="a_z0008",
        second_part=Part.VALIDATION,
        why="neighbours",
        distance_planes=5,
    )
    same = Leak(first="a_z0030", first_part=Part.TEST, second="copy", second_part=Part.TRAINING, why="same-picture")
    assert leaks(split, samples, 5) == (neighbours, same)
    assert leaks(split, samples, 4) == (same,)


def test_a_split_of_other_images_is_refused() -> None:
    samples = stack("n", range(0, 300, 30))
    with pytest.raises(SplitError, match="n_z0000"):
        leaks(split_by_block(samples), samples[1:], 1)


@settings(max_examples=40, deadline=None)
@given(tied(), st.integers(0, 60), st.integers(0, 9))
def test_a_split_by_block_never_leaks_and_keeps_every_image_once(
    samples: list[Sample], distance: int, seed: int
) -> None:
    try:
        split = split_by_block(samples, SplitRule(seed=seed, distance_planes=distance))
    except SplitError:
        return
    assert leaks(split, samples, distance) == ()
    assert sorted(split.part_of) == sorted(sample.name for sample in samples)


@settings(max_examples=40, deadline=None)
@given(tied(), st.integers(0, 9))
def test_a_split_by_nucleus_never_divides_a_nucleus_or_copies(samples: list[Sample], seed: int) -> None:
    try:
        split = split_by_nucleus(samples, SplitRule(seed=seed))
    except SplitError:
        return
    part_of = split.part_of
    for nucleus in {sample.nucleus for sample in samples} - {None}:
        assert len({part_of[sample.name] for sample in samples if sample.nucleus == nucleus}) == 1
    assert leaks(split, samples, 10**6) == ()
    assert sorted(part_of) == sorted(sample.name for sample in samples)
    assert split.left_out == ()


@settings(max_examples=40, deadline=None)
@given(tied(), st.randoms(use_true_random=False))
def test_the_order_of_images_decides_nothing(samples: list[Sample], random: Any) -> None:
    shuffled = list(samples)
    random.shuffle(shuffled)
    for divide in (split_by_image, split_by_nucleus, split_by_block, split_by_place):
        outcomes = []
        for order in (samples, shuffled):
            try:
                outcomes.append(divide(order).model_dump_json())
            except SplitError as fault:
                outcomes.append(str(fault))
        assert outcomes[0] == outcomes[1]


@settings(max_examples=40, deadline=None)
@given(st.integers(40, 300), st.integers(0, 12), st.integers(0, 9))
@example(200, 10, 0)
def test_one_stack_loses_two_or_three_gaps_and_no_more(planes: int, distance: int, seed: int) -> None:
    split = split_by_block(stack("n", range(planes)), SplitRule(seed=seed, distance_planes=distance, validation=0.35))
    assert len(split.test) == max(1, round(0.1 * planes))
    assert len(split.left_out) <= 3 * distance


def test_runs_that_lie_apart_are_not_cut_when_they_need_not_be() -> None:
    runs = [z for first in range(0, 2000, 200) for z in range(first, first + 4)]
    split = split_by_block(stack("n", runs), SplitRule(distance_planes=25))
    assert split.left_out == ()
    assert len(split.test) == len(split.validation) == 4
    assert max(int(name[-4:]) for name in split.test) - min(int(name[-4:]) for name in split.test) == 3


def test_many_nuclei_are_divided_whole() -> None:
    samples = [sample for nucleus in range(20) for sample in stack(f"n{nucleus}", range(0, 390, 30))]
    split = split_by_place(samples)
    assert split.kind == "nucleus"
    assert (len(split.test), len(split.validation)) == (26, 26)


def test_two_nuclei_are_divided_in_blocks() -> None:
    samples = [*stack("a", range(100)), *stack("b", range(100))]
    split = split_by_place(samples, SplitRule(distance_planes=5))
    assert split.kind == "z-block"
    assert leaks(split, samples, 5) == ()


def test_three_nuclei_of_very_unequal_size_are_divided_in_blocks() -> None:
    samples = [*stack("a", range(0, 900, 10)), *stack("b", range(0, 900, 10)), *stack("c", [5])]
    assert split_by_place(samples, SplitRule(distance_planes=10)).kind == "z-block"


def test_another_seed_gives_another_test_part() -> None:
    samples = stack("n", range(0, 3000, 30))
    assert len({split_by_block(samples, SplitRule(seed=seed)).test for seed in range(6)}) > 3


# Refusals


def test_images_that_all_lie_near_each_other_are_refused_with_what_to_do() -> None:
    with pytest.raises(SplitError, match="further apart, or ask for a smaller distance"):
        split_by_block(stack("n", range(10)), SplitRule(distance_planes=25))


def test_two_images_are_too_few() -> None:
    for divide in (split_by_image, split_by_block):
        with pytest.raises(SplitError, match="2 images cannot make three parts"):
            divide(stack("n", [0, 900]))


def test_two_nuclei_cannot_be_divided_whole() -> None:
    with pytest.raises(SplitError, match="2 nuclei"):
        split_by_nucleus([*stack("a", range(9)), *stack("b", range(9))])


@pytest.mark.parametrize("shares", [(0.0, 0.1), (0.1, 0.0), (0.5, 0.5), (1.0, 0.1)])
def test_shares_that_leave_nothing_for_a_part_are_refused(shares: tuple[float, float]) -> None:
    with pytest.raises(SplitError, match="leave no training"):
        SplitRule(test=shares[0], validation=shares[1])


def test_a_negative_distance_is_refused() -> None:
    with pytest.raises(SplitError, match="-1 planes"):
        SplitRule(distance_planes=-1)


def test_an_image_with_two_uses_is_refused() -> None:
    split = split_by_image([Sample(f"n{k}") for k in range(30)])
    with pytest.raises(ValidationError, match="two parts"):
        Split.model_validate(split.model_dump() | {"left_out": split.test[:1]})


def test_a_distance_is_rounded_up_to_planes() -> None:
    assert [distance_in_planes(100.0, voxel) for voxel in (4.0, 16.0, 100.0, 1000.0)] == [25, 7, 1, 1]
