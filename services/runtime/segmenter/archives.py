"""Loads the exported network that a card vouches for, verified before anything of it is opened."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

import torch

from services.contracts.model_card import ModelCard
from services.runtime.segmenter.cards import ARCHIVE
from services.runtime.segmenter.port import ModelSetError


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
