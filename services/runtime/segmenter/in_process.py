"""The embedded segmenter: exported networks run by torch in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from services.contracts.model_card import FusionRules, ModelSet
from services.runtime.errors import TransientError
from services.runtime.segmenter.networks import Networks
from services.runtime.segmenter.port import (
    CropTooLargeError,
    Normalisation,
    NumericProfile,
    Plane,
    Segmented,
    refuse_unfit,
)
from services.runtime.segmenter.window_runner import WindowRunner
from services.runtime.segmenter.windows import TILE_PX, Cutter


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
        Which class comes from which network; by default what the folder asks for (`read_model_set`).
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
        fusion: FusionRules | None = None,
        device: str = "cpu",
        tile_px: int = TILE_PX,
    ) -> None:
        networks = Networks(models_dir, fusion, NumericProfile(profile), device)
        self._profile = networks.profile
        self._model_set = networks.model_set
        self._cutter = Cutter(self._model_set, tile_px)
        self._runner: WindowRunner | None = WindowRunner(networks, threads)
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
        if self._runner is None:
            raise TransientError("segmenter", "it has been closed")
        windows, plan = self._cutter.cut(crops, normalisation)
        answers = [answer for answer in self._runner.run(windows) if answer is not None]
        if len(answers) < len(windows):
            raise CropTooLargeError("a crop does not fit into the memory of the device: lower tile_px")
        return self._cutter.join(crops, plan, answers)

    def ready(self) -> bool:
        """Tell whether the canary is answered as it was when the networks were loaded."""
        return self._runner is not None and self._canary != b"" and self._answer_canary() == self._canary

    def close(self) -> None:
        """Stop the threads and drop the networks."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def __enter__(self) -> Self:
        """Return the segmenter itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _answer_canary(self) -> bytes:
        answer = self._runner.answer_canary() if self._runner is not None else None
        return answer.classes_yx.tobytes() + answer.confidence_yx.tobytes() if answer is not None else b""
