"""One training that was asked for over the bus, in a process of its own: data in, published networks out.

A process of its own, so that whatever a training does to it, the service goes on: it hears of its progress and its
end by files in the job's folder. Killed at any moment and started again, it goes on from its last checkpoint.
"""

from __future__ import annotations

import errno
import json
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import structlog
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pydantic import Field, ValidationError

from services.contracts.messages import ModelPublished, TrainingRequested
from services.contracts.model_card import ModelSet
from services.contracts.values import Identifier, Value
from services.runtime.clock import Clock
from services.runtime.errors import TransientError
from services.runtime.segmenter.cards import read_card, read_model_set
from services.runtime.segmenter.port import ModelSetError
from services.runtime.segmenter.shelf import ModelShelf, composed
from services.runtime.segmenter.torchserve_archive import build_archive
from services.runtime.store.port import ArtefactCorruptError, ArtefactStore
from services.trainer.annotations.findings import NotADatasetError
from services.trainer.datasets import DataRequestError, Specimen
from services.trainer.keeping import LAST, Progress
from services.trainer.publishing import ExportDiffersError
from services.trainer.recipes import PhantomRecipe, RecipeError, read_recipe
from services.trainer.requests import DamagedRequestError, Standing, TrainingBox
from services.trainer.runs import IncompatibleStartError, Workplace, train
from services.trainer.safekeeping import Safe
from services.trainer.splits import SplitError
from services.trainer.training import (
    DiskFullError,
    DivergedError,
    TrainingCancelledError,
    TrainingMemoryError,
    is_first_process,
)

log = structlog.get_logger()

REQUEST, PROGRESS, OUTCOME, CANCEL = "request.json", "progress.json", "outcome.json", "cancel"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Refusal(Value):
    """Why a request cannot be followed."""

    reason: Identifier
    detail: str


class Outcome(Value):
    """How a job ended.

    Attributes
    ----------
    kind
        `published`; `refused`, with why; `stopped` before its end, by its service or by a cancellation; `outage`, of
        what `dependency` names.
    """

    kind: Literal["published", "refused", "stopped", "outage"]
    published: tuple[ModelPublished, ...] = ()
    refusal: Refusal | None = None
    dependency: Literal["store", "disk"] | None = None
    detail: str = ""


class Reached(Value):
    """How far a job is, for its service."""

    network: Identifier
    step: Annotated[int, Field(ge=0)]
    steps: Annotated[int, Field(ge=1)]
    training_loss: float
    validation_loss: float
    macro_f1: float


@dataclass(frozen=True, slots=True)
class Bench:
    """What a job works with.

    Attributes
    ----------
    store, clock
        Ports.
    models
        Folder of the networks that the system was deployed with.
    accelerator, threads, keep_every_s
        As in the settings.
    stopped
        Whether the job is asked to end; it goes on another time.
    """

    store: ArtefactStore
    clock: Clock
    models: Path
    accelerator: Literal["auto", "cpu", "gpu"]
    threads: int | None
    keep_every_s: float
    stopped: Callable[[], bool]


# What cannot be mended by trying again, by what it is called in a dead letter.
_REFUSALS: tuple[tuple[type[Exception], str], ...] = (
    (DamagedRequestError, "damaged_request"),
    (ArtefactCorruptError, "damaged_request"),
    (tomllib.TOMLDecodeError, "bad_recipe"),
    (UnicodeDecodeError, "bad_recipe"),
    (NotADatasetError, "unknown_data"),
    (FileNotFoundError, "unknown_data"),
    (NotADirectoryError, "unknown_data"),
    (SplitError, "bad_data"),
    (DataRequestError, "bad_data"),
    (RecipeError, "bad_recipe"),
    (IncompatibleStartError, "incompatible_start"),
    # Of the network to start from: what is published in the end is made here.
    (ModelSetError, "incompatible_start"),
    # As many devices, or such a precision, as this machine does not have.
    (MisconfigurationException, "bad_recipe"),
    (DivergedError, "diverged"),
    (TrainingMemoryError, "no_memory"),
    (ExportDiffersError, "export_differs"),
    # Last, as it is what many others are as well.
    (ValidationError, "bad_recipe"),
)


