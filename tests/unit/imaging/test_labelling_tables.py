"""Tables go to bytes and back; a labelling goes on from them as if nothing had happened."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.imaging.labelling import CorruptTablesError, LabelTables, StreamingLabeller, ZBlock
from services.imaging.labelling.packing import Unpacked, pack
from tests.unit.imaging.labelling_reference import Stack, blobs, stacks


def growing() -> StreamingLabeller:
    volume = blobs((11, 12, 17), np.random.default_rng(8))
    stack = Stack((20, 20), tuple(volume), tuple((z % 3, z % 2) for z in range(11)))
    labeller = StreamingLabeller(stack.parameters)
    for _ in stack.feed(labeller):
        pass
    return labeller


@given(stacks(connectivities=(6, 26)))
@settings(max_examples=25, deadline=None)
def test_tables_read_back_are_the_tables_written(stack: Stack) -> None:
    tables = stack.labelled()
    data = tables.to_bytes()
    read = LabelTables.from_bytes(data)
    assert data == stack.labelled().to_bytes() == read.to_bytes()
    assert read.parameters == tables.parameters
    assert (read.first_z, read.next_z, read.finished) == (tables.first_z, tables.next_z, True)
    np.testing.assert_array_equal(read.objects, tables.objects)
    np.testing.assert_array_equal(read.merges, tables.merges)
    for z in stack.present():
        np.testing.assert_array_equal(read.labels_plane(z), tables.labels_plane(z))


@given(stacks(connectivities=(6, 26)), st.data())
@settings(max_examples=25, deadline=None)
def test_a_resumed_labelling_ends_in_the_same_bytes(stack: Stack, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(stack.planes)))
    labeller = StreamingLabeller(stack.parameters, stack.first_z)
    for z in stack.feed(labeller):
        if z + 1 - stack.first_z >= cut:
            labeller = StreamingLabeller.resumed(LabelTables.from_bytes(labeller.tables().to_bytes()))
            break
    for _ in stack.feed(labeller):
        pass
    assert labeller.finish().to_bytes() == stack.labelled().to_bytes()


@given(stacks())
@settings(max_examples=25, deadline=None)
def test_a_look_at_the_tables_changes_nothing(stack: Stack) -> None:
    labeller = StreamingLabeller(stack.parameters, stack.first_z)
    looks = [(labeller.tables(), labeller.tables().to_bytes()) for _ in stack.feed(labeller)]
    assert labeller.finish().to_bytes() == stack.labelled().to_bytes()
    for tables, data in looks:
        assert tables.to_bytes() == data


@given(stacks())
@settings(max_examples=25, deadline=None)
def test_a_block_the_front_has_left_never_changes(stack: Stack) -> None:
    labeller = StreamingLabeller(stack.parameters, stack.first_z)
    stored: dict[int, bytes] = {}
    for z in stack.feed(labeller):
        left = [block for block in labeller.tables().blocks if block.index < z // stack.block_planes]
        for block in left:
            assert stored.setdefault(block.index, block.to_bytes()) == block.to_bytes()


@given(stacks())
@settings(max_examples=25, deadline=None)
def test_the_joins_of_blocks_make_the_objects_of_components(stack: Stack) -> None:
    tables = stack.labelled()
    offsets = np.cumsum([0, *(block.components.size for block in tables.blocks)])
    group = np.arange(offsets[-1])
    for i, block in enumerate(tables.blocks):
        assert len(np.unique(block.joins, axis=0)) == len(block.joins)
        for before, here in block.joins.tolist():
            a, b = group[offsets[i - 1] + before], group[offsets[i] + here]
            group[group == max(a, b)] = min(a, b)
    object_of = np.concatenate([np.empty(0, np.int32), *tables.object_of])
    pairs = set(zip(group.tolist(), object_of.tolist(), strict=True))
    assert len(pairs) == len(set(group.tolist())) == tables.objects.size
    voxels = np.zeros(tables.objects.size, np.int64)
    np.add.at(
        voxels,
        object_of,
        np.concatenate([[0][:0], *(block.components["voxels"] for block in tables.blocks)]).astype(np.int64),
    )
    assert voxels.tolist() == tables.objects["voxels"].tolist()


def test_blocks_may_be_stored_apart() -> None:
    tables = growing().tables()
    assert len(tables.blocks) == 3
    apart = [ZBlock.from_bytes(block.to_bytes()) for block in tables.blocks[:2]]
    head = tables.to_bytes(blocks_apart=2)
    assert LabelTables.from_bytes(head, apart).to_bytes() == tables.to_bytes()
    for wrong in ([], apart[:1], apart[::-1]):
        with pytest.raises(CorruptTablesError, match="not those"):
            LabelTables.from_bytes(head, wrong)


def test_damaged_bytes_are_refused() -> None:
    data = growing().finish().to_bytes()
    for at in range(0, len(data), 37):
        damaged = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
        with pytest.raises(CorruptTablesError):
            LabelTables.from_bytes(damaged)


@pytest.mark.parametrize("length", [0, 4, 8, 9, 40, -1])
def test_bytes_cut_short_are_refused(length: int) -> None:
    data = growing().finish().to_bytes()
    with pytest.raises(CorruptTablesError):
        LabelTables.from_bytes(data[:length])


def test_bytes_of_something_else_are_refused() -> None:
    tables = growing().finish()
    with pytest.raises(CorruptTablesError, match="Expected content"):
        ZBlock.from_bytes(tables.to_bytes())
    with pytest.raises(CorruptTablesError, match="Expected content"):
        LabelTables.from_bytes(tables.blocks[0].to_bytes())
    with pytest.raises(CorruptTablesError, match="damaged"):
        LabelTables.from_bytes(tables.to_bytes() + b"more")


def test_an_array_of_another_type_is_refused() -> None:
    unpacked = Unpacked(b"examples", pack(b"examples", {}, [np.zeros(2, np.int64)]))
    with pytest.raises(CorruptTablesError, match="int32"):
        unpacked.take(np.int32)


def test_the_tables_of_a_smooth_volume_are_much_smaller_than_the_volume() -> None:
    ball = (np.hypot(np.hypot(*np.mgrid[-40:40, -40:40]), np.arange(-40, 40)[:, None, None]) < 35).astype(np.uint8)
    data = Stack((80, 80), tuple(ball), ((0, 0),) * 80).labelled().to_bytes()
    assert len(data) < ball.size / 25
