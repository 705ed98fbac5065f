"""Networks that are open on images: the labels of `predict`, how sure they are, and only of the pages asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from torch import Tensor, nn

import services.inference
from services.contracts.architectures import AnyArchitecture, TUNetArchitecture
from services.contracts.classes import LabelClass
from services.contracts.model_card import FixedNormalisation, ModelCard, OutputClass
from services.contracts.values import VoxelSize
from services.inference.answers import Labeller, open_labeller
from services.inference.pages import mapped_page
from services.inference.prediction import predict_folder
from services.runtime.segmenter.cards import read_card
from services.runtime.segmenter.port import Segmented
from services.trainer.publishing import exported_archive, publish
from tests.support.review_queues import slice_and_truth, write_slices

SHIPPED = Path(services.inference.__path__[0]) / "models"
(CHROMATIN,) = SHIPPED.glob("chromatin-*")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_slices(tmp_path / "images", range(6))


def asked(labeller: Labeller, *wanted: str) -> dict[str, Segmented]:
    return {
        path.name: answer for path, _, answer in labeller.answers(lambda path, _: not wanted or path.name in wanted)
    }


class _Brighter(nn.Module):
    """Says of a pixel whether it is brighter than the mean, the more surely the more it is."""

    def forward(self, images: Tensor) -> Tensor:
        middle = images[:, images.shape[1] // 2 : images.shape[1] // 2 + 1]
        return torch.cat([-middle, middle], dim=1)


def brighter(folder: Path, stretch: Mapping[str, float] | None = None, **changes: object) -> Path:
    """Publish a network of two classes of its own that sees `input_planes` planes."""
    architecture: AnyArchitecture = TUNetArchitecture.model_validate({"depth": 2, "base_channels": 2} | changes)
    archive = exported_archive(_Brighter().eval(), architecture)
    card = read_card(CHROMATIN)
    said = card.model_dump() | {
        "name": "brighter",
        "classes": (OutputClass(name="background", class_id=0), OutputClass(name="mitochondrion", class_id=7)),
        "architecture": architecture,
        "normalisation": FixedNormalisation(kind="fixed", mean=170.0, sd=20.0, **(stretch or {})),
        "weights_sha256": _sha256(b"none"),
        "archive_sha256": _sha256(archive),
    }
    return publish(folder, ModelCard.model_validate(said), b"none", archive)


def _sha256(content: bytes) -> str:

    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    "model", [pytest.param(CHROMATIN, id="one"), pytest.param(SHIPPED, marks=pytest.mark.slow, id="fused")]
)
def test_answers_are_the_labels_of_predict_with_a_confidence_for_each_pixel(
    model: Path, images: Path, tmp_path: Path
) -> None:
    predict_folder(model, images, tmp_path / "labels")
    with open_labeller(model, sorted(images.iterdir())) as labeller:
        found = asked(labeller)
    assert sorted(found) == sorted(path.name for path in images.iterdir())
    for name, answer in found.items():
        np.testing.assert_array_equal(answer.classes_yx, tifffile.imread(tmp_path / "labels" / name))
        assert answer.confidence_yx.shape == answer.classes_yx.shape
        assert answer.confidence_yx.min() < 180 < answer.confidence_yx.max()


@pytest.mark.slow
def test_classes_are_those_that_the_networks_can_tell(images: Path) -> None:
    paths = sorted(images.iterdir())
    with open_labeller(SHIPPED, paths) as labeller:
        assert labeller.class_ids == {member.label: int(member) for member in LabelClass}
        assert {card.name for card in labeller.cards} == {"chromatin", "complex", "membrane"}
    with open_labeller(CHROMATIN, paths) as labeller:
        assert labeller.class_ids == {"exterior": 0, "nucleoplasm": 1, "chromosome": 2, "nucleolus": 3}


@pytest.mark.parametrize("planes", [1, 3], ids=["planes", "neighbours"])
def test_what_is_wanted_decides_nothing_about_an_answer(images: Path, tmp_path: Path, planes: int) -> None:
    model = brighter(tmp_path / "models", input_planes=planes)
    paths = sorted(images.iterdir())
    with open_labeller(model, paths) as labeller:
        every = asked(labeller)
        some = asked(labeller, paths[1].name, paths[4].name)
    assert list(some) == [paths[1].name, paths[4].name]
    assert len(every) == len(paths)
    for name, answer in some.items():
        np.testing.assert_array_equal(answer.classes_yx, every[name].classes_yx)
        np.testing.assert_array_equal(answer.confidence_yx, every[name].confidence_yx)


def test_confidence_is_the_probability_of_the_class_that_is_given(images: Path, tmp_path: Path) -> None:
    model = brighter(tmp_path / "models")
    with open_labeller(model, sorted(images.iterdir())) as labeller:
        answer = asked(labeller, "n1_z0003.tif")["n1_z0003.tif"]
        assert labeller.class_ids == {"background": 0, "mitochondrion": 7}
    logit = 2 * np.abs(slice_and_truth(3)[0].astype(np.float64) - 170.0) / 20.0
    expected = 255 / (1 + np.exp(-logit))
    assert np.abs(answer.confidence_yx - expected).max() <= 0.51
    np.testing.assert_array_equal(answer.classes_yx == 7, slice_and_truth(3)[0] > 170)


@pytest.mark.parametrize("edge_nm", [8.0, 32.0], ids=["finer", "coarser"])
@pytest.mark.parametrize("alone", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["alone", "fused"])
def test_answers_for_other_pixels_have_the_image_s_shape(
    images: Path, tmp_path: Path, edge_nm: float, alone: bool
) -> None:
    size = VoxelSize(z_nm=50, y_nm=edge_nm, x_nm=edge_nm)
    model = brighter(tmp_path / "models") if alone else CHROMATIN
    predict_folder(model, images, tmp_path / "labels", size)
    with open_labeller(model, sorted(images.iterdir()), size) as labeller:
        answer = asked(labeller, "n1_z0002.tif")["n1_z0002.tif"]
    assert answer.classes_yx.shape == answer.confidence_yx.shape == slice_and_truth(2)[0].shape
    np.testing.assert_array_equal(answer.classes_yx, tifffile.imread(tmp_path / "labels" / "n1_z0002.tif"))
    assert answer.confidence_yx.min() >= (127 if alone else 63)


def test_a_page_is_read_as_it_was_shown_to_the_networks(tmp_path: Path) -> None:
    stack = np.stack([slice_and_truth(z)[0] for z in range(4)]).astype(np.uint16) * 40 + 900
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    with open_labeller(CHROMATIN, [tmp_path / "stack.tif"]) as labeller:
        page = mapped_page(tmp_path / "stack.tif", 2, labeller.grey)
        places = [place[:2] for place in labeller.answers(lambda _, number: number in {0, 2})]
    assert places == [(tmp_path / "stack.tif", 0), (tmp_path / "stack.tif", 2)]
    mapped = (stack[2] - labeller.grey.low) * 255 / (labeller.grey.high - labeller.grey.low)
    assert np.abs(page - np.clip(mapped, 0, 255)).max() <= 1


def test_sixteen_bits_become_eight_as_those_of_the_training_images_did(tmp_path: Path) -> None:
    model = brighter(tmp_path / "models", stretch={"low": 900.0, "high": 900.0 + 40 * 255})
    plane = slice_and_truth(2)[0]
    # Alone, a corner of an image has other percentiles of grey than the images that were learned from.
    tifffile.imwrite(tmp_path / "corner.tif", plane[:24, :40].astype(np.uint16) * 40 + 900, metadata=None)
    with open_labeller(model, [tmp_path / "corner.tif"]) as labeller:
        np.testing.assert_array_equal(mapped_page(tmp_path / "corner.tif", 0, labeller.grey), plane[:24, :40])
        answer = asked(labeller, "corner.tif")["corner.tif"]
    np.testing.assert_array_equal(answer.classes_yx == 7, plane[:24, :40] > 170)


def test_eight_bits_stay_as_they_are_whatever_sixteen_became(images: Path, tmp_path: Path) -> None:
    model = brighter(tmp_path / "models", stretch={"low": 900.0, "high": 9000.0})
    with open_labeller(model, sorted(images.iterdir())) as labeller:
        assert (labeller.grey.low, labeller.grey.high) == (0.0, 255.0)
