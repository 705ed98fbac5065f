"""The streaming labeller against `scipy.ndimage`, `skimage` and `cc3d` on whole volumes."""

from typing import Literal

import cc3d
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.imaging.labelling import (
    AbsentPlaneError,
    InvalidParametersError,
    InvalidPlaneError,
    LabellingFinishedError,
    LabellingParameters,
    PlaneNotFinalError,
    PlaneOrderError,
    StreamingLabeller,
    WindowOutsideCanvasError,
    components_of,
    first_voxels,
)
from tests.unit.imaging.labelling_reference import (
    MAKERS,
    Maker,
    Stack,
    reference_cleaned,
    reference_labels,
    reference_rows,
    same_partition,
    stacks,
)

CANVAS = LabellingParameters(canvas_shape_yx=(4, 8))


def stack_of(volume: NDArray[np.uint8], **settings: int) -> Stack:
    return Stack(volume.shape[1:], tuple(volume), ((0, 0),) * len(volume), **settings)  # type: ignore[arg-type]


@given(stacks(connectivities=(6, 18, 26)))
@settings(max_examples=120, deadline=None)
def test_the_partition_is_that_of_the_whole_volume(stack: Stack) -> None:
    tables = stack.labelled()
    expected = reference_labels(stack)
    number = np.arange(1, tables.objects.size + 1, dtype=np.uint32)
    zs = stack.present()
    assert [window.z for window in tables.windows()] == zs
    if zs:
        found = np.concatenate([tables.paint_plane(z, number).ravel() for z in zs])
        assert same_partition(found, np.concatenate([stack.window_of(z, expected[z]).ravel() for z in zs]))


@given(stacks(connectivities=(6, 18, 26)))
@settings(max_examples=70, deadline=None)
def test_the_statistics_are_those_of_the_voxels(stack: Stack) -> None:
    rows = stack.labelled().objects
    expected = reference_rows(stack, reference_labels(stack))
    assert rows.size == len(expected)
    assert not rows["is_open"].any()
    first = first_voxels(rows["identity"])
    for i, row in enumerate(expected):
        found = {name: rows[name][i] for name in row if not name.startswith("first_")}
        found |= dict(zip(("first_z", "first_y", "first_x"), first[i], strict=True))
        assert found == row


@given(stacks(connectivities=(6, 18, 26)))
@settings(max_examples=70, deadline=None)
def test_a_plane_once_promised_is_that_of_the_finished_volume(stack: Stack) -> None:
    labeller = StreamingLabeller(stack.parameters, stack.first_z)
    promised = {}
    horizon = stack.first_z
    for _ in stack.feed(labeller):
        for z in range(horizon, labeller.clean_final_z):
            if z in stack.present():
                promised[z] = labeller.cleaned_plane(z, removed_value=200)
        assert labeller.clean_final_z >= horizon
        horizon = labeller.clean_final_z
    tables = labeller.finish()
    expected = reference_cleaned(stack, removed_value=200)
    assert labeller.clean_final_z == tables.clean_final_z == labeller.next_z
    for z in stack.present():
        window = stack.window_of(z, expected[z])
        np.testing.assert_array_equal(tables.cleaned_plane(z, removed_value=200), window)
        np.testing.assert_array_equal(labeller.cleaned_plane(z, removed_value=200), window)
        if z in promised:
            np.testing.assert_array_equal(promised[z], window)


@given(stacks())
@settings(max_examples=35, deadline=None)
def test_the_horizon_waits_for_small_objects_at_the_front_and_for_nothing_else(stack: Stack) -> None:
    labeller = StreamingLabeller(stack.parameters, stack.first_z)
    for z in stack.feed(labeller):
        seen = stack.until(z)
        front = max(seen.present(), default=None)
        small = [
            row["z0"]
            for row in reference_rows(seen, reference_labels(seen))
            if front is not None
            and z - front <= stack.max_bridged
            and row["z1"] == front + 1
            and row["voxels"] < stack.min_voxels.get(row["class_id"], 0)
        ]
        assert labeller.clean_final_z == labeller.tables().clean_final_z == min(small, default=z + 1)


@given(stacks(), st.integers(0, 14))
@settings(max_examples=35, deadline=None)
def test_objects_are_open_while_they_reach_the_front(stack: Stack, n_planes: int) -> None:
    labeller = StreamingLabeller(stack.parameters, stack.first_z)
    for z in stack.feed(labeller):
        if z - stack.first_z + 1 == n_planes:
            break
    last = max(stack.until(labeller.next_z - 1).present(), default=-9)
    rows = labeller.objects()
    reached = (rows["z1"] == last + 1) & (labeller.next_z - 1 - last <= stack.max_bridged)
    np.testing.assert_array_equal(rows["is_open"], reached)
    kept = rows["voxels"] >= stack.parameters.thresholds()[rows["class_id"]]
    np.testing.assert_array_equal(labeller.objects(kept_only=True), rows[kept])
    np.testing.assert_array_equal(labeller.tables().objects, rows)


