"""Training resumes to the bit, keeps the best weights by copy, validates without learning, and says what is wrong."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from services.contracts.architectures import TUNetArchitecture
from services.trainer.keeping import CURVES, LAST, Keeper, Progress
from services.trainer.learning import Batch, Draw, Fit, learning_rate
from services.trainer.losses import LossTerms
from services.trainer.networks import build_network
from services.trainer.training import (
    DiskFullError,
    DivergedError,
    Trained,
    Training,
    TrainingCancelledError,
    TrainingMemoryError,
)

ARCHITECTURE = TUNetArchitecture(depth=2, base_channels=2)
FIT = Fit(
    steps=11,
    learning_rate=1e-2,
    terms=LossTerms((1.0, 2.0), dice_weight=0.5),
    validate_every=4,
    accelerator="cpu",
)


def draw(number: int) -> Batch:
    """Return bright squares on dark noise and where they are."""
    generator = torch.Generator().manual_seed(number)
    labels = torch.zeros(2, 16, 16, dtype=torch.int64)
    labels[:, 4:10, 5:12] = 1
    return labels[:, None] + 0.3 * torch.randn(2, 1, 16, 16, generator=generator), labels


def training(fit: Fit = FIT, drawn: Draw = draw, network: nn.Module | None = None) -> Training:
    return Training("toy", network or build_network(ARCHITECTURE, 2, seed=0), drawn, [draw(999), draw(998)], fit)


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def same(first: Trained, second: Trained) -> bool:
    return equal(first.best_by_f1, second.best_by_f1) and equal(first.best_by_loss, second.best_by_loss)


def last_weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(folder / LAST, weights_only=True)["state_dict"])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained, list[Progress]]:
    folder, reports = tmp_path_factory.mktemp("undisturbed"), list[Progress]()
    return folder, training().run(folder, reports.append), reports


def test_a_run_stopped_between_validations_ends_with_the_weights_of_an_undisturbed_one(
    tmp_path: Path, undisturbed: tuple[Path, Trained, list[Progress]]
) -> None:
    asked = iter(range(100))
    with pytest.raises(TrainingCancelledError, match="step 6"):
        training().run(tmp_path, cancelled=lambda: next(asked) >= 6)
    seen: list[int] = []
    drawn: list[int] = []

    def remember(number: int) -> Batch:
        drawn.append(number)
        return draw(number)

    resumed = training(drawn=remember).run(tmp_path, lambda progress: seen.append(progress.step))
    assert seen == [8, 11]
    assert drawn == list(range(4, 11))
    assert same(resumed, undisturbed[1])
    assert equal(last_weights(tmp_path), last_weights(undisturbed[0]))
    assert (tmp_path / CURVES).read_text() == (undisturbed[0] / CURVES).read_text()


KILLED = """
import sys
from pathlib import Path
from tests.unit.trainer.test_training import killed_while_training
killed_while_training(Path(sys.argv[1]))
"""


def killed_while_training(folder: Path) -> None:
    """Train in this process, and end it the hard way in the middle of an epoch."""
    torch.set_num_threads(1)

    def kill(number: int) -> Batch:
        if number == 9:
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(number)

    training(drawn=kill).run(folder)


ON_TWO_DEVICES = """
import sys
sys.path.insert(0, sys.argv[2])
from dataclasses import replace
from pathlib import Path
from tests.unit.trainer.test_training import FIT, draw, training
from services.trainer.training import is_first_process

folder = Path(sys.argv[1])

def remember(number):
    (folder / f"drawn-{number}-{'first' if is_first_process() else 'second'}").touch()
    return draw(number)

