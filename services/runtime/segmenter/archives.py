"""Reads published models: a card and the exported network that it vouches for, verified before loading."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

import torch

from services.contracts.model_card import FusionRules, ModelCard, ModelSet
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


def read_model_set(models_dir: Path, fusion: FusionRules) -> ModelSet:
    """Return the model set that fusion rules ask for.

    Raises
    ------
    ModelSetError
        If a network is absent, or stands there in two versions.
    """
    cards = published(models_dir)
    chosen = []
    for name in fusion.networks:
        found = [card for card in cards if card.name == name]
        if len(found) != 1:
            raise ModelSetError(f"{models_dir} holds {len(found)} models named {name}, the fusion needs exactly one")
        chosen.append(found[0])
    return ModelSet(cards=tuple(chosen), fusion=fusion)


def load_network(models_dir: Path, card: ModelCard) -> torch.fx.GraphModule:
    """Load an exported network after its bytes have been checked against the card.

    An archive is trusted only as far as its hash: nothing of it is opened before that is verified.

    Raises
    ------
    ModelSetError
        If the archive's hash is not the card's, or it was exported for another torch.
    """
    payload = (models_dir / card.address / ARCHIVE).read_bytes()
    if hashlib.sha256(payload).hexdigest() != card.archive_sha256:
        raise ModelSetError(f"the archive of {card.address} is not the one its card vouches for")
    here = torch.__version__.partition("+")[0]
    if here != card.torch_version:
        raise ModelSetError(f"{card.address} was exported for torch {card.torch_version}, this is {here}")
    network = torch.export.load(BytesIO(payload)).module()
    assert isinstance(network, torch.fx.GraphModule)
    return network