class Job:
    """One training.

    Parameters
    ----------
    folder
        Its own: the request lies there, and everything else is put there.
    bench
        What it works with.
    """

    def __init__(self, folder: Path, bench: Bench) -> None:
        self._folder, self._bench = folder, bench
        self._request = TrainingRequested.model_validate_json((folder / REQUEST).read_bytes())
        self._box = TrainingBox(bench.store)
        self._safe = Safe(bench.store, self._request.request_id, folder / "work")
        self._keep_at_s = float("-inf")

    def run(self) -> Outcome:
        """Train, publish, and say how it ended; whatever this does not know is a bug and raised."""
        try:
            return Outcome(kind="published", published=self._published())
        except Exception as fault:  # noqa: BLE001 - told apart below, or raised again
            return _ended_by(fault)

    def _published(self) -> tuple[ModelPublished, ...]:
        recipe = self._box.bring(self._request, self._folder / "data")
        if isinstance(read_recipe(recipe).data, PhantomRecipe):
            raise DamagedRequestError(
                "this recipe learns from phantoms, which `fibsem-nuclei train` draws: what is sent names annotated data"
            )
        if brought := self._safe.restore():
            log.info("checkpoints_restored", request=self._request.request_id, networks=brought)
        place = Workplace(
            self._folder / "models",
            self._folder / "work",
            _no_phantoms,
            self._heard,
            self._is_over,
            self._bench.accelerator,
            lambda said: log.info("learns_from_pseudo_labels", request=self._request.request_id, said=said),
        )
        folders = train(recipe, place, self._bench.threads)
        return self._publish(folders) if is_first_process() else ()

    def _is_over(self) -> bool:
        return self._bench.stopped() or (self._folder / CANCEL).exists()

    def _heard(self, progress: Progress) -> None:
        """Pass on how far it is, and copy the checkpoint that was just written, unless one was a moment ago."""
        reached = Reached(
            network=progress.network,
            step=progress.step,
            steps=progress.steps,
            training_loss=progress.loss,
            validation_loss=progress.validation_loss,
            macro_f1=progress.validation_score,
        )
        put_whole(self._folder / PROGRESS, reached.model_dump_json())
        log.info("validated", request=self._request.request_id, **reached.model_dump(), warning=progress.warning)
        if self._bench.clock.monotonic_s() < self._keep_at_s:
            return
        # Restored checkpoints of an earlier request of this name may lie beside: the newest was written just now.
        written = (self._folder / "work").glob(f"{progress.network}-{'[0-9a-f]' * 12}/{LAST}")
        here = max(written, key=lambda last: last.stat().st_mtime_ns).parent
        try:
            self._safe.keep(here.name, progress.step)
            self._box.stands(Standing(request_id=self._request.request_id, state="training", **reached.model_dump()))
        except TransientError as outage:
            # The checkpoint is safe on this machine; its copy is made after another validation.
            log.warning("checkpoint_not_copied", request=self._request.request_id, outage=str(outage))
            return
        self._keep_at_s = self._bench.clock.monotonic_s() + self._bench.keep_every_s

    def _publish(self, folders: tuple[Path, ...]) -> tuple[ModelPublished, ...]:
        shelf = ModelShelf(self._bench.store)
        published = [shelf.put_network(folder) for folder in folders]
        served = self._served(shelf, folders)
        return tuple(
            message.model_copy(update={"request_id": self._request.request_id, **served}) for message in published
        )

    def _served(self, shelf: ModelShelf, folders: tuple[Path, ...]) -> dict[str, object]:
        """Publish the set in which these networks took their places, if they fit into it."""
        try:
            model_set = composed(read_model_set(self._bench.models), [read_card(folder) for folder in folders])
        except (ModelSetError, ValidationError) as misfit:
            log.info("fits_no_set", request=self._request.request_id, why=str(misfit))
            return {}
        place = self._folder / "set"
        shutil.rmtree(place, ignore_errors=True)
        _laid_together(model_set, (*folders, *self._bench.models.iterdir()), place)
        build_archive(place, self._folder / "nucleus.mar", model_set.fusion)
        for address in model_set.names:
            shelf.put_network(place / address)
        shelf.put_set(model_set)
        return {
            "served": shelf.put_served(model_set.digest, (self._folder / "nucleus.mar").read_bytes()),
            "model_set": model_set.digest,
        }


def _laid_together(model_set: ModelSet, folders: tuple[Path, ...], place: Path) -> None:
    by_name = {folder.name: folder for folder in folders}
    for address in model_set.names:
        shutil.copytree(by_name[address], place / address)


def _ended_by(fault: Exception) -> Outcome:
    """Return how a job ended that a fault ended, or raise what nobody foresaw."""
    if isinstance(fault, TrainingCancelledError):
        return Outcome(kind="stopped", detail=str(fault))
    if isinstance(fault, TransientError):
        return Outcome(kind="outage", dependency="store", detail=fault.detail)
    if isinstance(fault, DiskFullError) or (isinstance(fault, OSError) and fault.errno in _FULL):
        return Outcome(kind="outage", dependency="disk", detail=str(fault))
    reason = next((reason for kind, reason in _REFUSALS if isinstance(fault, kind)), None)
    if reason is None:
        raise fault
    return Outcome(kind="refused", refusal=Refusal(reason=reason, detail=str(fault)[:4000]))


def _no_phantoms(seed: int, voxel_nm: float, nuclei: int) -> Specimen:
    raise DataRequestError(f"no phantom of seed {seed}, {nuclei} nuclei at {voxel_nm} nm is drawn here")


def put_whole(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def run_job(folder: Path, bench: Bench) -> None:
    """Run the job of a folder and leave there how it ended."""
    outcome = Job(folder, bench).run()
    if is_first_process():
        put_whole(folder / OUTCOME, outcome.model_dump_json())


def read_outcome(folder: Path) -> Outcome | None:
    """Return how the job of a folder ended; None if it did not."""
    try:
        return Outcome.model_validate_json((folder / OUTCOME).read_bytes())
    except FileNotFoundError:
        return None


def read_progress(folder: Path) -> Reached | None:
    """Return how far the job of a folder is; None before its first validation."""
    try:
        return Reached.model_validate(json.loads((folder / PROGRESS).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
