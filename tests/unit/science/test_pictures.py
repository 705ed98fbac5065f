"""Planes are divided by distance in z: nothing that shows nearly the same is in two parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.annotations.dataset import read_dataset
from tests.benchmarks.science import epfl6, hela, membranes, mito
from tests.benchmarks.science.pictures import (
    Division,
    Edges,
    Picture,
    StraddleError,
    pieces,
    write_dataset,
    write_tiffs,
)

EPFL_Z = (0, 1, 2, 3, 13, 17, 24, 28, 42, 45, 46, 47, 48, 61, 62, 63, 75, 89, 90, 91, 105, 118, 135, 161, 162, 163, 164)
DIVISIONS = {
    **{f"epfl6-{fold}": (division, EPFL_Z) for fold, division in enumerate(epfl6.FOLDS)},
    "hela": (hela.DIVISION, tuple(range(100, 160, 2))),
    "hela-fields": (hela.FIELDS, tuple(range(60, 158))),
    "mito": (mito.DIVISION, tuple(range(10, 20))),
    "isbi2012": (membranes.DIVISIONS["isbi2012"], tuple(range(24))),
    "vnc": (membranes.DIVISIONS["vnc"], tuple(range(15))),
}


def picture(z: int, edge: int = 8) -> Picture:
    grey = np.arange(edge * edge, dtype=np.uint8).reshape(edge, edge)
    return Picture(f"z{z:03}", "stack", z, grey, np.asarray(grey % 2, np.uint8))


@pytest.mark.parametrize("name", DIVISIONS)
def test_no_two_parts_of_a_task_are_near_each_other(name: str) -> None:
    division, planes = DIVISIONS[name]
    split = division.split([picture(z) for z in planes])
    part_of = {int(each[1:]): part for each, part in split.part_of.items()}
    for low in planes:
        for high in planes:
            apart = {part_of[low], part_of[high]} - {"left_out"}
            if len(apart) == 2:
                assert abs(high - low) > division.distance_planes
    assert set(part_of) == set(planes)
    assert len(split.training) >= 4


def test_each_plane_of_epfl_is_in_one_test_part() -> None:
    tested = [z for division in epfl6.FOLDS for z in division.test]
    assert sorted(tested) == list(EPFL_Z)


def test_parts_of_epfl_keep_more_than_the_distance_of_its_runs() -> None:
    assert all((division.distance_planes + 1) * epfl6.VOXEL_NM >= 60 for division in epfl6.FOLDS)


def test_neighbours_in_two_parts_are_refused() -> None:
    division = Division(frozenset({0, 1}), frozenset({5}), frozenset({7}), distance_planes=2)
    with pytest.raises(StraddleError, match="z005 and z007"):
        division.split([picture(z) for z in range(9)])


def test_a_plane_in_two_parts_is_refused() -> None:
    division = Division(frozenset({0, 1}), frozenset({20}), frozenset({20, 40}), distance_planes=2)
    with pytest.raises(StraddleError, match="20"):
        division.split([picture(z) for z in (0, 1, 20, 40)])


@given(st.sets(st.integers(0, 60), min_size=6, max_size=30), st.integers(0, 6), st.data())
def test_a_division_is_refused_just_when_it_straddles(planes: set[int], distance: int, data: st.DataObject) -> None:
    order = sorted(planes)
    parts = data.draw(st.lists(st.sampled_from((0, 1, 2, 3)), min_size=len(order), max_size=len(order)))
    of = {part: frozenset(z for z, own in zip(order, parts, strict=True) if own == part) for part in range(3)}
    if not all(of.values()):
        return
    division = Division(of[0], of[1], of[2], distance)
    near = any(abs(a - b) <= distance for one in range(3) for other in range(one) for a in of[one] for b in of[other])
    if near:
        with pytest.raises(StraddleError):
            division.split([picture(z) for z in order])
    else:
        split = division.split([picture(z) for z in order])
        assert {int(name[1:]) for name in split.test} == of[2]


def test_a_data_set_is_written_at_the_voxel_size_that_is_learned_at(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d", [picture(0), picture(3)], {"even": 0, "odd": 1}, Edges(50.0, 5.0, 10.0))
    dataset = read_dataset(tmp_path / "d")
    size = dataset.manifest.voxel_size
    assert size is not None
    assert size.zyx_nm == (50.0, 10.0, 10.0)
    pair = dataset.load("z003")
    assert pair.image_yx.shape == (4, 4)
    # Means of 0, 1, 8, 9 and of 2, 3, 10, 11, half to even.
    assert pair.image_yx[0, :2].tolist() == [4, 6]
    assert [entry.z for entry in dataset.manifest.images] == [0, 3]


def test_test_images_of_an_earlier_call_do_not_stay(tmp_path: Path) -> None:
    plane = np.zeros((4, 5), np.uint8)
    write_tiffs(tmp_path, [("a", plane), ("b", plane)])
    write_tiffs(tmp_path, [("b", plane)])
    assert [path.name for path in tmp_path.iterdir()] == ["b.tif"]
    assert tifffile.imread(tmp_path / "b.tif").shape == (4, 5)


def test_pieces_make_up_the_plane() -> None:
    plane = np.random.default_rng(0).integers(0, 9, (10, 13)).astype(np.uint8)
    parts = pieces(plane, 3)
    assert len(parts) == 9
    assert np.array_equal(np.block([parts[k : k + 3] for k in (0, 3, 6)]), plane)
