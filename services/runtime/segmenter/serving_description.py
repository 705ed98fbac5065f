"""What a model server says of itself; needs no torch, so that a client can read it."""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import Field

from services.contracts.model_card import FusionRules, ModelCard, ModelSet
from services.contracts.values import Count, Sha256, Text, Value
from services.runtime.segmenter.port import ModelSetError, NumericProfile, Segmented


class Description(Value):
    """What serves, as a client must know it.

    Attributes
    ----------
    cards
        `card.json` of each network, in order of the fusion rules: as text, since a card's address is the hash
        of its bytes.
    canary_sha256
        Of the planes with which this server answers the canary.
    canary_as_built
        Whether the machine that built the archive gave the same bytes.
    max_pixels
        Largest window that is taken.
    """

    wire_version: Count
    cards: Annotated[tuple[str, ...], Field(min_length=1)]
    fusion: FusionRules
    model_set_digest: Sha256
    profile: NumericProfile
    canary_sha256: Sha256
    canary_as_built: bool
    max_pixels: Annotated[int, Field(ge=1)]
    torch_version: Text
    device: Text

    def model_set(self) -> ModelSet:
        """Return the model set, from its cards.

        Raises
        ------
        ModelSetError
            If its digest is not the one that the description states.
        """
        cards = tuple(ModelCard.model_validate_json(card) for card in self.cards)
        model_set = ModelSet(cards=cards, fusion=self.fusion)
        if model_set.digest != self.model_set_digest:
            raise ModelSetError(f"cards of {model_set.digest} were sent for {self.model_set_digest}")
        return model_set


def planes_sha256(answer: Segmented) -> str:
    """Return the hash of both planes, by which answers to the canary are compared.

    Examples
    --------
    >>> import numpy as np
    >>> plane = np.zeros((1, 1), np.uint8)
    >>> planes_sha256(Segmented(plane, plane))[:8]
    '96a296d2'
    """
    return hashlib.sha256(answer.classes_yx.tobytes() + answer.confidence_yx.tobytes()).hexdigest()
