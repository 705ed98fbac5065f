"""Training resumes to the bit, keeps the best weights by copy, and validates without learning."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from services.contracts.model_card import TUNetArchitecture
from services.trainer.networks import build_network
from services.trainer.training import Batch, Fit, Progress, Trainer

ARCHITECTURE = TUNetArchitecture(depth=2, base_channels=2)
FIT = Fit(
    steps=12,
    learning_rate=1e-2,
    class_weights=(1.0, 2.0),
    dice_weight=0.5,
    frozen_statistics_share=0.5,
    validate_every=4,
)


def draw(step: int) -> Batch:
    """Return bright squares on dark noise and where they are."""
    generator = torch.Generator().manual_seed(step)
    labels = torch.zeros(2, 16, 16, dtype=torch.int64)
    labels[:, 4:10, 5:12] = 1
    return labels[:, None] + 0.3 * torch.randn(2, 1, 16, 16, generator=generator), labels


def accuracy(network: nn.Module) -> float:
    images, labels = draw(999)
    return float((network(images).argmax(dim=1) == labels).float().mean())


class InterruptedRunError(Exception):
    """The process is gone."""


def trainer(validate: object = accuracy, fit: Fit = FIT) -> Trainer:
    assert callable(validate)
    return Trainer("toy", build_network(ARCHITECTURE, 2, seed=0), draw, validate, fit)


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_an_interrupted_run_ends_with_the_weights_of_an_undisturbed_one(tmp_path: Path) -> None:
    undisturbed = trainer().run(tmp_path / "a" / "toy.checkpoint", lambda _: None)

    def stop(progress: Progress) -> None:
        if progress.step == 8:
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        trainer().run(tmp_path / "b" / "toy.checkpoint", stop)
    seen: list[int] = []
    resumed = trainer().run(tmp_path / "b" / "toy.checkpoint", lambda progress: seen.append(progress.step))
    assert seen == [12]
    assert equal(resumed, undisturbed)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = trainer().run(tmp_path / "toy.checkpoint", lambda _: None)
    reports: list[Progress] = []
    assert equal(trainer().run(tmp_path / "toy.checkpoint", reports.append), first)
    assert reports == []


def test_the_best_weights_are_those_of_the_best_validation_and_not_the_last(tmp_path: Path) -> None:
    scores = iter([0.1, 0.9, 0.5])
    kept: list[dict[str, torch.Tensor]] = []

    def validate(network: nn.Module) -> float:
        kept.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return next(scores)

    best = trainer(validate).run(tmp_path / "toy.checkpoint", lambda _: None)
    assert equal(best, kept[1])
    assert not equal(best, kept[2])


def test_validation_leaves_the_running_statistics_alone(tmp_path: Path) -> None:
    batches: list[int] = []

    def validate(network: nn.Module) -> float:
        score = accuracy(network)
        batches.extend(int(m.num_batches_tracked or 0) for m in network.modules() if isinstance(m, nn.BatchNorm2d))
        return score

    trainer(validate).run(tmp_path / "toy.checkpoint", lambda _: None)
    # Four steps before the first validation, six in all before the statistics are frozen.
    assert set(batches) == {4, 6}


def test_it_learns(tmp_path: Path) -> None:
    reports: list[Progress] = []
    fit = Fit(90, 3e-2, (1.0, 1.0), 0.5, 0.5, 30)
    trainer(fit=fit).run(tmp_path / "toy.checkpoint", reports.append)
    assert [report.step for report in reports] == [30, 60, 90]
    assert reports[-1].validation_score > 0.97
    assert reports[-1].loss < reports[0].loss