training(replace(FIT, devices=2, steps=4, validate_every=2), remember).run(folder / "training")
(folder / f"ended-{'first' if is_first_process() else 'second'}").touch()
"""


@pytest.mark.slow
def test_two_devices_share_the_batches_of_a_step_and_one_of_them_keeps_what_is_learned(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(ON_TWO_DEVICES)
    root = Path(__file__).resolve().parents[3]
    subprocess.run([sys.executable, str(script), str(tmp_path), str(root)], check=True, timeout=300)
    drawn = {path.name for path in tmp_path.glob("drawn-*")}
    assert drawn == {f"drawn-{number}-{'second' if number % 2 else 'first'}" for number in range(8)}
    assert {path.name for path in tmp_path.glob("ended-*")} == {"ended-first", "ended-second"}
    lines = (tmp_path / "training" / CURVES).read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "2", "4"]


@pytest.mark.slow
def test_a_killed_process_is_resumed_with_the_same_result(
    tmp_path: Path, undisturbed: tuple[Path, Trained, list[Progress]]
) -> None:
    root = Path(__file__).resolve().parents[3]
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=root, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (tmp_path / LAST).exists()
    assert same(training().run(tmp_path), undisturbed[1])
    assert equal(last_weights(tmp_path), last_weights(undisturbed[0]))


def test_a_finished_run_is_not_trained_again(undisturbed: tuple[Path, Trained, list[Progress]]) -> None:
    reports: list[Progress] = []
    assert same(training().run(undisturbed[0], reports.append), undisturbed[1])
    assert reports == []


def test_the_best_weights_are_those_of_the_best_validation_and_not_the_last(tmp_path: Path) -> None:
    # Training towards wrong labels after a while makes the last validations the worse ones.
    def spoiled(number: int) -> Batch:
        images, labels = draw(number)
        return images, labels if number < 40 else 1 - labels

    fit = replace(FIT, steps=60, validate_every=20, learning_rate=3e-2)
    reports: list[Progress] = []
    trained = training(fit, spoiled).run(tmp_path, reports.append)
    best = max(range(3), key=lambda k: reports[k].validation_score)
    assert best < 2
    names = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert names[0] == f"best-f1-{(best + 1) * 20:08d}.safetensors"
    last = {name.removeprefix("network."): tensor for name, tensor in last_weights(tmp_path).items()}
    assert not equal(trained.best_by_f1, last)


def test_loss_and_macro_f1_each_keep_their_own_best(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, "toy", 8, lambda _: None)
    keeper.load_state_dict({
        "history": [
            {"step": 4, "train_loss": 1.0, "validation_loss": 0.3, "macro_f1": 0.5, "learning_rate": 0.1},
            {"step": 8, "train_loss": 1.0, "validation_loss": 0.4, "macro_f1": 0.6, "learning_rate": 0.1},
        ]
    })  # fmt: skip
    assert {kind: best.step for kind, best in keeper._best().items()} == {"best-f1": 8, "best-loss": 4}


def test_validation_leaves_the_running_statistics_alone(tmp_path: Path) -> None:
    training().run(tmp_path)
    counts = {int(v) for name, v in last_weights(tmp_path).items() if name.endswith("num_batches_tracked")}
    # Six of eleven steps come before the statistics are frozen; validation adds none.
    assert counts == {6}


def test_it_learns(tmp_path: Path) -> None:
    reports: list[Progress] = []
    fit = replace(FIT, steps=90, learning_rate=3e-2, validate_every=30)
    training(fit).run(tmp_path, reports.append)
    assert [report.step for report in reports] == [30, 60, 90]
    assert reports[-1].validation_score > 0.97
    assert reports[-1].loss < reports[0].loss


def test_accumulating_takes_as_many_batches_per_step(tmp_path: Path) -> None:
    drawn: list[int] = []

    def remember(number: int) -> Batch:
        drawn.append(number)
        return draw(number)

    reports: list[Progress] = []
    training(replace(FIT, accumulate=2, steps=4, validate_every=2), remember).run(tmp_path, reports.append)
    assert drawn == list(range(8))
    assert [report.step for report in reports] == [2, 4]


def test_a_loss_that_is_no_number_is_caught_and_the_best_until_then_is_kept(tmp_path: Path) -> None:
    def poisoned(number: int) -> Batch:
        images, labels = draw(number)
        return images * (float("nan") if number == 6 else 1.0), labels

    with pytest.raises(DivergedError, match=r"toy: the loss is nan at step 6; lower learning_rate.*are kept in"):
        training(drawn=poisoned).run(tmp_path)
    assert list(tmp_path.glob("best-f1-*.safetensors"))


class SpoiledAt(list[Batch]):
    """Blocks to be validated by, of which the one that is looked at as number `looks` is no number any more."""

    def __init__(self, blocks: list[Batch], looks: int) -> None:
        super().__init__(blocks)
        self._left = looks

    def __getitem__(self, k: Any) -> Any:
        images, labels = super().__getitem__(k)
        self._left -= 1
        return images * (1.0 if self._left else float("nan")), labels


def test_a_validation_that_is_no_number_is_caught_and_replaces_no_best_weights(tmp_path: Path) -> None:
    validation = SpoiledAt([draw(999), draw(998)], looks=3)
    spoiled = Training("toy", build_network(ARCHITECTURE, 2, seed=0), draw, validation, FIT)
    with pytest.raises(DivergedError, match=r"toy: the validation loss is nan at step 8; lower .*are kept in"):
        spoiled.run(tmp_path)
    names = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert names == ["best-f1-00000004.safetensors", "best-loss-00000004.safetensors"]
    last = torch.load(tmp_path / LAST, weights_only=True)
    assert last["global_step"] == 4


@pytest.mark.parametrize(
    "fault",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_too_little_memory_is_said_with_what_helps(tmp_path: Path, fault: Exception) -> None:
    def exhausted(_number: int) -> Batch:
        raise fault

    with pytest.raises(TrainingMemoryError, match="lower batch_crops"):
        training(drawn=exhausted).run(tmp_path)


def test_a_full_disk_is_said_and_the_training_goes_on_afterwards(
    tmp_path: Path, undisturbed: tuple[Path, Trained, list[Progress]]
) -> None:
    def full(progress: Progress) -> None:
        if progress.step == 8:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFullError, match="free some and run again"):
        training().run(tmp_path, full)
    assert same(training().run(tmp_path), undisturbed[1])


def test_nothing_is_written_outside_the_folder_of_the_training(
    tmp_path: Path, undisturbed: tuple[Path, Trained, list[Progress]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "there is no temporary folder"))
    assert same(training().run(tmp_path / "training"), undisturbed[1])


def test_another_fault_is_not_disguised(tmp_path: Path) -> None:
    def broken(_number: int) -> Batch:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        training(drawn=broken).run(tmp_path)


def dies_in_a_worker(parent: int, at: int) -> Callable[[int], Batch]:
    def drawn(number: int) -> Batch:
        if number == at and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(number)

    return drawn


def test_a_run_stopped_before_its_first_validation_begins_anew(
    tmp_path: Path, undisturbed: tuple[Path, Trained, list[Progress]]
) -> None:
    asked = iter(range(100))
    twice = training()
    with pytest.raises(TrainingCancelledError, match="step 3"):
        twice.run(tmp_path, cancelled=lambda: next(asked) >= 3)
    assert same(twice.run(tmp_path), undisturbed[1])


@pytest.mark.slow
@pytest.mark.parametrize("at", [3, 5], ids=["before the first validation", "after it"])
def test_a_killed_worker_costs_nothing_but_time(
    tmp_path: Path, undisturbed: tuple[Path, Trained, list[Progress]], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    # torch tells of a dead worker by an exception out of a signal handler, wherever the process is just then. In a
    # callback (of a fork, of a deletion) Python can only print it, and torch notices the death otherwise.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    trained = training(replace(FIT, workers=1), dies_in_a_worker(os.getpid(), at)).run(tmp_path)
    assert same(trained, undisturbed[1])


@pytest.mark.parametrize("fault", [ConnectionResetError, ConnectionRefusedError, EOFError])
def test_a_worker_that_died_with_batches_on_their_way_costs_nothing_but_time(
    tmp_path: Path, undisturbed: tuple[Path, Trained, list[Progress]], fault: type[Exception]
) -> None:
    here = os.getpid()

    def drawn(number: int) -> Batch:
        if number == 3 and os.getpid() != here:
            raise fault
        return draw(number)

    assert same(training(replace(FIT, workers=1), drawn).run(tmp_path), undisturbed[1])


def test_the_rate_warms_up_and_falls_on_a_cosine() -> None:
    fit = replace(FIT, steps=1000)
    rates = [learning_rate(step, fit) / fit.learning_rate for step in (0, 49, 500, 1000)]
    assert rates == pytest.approx([0.02, 1.0, 0.505, 0.01], abs=0.01)
