"""Keeps what a training needs to go on after a kill, and copies of the best weights so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from services.trainer.curves import Judgement, curves_csv, parted
from services.trainer.learning import Learner
from services.trainer.weights import Weights, decoded_weights, encoded_weights

LAST, CURVES = "last.ckpt", "curves.csv"
BEST_BY_F1, BEST_BY_LOSS = "best-f1", "best-loss"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a network has come.

    Attributes
    ----------
    network
        Its name.
    step, steps
        Optimiser steps taken, and all of them.
    loss
        Mean over the steps since the last report.
    validation_score
        Macro F1 of the validation that caused this report.
    validation_loss
        Likewise.
    warning
        Said once training and validation part.
    """

    network: str
    step: int
    steps: int
    loss: float
    validation_score: float
    validation_loss: float = 0.0
    warning: str | None = None


Report = Callable[[Progress], None]


class Keeper(Checkpoint):
    """Writes a checkpoint after each validation, and the weights when they are the best by loss or by macro F1.

    Best weights are files of their own, named by their step; the checkpoint names them. They are written before it
    and older ones removed after it, so that a kill at any time leaves a checkpoint whose best files are there.

    Parameters
    ----------
    folder
        Of one network's training.
    name, steps, report
        What to report, and to whom.
    """

    def __init__(self, folder: Path, name: str, steps: int, report: Report) -> None:
        self._folder, self._name, self._steps, self._report = folder, name, steps, report
        self.history: list[Judgement] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep what the validation just before was about."""
        assert isinstance(pl_module, Learner)
        judged = pl_module.judgement
        assert judged is not None
        self.history.append(judged)
        if trainer.is_global_zero:
            self._keep_best(pl_module)
        partial = self._folder / f"{LAST}.partial"
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            partial.replace(self._folder / LAST)
            self._remove_what_is_no_longer_best()
            (self._folder / CURVES).write_text(curves_csv(self.history), encoding="utf-8")
            warning = parted(self.history)
            self._report(
                Progress(
                    self._name, judged.step, self._steps, judged.train_loss, judged.macro_f1, judged.validation_loss,
                    warning,
                )
            )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Return the history; which weights are the best follows from it."""
        return {"history": [asdict(judged) for judged in self.history]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the history of the checkpoint."""
        self.history = [Judgement(**judged) for judged in state_dict["history"]]

    def _keep_best(self, learner: Learner) -> None:
        for kind, best in self._best().items():
            if best is self.history[-1]:
                partial = self._folder / f".{kind}.partial"
                partial.write_bytes(encoded_weights(dict(learner.network.state_dict())))
                partial.replace(self._folder / weights_name(kind, best.step))

    def _best(self) -> dict[str, Judgement]:
        # The later of two equals: it has seen more.
        latest_first = self.history[::-1]
        return {
            BEST_BY_F1: max(latest_first, key=lambda judged: judged.macro_f1),
            BEST_BY_LOSS: min(latest_first, key=lambda judged: judged.validation_loss),
        }

    def _remove_what_is_no_longer_best(self) -> None:
        for kind, best in self._best().items():
            for path in self._folder.glob(f"{kind}-*.safetensors"):
                if path.name != weights_name(kind, best.step):
                    path.unlink()


class InPlace(TorchCheckpointIO):
    """Writes a checkpoint where it is to lie.

    Lightning's own goes by way of the system's temporary folder, which may be full, or memory, or another disk, so that
    the checkpoint is copied and what a kill leaves there stays. That a checkpoint is whole is `Keeper`'s business.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None) -> None:
        """Write a checkpoint; a full disk is an `OSError`, as torch's own writer would not have it."""
        content = BytesIO()
        torch.save(checkpoint, content)
        Path(path).write_bytes(content.getbuffer())


def weights_name(kind: str, step: int) -> str:
    """Return the file name of the best weights.

    >>> weights_name("best-f1", 400)
    'best-f1-00000400.safetensors'
    """
    return f"{kind}-{step:08d}.safetensors"


def kept_weights(folder: Path, kind: str) -> Weights | None:
    """Return the best weights of a training, or None where nothing was validated yet."""
    found = sorted(folder.glob(f"{kind}-*.safetensors"))
    return decoded_weights(found[-1].read_bytes()) if found else None
