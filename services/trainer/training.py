"""Trains one network by Lightning: resumable to the bit, the same for the same seed, faults said in plain words."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.warnings import PossibleUserWarning
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import nn

from services.trainer.keeping import BEST_BY_F1, BEST_BY_LOSS, LAST, InPlace, Keeper, Progress, Report, kept_weights
from services.trainer.learning import Batch, DivergedError, Draw, Feed, Fit, Learner, TrainingCancelledError
from services.trainer.weights import Weights

__all__ = [
    "Batch",
    "DiskFullError",
    "DivergedError",
    "Draw",
    "Fit",
    "Progress",
    "Trained",
    "Training",
    "TrainingCancelledError",
    "TrainingMemoryError",
    "is_first_process",
]


class TrainingMemoryError(ValueError):
    """Network, batch and patch need more memory than there is."""


class DiskFullError(OSError):
    """A checkpoint could not be written."""


@dataclass(frozen=True, slots=True)
class Trained:
    """The weights of a finished training, each a copy of its own.

    Attributes
    ----------
    best_by_f1, best_by_loss
        Of the validation with the highest macro F1, and with the lowest loss; the later one of equals.
    """

    best_by_f1: Weights
    best_by_loss: Weights


class Training:
    """One network on its way from fresh weights to the best ones.

    Parameters
    ----------
    name
        Named in progress reports and errors.
    network
        Changed in place.
    draw
        From the number of a batch to its images (n, planes, y, x), float32, and labels (n, y, x), int64: the same
        for the same number. With z before y in 3 dimensions.
    validation
        Blocks of images and labels that judge the network, each a batch.
    fit
        How to optimise.
    """

    def __init__(self, name: str, network: nn.Module, draw: Draw, validation: Sequence[Batch], fit: Fit) -> None:
        self._name, self._draw, self._validation, self._fit = name, draw, validation, fit
        self._network = _channels_last(network)
        self._first_weights = deepcopy(network.state_dict())

    def run(
        self, folder: Path, report: Report = lambda _: None, cancelled: Callable[[], bool] = lambda: False
    ) -> Trained:
        """Train from the folder's checkpoint, or from the start, to the end.

        Parameters
        ----------
        folder
            Of this training alone: checkpoint, best weights, `curves.csv` and TensorBoard's files.
        report
            Called after each validation.
        cancelled
            Asked before each batch.

        Raises
        ------
        DivergedError
            If the loss is no number any more; the best weights until then stay in the folder.
        TrainingMemoryError
            If memory does not suffice.
        DiskFullError
            If a checkpoint cannot be written.
        TrainingCancelledError
            If `cancelled` says so. Run again, the training goes on.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with _faults_in_plain_words(self._name, folder):
            try:
                self._fit_once(folder, report, cancelled, self._fit)
            except (RuntimeError, ConnectionError, EOFError) as fault:
                # Batches come over a connection to the worker that drew them, which ends with it.
                told = not isinstance(fault, RuntimeError) or "DataLoader worker" in str(fault)
                if not (self._fit.workers and told):
                    raise
            # A worker may have been killed: the same batches are then drawn without workers, from the last checkpoint
            # on. Not while the fault is handled, as torch reports a dead worker again for as long as it is held.
            self._fit_once(folder, report, cancelled, replace(self._fit, workers=0))
        by_f1, by_loss = (kept_weights(folder, kind) for kind in (BEST_BY_F1, BEST_BY_LOSS))
        assert by_f1 is not None
        assert by_loss is not None
        return Trained(by_f1, by_loss)

    def _fit_once(self, folder: Path, report: Report, cancelled: Callable[[], bool], fit: Fit) -> None:
        last = folder / LAST
        done = _steps_done(last)
        if done >= fit.steps:
            return
        if not done:
            # An attempt that ended before its first validation has changed the network already.
            self._network.load_state_dict(self._first_weights)
        learner = Learner(self._name, self._network, fit, cancelled)
        trainer = _lightning(folder, Keeper(folder, self._name, fit.steps, report), fit, done)
        feed = Feed(self._draw, self._validation, fit)
        with torch.random.fork_rng(devices=[]):
            trainer.fit(learner, feed, ckpt_path=last if done else None, weights_only=True)
        # The first device's process may still be writing.
        trainer.strategy.barrier()


def is_first_process() -> bool:
    """Return whether this process trains on the first device: with several, Lightning starts the program for each."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def _lightning(folder: Path, keeper: Keeper, fit: Fit, done: int) -> pl.Trainer:
    on_cpu = fit.accelerator == "cpu" or not torch.cuda.is_available()
    return pl.Trainer(
        accelerator="cpu" if on_cpu else fit.accelerator,
        devices=fit.devices,
        precision=fit.precision,
        max_epochs=-(-fit.steps // fit.validate_every),
        accumulate_grad_batches=fit.accumulate,
        gradient_clip_val=fit.largest_gradient or None,
        # Pooling and up-convolution of strides that do not overlap add nothing up: torch only warns of them.
        deterministic=True if on_cpu else "warn",
        logger=TensorBoardLogger(folder, name="tensorboard", version=f"from-{done:08d}"),
        callbacks=[keeper],
        plugins=[InPlace()],
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


def _steps_done(last: Path) -> int:
    if not last.exists():
        return 0
    return int(torch.load(last, weights_only=True, map_location="cpu", mmap=True)["global_step"])


def _channels_last(network: nn.Module) -> nn.Module:
    """Lay images out by pixels: convolutions of few channels are faster so, and values do not change."""
    flat = not any(isinstance(module, nn.Conv3d) for module in network.modules())
    layout = torch.channels_last if flat else torch.channels_last_3d
    placed: nn.Module = network.to(memory_format=layout)  # type: ignore[call-overload]
    return placed


@contextmanager
def _faults_in_plain_words(name: str, folder: Path) -> Iterator[None]:
    # What Lightning advises and announces is not for a biologist; what it refuses is raised.
    talk = pl._logger  # noqa: SLF001 - the library offers no other way to it
    before = talk.level
    talk.setLevel("ERROR")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            # Lightning 2.6 still asks torch for tree leaves by their old name.
            warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
            yield
    except DivergedError as fault:
        kept = f"; the best weights until then are kept in {folder}" if any(folder.glob(f"{BEST_BY_F1}-*")) else ""
        raise DivergedError(f"{fault}{kept}") from fault
    except OSError as fault:
        if fault.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFullError(
                fault.errno, f"{name}: no room in {folder}: free some and run again, the training goes on", str(folder)
            ) from fault
        raise
    except (torch.OutOfMemoryError, MemoryError) as fault:
        raise _too_large(name) from fault
    except RuntimeError as fault:
        if "can't allocate memory" in str(fault) or "not enough memory" in str(fault):
            raise _too_large(name) from fault
        raise
    finally:
        talk.setLevel(before)


def _too_large(name: str) -> TrainingMemoryError:
    return TrainingMemoryError(
        f"{name}: there is not enough memory: lower batch_crops (and raise accumulate to make up for it), or patch_px"
    )
