"""Neuroglancer: volumes read by TensorStore, meshes by zmesh, skeletons by osteoid; all at the same place."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import osteoid
import pytest
import tensorstore
import zarr
import zarr.storage
import zmesh

from services.exports.export import Request, export
from services.exports.place import Placement
from services.exports.precomputed import remainder_nm, write_layer
from services.exports.precomputed_parts import VIEWER, encode_properties, encode_skeleton, link
from services.exports.reading import Image, Nucleus
from services.exports.styles import Label
from tests.support.exported import place_nm
from tests.support.results_builder import CHROMOSOME_IDS, VOXEL_NM, build_results, nucleus_volumes

RED = (200, 0, 0, 255)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(Request(build_results(tmp_path_factory.mktemp("ng") / "out"), "neuroglancer")).folder


def opened(path: Path, scale: int = 0) -> Any:
    store = {"driver": "file", "path": f"{path}/"}
    return tensorstore.open(
        {"driver": "neuroglancer_precomputed", "kvstore": store, "scale_index": scale}, open=True, read=True
    ).result()


def test_volumes_hold_the_voxels(folder: Path) -> None:
    grey, classes, objects = nucleus_volumes()
    for name, voxels in (("grey", grey), ("classes", classes), ("objects", objects)):
        array = opened(folder / "n0001" / name)
        start = -np.array(array.domain.origin[:3]) + offset()[::-1]
        found = np.asarray(array[..., 0].read().result())
        z, y, x = voxels.shape
        part = found[start[0] : start[0] + x, start[1] : start[1] + y, start[2] : start[2] + z]
        np.testing.assert_array_equal(part.transpose(2, 1, 0), voxels)
    assert array.dtype.name == "uint64"


def offset() -> Any:
    return np.round(np.array((0.0, 500.0, 700.0)) / np.array(VOXEL_NM)).astype(int)


def test_a_voxel_lies_where_it_lies_in_the_acquisition(folder: Path) -> None:
    state = json.loads((folder / "n0001" / "state.json").read_text())
    info = json.loads((folder / "n0001" / "objects" / "info").read_text())
    _, _, objects = nucleus_volumes()
    index = np.argwhere(objects == CHROMOSOME_IDS[3])[5]
    array = opened(folder / "n0001" / "objects")[..., 0]
    x, y, z = (offset() + index)[::-1]
    assert int(array[x, y, z].read().result()) == CHROMOSOME_IDS[3]
    layer = next(layer for layer in state["layers"] if layer["name"] == "objects")
    matrix = np.array(layer["source"]["transform"]["matrix"])
    seen = matrix @ np.array([x + 0.5, y + 0.5, z + 0.5, 1.0]) * np.array(info["scales"][0]["resolution"])
    np.testing.assert_allclose(seen[::-1], place_nm(index))


def test_meshes_enclose_their_voxels(folder: Path) -> None:
    layer = folder / "n0001" / "objects"
    _, _, objects = nucleus_volumes()
    label = CHROMOSOME_IDS[0]
    manifest = json.loads((layer / "mesh" / f"{label}:0").read_text())
    mesh = zmesh.Mesh.from_precomputed((layer / "mesh" / manifest["fragments"][0]).read_bytes())
    shift = np.array(remainder_nm(Placement(VOXEL_NM, (0.0, 500.0, 700.0))))
    middle = place_nm(np.argwhere(objects == label).mean(axis=0))
    box = 0.5 * (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0))[::-1] + shift
    np.testing.assert_allclose(box, middle, atol=0.5 * min(VOXEL_NM))


def test_skeletons_are_read_by_osteoid() -> None:
    points = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    payload = encode_skeleton(points, np.array([-1, 0, 1]), np.array([1.0, 2.0, 3.0]))
    attributes = [{"id": "radius", "data_type": "float32", "num_components": 1}]
    skeleton = osteoid.Skeleton.from_precomputed(payload, vertex_attributes=attributes)
    np.testing.assert_array_equal(skeleton.vertices, points)
    np.testing.assert_array_equal(skeleton.edges, [[0, 1], [1, 2]])
    np.testing.assert_array_equal(skeleton.radius, [1.0, 2.0, 3.0])


def test_complexes_have_skeletons_in_the_layer_of_classes(folder: Path) -> None:
    payload = (folder / "n0001" / "classes" / "skeletons" / "4").read_bytes()
    attributes = json.loads((folder / "n0001" / "classes" / "skeletons" / "info").read_text())["vertex_attributes"]
    skeleton = osteoid.Skeleton.from_precomputed(payload, vertex_attributes=attributes)
    assert len(skeleton.components()) == 6


def test_properties_give_names_classes_and_numbers() -> None:
    labels = [Label(3, "nucleolus 3", RED, {"class": "nucleolus", "voxels": 9}), Label(7, "object 7", RED, {})]
    inline: Any = encode_properties(labels)["inline"]
    assert inline["ids"] == ["3", "7"]
    by_id = {entry["id"]: entry for entry in inline["properties"]}
    assert by_id["tags"]["values"] == [[0], []]
    assert by_id["voxels"]["values"] == [9.0, 0.0]


def test_the_link_holds_the_state(folder: Path) -> None:
    state = json.loads((folder / "n0001" / "state.json").read_text())
    address = (folder / "n0001" / "link.txt").read_text().strip()
    assert address == link(state)
    assert json.loads(unquote(address.removeprefix(VIEWER))) == state
    assert [layer["name"] for layer in state["layers"]] == ["grey", "classes", "objects", "chromosomes"]


def test_every_resolution_begins_at_the_same_corner(tmp_path: Path) -> None:
    voxels = np.zeros((20, 300, 290), np.uint8)
    voxels[4:9, 100:200, 50:250] = 3
    source = zarr.create_array(zarr.storage.MemoryStore(), data=voxels, chunks=(16, 64, 64))
    nucleus = Nucleus("n1", Placement((8.0, 8.0, 8.0), (8.0, 24.0, -40.0)), (Image("parts", source),), {})
    write_layer(tmp_path / "parts", nucleus, nucleus.images[0], lambda _done, _steps: None)
    scales = json.loads((tmp_path / "parts" / "info").read_text())["scales"]
    assert len(scales) == 3
    corners = [np.array(s["voxel_offset"]) * np.array(s["resolution"]) for s in scales]
    for corner in corners:
        np.testing.assert_array_equal(corner, corners[0])
    for number, scale in enumerate(scales):
        found = np.argwhere(np.asarray(opened(tmp_path / "parts", number)[..., 0].read().result()) == 3)
        low_nm = found.min(axis=0) * np.array(scale["resolution"]) + corners[0]
        np.testing.assert_allclose(low_nm, (50 * 8 - 40, 100 * 8 + 24, 4 * 8 + 8), atol=scale["resolution"][0] - 1)
