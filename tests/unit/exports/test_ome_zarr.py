"""OME-Zarr 0.4 and 0.5: valid, read by ome-zarr-py, the same voxels at the same places, coarser levels upon finer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
import zarr.storage
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models import v04, v05

from services.exports.export import Request, export
from services.exports.ome_zarr import NgffVersion, write_ome_zarr
from services.exports.place import Placement
from services.exports.reading import Image, Nucleus
from tests.support.exported import place_nm
from tests.support.results_builder import CHROMOSOME_IDS, SHAPE_ZYX, VOXEL_NM, nucleus_volumes

VERSIONS = ("0.4", "0.5")


def written(out: Path, version: str, label: str | None = None) -> Path:
    outcome = export(Request(out, f"ome-zarr-{version}", label=label))
    return outcome.folder / "n0001.ome.zarr"


def transforms(group: zarr.Group, version: str) -> list[dict[str, Any]]:
    attributes: Any = group.attrs if version == "0.4" else group.attrs["ome"]
    return [
        {t["type"]: t[t["type"]] for t in dataset["coordinateTransformations"]}
        for dataset in attributes["multiscales"][0]["datasets"]
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_metadata_validate(out: Path, version: str) -> None:
    group = zarr.open_group(written(out, version), mode="r")
    models: Any = {"0.4": (v04.image, v04.labels, v04.image_label), "0.5": (v05.image, v05.labels, v05.image_label)}
    image, labels, image_label = models[version]
    image.ImageAttrs.model_validate(ngff(group, version))
    assert labels.LabelsAttrs.model_validate(ngff(group["labels"], version)).labels == [
        "classes",
        "objects",
        "chromosomes",
    ]
    for name in ("classes", "objects", "chromosomes"):
        image_label.ImageLabelAttrs.model_validate(ngff(group[f"labels/{name}"], version))


@pytest.mark.parametrize("version", VERSIONS)
def test_metadata_without_axes_do_not_validate(out: Path, version: str) -> None:
    attributes = ngff(zarr.open_group(written(out, version), mode="r"), version)
    del attributes["multiscales"][0]["axes"]
    models: Any = {"0.4": v04.image, "0.5": v05.image}
    with pytest.raises(ValueError, match="axes"):
        models[version].ImageAttrs.model_validate(attributes)


def ngff(group: Any, version: str) -> dict[str, Any]:
    """The metadata of a group where its version has them."""
    return dict(group.attrs) if version == "0.4" else dict(group.attrs["ome"])


@pytest.mark.parametrize("version", VERSIONS)
def test_ome_zarr_py_reads_the_image_and_every_label(out: Path, version: str) -> None:
    location = parse_url(written(out, version))
    assert location is not None
    nodes = {Path(node.zarr.path or "").name or "root": node for node in Reader(location)()}
    grey, _, objects = nucleus_volumes()
    image = next(node for node in nodes.values() if "labels" not in str(node.zarr))
    np.testing.assert_array_equal(np.asarray(image.data[0]), grey)
    labelled = {
        str(node.zarr).rsplit("/", 1)[-1].rstrip("]"): node for node in nodes.values() if "labels/" in str(node.zarr)
    }
    found = next(node for name, node in labelled.items() if "objects" in name)
    np.testing.assert_array_equal(np.asarray(found.data[0]), objects)
    assert any("chromosomes" in name for name in labelled)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_voxel_lies_where_it_lies_in_the_acquisition(out: Path, version: str) -> None:
    group = zarr.open_group(written(out, version), mode="r")
    for member in (group, group["labels/objects"]):
        assert isinstance(member, zarr.Group)
        first = transforms(member, version)[0]
        found = np.array(first["scale"]) * (7, 11, 13) + np.array(first["translation"])
        np.testing.assert_allclose(found, place_nm((7, 11, 13)))


@pytest.mark.parametrize("version", VERSIONS)
def test_levels_begin_at_the_same_corner(tmp_path: Path, out: Path, version: str) -> None:
    group = wide(tmp_path, version)
    corners = [np.array(t["translation"]) - 0.5 * np.array(t["scale"]) for t in transforms(group, version)]
    assert len(corners) > 1
    for corner in corners:
        np.testing.assert_allclose(corner, corners[0])


def wide(folder: Path, version: str) -> zarr.Group:
    """An OME-Zarr of an image wide enough for a coarser level."""
    voxels = np.zeros((6, 200, 140), np.uint8)
    voxels[:, 40:, 20:] = 100
    source = zarr.create_array(zarr.storage.MemoryStore(), data=voxels, chunks=(4, 64, 64))
    images = (Image("grey", source), Image("classes", source))
    nucleus = Nucleus("n1", Placement((8.0, 8.0, 8.0), (4.0, 0.0, 0.0)), images, {})
    write_ome_zarr(folder / "wide", nucleus, images, NgffVersion(version), lambda _done, _steps: None)
    return zarr.open_group(folder / "wide", mode="r")


def test_a_coarse_voxel_is_the_mean_of_an_image_and_the_most_frequent_of_labels(tmp_path: Path) -> None:
    group = wide(tmp_path, "0.5")
    for name in ("1", "labels/classes/1"):
        coarse = np.asarray(group[name])
        assert coarse.shape == (3, 100, 70)
        assert coarse[0, 19, 30] == 0
        assert coarse[2, 20, 10] == 100


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_have_colours_and_properties_of_the_tables(out: Path, version: str) -> None:
    group = zarr.open_group(written(out, version), mode="r")["labels/objects"]
    attributes: Any = group.attrs if version == "0.4" else group.attrs["ome"]
    about = attributes["image-label"]
    assert {entry["label-value"] for entry in about["colors"]} == set(CHROMOSOME_IDS)
    rows = {entry["label-value"]: entry for entry in about["properties"]}
    assert rows[CHROMOSOME_IDS[0]]["volume_um3"] == pytest.approx(0.40)
    assert rows[CHROMOSOME_IDS[0]]["class"] == "chromosome"


def test_one_label_image_alone_can_be_asked_for(out: Path) -> None:
    group = zarr.open_group(written(out, "0.5", label="classes"), mode="r")
    labels: Any = group["labels"]
    assert sorted(labels.group_keys()) == ["classes"]


def test_chromosomes_are_made_of_objects_where_the_volume_has_none(out: Path) -> None:
    group = zarr.open_group(written(out, "0.5"), mode="r")
    _, _, objects = nucleus_volumes()
    ranks = np.asarray(group["labels/chromosomes/0"])
    assert ranks.shape == SHAPE_ZYX
    for rank, object_id in enumerate(CHROMOSOME_IDS, start=1):
        assert (ranks[objects == object_id] == rank).all()
    assert not ranks[objects == 0].any()
    assert VOXEL_NM[0] != VOXEL_NM[1]  # a swap of axes would show
