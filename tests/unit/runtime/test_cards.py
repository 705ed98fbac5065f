"""Networks that need more than a slice are refused by name, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

import services.inference
from services.contracts.architectures import TUNetArchitecture
from services.contracts.model_card import RECOMMENDED_FUSION, ModelCard
from services.runtime.segmenter.cards import CARD, published, read_model_set
from services.runtime.segmenter.port import ModelSetError

SHIPPED = Path(services.inference.__path__[0]) / "models"


def placed(models: Path, card: ModelCard) -> None:
    (models / card.address).mkdir()
    (models / card.address / CARD).write_bytes(card.encoded())


def test_a_set_with_a_network_that_sees_neighbours_is_refused(tmp_path: Path) -> None:
    for card in published(SHIPPED):
        architecture = TUNetArchitecture(depth=2, base_channels=2, input_planes=3)
        placed(tmp_path, card if card.name != "complex" else card.model_copy(update={"architecture": architecture}))
    with pytest.raises(ModelSetError, match=r"complex sees neighbouring slices.*fibsem-nuclei predict"):
        read_model_set(tmp_path, RECOMMENDED_FUSION)


def test_a_set_of_networks_that_see_one_slice_is_read(tmp_path: Path) -> None:
    for card in published(SHIPPED):
        placed(tmp_path, card)
    assert {card.name for card in read_model_set(tmp_path, RECOMMENDED_FUSION).cards} == set(
        RECOMMENDED_FUSION.networks
    )


def test_a_network_that_stands_alone_decides_all_its_classes(tmp_path: Path) -> None:
    for card in published(SHIPPED):
        (tmp_path / card.name).mkdir()
        placed(tmp_path / card.name, card)
        models = read_model_set(tmp_path / card.name)
        assert models.cards == (card,)
        assert models.fusion.networks == (card.name,)
        assert models.fusion.class_ids == {output.class_id for output in card.classes}


def test_three_networks_are_fused_by_the_recommended_rules(tmp_path: Path) -> None:
    for card in published(SHIPPED):
        placed(tmp_path, card)
    assert read_model_set(tmp_path).fusion == RECOMMENDED_FUSION


def test_two_networks_are_no_set(tmp_path: Path) -> None:
    for card in published(SHIPPED)[:2]:
        placed(tmp_path, card)
    with pytest.raises(ModelSetError, match="needs exactly one"):
        read_model_set(tmp_path)