@given(stacks())
@settings(max_examples=35, deadline=None)
def test_label_planes_number_the_kept_objects_by_age(stack: Stack) -> None:
    tables = stack.labelled()
    kept = tables.objects[tables.kept]
    assert (np.diff(tables.objects["identity"]) > 0).all()
    for z in stack.present():
        labels = tables.labels_plane(z)
        window = tables.windows()[stack.present().index(z)]
        assert labels.dtype == np.uint32
        assert (labels <= kept.size).all()
        canvas = np.zeros(stack.canvas_shape_yx, np.uint32)
        canvas[window.slices_yx] = labels
        for number, (first_z, first_y, first_x) in enumerate(first_voxels(kept["identity"]).tolist(), start=1):
            if first_z == z:
                assert canvas[first_y, first_x] == number


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_larger_volumes_agree_with_cc3d_and_skimage(make: Maker, connectivity: Literal[6, 18, 26]) -> None:
    volume = make((40, 45, 53), np.random.default_rng(connectivity))
    stack = stack_of(volume, connectivity=connectivity, block_planes=32)
    tables = stack.labelled()
    number = np.arange(1, tables.objects.size + 1, dtype=np.uint32)
    found = np.stack([tables.paint_plane(z, number) for z in range(len(volume))])
    assert same_partition(found, cc3d.connected_components(volume, connectivity=connectivity, out_dtype=np.uint32))
    expected = reference_cleaned(stack, removed_value=0)
    for z in range(len(volume)):
        np.testing.assert_array_equal(tables.cleaned_plane(z, removed_value=0), expected[z])
    chromosomes = components_of(tables, {2, 3}, 12)
    binary = np.isin(np.stack(list(expected.values())), (2, 3))
    largest = cc3d.largest_k(binary, k=12, connectivity=connectivity)
    sizes = np.bincount(largest.ravel().astype(np.int64))[1:]
    assert chromosomes.rows["voxels"].tolist() == sorted(sizes.tolist(), reverse=True)


def test_dense_noise_on_a_large_plane_outgrows_no_buffer() -> None:
    volume = np.random.default_rng(3).integers(0, 256, (3, 150, 211)).astype(np.uint8)
    tables = stack_of(volume).labelled()
    _, count = cc3d.connected_components(volume, connectivity=26, return_N=True)
    assert tables.objects.size == count
    assert sum(block.start.size for block in tables.blocks) > 90_000


def test_more_than_two_to_the_sixteen_objects_in_a_plane_are_told_apart() -> None:
    plane = np.zeros((600, 600), np.uint8)
    plane[::2, ::2] = 7
    tables = stack_of(np.stack([plane, plane])).labelled()
    assert tables.objects.size == 300 * 300
    assert set(tables.objects["voxels"].tolist()) == {2}


def test_a_canvas_wider_than_two_to_the_sixteen_columns_keeps_its_columns() -> None:
    labeller = StreamingLabeller(LabellingParameters(canvas_shape_yx=(2, 1 << 17)))
    labeller.add(0, np.full((1, 3), 5, np.uint8), (1, 100_000))
    row = labeller.finish().objects[0]
    assert (row["x0"], row["x1"], row["sum_x"]) == (100_000, 100_003, 300_003)


def test_a_plane_that_is_not_contiguous_is_read_as_it_looks() -> None:
    volume = np.random.default_rng(5).integers(0, 3, (9, 12, 4)).astype(np.uint8)
    turned = np.moveaxis(volume, 2, 0)[:, ::-1]
    assert stack_of(turned).labelled().to_bytes() == stack_of(np.ascontiguousarray(turned)).labelled().to_bytes()


@example(3, True)
@example(4, False)
@given(st.integers(0, 6), st.just(None))
@settings(max_examples=7, deadline=None)
def test_up_to_three_absent_planes_are_bridged(n_absent: int, connected: bool | None) -> None:
    plane = np.full((2, 2), 2, np.uint8)
    tables = Stack((2, 2), (plane, *[None] * n_absent, plane), ((0, 0),) * (n_absent + 2)).labelled()
    connected = n_absent <= 3 if connected is None else connected
    assert tables.objects["voxels"].tolist() == ([8] if connected else [4, 4])
    assert tables.objects["bridged"].tolist() == ([n_absent > 0] if connected else [False, False])


def test_a_bridged_object_beside_one_that_ends_is_flagged_alone() -> None:
    before = np.array([[2, 0, 0, 2]], np.uint8)
    after = np.array([[2, 0, 0, 0]], np.uint8)
    tables = Stack((1, 4), (before, None, after), ((0, 0),) * 3).labelled()
    assert tables.objects["bridged"].tolist() == [True, False]


def test_a_blank_plane_ends_objects_where_an_absent_one_does_not() -> None:
    plane, blank = np.full((2, 2), 2, np.uint8), np.zeros((2, 2), np.uint8)
    assert Stack((2, 2), (plane, blank, plane), ((0, 0),) * 3).labelled().objects.size == 2
    assert Stack((2, 2), (plane, None, plane), ((0, 0),) * 3).labelled().objects.size == 1


