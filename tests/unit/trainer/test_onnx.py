"""A published network becomes a detector that OpenCV runs, or is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from services.contracts.model_card import ModelCard
from services.extract.learned import Detector
from services.runtime.deployment import SHIPPED_MODELS
from services.runtime.segmenter.cards import CARD, WEIGHTS, read_card
from services.trainer.networks import folded_network
from services.trainer.onnx import NoDetectorError, export


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A shipped network that is normalised by constants."""
    shipped = next(SHIPPED_MODELS.glob("membrane-*"))
    card = read_card(shipped)
    constants = {"kind": "fixed", "mean": 150.0, "sd": 25.0}
    other = ModelCard.model_validate(card.model_dump() | {"normalisation": constants})
    folder = tmp_path / other.address
    folder.mkdir()
    (folder / CARD).write_bytes(other.encoded())
    (folder / WEIGHTS).write_bytes((shipped / WEIGHTS).read_bytes())
    return folder


def test_a_detector_says_what_the_network_says(model: Path, tmp_path: Path) -> None:
    card = read_card(model)
    written = export(model, "nucleoplasm", tmp_path / "detectors" / "mine")
    assert written.made_from == card.address
    assert b"/" + Path(__file__).parts[1].encode() not in (tmp_path / "detectors" / "mine.onnx").read_bytes()
    grey = np.random.default_rng(5).integers(90, 220, (150, 203), np.uint8)
    network = folded_network(card.architecture, len(card.classes), load_file(model / WEIGHTS))
    multiple = card.architecture.shape_multiple_px
    padded = np.pad(grey, [(0, -size % multiple) for size in grey.shape], mode="symmetric").astype(np.float32)
    with torch.inference_mode():
        logits = network(torch.from_numpy((padded - 150.0) / 25.0)[None, None])[0].numpy()
    channel = [each.name for each in card.classes].index("nucleoplasm")
    expected = logits.argmax(axis=0)[: grey.shape[0], : grey.shape[1]] == channel
    assert np.mean(Detector(tmp_path / "detectors", "mine").mask(grey) == expected) > 0.999


def test_a_class_that_the_network_does_not_have_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(NoDetectorError, match="no class 'nucleus', but exterior, nucleoplasm"):
        export(model, "nucleus", tmp_path / "mine")


def test_a_network_that_is_normalised_by_an_acquisition_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoDetectorError, match="say constants"):
        export(next(SHIPPED_MODELS.glob("membrane-*")), "nucleoplasm", tmp_path / "mine")
