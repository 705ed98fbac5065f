"""Published networks that need no torch: the grey segmenter under cards of its own, with files that fit them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from services.contracts.model_card import ModelCard, ModelSet
from services.runtime.segmenter.cards import ARCHIVE, CARD, WEIGHTS
from services.runtime.segmenter.port import Normalisation, Plane, Segmented
from tests.support.grey_segmenter import GreySegmenter, grey_model_set


def write_grey_network(folder: Path, voxel_nm: float, **changes: object) -> ModelSet:
    """Write a network's folder; return the set that it makes by itself."""
    weights, archive = b"weights", f"an archive: {sorted(changes.items())}".encode()
    model_set = grey_model_set(voxel_nm)
    card = model_set.cards[0].model_copy(
        update={
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
            "archive_sha256": hashlib.sha256(archive).hexdigest(),
            **changes,
        }
    )
    card = ModelCard.model_validate(card.model_dump())
    place = folder / card.address
    place.mkdir(parents=True)
    for name, content in ((WEIGHTS, weights), (ARCHIVE, archive), (CARD, card.encoded())):
        (place / name).write_bytes(content)
    return ModelSet(cards=(card,), fusion=model_set.fusion)


class GreyNetwork(GreySegmenter):
    """The grey segmenter as some published set; `takes_chromosomes_for_nucleoli` makes its answers other ones."""

    def __init__(self, model_set: ModelSet, *, takes_chromosomes_for_nucleoli: bool = False) -> None:
        super().__init__(model_set.voxel_size_nm)
        self._models = model_set
        self._confused = takes_chromosomes_for_nucleoli
        self.asked = 0

    def segment(self, crops: Sequence[Plane], normalisation: Normalisation) -> Sequence[Segmented]:
        self.asked += len(crops)
        answers = super().segment(crops, normalisation)
        if not self._confused:
            return answers
        return [
            Segmented(np.where(answer.classes_yx == 2, 3, answer.classes_yx).astype(np.uint8), answer.confidence_yx)
            for answer in answers
        ]
