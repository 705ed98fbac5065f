"""Components of several classes against `cc3d` on the cleaned binary volume."""

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.imaging.labelling import InvalidParametersError, StreamingLabeller, components_of
from tests.unit.imaging.labelling_reference import (
    Stack,
    reference_cleaned,
    reference_labels,
    reference_rows,
    same_partition,
    stacks,
)

CLASSES = st.sampled_from([(2,), (3,), (1, 2), (2, 3), (1, 2, 3)])


def one_class(stack: Stack, classes: tuple[int, ...]) -> Stack:
    """The stack after small objects were removed, with some classes as class 1 and without the others."""
    cleaned = reference_cleaned(stack, removed_value=0)
    planes = tuple(
        None if plane is None else np.isin(stack.window_of(z, cleaned[z]), classes).astype(np.uint8)
        for z, plane in enumerate(stack.planes, start=stack.first_z)
    )
    return Stack(
        stack.canvas_shape_yx,
        planes,
        stack.origins_yx,
        stack.first_z,
        {},
        stack.connectivity,
        stack.max_bridged,
        stack.block_planes,
    )


@given(stacks(connectivities=(6, 18, 26)), CLASSES)
@settings(max_examples=60, deadline=None)
def test_components_are_those_of_the_cleaned_binary_volume(stack: Stack, classes: tuple[int, ...]) -> None:
    components = components_of(stack.labelled(), classes)
    binary = one_class(stack, classes)
    labels = reference_labels(binary)
    zs = stack.present()
    if zs:
        found = np.concatenate([components.paint_plane(z).ravel() for z in zs])
        assert same_partition(found, np.concatenate([stack.window_of(z, labels[z]).ravel() for z in zs]))
    expected = reference_rows(binary, labels)
    expected.sort(key=lambda row: (-row["voxels"], row["first_z"], row["first_y"], row["first_x"]))
    assert components.rows.size == len(expected)
    for name in ("voxels", "sum_x", "sum_zy", "z0", "x1", "touches_border", "bridged"):
        assert components.rows[name].tolist() == [row[name] for row in expected]
    assert set(components.rows["class_id"].tolist()) <= ({classes[0]} if len(classes) == 1 else {0})


@given(stacks(absent=False, moving=False), CLASSES, st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_the_largest_are_those_of_cc3d(stack: Stack, classes: tuple[int, ...], k: int) -> None:
    components = components_of(stack.labelled(), classes, k)
    binary = np.stack([plane for plane in one_class(stack, classes).planes if plane is not None])
    labels, n = cc3d.largest_k(binary, k=k, connectivity=26, delta=0, return_N=True) if k else (binary * 0, 0)
    found = np.stack([components.paint_plane(z) for z in stack.present()])
    sizes = np.bincount(labels.ravel().astype(np.int64), minlength=n + 1)[1:]
    assert components.rows["voxels"].tolist() == sorted(sizes.tolist(), reverse=True)
    assert np.bincount(found.ravel(), minlength=n + 1)[1:].tolist() == components.rows["voxels"].tolist()
    everything = components_of(components.tables, classes).rows["voxels"].tolist()
    if k >= len(everything) or (k and everything[k - 1] > everything[k]):
        assert same_partition(found, labels.astype(np.uint32))


@given(stacks(), CLASSES)
@settings(max_examples=25, deadline=None)
def test_the_labels_of_runs_paint_the_labels_of_planes(stack: Stack, classes: tuple[int, ...]) -> None:
    components = components_of(stack.labelled(), classes, 3)
    for block, labels in zip(components.tables.blocks, components.labels_of_runs(), strict=True):
        length = block.end.astype(np.int64) - block.start
        painted = np.concatenate([components.paint_plane(window.z).ravel() for window in block.windows])
        counts = np.bincount(labels, weights=length, minlength=4)
        assert counts[1:].tolist() == np.bincount(painted, minlength=4)[1:].tolist()


def test_of_two_components_of_one_size_the_older_comes_first() -> None:
    plane = np.array([[0, 4, 0, 2, 0, 4, 4]], np.uint8)
    components = components_of(Stack((1, 7), (plane,), ((0, 0),), min_voxels={}).labelled(), {2, 4})
    assert components.paint_plane(0).tolist() == [[0, 2, 0, 3, 0, 1, 1]]


def test_classes_that_meet_across_an_absent_plane_are_one_bridged_component() -> None:
    before, after = np.array([[2, 0, 2]], np.uint8), np.array([[4, 0, 0]], np.uint8)
    tables = Stack((1, 3), (before, None, after), ((0, 0),) * 3, min_voxels={}).labelled()
    assert tables.objects["bridged"].tolist() == [False, False, False]
    components = components_of(tables, {2, 4})
    assert components.rows["voxels"].tolist() == [2, 1]
    assert components.rows["bridged"].tolist() == [True, False]


def test_components_of_open_objects_are_open() -> None:
    labeller = StreamingLabeller(Stack((1, 3), (), ()).parameters)
    labeller.add(0, np.array([[2, 2, 2]], np.uint8))
    labeller.add(1, np.array([[2, 0, 0]], np.uint8))
    assert components_of(labeller.tables(), {2}).rows["is_open"].tolist() == []
    labeller.add(2, np.array([[2, 2, 2]], np.uint8))
    assert components_of(labeller.tables(), {2}).rows["is_open"].tolist() == [True]
    assert components_of(labeller.finish(), {2}).rows["is_open"].tolist() == [False]


def test_a_negative_number_of_components_is_refused() -> None:
    with pytest.raises(InvalidParametersError, match="at least 0"):
        components_of(Stack((1, 1), (), ()).labelled(), {2}, -1)
