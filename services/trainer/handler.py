"""The trainer: one request at a time, trained beside the loop in a process of its own, answered when that has ended."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import structlog

from services.contracts.messages import ModelPublished, TrainingRequested
from services.runtime.errors import PermanentError, StillWorkingError, TransientError
from services.runtime.handler import Answer, Publication, Received
from services.runtime.metrics.port import Metrics
from services.runtime.store.port import ArtefactStore
from services.trainer.job import (
    CANCEL,
    OUTCOME,
    REQUEST,
    Outcome,
    Reached,
    put_whole,
    read_outcome,
    read_progress,
)
from services.trainer.requests import Cancellation, Standing, TrainingBox, asked_for

log = structlog.get_logger()

NAME = "trainer"
# Deaths of the training in a row without a validation between them, after which the request is blamed.
DEATHS = 3
DEATHS_FILE, LOCK = "deaths.json", "lock"
# Within what a container is given to end.
LAST_BATCH_S = 20.0


@dataclass(slots=True)
class _Running:
    """A training that goes on."""

    request: TrainingRequested
    folder: Path
    process: subprocess.Popen[bytes]
    lock: TextIO


class TrainerHandler:
    """Has requests trained and says what was published.

    Parameters
    ----------
    store
        Where requests, cancellations and standings lie.
    metrics
        Say how far the training in hand is.
    work
        Folder of the jobs, kept between two starts.
    command
        Runs the job of the folder that is added to it.
    """

    name = NAME
    topics = ("training-requests",)
    batch_size = 1

    def __init__(self, store: ArtefactStore, metrics: Metrics, work: Path, command: Sequence[str]) -> None:
        self._box = TrainingBox(store)
        self._metrics = metrics
        self._work = work
        self._command = tuple(command)
        self._running: _Running | None = None

    def handle(self, received: Sequence[Received]) -> Sequence[Answer]:
        """Answer a request when its training has ended.

        Raises
        ------
        StillWorkingError
            While it goes on.
        TransientError
            If store or disk are out.
        """
        (item,) = received
        if not isinstance(item.message, TrainingRequested):
            return [
                Answer(fault=PermanentError("unexpected_message", f"{type(item.message).__name__} on {item.topic}"))
            ]
        return [self._answer(item.message)]

    def dead_lettered(self, received: Received, fault: PermanentError) -> Sequence[Publication]:
        """Say how it ended; nobody waits for networks that will not come."""
        if isinstance(received.message, TrainingRequested):
            self._ended(Standing(request_id=received.message.request_id, state="refused", detail=str(fault)[:4000]))
        return ()

    def close(self) -> None:
        """Ask a training that goes on to end after the batch in hand; it goes on when the trainer is started again."""
        running, self._running = self._running, None
        if running is None:
            return
        running.process.terminate()
        try:
            running.process.wait(LAST_BATCH_S)
        except subprocess.TimeoutExpired:
            running.process.kill()
            running.process.wait()
        running.lock.close()

    def _answer(self, request: TrainingRequested) -> Answer:
        folder = self._work / request.request_id
        cancelled = self._box.cancelled(request.request_id)
        if self._running is not None and self._running.request != request:
            # The request before was taken by another member of the group.
            self.close()
        if self._running is None:
            if (published := self._box.published_for(request)) is not None:
                return _said(published)
            if cancelled is not None:
                return self._cancelled(request, cancelled)
            self._start(request, folder)
        return self._looked_at(request, folder, cancelled)

    def _start(self, request: TrainingRequested, folder: Path) -> None:
        if _is_of(folder, request) and (outcome := read_outcome(folder)) is not None and outcome.kind == "published":
            return
        self._make_room_for(folder)
        # The job holds it as well: one that lost its service must have ended before another begins.
        lock = _locked(folder)
        if lock is None:
            log.info("waiting_for_an_orphan", request=request.request_id)
            raise StillWorkingError
        if not _is_of(folder, request):
            # What was asked for under this name before: its checkpoints are in the store.
            self._clear(folder)
        for name in (OUTCOME, CANCEL):
            (folder / name).unlink(missing_ok=True)
        put_whole(folder / REQUEST, request.model_dump_json())
        command = [*self._command, str(folder)]
        process = subprocess.Popen(command, pass_fds=(lock.fileno(),))  # noqa: S603 - our own module, by this Python
        self._running = _Running(request, folder, process, lock)
        log.info("training_begins", request=request.request_id, requested_by=request.requested_by)

    def _make_room_for(self, folder: Path) -> None:
        """Remove what earlier requests left on this disk: their checkpoints and networks are in the store.

        What another trainer of the same disk, or its orphan, is at work on stays.
        """
        try:
            for other in self._work.iterdir() if self._work.exists() else ():
                if other != folder and (other / REQUEST).exists() and (lock := _locked(other)) is not None:
                    with lock:
                        shutil.rmtree(other)
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TransientError("disk", f"{self._work}: {error.strerror}") from error

    def _clear(self, folder: Path) -> None:
        """Remove everything in a folder but its lock."""
        try:
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != LOCK:
                    path.unlink()
        except OSError as error:
            raise TransientError("disk", f"{folder}: {error.strerror}") from error

    def _looked_at(self, request: TrainingRequested, folder: Path, cancelled: Cancellation | None) -> Answer:
        running = self._running
        if running is not None:
            reached = read_progress(folder)
            self._measure(reached)
            if running.process.poll() is None:
                if cancelled is not None:
                    (folder / CANCEL).touch()
                raise StillWorkingError
            self._running = None
            running.lock.close()
            outcome = read_outcome(folder)
            if outcome is None:
                raise self._died(request, folder, running.process.returncode, reached)
        else:
            outcome = read_outcome(folder)
            assert outcome is not None, "nothing is started only where there is an outcome"
        (folder / DEATHS_FILE).unlink(missing_ok=True)
        return self._concluded(request, outcome, cancelled)

    def _concluded(self, request: TrainingRequested, outcome: Outcome, cancelled: Cancellation | None) -> Answer:
        match outcome.kind:
            case "published":
                names = ", ".join(message.model_id for message in outcome.published)
                self._box.conclude(request, outcome.published)
                self._ended(Standing(request_id=request.request_id, state="published", detail=names))
                return _said(outcome.published)
            case "refused":
                assert outcome.refusal is not None
                return Answer(fault=PermanentError(outcome.refusal.reason, outcome.refusal.detail))
            case "outage":
                raise TransientError(outcome.dependency or "store", outcome.detail)
            case "stopped":
                if cancelled is None:
                    # Somebody else ended it: it begins again at the next turn, where it was.
                    raise StillWorkingError
                return self._cancelled(request, cancelled)

    def _cancelled(self, request: TrainingRequested, why: Cancellation) -> Answer:
        self._ended(
            Standing(request_id=request.request_id, state="cancelled", detail=f"by {why.decided_by}: {why.reason}")
        )
        return Answer()

    def _died(
        self, request: TrainingRequested, folder: Path, status: int, reached: Reached | None
    ) -> PermanentError | StillWorkingError:
        """Count a death, durably; return what is to be raised of it."""
        where = [reached.network, reached.step] if reached else ["", 0]
        path = folder / DEATHS_FILE
        before = json.loads(path.read_text()) if path.exists() else {}
        count = int(before["count"]) + 1 if before.get("where") == where else 1
        log.error("training_died", request=request.request_id, status=status, where=where, count=count)
        if count < DEATHS:
            put_whole(path, json.dumps({"where": where, "count": count}))
            return StillWorkingError()
        path.unlink(missing_ok=True)
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return PermanentError(
            "crashed",
            f"the training ended {count} times with {how} after step {where[1]} of {where[0] or 'the first network'}: "
            "memory may not suffice (lower batch_crops or patch_px), or the log of the trainer says what is wrong",
        )

    def _measure(self, reached: Reached | None) -> None:
        self._metrics.set("fibsem_training_active", 1)
        if reached is not None:
            name = reached.network
            self._metrics.set("fibsem_training_progress_ratio", reached.step / reached.steps, model=name)
            self._metrics.set("fibsem_training_macro_f1_ratio", reached.macro_f1, model=name)
            self._metrics.set("fibsem_training_loss", reached.training_loss, model=name, part="training")
            self._metrics.set("fibsem_training_loss", reached.validation_loss, model=name, part="validation")

    def _ended(self, standing: Standing) -> None:
        self._box.stands(standing)
        self._metrics.set("fibsem_training_active", 0)
        self._metrics.increment("fibsem_trainings_total", 1, outcome=standing.state)
        log.info("training_ended", request=standing.request_id, state=standing.state, detail=standing.detail)


def _said(published: Sequence[ModelPublished]) -> Answer:
    return Answer(tuple(Publication("models", message) for message in published))


def _is_of(folder: Path, request: TrainingRequested) -> bool:
    """Say whether what lies in a folder was done for a request, or for one that asks for the same."""
    path = folder / REQUEST
    return path.exists() and asked_for(TrainingRequested.model_validate_json(path.read_bytes())) == asked_for(request)


def _locked(folder: Path) -> TextIO | None:
    """Return the lock of a job's folder, held by this process; None while somebody else holds or removes it."""
    try:
        lock = (folder / LOCK).open("w")
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock
