"""The published networks of a folder."""

from __future__ import annotations

from pathlib import Path

from services.contracts.model_card import BACKGROUND, ClassSource, FusionRules, ModelCard
from services.runtime.segmenter.cards import published


def catalogue(models_dir: Path) -> tuple[ModelCard, ...]:
    """Return the cards of all networks in a folder, in order of their addresses.

    Raises
    ------
    ModelSetError
        If a folder's name is not the address of its card.
    """
    return published(models_dir)


def rules_of_one(card: ModelCard) -> FusionRules:
    """Return the fusion rules by which one network alone decides every class that it knows.

    Parameters
    ----------
    card
        Of a network that knows exterior and nucleoplasm besides its own classes.
    """
    own = [output.class_id for output in card.classes if output.class_id not in set(BACKGROUND)]
    return FusionRules(
        foreground=tuple(ClassSource(class_id=class_id, network=card.name) for class_id in own), background=card.name
    )