def test_planes_join_where_their_windows_meet_on_the_canvas() -> None:
    plane = np.array([[2, 2]], np.uint8)
    assert Stack((3, 9), (plane, plane), ((0, 0), (1, 2))).labelled().objects.size == 1
    assert Stack((3, 9), (plane, plane), ((0, 0), (1, 3))).labelled().objects.size == 2
    assert Stack((3, 9), (plane, plane), ((0, 0), (2, 0))).labelled().objects.size == 2


def test_a_plane_out_of_turn_is_refused() -> None:
    labeller = StreamingLabeller(CANVAS, first_z=5)
    with pytest.raises(PlaneOrderError, match="next plane is z = 5"):
        labeller.add(6, np.zeros((2, 2), np.uint8))
    with pytest.raises(PlaneOrderError, match="next plane is z = 5"):
        labeller.skip(4)


@pytest.mark.parametrize("plane", [np.zeros((2, 2), np.uint16), np.zeros((2, 2, 2), np.uint8), np.zeros(2, np.uint8)])
def test_a_plane_of_another_type_is_refused_and_the_next_one_is_taken(plane: NDArray[np.uint8]) -> None:
    labeller = StreamingLabeller(CANVAS)
    with pytest.raises(InvalidPlaneError, match="uint8 with two axes"):
        labeller.add(0, plane)
    labeller.add(0, np.ones((2, 2), np.uint8))
    assert labeller.finish().objects.size == 1


@pytest.mark.parametrize("origin_yx", [(-1, 0), (0, -1), (3, 0), (0, 7)])
def test_a_window_outside_the_canvas_is_refused(origin_yx: tuple[int, int]) -> None:
    with pytest.raises(WindowOutsideCanvasError, match="4 x 8 px"):
        StreamingLabeller(CANVAS).add(0, np.zeros((2, 2), np.uint8), origin_yx)


def test_a_plane_after_the_end_is_refused() -> None:
    labeller = StreamingLabeller(CANVAS)
    tables = labeller.finish()
    with pytest.raises(LabellingFinishedError, match="z = 0"):
        labeller.add(0, np.zeros((2, 2), np.uint8))
    with pytest.raises(LabellingFinishedError, match="cannot grow"):
        StreamingLabeller.resumed(tables)


def test_a_plane_that_may_still_change_is_not_given_out() -> None:
    labeller = StreamingLabeller(LabellingParameters(canvas_shape_yx=(4, 8), min_voxels={2: 5}))
    labeller.add(0, np.full((2, 2), 2, np.uint8))
    for source in (labeller, labeller.tables()):
        with pytest.raises(PlaneNotFinalError, match="z = 0 is not final"):
            source.cleaned_plane(0)
    assert labeller.finish().cleaned_plane(0).tolist() == [[255, 255], [255, 255]]


def test_an_absent_plane_cannot_be_read() -> None:
    labeller = StreamingLabeller(CANVAS)
    labeller.add(0, np.ones((1, 1), np.uint8))
    labeller.skip(1)
    tables = labeller.finish()
    for z in (1, 99):
        with pytest.raises(AbsentPlaneError, match=f"z = {z} "):
            tables.labels_plane(z)
        with pytest.raises(AbsentPlaneError, match=f"z = {z} "):
            labeller.window(z)
    assert labeller.window(0) == tables.windows()[0]


def test_a_plane_is_painted_into_an_array_of_its_shape_only() -> None:
    labeller = StreamingLabeller(CANVAS)
    labeller.add(0, np.ones((2, 3), np.uint8))
    out = np.full((2, 3), 9, np.uint8)
    assert labeller.cleaned_plane(0, out=out) is out
    assert (out == 1).all()
    with pytest.raises(InvalidPlaneError, match="shape"):
        labeller.cleaned_plane(0, out=np.empty((3, 2), np.uint8))


@pytest.mark.parametrize(
    "wrong",
    [
        {"canvas_shape_yx": (0, 5)},
        {"canvas_shape_yx": (5, (1 << 21) + 1)},
        {"connectivity": 8},
        {"max_bridged": -1},
        {"block_planes": 0},
        {"min_voxels": {0: 5}},
        {"min_voxels": {256: 5}},
        {"min_voxels": {2: -1}},
    ],
)
def test_parameters_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidParametersError):
        LabellingParameters(**({"canvas_shape_yx": (5, 5)} | wrong))  # type: ignore[arg-type]


def test_planes_before_the_first_and_beyond_the_last_index_are_refused() -> None:
    with pytest.raises(InvalidParametersError, match="at least 0"):
        StreamingLabeller(CANVAS, first_z=-1)
    with pytest.raises(PlaneOrderError, match="up to"):
        StreamingLabeller(CANVAS, first_z=1 << 21).skip(1 << 21)
