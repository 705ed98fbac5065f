"""How a network learns, as Lightning runs it: losses, optimiser, learning rate, validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from services.trainer.curves import Judgement
from services.trainer.losses import IGNORED, LossTerms, segmentation_loss
from services.trainer.scoring import macro_f1

Batch = tuple[Tensor, Tensor]
Draw = Callable[[int], Batch]

WARM_UP_STEPS = 50
_SEED_STRIDE = 1_000_003


class DivergedError(ValueError):
    """The loss is no number any more."""


class TrainingCancelledError(Exception):
    """Somebody asked to stop; what was learned until the last validation is kept."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How to optimise.

    Attributes
    ----------
    steps
        Optimiser steps.
    learning_rate
        Highest rate.
    terms
        Of the loss.
    validate_every
        Steps between two validations, each followed by a checkpoint.
    seed
        Of what networks draw at random while they learn (dropout).
    optimiser
        `adam`, or `adamw` with `weight_decay`.
    schedule
        `warm-up-cosine`: up in 50 steps, then down to a hundredth on a cosine. `tenth-midway`: divided by ten at
        the middle.
    frozen_statistics_share
        Share of the steps, at the end, in which batch normalisation uses its running statistics, as it will
        in use. Patches are centred about rare classes, so the statistics of a batch are not those of a crop.
    largest_gradient
        Norm to which gradients are clipped; 0 leaves them as they are. Without batch normalisation one odd patch
        can throw a young network off; a common step's norm is below 1.
    accumulate
        Batches per optimiser step.
    precision
        Lightning's: `32-true`, `16-mixed`, `bf16-mixed`.
    accelerator, devices
        Lightning's: `auto`, `cpu`, `gpu`, and how many.
    workers
        Processes that draw batches; 0 draws between the steps.
    """

    steps: int
    learning_rate: float
    terms: LossTerms
    validate_every: int
    seed: int = 0
    optimiser: Literal["adam", "adamw"] = "adam"
    weight_decay: float = 0.01
    schedule: Literal["warm-up-cosine", "tenth-midway"] = "warm-up-cosine"
    frozen_statistics_share: float = 0.5
    largest_gradient: float = 2.0
    accumulate: int = 1
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    workers: int = 0


def learning_rate(step: int, fit: Fit) -> float:
    """Return the rate at a step.

    Examples
    --------
    >>> fit = Fit(200, 0.1, LossTerms((1.0,)), 10, schedule="tenth-midway")
    >>> learning_rate(99, fit), round(learning_rate(100, fit), 6)
    (0.1, 0.01)
    """
    if fit.schedule == "tenth-midway":
        return fit.learning_rate * (1.0 if 2 * step < fit.steps else 0.1)
    cosine = 0.5 * (1 + math.cos(math.pi * min(step, fit.steps) / fit.steps))
    return fit.learning_rate * min(1.0, (step + 1) / WARM_UP_STEPS) * (0.01 + 0.99 * cosine)


class Learner(pl.LightningModule):
    """A network that learns.

    Parameters
    ----------
    name
        Named in errors.
    network
        Changed in place.
    fit
        How to optimise.
    cancelled
        Asked before each batch.

    Attributes
    ----------
    judgement
        The last validation.
    """

    def __init__(self, name: str, network: nn.Module, fit: Fit, cancelled: Callable[[], bool]) -> None:
        super().__init__()
        self.network = network
        self.judgement: Judgement | None = None
        self._name, self._fit, self._cancelled = name, fit, cancelled
        self._train_losses: list[Tensor] = []
        self._validated: list[tuple[Tensor, Tensor]] = []

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - what Lightning takes
        """Return optimiser and schedule."""
        rate = self._fit.learning_rate
        optimiser: torch.optim.Optimizer = (
            torch.optim.AdamW(self.network.parameters(), lr=rate, weight_decay=self._fit.weight_decay)
            if self._fit.optimiser == "adamw"
            else torch.optim.Adam(self.network.parameters(), lr=rate)
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate(step, self._fit) / rate)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        """Forget the losses of the steps before."""
        self._train_losses = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch.

        Raises
        ------
        DivergedError
            If it is no number.
        TrainingCancelledError
            If somebody asked to stop.
        """
        if self._cancelled():
            raise TrainingCancelledError(f"{self._name}: stopped at step {self.global_step} as asked")
        # By step and not by what was drawn before, so that a resumed run draws the same.
        torch.manual_seed(self._fit.seed * _SEED_STRIDE + self.global_step * self._fit.accumulate + batch_idx)
        if self.global_step >= self._fit.steps * (1 - self._fit.frozen_statistics_share):
            _freeze_statistics(self.network)
        images, labels = batch
        loss = segmentation_loss(self.network(images), labels, self._fit.terms)
        self._refuse_diverged("loss", loss.item())
        self._train_losses.append(loss.detach())
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the validation before."""
        self._validated = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count right and wrong pixels of a block, and add up its loss."""
        images, labels = batch
        logits: Tensor = self.network(images)
        counted = labels != IGNORED
        pixels = counted.sum()
        loss = segmentation_loss(logits, labels, self._fit.terms)
        outputs = logits.shape[1]
        pairs = labels[counted] * outputs + logits.argmax(dim=1)[counted]
        counts = torch.bincount(pairs, minlength=outputs * outputs)
        self._validated.append((counts, torch.stack([loss.double() * pixels, pixels.double()])))

    def on_validation_epoch_end(self) -> None:
        """Judge all blocks of all devices together.

        Raises
        ------
        DivergedError
            If the loss is no number: the last step before spoiled the weights, which are not to be kept.
        """
        counts = torch.stack([counts for counts, _ in self._validated]).sum(dim=0)
        losses = torch.stack([losses for _, losses in self._validated]).sum(dim=0)
        train = torch.stack(self._train_losses).double().sum() if self._train_losses else torch.zeros(()).double()
        taken = torch.tensor([float(train), float(len(self._train_losses))], dtype=torch.float64, device=losses.device)
        counts, losses, taken = (
            self.trainer.strategy.reduce(each, reduce_op="sum") for each in (counts, losses, taken)
        )
        outputs = math.isqrt(len(counts))
        validation_loss = float(losses[0] / losses[1].clamp(min=1))
        self._refuse_diverged("validation loss", validation_loss)
        self.judgement = Judgement(
            step=self.global_step,
            train_loss=float(taken[0] / taken[1].clamp(min=1)),
            validation_loss=validation_loss,
            macro_f1=macro_f1(counts.cpu().numpy().reshape(outputs, outputs)),
            learning_rate=float(self.trainer.optimizers[0].param_groups[0]["lr"]),
        )
        for curve in ("train_loss", "validation_loss", "macro_f1", "learning_rate"):
            self.log(curve, getattr(self.judgement, curve), rank_zero_only=True)

    def _refuse_diverged(self, what: str, loss: float) -> None:
        if not math.isfinite(loss):
            raise DivergedError(
                f"{self._name}: the {what} is {loss} at step {self.global_step}; lower learning_rate, which is "
                f"{self._fit.learning_rate:g}, or look for damaged images"
            )


