"""Shipped networks under other cards: other addresses, the same answers."""

from __future__ import annotations

import shutil
from pathlib import Path

from services.contracts.model_card import ModelCard
from services.runtime.deployment import SHIPPED_MODELS
from services.runtime.segmenter.cards import CARD, read_card


def altered(folder: Path, name: str, /, **changes: object) -> str:
    """Put a shipped network into a folder under another card; return its address."""
    (shipped,) = SHIPPED_MODELS.glob(f"{name}-*")
    card = read_card(shipped)
    card = ModelCard.model_validate(card.model_dump() | changes)
    shutil.copytree(shipped, folder / card.address)
    (folder / card.address / CARD).write_bytes(card.encoded())
    return card.address
