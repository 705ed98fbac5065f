"""The verb `label` on every kind of volume, against `cc3d` on the whole of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cc3d
import h5py
import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray
from scipy import ndimage
from typer.testing import CliRunner

from services.cli.app import app
from services.cli.label import UnlabelledTypeError
from services.imaging.volumes import UnknownVolumeError, UnreadableVolumeError, VolumeExistsError, open_volume
from tests.unit.imaging.labelling_reference import blobs, same_partition

SHAPE = (37, 23, 31)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["label", *map(str, arguments)])
    if result.exception is not None:
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def refusal(*arguments: object) -> str:
    """What a call is refused with by the parser of options."""
    result = CliRunner().invoke(app, ["label", *map(str, arguments)])
    assert result.exit_code == 2, result.output
    return " ".join(result.output.replace("│", " ").split())


@pytest.fixture
def classes() -> NDArray[np.uint8]:
    return blobs(SHAPE, np.random.default_rng(11))


def stored(volume: NDArray[Any], kind: str, folder: Path) -> str:
    """Write a volume with the library that owns the kind, and return its path."""
    names = {"npy": "in.npy", "tif": "in.tif", "imagej": "in.tif", "folder": "in", "h5": "in.h5", "zarr": "in.zarr"}
    path = folder / names.get(kind, "in.ome.zarr")
    if kind == "npy":
        np.save(path, volume)
    elif kind == "tif":
        tifffile.imwrite(path, volume, photometric="minisblack", compression="zlib")
    elif kind == "imagej":
        tifffile.imwrite(path, volume, imagej=True, metadata={"axes": "ZYX"})
    elif kind == "folder":
        path.mkdir()
        for z, plane in enumerate(volume):
            tifffile.imwrite(path / f"slice_{z}.tif", plane)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["cells/classes"] = volume
            file["cells/names"] = np.zeros(3)
        return f"{path}:/cells/classes"
    elif kind == "zarr":
        zarr.create_array(path, data=volume, chunks=(5, 8, 8))
    else:
        group = zarr.open_group(path, mode="w", zarr_format=2)
        group.create_array("fine", data=volume[np.newaxis], chunks=(1, 16, 8, 8))
        group.attrs["multiscales"] = [{"version": "0.4", "datasets": [{"path": "fine"}]}]
    return str(path)


def read(path: str) -> NDArray[Any]:
    """Read an output with the library that owns its kind."""
    if path.endswith(".npy"):
        return np.array(np.load(path))
    if path.endswith(".tif"):
        return np.array(tifffile.imread(path))
    if ".h5" in path:
        name, _, inside = path.partition(":")
        with h5py.File(name) as file:
            return np.array(file[inside or "labels"])
    if path.endswith(".zarr"):
        group = zarr.open_group(path, mode="r")
        attributes: dict[str, Any] = dict(group.attrs)
        return np.array(group[attributes["ome"]["multiscales"][0]["datasets"][0]["path"]])
    return np.stack([tifffile.imread(file) for file in sorted(Path(path).iterdir())])


@pytest.mark.parametrize("kind", ["npy", "tif", "imagej", "folder", "h5", "zarr", "ome-zarr"])
def test_every_kind_of_volume_gives_the_labels_of_cc3d(kind: str, tmp_path: Path, classes: NDArray[np.uint8]) -> None:
    run(stored(classes, kind, tmp_path), "--out", tmp_path / "out.npy")
    found = read(str(tmp_path / "out.npy"))
    assert same_partition(found, cc3d.connected_components(classes, connectivity=26))


@pytest.mark.parametrize("name", ["out.npy", "out.tif", "out.h5", "out.h5:/a/b", "out.zarr", "out.ome.zarr", "out"])
def test_every_kind_of_output_holds_the_same_labels(name: str, tmp_path: Path, classes: NDArray[np.uint8]) -> None:
    source = stored(classes, "npy", tmp_path)
    run(source, "--out", tmp_path / "expected.npy")
    run(source, "--out", tmp_path / name)
    found, expected = read(str(tmp_path / name)), read(str(tmp_path / "expected.npy"))
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype
    assert not list(tmp_path.glob("*.partial*"))
    with open_volume(tmp_path / name) as again:
        np.testing.assert_array_equal(again.read(3, 9), expected[3:9])


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_labels_go_by_first_voxel_with_every_connectivity(connectivity: int, tmp_path: Path) -> None:
    binary = np.random.default_rng(2).random(SHAPE) < 0.2
    run(stored(binary, "npy", tmp_path), "--out", tmp_path / "out.npy", "--connectivity", connectivity)
    found = read(str(tmp_path / "out.npy"))
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    expected, count = ndimage.label(binary, structure)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == (np.uint8 if count < 256 else np.uint16)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int16, np.int64, np.uint64])
def test_volumes_of_many_labels_are_taken_in_every_type(dtype: type[np.integer[Any]], tmp_path: Path) -> None:
    values = np.array([0, 1, 2, 300, min(np.iinfo(dtype).max, (1 << 32) - 1)], dtype)
    volume = values[np.random.default_rng(4).integers(0, 5, SHAPE)]
    run(stored(volume, "npy", tmp_path), "--out", tmp_path / "out.npy", "--connectivity", 6)
    expected = cc3d.connected_components(volume, connectivity=6)
    assert same_partition(read(str(tmp_path / "out.npy")), expected)


def test_a_grey_volume_joins_what_is_close_in_value(tmp_path: Path) -> None:
    grey = ndimage.gaussian_filter(np.random.default_rng(6).random(SHAPE) * 255, 1).astype(np.uint8)
    grey[grey < 110] = 0
    run(stored(grey, "npy", tmp_path), "--out", tmp_path / "out.npy", "--delta", 3)
    expected = cc3d.connected_components(grey, connectivity=26, delta=3)
    assert same_partition(read(str(tmp_path / "out.npy")), expected)


def test_small_objects_go_by_class_and_the_largest_stay(tmp_path: Path, classes: NDArray[np.uint8]) -> None:
    source = stored(classes, "npy", tmp_path)
    run(source, "--out", tmp_path / "all.npy", "--min-voxels", 40, "--min-voxels", "3=5")
    everything, count = cc3d.connected_components(classes, return_N=True)
    sizes = np.bincount(everything.ravel())
    class_of = np.zeros(count + 1, np.uint8)
    class_of[everything.ravel()] = classes.ravel()
    kept = sizes >= np.where(class_of == 3, 5, 40)
    kept[0] = False
    expected = np.where(kept[everything], everything, 0)
    assert same_partition(read(str(tmp_path / "all.npy")), expected)
    run(source, "--out", tmp_path / "few.npy", "--largest", 3)
    few = read(str(tmp_path / "few.npy"))
    assert sorted(np.bincount(few.ravel())[1:]) == sorted(sizes[1:])[-3:]


def test_holes_are_filled_before_labelling(tmp_path: Path) -> None:
    solid = ndimage.gaussian_filter(np.random.default_rng(8).standard_normal(SHAPE), 1) > -0.15
    source = stored(solid, "npy", tmp_path)
    run(source, "--out", tmp_path / "out.npy", "--fill-holes", "--json", tmp_path / "out.json")
    filled = ndimage.binary_fill_holes(solid)
    assert filled.sum() > solid.sum()
    found = read(str(tmp_path / "out.npy"))
    assert same_partition(found, cc3d.connected_components(filled, connectivity=26))
    assert json.loads((tmp_path / "out.json").read_text())["filled_voxels"] == filled.sum() - solid.sum()


def test_statistics_are_those_of_cc3d_and_of_the_voxels(tmp_path: Path, classes: NDArray[np.uint8]) -> None:
    path = tmp_path / "stats" / "out.json"
    run(stored(classes, "npy", tmp_path), "--out", tmp_path / "out.npy", "--min-voxels", "1=30", "--json", path)
    labels = read(str(tmp_path / "out.npy"))
    document = json.loads(path.read_text())
    expected = cc3d.statistics(labels)
    assert document["schema"] == "fibsem-nuclei/label/1"
    assert document["n_objects"] == len(document["objects"]) == labels.max()
    assert document["voxels"] == (labels > 0).sum()
    assert document["voxels_left_out"] == ((labels == 0) & (classes > 0)).sum() > 0
    assert document["min_voxels"] == {"else": 0, "1": 30}
    assert [c["class"] for c in document["classes"]] == np.unique(classes[classes > 0]).tolist()
    assert sum(c["voxels"] for c in document["classes"]) == document["voxels"]
    for row in document["objects"]:
        at = row["label"]
        points = np.argwhere(labels == at)
        box = expected["bounding_boxes"][at]
        assert row["voxels"] == expected["voxel_counts"][at]
        assert row["bbox_zyx"] == [[side.start for side in box], [side.stop for side in box]]
        np.testing.assert_allclose(row["centroid_zyx"], expected["centroids"][at])
        zz, yy, xx, zy, zx, yx = row["covariance_zyx"]
        found = [[zz, zy, zx], [zy, yy, yx], [zx, yx, xx]]
        np.testing.assert_allclose(found, np.cov(points.T, bias=True).reshape(3, 3), atol=1e-9)
        assert row["first_voxel_zyx"] == points[0].tolist()
        assert row["class"] == classes[tuple(points[0])]
        assert row["touches_border"] == any(
            side.start == 0 or side.stop == length for side, length in zip(box, SHAPE, strict=True)
        )


def test_a_volume_is_read_some_planes_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = np.random.default_rng(1).integers(0, 3, SHAPE).astype(np.uint8)
    source = stored(volume, "tif", tmp_path)
    run(source, "--out", tmp_path / "whole.npy")
    monkeypatch.setattr("services.cli.label._SLAB_BYTES", 4 * SHAPE[1] * SHAPE[2] * 5)
    run(source, "--out", tmp_path / "parts.npy")
    np.testing.assert_array_equal(read(str(tmp_path / "parts.npy")), read(str(tmp_path / "whole.npy")))


def test_nothing_is_written_over(tmp_path: Path, classes: NDArray[np.uint8]) -> None:
    source = stored(classes, "npy", tmp_path)
    with h5py.File(tmp_path / "there.h5", "w") as file:
        file["grey"] = classes
    run(source, "--out", f"{tmp_path / 'there.h5'}:/objects")
    with h5py.File(tmp_path / "there.h5") as file:
        assert sorted(file) == ["grey", "objects"]
        np.testing.assert_array_equal(file["grey"], classes)
    for taken in ("there.h5:/objects", "there.h5:/grey", "in.npy"):
        with pytest.raises(VolumeExistsError, match="remove it"):
            run(source, "--out", tmp_path / taken)
    with pytest.raises(VolumeExistsError, match="another"):
        run(f"{tmp_path / 'there.h5'}:/grey", "--out", f"{tmp_path / 'there.h5'}:/more")


def test_a_source_that_is_no_volume_is_refused_with_what_to_do(tmp_path: Path, classes: NDArray[np.uint8]) -> None:
    out = tmp_path / "out.npy"
    np.save(tmp_path / "flat.npy", classes[0])
    np.save(tmp_path / "float.npy", classes.astype(np.float32))
    np.save(tmp_path / "negative.npy", classes.astype(np.int8) - 1)
    np.save(tmp_path / "huge.npy", classes.astype(np.uint64) << np.uint64(33))
    (tmp_path / "broken.tif").write_bytes(b"II*\0")
    (tmp_path / "empty").mkdir()
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["a"], file["b"] = classes, classes
    refused = {
        "gone.npy": (UnreadableVolumeError, "no such file"),
        "table.csv": (UnknownVolumeError, "multi-page .tif"),
        "flat.npy": (UnreadableVolumeError, "axes z, y, x"),
        "float.npy": (UnlabelledTypeError, "float32"),
        "negative.npy": (UnlabelledTypeError, "below 0"),
        "huge.npy": (UnlabelledTypeError, "renumber"),
        "broken.tif": (UnreadableVolumeError, "multi-page TIFF"),
        "empty": (UnreadableVolumeError, "no .tif"),
        "two.h5": (UnreadableVolumeError, "arrays: a, b"),
        "two.h5:/c": (UnreadableVolumeError, "of three axes or more: a, b"),
    }
    for name, (error, said) in refused.items():
        with pytest.raises(error, match=said):
            run(tmp_path / name, "--out", out)
    assert not out.exists()


def test_planes_of_a_folder_that_differ_are_refused_by_name(tmp_path: Path, classes: NDArray[np.uint8]) -> None:
    source = stored(classes, "folder", tmp_path)
    tifffile.imwrite(Path(source) / "slice_7.tif", classes[0, 1:])
    with pytest.raises(UnreadableVolumeError, match=r"slice_7.tif: \(22, 31\)"):
        run(source, "--out", tmp_path / "out.npy")


def test_options_that_say_nothing_sensible_are_refused(tmp_path: Path, classes: NDArray[np.uint8]) -> None:
    source = stored(classes, "npy", tmp_path)
    out = ("--out", tmp_path / "out.npy")
    assert "CLASS=N such as 4=50" in refusal(source, *out, "--min-voxels", "4:50")
    assert "given before" in refusal(source, *out, "--min-voxels", "4=50", "--min-voxels", "4=5")
    assert "without a class" in refusal(source, *out, "--min-voxels", "4=50", "--delta", "2")
    assert "--largest" in refusal(source, *out, "--largest", "0")
    with pytest.raises(ValueError, match="6, 18 or 26"):
        run(source, *out, "--connectivity", 8)


def test_help_has_examples() -> None:
    result = CliRunner().invoke(app, ["label", "--help"])
    assert result.exit_code == 0
    assert "--min-voxels 4=50" in result.output