class Feed(pl.LightningDataModule):
    """Gives a learner the batches of the steps that are next, and the blocks it is validated by.

    Parameters
    ----------
    draw
        From the number of a batch to its images and labels: the same for the same number.
    validation
        Images (1, planes, y, x) and labels (1, y, x) of any shapes, or with (z, y, x).
    fit
        How to optimise.
    """

    def __init__(self, draw: Draw, validation: Sequence[Batch], fit: Fit) -> None:
        super().__init__()
        self._draw, self._validation, self._fit = draw, validation, fit

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the batches from the present step to the next validation, this device's share of them."""
        assert self.trainer is not None
        first = self.trainer.global_step
        steps = range(first, min(first + self._fit.validate_every, self._fit.steps))
        batches = [step * self._fit.accumulate + part for step in steps for part in range(self._fit.accumulate)]
        world, rank = self.trainer.world_size, self.trainer.global_rank
        numbers = [number * world + rank for number in batches]
        return DataLoader(
            _Numbered(self._draw, numbers),
            batch_size=None,
            num_workers=self._fit.workers,
            pin_memory=self._fit.accelerator != "cpu" and torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the blocks, this device's share of them."""
        assert self.trainer is not None
        share = range(self.trainer.global_rank, len(self._validation), self.trainer.world_size)
        return DataLoader(_Numbered(self._validation.__getitem__, list(share)), batch_size=None)


class _Numbered(Dataset[Batch]):
    def __init__(self, draw: Draw, numbers: Sequence[int]) -> None:
        self._draw, self._numbers = draw, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, position: int) -> Batch:
        return self._draw(self._numbers[position])


def _freeze_statistics(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - torch's own base class of all of them
            module.eval()
