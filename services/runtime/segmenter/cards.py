"""Reads the cards of published models; needs no torch, so that services without networks can know which are in use."""

from __future__ import annotations

from pathlib import Path

from services.contracts.model_card import RECOMMENDED_FUSION, FusionRules, ModelCard, ModelSet, rules_of_one
from services.runtime.segmenter.port import ModelSetError

CARD = "card.json"
WEIGHTS = "weights.safetensors"
ARCHIVE = "network.pt2"


def read_card(folder: Path) -> ModelCard:
    """Read a model's card and check that the folder is named after it.

    Raises
    ------
    ModelSetError
        If the folder's name is not the address of the card.
    """
    card = ModelCard.model_validate_json((folder / CARD).read_bytes())
    if folder.name != card.address:
        raise ModelSetError(f"{folder} holds the card of {card.address}: it was altered or renamed")
    return card


def published(models_dir: Path) -> tuple[ModelCard, ...]:
    """Return the cards of all models in a folder, in order of their addresses."""
    return tuple(read_card(path.parent) for path in sorted(models_dir.glob(f"*/{CARD}")))


def read_model_set(models_dir: Path, fusion: FusionRules | None = None) -> ModelSet:
    """Return the model set of a folder of published models.

    Parameters
    ----------
    models_dir
        The folder.
    fusion
        Which networks, and which class comes from which; by default a network that stands there alone decides all
        classes it knows, and otherwise it is the recommended rules, which three networks fulfil.

    Raises
    ------
    ModelSetError
        If a network is absent, stands there in two versions, or cannot label slices one by one as they arrive.
    """
    cards = published(models_dir)
    if fusion is None:
        fusion = rules_of_one(cards[0]) if len(cards) == 1 else RECOMMENDED_FUSION
    chosen = []
    for name in fusion.networks:
        found = [card for card in cards if card.name == name]
        if len(found) != 1:
            raise ModelSetError(f"{models_dir} holds {len(found)} models named {name}, the fusion needs exactly one")
        if (needs := found[0].needs_for_slices) is not None:
            raise ModelSetError(f"{needs}: label finished images by `fibsem-nuclei predict`")
        chosen.append(found[0])
    return ModelSet(cards=tuple(chosen), fusion=fusion)
