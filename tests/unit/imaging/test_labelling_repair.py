"""A plane that came late, was replaced or was removed gives what a labelling with it from the beginning gives."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.imaging.labelling import LabelTables, PlaneOrderError, StreamingLabeller, first_voxels
from services.imaging.labelling.repair import amended_with
from tests.unit.imaging.labelling_reference import Stack, reference_labels, stacks


def with_plane(stack: Stack, z: int, plane: NDArray[np.uint8] | None, origin: tuple[int, int]) -> Stack:
    at = z - stack.first_z
    planes = (*stack.planes[:at], plane, *stack.planes[at + 1 :])
    return replace(stack, planes=planes, origins_yx=(*stack.origins_yx[:at], origin, *stack.origins_yx[at + 1 :]))


def bytes_but_merges(tables: LabelTables) -> bytes:
    return replace(tables, merges=tables.merges[:0]).to_bytes()


@st.composite
def changes(draw: st.DrawFn, stack: Stack) -> tuple[int, NDArray[np.uint8] | None, tuple[int, int]]:
    """A plane of the stack made absent, or another one in its place."""
    z = draw(st.integers(stack.first_z, stack.first_z + len(stack.planes) - 1))
    if draw(st.booleans()):
        return z, None, (0, 0)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    plane = rng.integers(0, 4, stack.canvas_shape_yx).astype(np.uint8)
    return z, plane * np.uint8(rng.integers(0, 2)) if draw(st.booleans()) else plane[1:], (0, 0)


@given(stacks(connectivities=(6, 18, 26)), st.data())
@settings(max_examples=70, deadline=None)
def test_the_result_is_that_of_a_full_recomputation(stack: Stack, data: st.DataObject) -> None:
    tables = stack.labelled()
    for _ in range(2):
        z, plane, origin = data.draw(changes(stack))
        stack = with_plane(stack, z, plane, origin)
        tables = amended_with(tables, z, plane, origin).tables
    assert tables.to_bytes() == bytes_but_merges(stack.labelled())


@given(stacks(), st.data())
@settings(max_examples=35, deadline=None)
def test_an_unfinished_labelling_goes_on_after_a_change(stack: Stack, data: st.DataObject) -> None:
    labeller = StreamingLabeller(stack.parameters, stack.first_z)
    cut = data.draw(st.integers(1, len(stack.planes)))
    for z in stack.feed(labeller):
        if z + 1 - stack.first_z == cut:
            break
    z, plane, origin = data.draw(changes(stack.until(labeller.next_z - 1)))
    amended = amended_with(labeller.tables(), z, plane, origin).tables
    stack = with_plane(stack, z, plane, origin)
    expected = StreamingLabeller(stack.parameters, stack.first_z)
    for at in stack.feed(expected):
        if at + 1 - stack.first_z == cut:
            break
    assert amended.to_bytes() == bytes_but_merges(expected.tables())
    labeller = StreamingLabeller.resumed(amended)
    for _ in stack.feed(labeller):
        pass
    assert bytes_but_merges(labeller.finish()) == bytes_but_merges(stack.labelled())


@given(stacks(), st.data())
@settings(max_examples=35, deadline=None)
def test_the_id_map_follows_most_voxels(stack: Stack, data: st.DataObject) -> None:
    before = stack.labelled()
    z, plane, origin = data.draw(changes(stack))
    amended = amended_with(before, z, plane, origin)
    old, new = reference_labels(stack), reference_labels(with_plane(stack, z, plane, origin))
    shared: dict[int, dict[int, int]] = {}
    names_old, names_new = names(before, old), names(amended.tables, new)
    for at in set(old) & set(new) - {z}:
        for a, b in zip(old[at].ravel().tolist(), new[at].ravel().tolist(), strict=True):
            if a:
                of_a = shared.setdefault(names_old[a], {})
                of_a[names_new[b]] = of_a.get(names_new[b], 0) + 1
    found = [(a, b, n) for a, of_a in sorted(shared.items()) for b, n in sorted(of_a.items())]
    assert amended.overlaps.tolist() == found
    best = {a: min(of_a, key=lambda b, of_a=of_a: (-of_a[b], b)) for a, of_a in shared.items()}  # type: ignore[misc]
    assert amended.id_map() == best


def names(tables: LabelTables, labels: dict[int, NDArray[np.int64]]) -> dict[int, int]:
    """The identity of each label of the reference."""
    identities = tables.objects["identity"]
    return {
        int(labels[z][y, x]): int(identity)
        for identity, (z, y, x) in zip(identities, first_voxels(identities).tolist(), strict=True)
    }


def test_blocks_the_plane_is_not_in_are_taken_as_they_are() -> None:
    volume = np.random.default_rng(5).integers(0, 3, (20, 9, 9)).astype(np.uint8)
    stack = Stack((9, 9), tuple(volume), ((0, 0),) * 20)
    before = stack.labelled()
    after = amended_with(before, 9, volume[3]).tables
    for old, new in zip(before.blocks, after.blocks, strict=True):
        assert (old.component is new.component) == (old.index != 2)


def test_a_plane_that_was_never_due_is_refused() -> None:
    tables = Stack((2, 2), (np.ones((2, 2), np.uint8),), ((0, 0),), first_z=4).labelled()
    for z in (3, 5):
        with pytest.raises(PlaneOrderError, match=f"4 to 4 were labelled; z = {z}"):
            amended_with(tables, z, None)
