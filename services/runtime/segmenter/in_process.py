"""The embedded segmenter: exported networks run by torch in this process.

Parallel over crops, never within one: each crop is computed alone on one thread, so that its bits depend
on neither the batch nor the number of threads, and no thread waits at a barrier for a core that another
process holds (inside one crop, two threads on two busy cores cost 8 ms of waiting per operator).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from services.contracts.model_card import RECOMMENDED_FUSION, FusionRules, ModelSet
from services.imaging.tiling import Tile, stitch, tiles
from services.runtime.errors import TransientError
from services.runtime.segmenter.archives import load_network, read_model_set
from services.runtime.segmenter.cpu_kernels import fuse_for_cpu
from services.runtime.segmenter.fusion import Fusion
from services.runtime.segmenter.port import (
    Normalisation,
    NumericProfile,
    Plane,
    Segmented,
    canary_crop,
    refuse_unfit,
)

# A window of 768 px keeps the widest network's working set near 0.3 GB; a crop of 6.8 um at 16 nm has 425 px.
TILE_PX = 768
COMMON_SHAPE_YX = (432, 432)


class InProcessSegmenter:
    """Runs the published networks of a folder.

    Parameters
    ----------
    models_dir
        Folder of published models.
    profile
        `exact` (fp32) or `fast` (bf16); a crop is never segmented under both within one nucleus.
    threads
        Crops computed at the same time.
    fusion
        Which class comes from which network.
    device
        `cpu`, or a torch device such as `cuda:0`.
    tile_px
        Longer edges are segmented in overlapping tiles of this size, so that memory stays bounded.

    Raises
    ------
    ModelSetError
        If a network is absent, altered, or exported for another torch.
    ValueError
        If the profile is unknown, or there are no threads.
    """

    def __init__(
        self,
        models_dir: Path,
        profile: str = NumericProfile.EXACT,
        threads: int = 2,
        fusion: FusionRules = RECOMMENDED_FUSION,
        device: str = "cpu",
        tile_px: int = TILE_PX,
    ) -> None:
        if threads < 1:
            raise ValueError(f"a segmenter needs at least one thread, got {threads}")
        self._profile = NumericProfile(profile)
        self._model_set = read_model_set(models_dir, fusion)
        self._device = torch.device(device)
        self._dtype = torch.bfloat16 if self._profile is NumericProfile.FAST else torch.float32
        self._networks = {card.name: self._placed(load_network(models_dir, card)) for card in self._model_set.cards}
        self._fuse = Fusion(self._model_set)
        self._multiple_px = max(card.architecture.shape_multiple_px for card in self._model_set.cards)
        context_px = max(card.architecture.context_px for card in self._model_set.cards)
        self._margin_px = -(-context_px // self._multiple_px) * self._multiple_px
        self._tile_px = tile_px
        tiles((tile_px, tile_px), tile_px, self._margin_px, self._multiple_px)
        workers = threads if self._device.type == "cpu" else 1
        self._pool: ThreadPoolExecutor | None = ThreadPoolExecutor(workers, "segment", initializer=_enter_worker)
        self._canary = self._answer_canary()

    @property
    def profile(self) -> NumericProfile:
        """The numeric profile of every answer."""
        return self._profile

    def model_set(self) -> ModelSet:
        """Return the networks that answer."""
        return self._model_set

    def segment(self, crops: Sequence[Plane], normalisation: Normalisation) -> Sequence[Segmented]:
        """Segment crops; see `Segmenter.segment`."""
        refuse_unfit(crops)
        if self._pool is None:
            raise TransientError("segmenter", "it has been closed")
        plan = [(crop, self._tiles(crop)) for crop in crops]
        windows = [crop[tile.read_y, tile.read_x] for crop, cut in plan for tile in cut]
        answers = self._pool.map(lambda window: self._segment_window(window, normalisation), windows)
        return [_joined(crop, [(tile, next(answers)) for tile in cut]) for crop, cut in plan]

    def ready(self) -> bool:
        """Tell whether the canary is answered as it was when the networks were loaded."""
        return self._pool is not None and self._answer_canary() == self._canary

    def close(self) -> None:
        """Stop the threads and drop the networks."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
            self._networks = {}

    def __enter__(self) -> Self:
        """Return the segmenter itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _placed(self, network: torch.fx.GraphModule) -> torch.fx.GraphModule:
        # Convolutions of few channels are 1.5 times faster with channels last; values do not change.
        for parameter in network.parameters():
            layout = torch.channels_last if parameter.ndim == 4 else torch.preserve_format
            parameter.data = parameter.data.to(self._device, self._dtype).contiguous(memory_format=layout)
        exact_on_cpu = self._device.type == "cpu" and self._profile is NumericProfile.EXACT
        return fuse_for_cpu(network, COMMON_SHAPE_YX) if exact_on_cpu else network

    def _tiles(self, crop: Plane) -> tuple[Tile, ...]:
        rows, columns = crop.shape
        return tiles((rows, columns), self._tile_px, self._margin_px, self._multiple_px)

    def _segment_window(self, window: Plane, normalisation: Normalisation) -> Segmented:
        """Segment one window on the calling thread: one upload, one normalisation, every network."""
        rows, columns = window.shape
        with torch.inference_mode():
            grey = torch.from_numpy(_padded(window, self._multiple_px)).to(self._device)
            values = ((grey.to(torch.float32) - normalisation.offset) / normalisation.scale).to(self._dtype)
            image = values[None, None].to(memory_format=torch.channels_last)
            logits = {name: self._logits(name, image)[:, :rows, :columns] for name in self._networks}
            classes, confidence = self._fuse(logits)
            return Segmented(classes.cpu().numpy(), confidence.cpu().numpy())

    def _logits(self, name: str, image: Tensor) -> Tensor:
        logits: Tensor = self._networks[name](image)[0]
        return logits.float()

    def _answer_canary(self) -> bytes:
        (answer,) = self.segment([canary_crop()], Normalisation(170.0, 30.0))
        return answer.classes_yx.tobytes() + answer.confidence_yx.tobytes()


def _enter_worker() -> None:
    """Keep a crop on the thread that works on it."""
    torch.set_num_threads(1)


def _padded(window: Plane, multiple_px: int) -> Plane:
    """Mirror the last rows and columns until both edges are multiples, at least two, of the coarsest stride."""
    widths = [(0, max(-size % multiple_px, 2 * multiple_px - size)) for size in window.shape]
    return np.ascontiguousarray(np.pad(window, widths, mode="symmetric"))


def _joined(crop: Plane, pieces: list[tuple[Tile, Segmented]]) -> Segmented:
    rows, columns = crop.shape
    if len(pieces) == 1:
        return pieces[0][1]
    return Segmented(
        stitch((rows, columns), [(tile, piece.classes_yx) for tile, piece in pieces]),
        stitch((rows, columns), [(tile, piece.confidence_yx) for tile, piece in pieces]),
    )
