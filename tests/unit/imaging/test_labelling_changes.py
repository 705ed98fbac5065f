"""What happened between two looks, replayed, must give what is there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.imaging.labelling import (
    LabellingParameters,
    LabelTables,
    StreamingLabeller,
    UnknownMergeError,
    changes_between,
    first_voxels,
)
from tests.unit.imaging.labelling_reference import Stack, reference_labels, stacks

NOTHING = StreamingLabeller(LabellingParameters(canvas_shape_yx=(1, 1))).objects()


def labeller_after(*rows: list[int], min_voxels: int = 0) -> StreamingLabeller:
    labeller = StreamingLabeller(LabellingParameters(canvas_shape_yx=(1, 5), min_voxels={2: min_voxels}))
    for z, row in enumerate(rows):
        labeller.add(z, np.array([row], np.uint8))
    return labeller


@given(stacks(), st.data())
@settings(max_examples=80, deadline=None)
def test_changes_replayed_give_the_objects_that_are_there(stack: Stack, data: st.DataObject) -> None:
    labeller = StreamingLabeller(stack.parameters, stack.first_z)
    voxels: dict[int, int] = {}
    closed: set[int] = set()
    before = NOTHING
    last_z = stack.first_z + len(stack.planes) - 1
    for z in stack.feed(labeller):
        if z == last_z:
            labeller.finish()
        elif data.draw(st.booleans()):
            continue
        after = labeller.objects(kept_only=True)
        changes = changes_between(before, after, labeller.merges())
        for row in changes.born:
            assert voxels.setdefault(int(row["identity"]), int(row["voxels"])) == row["voxels"]
        for merge in changes.merged:
            assert merge["older"] < merge["younger"]
            assert before.size
            del voxels[int(merge["younger"])]
        for row in changes.grew:
            assert row["voxels"] > voxels[int(row["identity"])]
            voxels[int(row["identity"])] = int(row["voxels"])
        closed |= {int(row["identity"]) for row in changes.closed}
        assert voxels == dict(zip(after["identity"].tolist(), after["voxels"].tolist(), strict=True))
        assert closed == set(after["identity"][~after["is_open"]].tolist())
        before = after


@given(stacks())
@settings(max_examples=40, deadline=None)
def test_objects_merge_in_the_plane_that_connects_them(stack: Stack) -> None:
    labeller = StreamingLabeller(stack.parameters, stack.first_z)
    before = NOTHING
    labels: dict[int, NDArray[np.int64]] = {}
    for z in stack.feed(labeller):
        after = labeller.objects(kept_only=True)
        now = reference_labels(stack.until(z))
        for merge in changes_between(before, after, labeller.merges()).merged:
            a, b = first_voxels(np.array([merge["older"], merge["younger"]])).tolist()
            assert merge["z"] == z
            assert labels[a[0]][a[1], a[2]] != labels[b[0]][b[1], b[2]]
            assert now[a[0]][a[1], a[2]] == now[b[0]][b[1], b[2]]
        before, labels = after, now


def test_an_object_is_born_when_it_reaches_its_threshold() -> None:
    before = labeller_after([2, 0, 0, 0, 0], min_voxels=2).objects(kept_only=True)
    later = labeller_after([2, 0, 0, 0, 0], [2, 0, 0, 0, 0], min_voxels=2)
    changes = changes_between(before, later.objects(kept_only=True), later.merges())
    assert before.size == 0
    assert changes.born["voxels"].tolist() == [2]
    assert changes.grew.size == changes.merged.size == changes.closed.size == 0


def test_a_merge_names_the_older_and_the_younger_and_only_what_was_seen() -> None:
    seen = labeller_after([2, 0, 2, 0, 2], [2, 0, 2, 0, 0], min_voxels=2)
    later = labeller_after([2, 0, 2, 0, 2], [2, 0, 2, 0, 0], [0, 2, 0, 0, 0], min_voxels=2)
    changes = changes_between(seen.objects(kept_only=True), later.objects(kept_only=True), later.merges())
    assert changes.merged.tolist() == [(0, 2, 2)]
    assert changes.grew["voxels"].tolist() == [5]
    assert changes.born.size == 0


def test_an_object_that_merges_into_an_older_one_too_small_to_be_seen_is_not_lost() -> None:
    planes = [2, 0, 2, 2, 0], [0, 2, 0, 0, 0]
    before = labeller_after(planes[0], min_voxels=2).objects(kept_only=True)
    later = labeller_after(*planes, min_voxels=2)
    changes = changes_between(before, later.objects(kept_only=True), later.merges())
    assert changes.born["identity"].tolist() == [0]
    assert changes.merged.tolist() == [(0, 2, 1)]


def test_chains_of_merges_lead_to_the_object_that_is_there() -> None:
    planes = [2, 0, 2, 0, 2], [0, 0, 0, 2, 0], [0, 0, 2, 0, 0], [0, 2, 0, 0, 0], [2, 0, 0, 0, 0]
    first = labeller_after(planes[0])
    later = StreamingLabeller.resumed(LabelTables.from_bytes(labeller_after(*planes[:2]).tables().to_bytes()))
    later.add(2, np.array([[2, 2, 0, 0, 0]], np.uint8))
    later.add(3, np.array([[2, 2, 2, 2, 2]], np.uint8))
    changes = changes_between(first.objects(), later.objects(), later.merges())
    assert changes.merged["younger"].tolist() == [4]
    assert changes.merged["older"].tolist() == [2]


def test_an_object_closes_once() -> None:
    one = labeller_after([2, 0, 0, 0, 0], [0, 0, 0, 0, 0]).objects()
    two = labeller_after([2, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]).objects()
    merges = labeller_after().merges()
    assert changes_between(NOTHING, one, merges).closed.size == 1
    assert changes_between(one, two, merges).closed.size == 0


def test_looks_that_do_not_belong_together_are_refused() -> None:
    before, after = labeller_after([2, 0, 2, 0, 0]).objects(), labeller_after([2, 0, 0, 0, 0]).objects()
    with pytest.raises(UnknownMergeError, match="Object 2 is gone"):
        changes_between(before, after, labeller_after().merges())
