"""Optimises one network: resumable, the same for the same seed, best weights kept by copy."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]
Batch = tuple[Tensor, Tensor]

# Without batch normalisation one odd patch can throw a young network off; a common step's norm is below 1.
LARGEST_GRADIENT = 2.0


@dataclass(frozen=True, slots=True)
class Fit:
    """How to optimise.

    Attributes
    ----------
    steps
        Number of batches.
    learning_rate
        Highest rate of Adam, reached after a warm-up of 50 steps; it falls to a hundredth on a cosine.
    class_weights
        Of the cross-entropy, per channel.
    dice_weight
        Of the Dice term that is added to the cross-entropy.
    frozen_statistics_share
        Share of the steps, at the end, in which batch normalisation uses its running statistics, as it will
        in use. Patches are centred about rare classes, so the statistics of a batch are not those of a crop.
    validate_every
        Steps between two validations, each followed by a checkpoint.
    """

    steps: int
    learning_rate: float
    class_weights: tuple[float, ...]
    dice_weight: float
    frozen_statistics_share: float
    validate_every: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a network has come.

    Attributes
    ----------
    network
        Its name.
    step, steps
        Batches seen, and all of them.
    loss
        Mean over the batches since the last report.
    validation_score
        Of the validation that caused this report.
    """

    network: str
    step: int
    steps: int
    loss: float
    validation_score: float


def dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return one minus the mean over channels of the soft Dice coefficient, pooled over a batch.

    It counts a thin class as much as a large one, and errs neither towards finding nor towards missing it.

    Parameters
    ----------
    logits
        float32, (n, channel, y, x).
    labels
        int64, (n, y, x).

    Examples
    --------
    >>> labels = torch.tensor([[[0, 1]]])
    >>> round(dice_loss(torch.tensor([[[[9.0, -9.0]], [[-9.0, 9.0]]]]), labels).item(), 3)
    0.0
    """
    probabilities = logits.softmax(dim=1)
    truth = nn.functional.one_hot(labels, logits.shape[1]).permute(0, 3, 1, 2).to(probabilities.dtype)
    shared = (probabilities * truth).sum(dim=(0, 2, 3))
    either = (probabilities + truth).sum(dim=(0, 2, 3))
    # One pixel is added to each side, so that a class that a batch lacks is worth almost nothing.
    return 1 - ((2 * shared + 1) / (either + 1)).mean()


class Trainer:
    """One network on its way from fresh weights to the best ones.

    Parameters
    ----------
    name
        Named in progress reports.
    network
        Changed in place.
    draw
        From a step to its images (n, 1, y, x), float32, and labels (n, y, x), int64: the same for the same step.
    validate
        Scores the network, which is in evaluation mode meanwhile; higher is better.
    fit
        How to optimise.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        draw: Callable[[int], Batch],
        validate: Callable[[nn.Module], float],
        fit: Fit,
    ) -> None:
        self._name = name
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._draw = draw
        self._validate = validate
        self._fit = fit
        self._optimiser = torch.optim.Adam(network.parameters(), lr=fit.learning_rate)
        self._loss = nn.CrossEntropyLoss(torch.tensor(fit.class_weights))
        self._step = 0
        self._best_score = -math.inf
        self._best: Weights = {}

    def run(self, checkpoint: Path, report: Callable[[Progress], None]) -> Weights:
        """Train from the checkpoint, or from the start, to the end.

        Parameters
        ----------
        checkpoint
            Written after each validation; read if it is there.
        report
            Called after each validation.

        Returns
        -------
        dict
            The best weights by validation score; a later one wins a tie.
        """
        if checkpoint.exists():
            self._restore(torch.load(checkpoint, weights_only=True))
        losses: list[float] = []
        while self._step < self._fit.steps:
            losses.append(self._advance())
            if self._step % self._fit.validate_every == 0 or self._step == self._fit.steps:
                score = self._judge()
                self._save(checkpoint)
                report(Progress(self._name, self._step, self._fit.steps, sum(losses) / len(losses), score))
                losses = []
        return self._best

    def _advance(self) -> float:
        """Take one step and return its loss."""
        images, labels = self._draw(self._step)
        self._enter_training_mode()
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate()
        self._optimiser.zero_grad()
        logits: Tensor = self._network(images.contiguous(memory_format=torch.channels_last))
        loss: Tensor = self._loss(logits, labels) + self._fit.dice_weight * dice_loss(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._network.parameters(), LARGEST_GRADIENT)
        self._optimiser.step()
        self._step += 1
        return loss.item()

    def _enter_training_mode(self) -> None:
        self._network.train()
        if self._step >= self._fit.steps * (1 - self._fit.frozen_statistics_share):
            for module in self._network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def _rate(self) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * self._step / self._fit.steps))
        return self._fit.learning_rate * min(1.0, (self._step + 1) / 50) * (0.01 + 0.99 * cosine)

    def _judge(self) -> float:
        self._network.eval()
        with torch.inference_mode():
            score = self._validate(self._network)
        if score >= self._best_score:
            # A state_dict refers to the live weights: without a copy, the best would become the last.
            self._best_score, self._best = score, deepcopy(dict(self._network.state_dict()))
        return score

    def _save(self, checkpoint: Path) -> None:
        state = {
            "step": self._step,
            "network": self._network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "best_score": self._best_score,
            "best": self._best,
        }
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        partial = checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(checkpoint)

    def _restore(self, state: dict[str, Any]) -> None:
        self._step = state["step"]
        self._network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._best_score, self._best = state["best_score"], state["best"]
