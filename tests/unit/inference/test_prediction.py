"""`predict` labels a folder of images: same names, same shapes, ids of the card, at any voxel size."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from typer.testing import CliRunner

import services.inference
from services.cli.app import app
from services.contracts.values import VoxelSize
from services.inference.pages import MixedDepthError
from services.inference.prediction import NoImagesError, OverwriteError, predict_folder
from services.runtime.segmenter.cards import read_card
from services.runtime.segmenter.port import ModelSetError

SHIPPED = Path(services.inference.__path__[0]) / "models"
(CHROMATIN,) = SHIPPED.glob("chromatin-*")


def called(*words: object) -> None:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def field(seed: int, shape_yx: tuple[int, int] = (60, 84)) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape_yx[0], : shape_yx[1]]
    inside = np.hypot(y - shape_yx[0] / 2, x - shape_yx[1] / 2) < min(shape_yx) / 3
    return np.asarray(np.where(inside, 212, 170) + rng.normal(0, 7, shape_yx), np.uint8)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(3):
        tifffile.imwrite(folder / f"slice_{k:03d}.tif", field(k), metadata=None)
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_each_image_gets_a_label_image_of_its_name_and_shape(tmp_path: Path, images: Path) -> None:
    assert predict_folder(CHROMATIN, images, tmp_path / "labels") == 3
    written = sorted((tmp_path / "labels").iterdir())
    assert [path.name for path in written] == ["slice_000.tif", "slice_001.tif", "slice_002.tif"]
    labels = [tifffile.imread(path) for path in written]
    assert {(plane.shape, plane.dtype) for plane in labels} == {((60, 84), np.dtype(np.uint8))}
    card = read_card(CHROMATIN)
    seen = set(np.unique(labels).tolist())
    assert seen <= {output.class_id for output in card.classes}
    assert len(seen) > 1


def test_labels_do_not_flicker_along_z(tmp_path: Path) -> None:
    """What a slice shows decides its labels, not where it lies nor how bright its neighbours are."""
    (tmp_path / "images").mkdir()
    specimen, bright = field(1), np.full((60, 84), 240, np.uint8)
    first = [field(seed) for seed in range(2, 18)]
    stack = np.stack([*first, specimen, bright, specimen, field(3), bright, bright, specimen])
    tifffile.imwrite(tmp_path / "images" / "stack.tif", stack, metadata=None)
    for model in (CHROMATIN, SHIPPED):
        predict_folder(model, tmp_path / "images", tmp_path / "labels" / model.name)
        labels = tifffile.imread(tmp_path / "labels" / model.name / "stack.tif")
        assert len(np.unique(labels[16])) > 1
        assert (labels[[18, 22]] == labels[16]).all()
        assert (labels[19] == labels[1]).all()


def test_a_folder_of_networks_is_fused(tmp_path: Path, images: Path) -> None:
    predict_folder(SHIPPED, images, tmp_path / "fused")
    predict_folder(CHROMATIN, images, tmp_path / "alone")
    fused, alone = (tifffile.imread(tmp_path / name / "slice_000.tif") for name in ("fused", "alone"))
    assert np.mean(fused == alone) > 0.5


def test_a_folder_that_holds_one_network_is_that_network(tmp_path: Path, images: Path) -> None:
    shutil.copytree(CHROMATIN, tmp_path / "models" / CHROMATIN.name)
    predict_folder(tmp_path / "models", images, tmp_path / "of-folder")
    predict_folder(CHROMATIN, images, tmp_path / "alone")
    for name in ("slice_000.tif", "slice_002.tif"):
        assert (tmp_path / "of-folder" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def of_voxel_size(models: Path, name: str, voxel_nm: float) -> Path:
    """Publish the shipped network again under another name and voxel size."""
    card = read_card(CHROMATIN).model_copy(update={"name": name, "voxel_size_nm": voxel_nm})
    shutil.copytree(CHROMATIN, models / card.address)
    (models / card.address / "card.json").write_bytes(card.encoded())
    return models / card.address


def test_of_networks_that_are_not_fused_the_nearest_in_voxel_size_is_taken(tmp_path: Path, images: Path) -> None:
    fine, coarse = (of_voxel_size(tmp_path / "models", f"at-{nm}", float(nm)) for nm in (10, 40))
    for nm, expected in ((12.0, fine), (30.0, coarse)):
        size = VoxelSize(z_nm=50.0, y_nm=nm, x_nm=nm)
        predict_folder(tmp_path / "models", images, tmp_path / "chosen", size)
        predict_folder(expected, images, tmp_path / "expected", size)
        chosen, wanted = (tifffile.imread(tmp_path / each / "slice_001.tif") for each in ("chosen", "expected"))
        assert np.array_equal(chosen, wanted)
    with pytest.raises(ModelSetError, match=r"at-10 \(10 nm\), at-40 \(40 nm\): name one"):
        predict_folder(tmp_path / "models", images, tmp_path / "chosen")


def test_several_networks_of_one_voxel_size_are_not_chosen_from(tmp_path: Path, images: Path) -> None:
    ours, theirs = (of_voxel_size(tmp_path / "models", name, 10.0) for name in ("ours", "theirs"))
    of_voxel_size(tmp_path / "models", "coarse", 40.0)
    fine, coarse = (VoxelSize(z_nm=50.0, y_nm=nm, x_nm=nm) for nm in (12.0, 30.0))
    with pytest.raises(ModelSetError, match=f"holds {ours.name}, {theirs.name}, all of 10 nm: name one of them"):
        predict_folder(tmp_path / "models", images, tmp_path / "labels", fine)
    assert predict_folder(tmp_path / "models", images, tmp_path / "labels", coarse) == 3


def test_finer_images_are_labelled_at_their_own_pixels(tmp_path: Path, images: Path) -> None:
    finer = tmp_path / "finer"
    finer.mkdir()
    for path in images.glob("*.tif"):
        tifffile.imwrite(finer / path.name, np.kron(tifffile.imread(path), np.ones((4, 2), np.uint8)), metadata=None)
    predict_folder(CHROMATIN, images, tmp_path / "labels")
    predict_folder(CHROMATIN, finer, tmp_path / "fine", VoxelSize(z_nm=16, y_nm=4, x_nm=8))
    coarse = tifffile.imread(tmp_path / "labels" / "slice_001.tif")
    np.testing.assert_array_equal(
        tifffile.imread(tmp_path / "fine" / "slice_001.tif"), np.kron(coarse, np.ones((4, 2), np.uint8))
    )


def test_pages_stay_pages(tmp_path: Path, images: Path) -> None:
    stack = np.stack([tifffile.imread(path) for path in sorted(images.glob("*.tif"))])
    tifffile.imwrite(tmp_path / "stack.tif", stack, metadata=None, photometric="minisblack")
    assert predict_folder(CHROMATIN, tmp_path / "stack.tif", tmp_path / "paged") == 1
    predict_folder(CHROMATIN, images, tmp_path / "single")
    singles = [tifffile.imread(path) for path in sorted((tmp_path / "single").iterdir())]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "paged" / "stack.tif"), np.stack(singles))


def test_the_same_images_give_the_same_files(tmp_path: Path, images: Path) -> None:
    predict_folder(CHROMATIN, images, tmp_path / "first")
    predict_folder(CHROMATIN, images, tmp_path / "second")
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


def test_sixteen_bit_images_are_mapped_by_their_own_range(tmp_path: Path, images: Path) -> None:
    deep = tmp_path / "deep"
    deep.mkdir()
    for path in images.glob("*.tif"):
        tifffile.imwrite(deep / path.name, tifffile.imread(path).astype(np.uint16) * 64 + 3000, metadata=None)
    predict_folder(CHROMATIN, images, tmp_path / "labels")
    predict_folder(CHROMATIN, deep, tmp_path / "deep-labels")
    shallow, mapped = (tifffile.imread(tmp_path / name / "slice_000.tif") for name in ("labels", "deep-labels"))
    assert np.mean(shallow == mapped) > 0.95


def test_images_of_two_depths_are_refused(tmp_path: Path, images: Path) -> None:
    tifffile.imwrite(images / "slice_002.tif", field(2).astype(np.uint16) * 7, metadata=None)
    with pytest.raises(MixedDepthError):
        predict_folder(CHROMATIN, images, tmp_path / "labels")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoImagesError):
        predict_folder(CHROMATIN, tmp_path, tmp_path / "labels")


def test_labels_never_replace_the_images(images: Path) -> None:
    before = {path: path.read_bytes() for path in images.iterdir()}
    with pytest.raises(OverwriteError, match="another folder"):
        predict_folder(CHROMATIN, images, images)
    assert {path: path.read_bytes() for path in images.iterdir()} == before


def test_progress_is_told_page_by_page(tmp_path: Path, images: Path) -> None:
    told: list[tuple[int, int]] = []
    predict_folder(CHROMATIN, images, tmp_path / "labels", progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_confidences_say_how_sure_the_labels_are_and_evaluate_takes_them(tmp_path: Path, images: Path) -> None:
    labels, sure = tmp_path / "labels", tmp_path / "sure"
    size = ("--voxel-nm", "12,12,12")
    called("predict", CHROMATIN, images, "--out", labels, "--confidence", sure, *size)
    called("predict", CHROMATIN, images, "--out", tmp_path / "without", *size)
    for path in (tmp_path / "without").iterdir():
        assert path.read_bytes() == (labels / path.name).read_bytes()
    confidences = np.stack([tifffile.imread(sure / path.name) for path in sorted(labels.iterdir())])
    assert (confidences.dtype, confidences.shape) == (np.dtype(np.uint8), (3, 60, 84))
    assert 0 < confidences.min() < confidences.max() <= 255
    # Where every label is right, the error of calibration is what confidence lacks of one.
    called("evaluate", labels, tmp_path / "without", "--confidence", sure, "--json", tmp_path / "scores.json")
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["calibration"]["ece"] == pytest.approx(1 - confidences.mean() / 255, abs=1e-6)


def test_confidences_of_pages_are_pages(tmp_path: Path, images: Path) -> None:
    stack = np.stack([tifffile.imread(path) for path in sorted(images.glob("*.tif"))])
    tifffile.imwrite(tmp_path / "stack.tif", stack, metadata=None, photometric="minisblack")
    predict_folder(CHROMATIN, tmp_path / "stack.tif", tmp_path / "labels", confidence=tmp_path / "sure")
    predict_folder(CHROMATIN, images, tmp_path / "single", confidence=tmp_path / "single-sure")
    singles = [tifffile.imread(path) for path in sorted((tmp_path / "single-sure").iterdir())]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "sure" / "stack.tif"), np.stack(singles))


@pytest.mark.parametrize("place", ["images", "labels"])
def test_confidences_replace_neither_images_nor_labels(tmp_path: Path, images: Path, place: str) -> None:
    with pytest.raises(OverwriteError, match="give another folder for the confidences"):
        predict_folder(CHROMATIN, images, tmp_path / "labels", confidence=tmp_path / place)
    assert not (tmp_path / "labels").exists()
