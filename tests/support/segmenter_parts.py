"""Parts of a segmenter without networks: what stands in for them, and what a server of them would say of itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

import services.inference
from services.contracts.model_card import RECOMMENDED_FUSION
from services.runtime.segmenter.cards import read_model_set
from services.runtime.segmenter.port import NumericProfile, Plane, Segmented, canary_crop
from services.runtime.segmenter.serving_description import Description, planes_sha256
from services.runtime.segmenter.windows import Window
from services.runtime.segmenter.wire import VERSION


def inverted(grey_yx: Plane) -> Segmented:
    """Return an answer that tells pixels apart: classes by grey, confidence inverted."""
    return Segmented((grey_yx > 128).astype("uint8"), 255 - grey_yx)


class ScarceMemory:
    """Stands in for networks on a device of which a batch may exceed the memory.

    Parameters
    ----------
    room
        Pixels that a batch, filled up, may have.
    """

    def __init__(self, room: int) -> None:
        self.device = torch.device("cpu")
        self.room = room
        self.batches: list[tuple[int, int]] = []

    def padded_shape(self, window: Window) -> tuple[int, int]:
        rows, columns = window.grey_yx.shape
        return rows, columns

    def segment(self, windows: Sequence[Window], batch_windows: int = 1) -> list[Segmented]:
        self.batches.append((len(windows), batch_windows))
        if batch_windows * windows[0].grey_yx.size > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [inverted(window.grey_yx) for window in windows]


MODELS = read_model_set(Path(services.inference.__path__[0]) / "models", RECOMMENDED_FUSION)


def description(**changes: object) -> Description:
    """Return what a server of the shipped models would say, if its networks answered as those here."""
    fields: dict[str, object] = {
        "wire_version": VERSION,
        "cards": tuple(card.encoded().decode() for card in MODELS.cards),
        "fusion": MODELS.fusion,
        "model_set_digest": MODELS.digest,
        "profile": NumericProfile.EXACT,
        "canary_sha256": planes_sha256(inverted(canary_crop())),
        "canary_as_built": True,
        "max_pixels": 20_000,
        "torch_version": "2.13.0",
        "device": "cpu",
    }
    return Description.model_validate(fields | changes)
