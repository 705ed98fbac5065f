"""The published networks of a folder."""

from __future__ import annotations

from pathlib import Path

from services.contracts.model_card import ModelCard
from services.runtime.segmenter.cards import published


def catalogue(models_dir: Path) -> tuple[ModelCard, ...]:
    """Return the cards of all networks in a folder, in order of their addresses.

    Raises
    ------
    ModelSetError
        If a folder's name is not the address of its card.
    """
    return published(models_dir)
