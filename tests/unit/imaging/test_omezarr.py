"""OME-Zarr volumes that grow slab by slab."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from services.contracts.classes import LABEL_STYLES
from services.imaging.omezarr import (
    CLASSES,
    DTYPES,
    GREY,
    OBJECTS,
    Planes,
    SlabError,
    VolumeLayout,
    VolumeLayoutError,
    decode_slab,
    encode_metadata,
    encode_slab,
    open_volume,
)

LAYOUT = VolumeLayout((5, 7), (8.0, 4.0, 4.5), (80.0, -8.0, 450.0), slab_planes=3, chunk_yx=4)


def volume_of(arrays_zyx: dict[str, Planes], layout: VolumeLayout = LAYOUT) -> dict[str, bytes]:
    planes = len(next(iter(arrays_zyx.values())))
    files = encode_metadata(layout, planes, LABEL_STYLES, with_objects=OBJECTS in arrays_zyx)
    for name, array in arrays_zyx.items():
        for first in range(0, planes, layout.slab_planes):
            files |= encode_slab(layout, name, first, array[first : first + layout.slab_planes])
    return files


def read(group: zarr.Group, name: str) -> Planes:
    array = group[name]
    assert isinstance(array, zarr.Array)
    return np.asarray(array[...])


def document(files: dict[str, bytes], key: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(files[key])
    return parsed


@settings(max_examples=30, deadline=None)
@given(
    data=st.data(),
    name=st.sampled_from([GREY, CLASSES, OBJECTS]),
    planes=st.integers(1, 8),
    slab_planes=st.integers(1, 4),
    chunk_yx=st.integers(1, 6),
)
def test_zarr_reads_what_was_encoded_whatever_the_slabs_and_chunks(
    data: st.DataObject, name: str, planes: int, slab_planes: int, chunk_yx: int
) -> None:
    layout = VolumeLayout((5, 7), (8.0, 4.0, 4.0), (0.0, 0.0, 0.0), slab_planes, chunk_yx)
    dtype = DTYPES[name]
    top = int(np.iinfo(dtype).max)
    volume = data.draw(arrays.arrays(dtype, (planes, 5, 7), elements=st.sampled_from([0, 0, 0, 1, top])))
    group = open_volume(volume_of({GREY: np.zeros((planes, 5, 7), np.uint8)} | {name: volume}, layout))
    read_back = read(group, name)
    assert read_back.dtype == dtype
    assert np.array_equal(read_back, volume)


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 3), first=st.sampled_from([0, 3, 9]), data=st.data())
def test_a_slab_decodes_to_what_was_encoded(count: int, first: int, data: st.DataObject) -> None:
    planes = data.draw(arrays.arrays(np.uint32, (count, 5, 7), elements=st.sampled_from([0, 0, 5, 2**32 - 1])))
    chunks = encode_slab(LAYOUT, OBJECTS, first, planes)
    assert np.array_equal(decode_slab(LAYOUT, OBJECTS, first, count, chunks), planes)


def test_a_slab_never_changes_while_the_volume_grows() -> None:
    rng = np.random.default_rng(3)
    classes = rng.integers(0, 6, (8, 5, 7)).astype(np.uint8)
    six = {key: payload for key, payload in volume_of({CLASSES: classes[:6]}).items() if "/c/" in key}
    eight = volume_of({CLASSES: classes})
    assert {key: eight[key] for key in six} == six


def test_only_as_many_planes_are_readable_as_the_metadata_say() -> None:
    classes = np.full((6, 5, 7), 2, np.uint8)
    files = volume_of({CLASSES: classes}) | encode_metadata(LAYOUT, 4, LABEL_STYLES, with_objects=False)
    assert read(open_volume(files), CLASSES).shape == (4, 5, 7)


def test_chunks_of_zeros_are_left_out_and_read_as_zeros() -> None:
    planes = np.zeros((3, 5, 7), np.uint8)
    planes[2, 4, 0] = 3
    chunks = encode_slab(LAYOUT, CLASSES, 0, planes)
    assert list(chunks) == ["labels/classes/0/c/0/1/0"]
    assert np.array_equal(decode_slab(LAYOUT, CLASSES, 0, 3, chunks), planes)


def test_equal_planes_give_equal_bytes_whatever_their_memory_layout() -> None:
    planes = np.arange(3 * 5 * 7, dtype=np.uint32).reshape(3, 5, 7)
    assert encode_slab(LAYOUT, OBJECTS, 3, np.asfortranarray(planes)) == encode_slab(LAYOUT, OBJECTS, 3, planes)


@pytest.mark.parametrize(
    ("name", "first", "planes"),
    [
        ("labels/other/0", 0, np.zeros((3, 5, 7), np.uint8)),
        (CLASSES, 1, np.zeros((3, 5, 7), np.uint8)),
        (CLASSES, -3, np.zeros((3, 5, 7), np.uint8)),
        (CLASSES, 0, np.zeros((4, 5, 7), np.uint8)),
        (CLASSES, 0, np.zeros((0, 5, 7), np.uint8)),
        (CLASSES, 0, np.zeros((3, 7, 5), np.uint8)),
        (CLASSES, 0, np.zeros((3, 5, 7), np.uint32)),
        (CLASSES, 0, np.zeros((5, 7), np.uint8)),
    ],
)
def test_planes_that_do_not_fit_are_refused(name: str, first: int, planes: Planes) -> None:
    with pytest.raises(SlabError):
        encode_slab(LAYOUT, name, first, planes)


def test_a_damaged_chunk_is_refused() -> None:
    chunks = encode_slab(LAYOUT, CLASSES, 0, np.full((3, 5, 7), 4, np.uint8))
    key = "labels/classes/0/c/0/0/0"
    with pytest.raises(SlabError, match="damaged"):
        decode_slab(LAYOUT, CLASSES, 0, 3, chunks | {key: chunks[key][:-4]})


@pytest.mark.parametrize(
    "change",
    [
        {"canvas_shape_yx": (0, 7)},
        {"voxel_zyx_nm": (8.0, 0.0, 4.0)},
        {"voxel_zyx_nm": (8.0, float("nan"), 4.0)},
        {"origin_zyx_nm": (0.0, float("inf"), 0.0)},
        {"slab_planes": 0},
        {"chunk_yx": 0},
    ],
)
def test_an_impossible_layout_is_refused(change: dict[str, Any]) -> None:
    fields: dict[str, Any] = {
        "canvas_shape_yx": (5, 7), "voxel_zyx_nm": (8.0, 4.0, 4.0), "origin_zyx_nm": (0.0, 0.0, 0.0),
    }  # fmt: skip
    with pytest.raises(VolumeLayoutError):
        VolumeLayout(**(fields | change))


def test_a_negative_number_of_planes_is_refused() -> None:
    with pytest.raises(SlabError):
        encode_metadata(LAYOUT, -1, LABEL_STYLES, with_objects=True)


def test_axes_scale_and_place_stand_in_every_multiscale_group() -> None:
    files = encode_metadata(LAYOUT, 8, LABEL_STYLES, with_objects=True)
    for key in ("zarr.json", "labels/classes/zarr.json", "labels/objects/zarr.json"):
        group = document(files, key)
        assert (group["zarr_format"], group["node_type"]) == (3, "group")
        ome = group["attributes"]["ome"]
        assert ome["version"] == "0.5"
        (multiscale,) = ome["multiscales"]
        assert [axis["name"] for axis in multiscale["axes"]] == ["z", "y", "x"]
        assert all(axis["type"] == "space" and axis["unit"] == "nanometer" for axis in multiscale["axes"])
        (dataset,) = multiscale["datasets"]
        scale, translation = dataset["coordinateTransformations"]
        assert (scale["type"], scale["scale"]) == ("scale", [8.0, 4.0, 4.5])
        assert (translation["type"], translation["translation"]) == ("translation", [80.0, -8.0, 450.0])
        array = document(files, key.replace("zarr.json", "0/zarr.json"))
        assert array["shape"] == [8, 5, 7]
        assert array["dimension_names"] == ["z", "y", "x"]
        assert dataset["path"] == "0"


def test_labels_are_listed_and_the_classes_carry_names_and_colours() -> None:
    files = encode_metadata(LAYOUT, 8, LABEL_STYLES, with_objects=True)
    assert document(files, "labels/zarr.json")["attributes"]["ome"]["labels"] == ["classes", "objects"]
    table = document(files, "labels/classes/zarr.json")["attributes"]["ome"]["image-label"]
    assert table["source"] == {"image": "../../"}
    names = {entry["label-value"]: entry["class"] for entry in table["properties"]}
    assert names == {
        0: "exterior", 1: "nucleoplasm", 2: "chromosome", 3: "nucleolus", 4: "synaptonemal_complex",
        5: "nuclear_membrane",
    }  # fmt: skip
    colours = {entry["label-value"]: entry["rgba"] for entry in table["colors"]}
    assert colours[0][3] == 0
    red, green, blue, _ = colours[3]
    assert green > max(red, blue)
    red, green, blue, _ = colours[2]
    assert min(red, green) > 2 * blue
    red, green, blue, _ = colours[4]
    assert blue > max(red, green)


def test_objects_are_not_announced_before_they_are_there() -> None:
    files = encode_metadata(LAYOUT, 8, LABEL_STYLES, with_objects=False)
    assert document(files, "labels/zarr.json")["attributes"]["ome"]["labels"] == ["classes"]
    assert not [key for key in files if "objects" in key]
