"""Volumes labelled as a whole, grey and many-label volumes, contacts: against `cc3d` and plain counting."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from services.imaging.labelling import (
    InvalidParametersError,
    InvalidPlaneError,
    LabellingParameters,
    LabelTables,
    StreamingLabeller,
    clean_volume,
    components_of,
    contacts_of,
    label_block,
    label_volume,
    paint_volume,
)
from services.imaging.labelling.slabs import Selection, filled
from services.imaging.labelling.statistics import moments
from tests.unit.imaging.labelling_reference import MAKERS, Maker, Stack, reference_cleaned, same_partition, stacks

CONNECTIVITY = st.sampled_from([6, 18, 26])
UNSIGNED = st.sampled_from([np.uint8, np.uint16, np.uint32])


def volume_of(stack: Stack) -> NDArray[np.uint8]:
    return np.stack([plane for plane in stack.planes if plane is not None])


def painted(tables: LabelTables, shape: tuple[int, ...]) -> NDArray[np.uint32]:
    number = np.arange(1, tables.objects.size + 1, dtype=np.uint32)
    out = np.zeros(shape, np.uint32)
    paint_volume(tables, out, number, number > 0)
    return out


def streamed(volume: NDArray[np.unsignedinteger], parameters: LabellingParameters) -> LabelTables:
    labeller = StreamingLabeller(parameters)
    for z, plane in enumerate(volume):
        labeller.add(z, plane)
    return labeller.finish()


@given(stacks(absent=False, moving=False, connectivities=(6, 18, 26)))
@settings(max_examples=40, deadline=None)
def test_a_whole_volume_gives_the_tables_of_its_planes(stack: Stack) -> None:
    stack = replace(stack, first_z=0)
    tables = label_volume(volume_of(stack), stack.parameters)
    expected = stack.labelled()
    assert tables.to_bytes() == replace(expected, merges=expected.merges[:0]).to_bytes()


def test_two_threads_give_the_bytes_of_one() -> None:
    volume = np.random.default_rng(3).integers(0, 3, (50, 40, 30)).astype(np.uint8)
    parameters = LabellingParameters(canvas_shape_yx=(40, 30), block_planes=3, connectivity=6)
    with ThreadPoolExecutor(2) as pool:
        together = label_volume(volume, parameters, pool.map)
    assert together.to_bytes() == label_volume(volume, parameters).to_bytes()


@given(stacks(absent=False, moving=False, connectivities=(6, 18, 26)))
@settings(max_examples=30, deadline=None)
def test_a_volume_is_cleaned_in_place_and_its_largest_painted(stack: Stack) -> None:
    stack = replace(stack, first_z=0)
    volume = volume_of(stack)
    tables = label_volume(volume, stack.parameters)
    clean_volume(tables, volume, removed_value=9)
    np.testing.assert_array_equal(volume, np.stack(list(reference_cleaned(stack, removed_value=9).values())))
    largest = components_of(tables, {2, 3}, 2)
    out = np.zeros(volume.shape, np.uint32)
    paint_volume(tables, out, largest.label_of_object, largest.label_of_object > 0)
    np.testing.assert_array_equal(out, np.stack([largest.paint_plane(z) for z in range(len(volume))]))


@given(stacks(absent=False, moving=False), CONNECTIVITY, UNSIGNED)
@settings(max_examples=40, deadline=None)
def test_labels_of_every_type_are_told_apart(
    stack: Stack, connectivity: Literal[6, 18, 26], dtype: type[np.unsignedinteger]
) -> None:
    values = np.array([0, 1, np.iinfo(dtype).max - 1, np.iinfo(dtype).max], dtype)
    volume = values[volume_of(stack) % 4]
    parameters = LabellingParameters(
        canvas_shape_yx=volume.shape[1:], connectivity=connectivity, plane_type=np.dtype(dtype).name, block_planes=3
    )
    tables = label_volume(volume, parameters)
    assert tables.to_bytes() == replace(streamed(volume, parameters), merges=tables.merges).to_bytes()
    assert LabelTables.from_bytes(tables.to_bytes()).to_bytes() == tables.to_bytes()
    labels = painted(tables, volume.shape)
    expected = cc3d.connected_components(volume, connectivity=connectivity, out_dtype=np.uint32)
    assert same_partition(labels, expected)
    np.testing.assert_array_equal(tables.objects["class_id"][labels[labels > 0] - 1], volume[labels > 0])


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 14)),
    st.integers(0, 999),
    st.sampled_from([1, 3, 10]),
    CONNECTIVITY,
    st.sampled_from([np.uint8, np.uint16]),
)
@settings(max_examples=60, deadline=None)
def test_grey_volumes_join_as_in_cc3d(
    shape: tuple[int, int, int],
    seed: int,
    delta: int,
    connectivity: Literal[6, 18, 26],
    dtype: type[np.unsignedinteger],
) -> None:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random(shape), rng.uniform(0, 2)) * rng.choice([20, 255])
    volume = np.where(rng.random(shape) < 0.2, 0, smooth).astype(dtype)
    parameters = LabellingParameters(
        canvas_shape_yx=shape[1:],
        connectivity=connectivity,
        plane_type=np.dtype(dtype).name,
        block_planes=2,
        delta=delta,
    )
    tables = label_volume(volume, parameters)
    expected = cc3d.connected_components(volume, connectivity=connectivity, delta=delta, out_dtype=np.uint32)
    assert same_partition(painted(tables, shape), expected)
    assert tables.to_bytes() == replace(streamed(volume, parameters), merges=tables.merges).to_bytes()
    labeller = StreamingLabeller(parameters)
    for z, plane in enumerate(volume):
        labeller = StreamingLabeller.resumed(LabelTables.from_bytes(labeller.tables().to_bytes()))
        labeller.add(z, plane)
    assert replace(labeller.finish(), merges=tables.merges).to_bytes() == tables.to_bytes()


def test_delta_joins_in_chains_and_never_joins_the_background() -> None:
    volume = np.array([[[1, 3, 5, 0, 1, 9]]], np.uint8)
    tables = label_volume(volume, LabellingParameters(canvas_shape_yx=(1, 6), delta=2))
    assert painted(tables, volume.shape).tolist() == [[[1, 1, 1, 0, 2, 3]]]
    assert tables.objects["class_id"].tolist() == [0, 0, 0]


def test_thresholds_by_class_and_for_all_others() -> None:
    volume = np.array([[[7, 7, 0, 300, 0, 9, 9, 9]]], np.uint16)
    parameters = LabellingParameters(
        canvas_shape_yx=(1, 8), min_voxels={300: 1, 9: 4}, min_voxels_else=2, plane_type="uint16"
    )
    assert label_volume(volume, parameters).kept.tolist() == [True, True, False]


def plain_contacts(labels: NDArray[np.uint32]) -> dict[tuple[int, int], list[int]]:
    """Count the faces between different labels voxel by voxel."""
    found: dict[tuple[int, int], list[int]] = {}
    for axis in range(3):
        moved = np.moveaxis(labels, axis, 0)
        for a, b in zip(moved[:-1].ravel().tolist(), moved[1:].ravel().tolist(), strict=True):
            if a and b and a != b:
                found.setdefault((min(a, b), max(a, b)), [0, 0, 0])[axis] += 1
    return found


@given(stacks(absent=False, moving=False, connectivities=(6, 18, 26)))
@settings(max_examples=40, deadline=None)
def test_contacts_are_the_faces_between_objects(stack: Stack) -> None:
    volume = volume_of(stack)
    tables = label_volume(volume, stack.parameters)
    expected = plain_contacts(painted(tables, volume.shape))
    found = {(int(c["a"]) + 1, int(c["b"]) + 1): [int(c[f"faces_{x}"]) for x in "zyx"] for c in contacts_of(tables)}
    assert found == expected
    assert list(found) == sorted(found)


def test_objects_on_either_side_of_an_absent_plane_share_no_face() -> None:
    one, other = np.full((1, 2), 2, np.uint8), np.full((1, 2), 3, np.uint8)
    assert contacts_of(Stack((1, 2), (one, None, other), ((0, 0),) * 3).labelled()).size == 0
    assert contacts_of(Stack((1, 2), (one, other), ((0, 0),) * 2).labelled()).tolist() == [(0, 1, 2, 0, 0)]


@given(stacks(absent=False, moving=False), CONNECTIVITY)
@settings(max_examples=40, deadline=None)
def test_holes_are_those_of_scipy(stack: Stack, connectivity: int) -> None:
    volume = (volume_of(stack) > 0).astype(np.uint8) * np.uint8(5)
    parameters = LabellingParameters(canvas_shape_yx=volume.shape[1:], connectivity=connectivity, block_planes=3)
    read, voxels = filled(lambda first, stop: volume[first:stop], len(volume), parameters)
    found = np.concatenate([read(z, min(z + 3, len(volume))) for z in range(0, len(volume), 3)])
    background = ndimage.generate_binary_structure(3, 3 if connectivity == 6 else 1)
    np.testing.assert_array_equal(found, ndimage.binary_fill_holes(volume > 0, background) * np.uint8(5))
    assert voxels == (found > 0).sum() - (volume > 0).sum()


def test_a_hole_takes_the_class_of_the_wall_and_not_of_an_island() -> None:
    volume = np.zeros((5, 5, 5), np.uint8)
    volume[:] = 2
    volume[1:4, 1:4, 1:4] = 0
    volume[2, 2, 2] = 3
    parameters = LabellingParameters(canvas_shape_yx=(5, 5), block_planes=2)
    read, voxels = filled(lambda first, stop: volume[first:stop], 5, parameters)
    found = np.concatenate([read(0, 2), read(2, 4), read(4, 5)])
    assert voxels == 26
    assert np.bincount(found.ravel()).tolist() == [0, 0, 124, 1]


def test_a_selection_of_the_largest_prefers_the_older_of_equals() -> None:
    volume = np.array([[[2, 0, 4, 0, 2, 2, 0, 3]]], np.uint8)
    tables = label_volume(volume, LabellingParameters(canvas_shape_yx=(1, 8)))
    assert next(Selection.of(tables, 2).slabs()).tolist() == [[[1, 0, 0, 0, 2, 2, 0, 0]]]
    assert Selection.of(tables).count == 4


@pytest.mark.parametrize(("count", "dtype"), [(255, "uint8"), (256, "uint16"), (70_000, "uint32")])
def test_labels_are_of_the_smallest_type_that_holds_them(count: int, dtype: str) -> None:
    plane = np.zeros((1, 1, 2 * count), np.uint8)
    plane[..., ::2] = 1
    selection = Selection.of(label_volume(plane, LabellingParameters(canvas_shape_yx=plane.shape[1:])))
    assert selection.dtype == dtype
    assert next(selection.slabs()).max() == count


def test_moments_far_from_the_origin_lose_nothing() -> None:
    labeller = StreamingLabeller(LabellingParameters(canvas_shape_yx=(1 << 20, 1 << 20)), first_z=100_000)
    labeller.add(100_000, np.ones((1, 3), np.uint8), ((1 << 20) - 1, 1_000_000))
    centroid, covariance = moments(labeller.finish().objects)
    assert centroid.tolist() == [[100_000.0, (1 << 20) - 1.0, 1_000_001.0]]
    np.testing.assert_allclose(covariance, [[0, 0, 2 / 3, 0, 0, 0]], atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS)
def test_larger_volumes_have_the_statistics_of_cc3d(make: Maker) -> None:
    volume = make((70, 45, 53), np.random.default_rng(1))
    labels = cc3d.connected_components(volume, connectivity=26, out_dtype=np.uint32)
    expected = cc3d.statistics(labels)
    tables = label_volume(volume, LabellingParameters(canvas_shape_yx=(45, 53)))
    found = painted(tables, volume.shape)
    assert same_partition(found, labels)
    of_theirs = np.zeros(tables.objects.size, np.int64)
    of_theirs[found[found > 0] - 1] = labels[found > 0]
    rows = tables.objects
    assert rows["voxels"].tolist() == expected["voxel_counts"][of_theirs].tolist()
    for row, at in zip(rows, of_theirs.tolist(), strict=True):
        box = expected["bounding_boxes"][at]
        assert [(row[f"{x}0"], row[f"{x}1"]) for x in "zyx"] == [(side.start, side.stop) for side in box]
    np.testing.assert_allclose(moments(rows)[0], expected["centroids"][of_theirs], rtol=1e-6)


def test_what_is_not_a_volume_of_the_labelling_is_refused() -> None:
    parameters = LabellingParameters(canvas_shape_yx=(4, 4), block_planes=2)
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((2, 4, 5), np.uint8), np.zeros((2, 4, 4), np.uint16)):
        with pytest.raises(InvalidPlaneError):
            label_volume(wrong, parameters)
    for first_z, count in ((0, 3), (1, 2), (0, 0)):
        with pytest.raises(InvalidPlaneError, match="not of one block of 2"):
            label_block(parameters, first_z, np.zeros((count, 4, 4), np.uint8))


@pytest.mark.parametrize(
    "wrong",
    [
        {"plane_type": "int8"},
        {"delta": -1},
        {"min_voxels_else": -1},
        {"plane_type": "uint32", "min_voxels": {1 << 16: 3}},
    ],
)
def test_parameters_of_other_volumes_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidParametersError):
        LabellingParameters(**({"canvas_shape_yx": (5, 5)} | wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize("other", [{"delta": 1}, {"plane_type": "uint16"}])
def test_only_planes_of_classes_come_back_cleaned(other: dict[str, int]) -> None:
    parameters = LabellingParameters(canvas_shape_yx=(1, 1), **other)  # type: ignore[arg-type]
    labeller = StreamingLabeller(parameters)
    labeller.add(0, np.ones((1, 1), parameters.plane_dtype))
    for source in (labeller, labeller.tables()):
        with pytest.raises(InvalidParametersError, match="paint_plane"):
            source.cleaned_plane(0)
