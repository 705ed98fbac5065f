"""How many steps fit a time, measured once on the machine that trains, and kept: a resumed run plans alike.

On a CPU processor time is measured, shared among the threads: what else the machine does then changes how long a task
takes, and not what it learns.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from pydantic import Field

from services.contracts.values import Count, Value
from services.trainer.keeping import Progress
from services.trainer.recipes import read_recipe
from services.trainer.runs import Workplace, data_of, training_of
from tests.benchmarks.science.recipes import Job

TRIAL_STEPS, WARM_STEPS = 8, 3
IDLE_SHARE = 0.1
"""Of the time, so much the threads of a CPU wait for each other, at a guess."""
VALIDATION_SHARE = 0.12
"""Of the time, at most so much is spent on validation."""
LEAST_STEPS, VALIDATIONS = 40, 12


class Steps(Value):
    """What one network does in its time.

    Attributes
    ----------
    job
        Digest of the job it was planned for.
    steps, validate_every
        As in a recipe.
    step_s, validation_s
        Measured: seconds of a step and of a validation, if the machine does nothing else.
    """

    job: str
    steps: Count
    validate_every: Count
    step_s: float
    validation_s: float


class Plan(Value):
    """Steps by network."""

    networks: dict[str, Steps] = Field(default_factory=dict)


@dataclass
class Watch:
    """Times the steps of a training through what it calls.

    Attributes
    ----------
    clock
        In seconds.
    """

    clock: Callable[[], float] = time.perf_counter
    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    def cancelled(self) -> bool:
        """Asked before each step."""
        self.starts.append(self.clock())
        return False

    def report(self, _progress: Progress) -> None:
        """Told after each validation."""
        self.ends.append(self.clock())

    def measured(self) -> tuple[float, float]:
        """Return the seconds of a step, and of a validation."""
        gaps = [after - before for before, after in zip(self.starts, self.starts[1:], strict=False)]
        step_s = statistics.median(gaps[WARM_STEPS:])
        return step_s, max(0.0, self.ends[-1] - self.starts[-1] - step_s)


def steps_within(seconds: float, step_s: float, validation_s: float, most_steps: int) -> tuple[int, int]:
    """Return the steps that fit, and how many to take between two validations.

    Examples
    --------
    >>> steps_within(1000.0, 0.5, 3.0, 100_000)
    (1785, 50)
    >>> steps_within(1000.0, 0.5, 3.0, 400)
    (400, 33)
    """
    every = max(1, round(validation_s / (VALIDATION_SHARE * step_s)))
    fitting = int(seconds / (step_s + validation_s / every))
    steps = max(LEAST_STEPS, min(most_steps, fitting))
    # Not so seldom that the best weights are found by luck.
    every = min(every, max(1, steps // VALIDATIONS))
    return steps, min(steps, max(every, min(50, steps // VALIDATIONS)))


def planned(path: Path, jobs: Sequence[Job], place: Path, workplace: Workplace, seconds: float) -> Mapping[str, Steps]:
    """Return the plan of a task: the one that is there, or one from a trial of each network.

    Parameters
    ----------
    path
        File that keeps the plan.
    jobs
        Networks of the task.
    place
        Folder of the task.
    workplace
        As for the training.
    seconds
        That the whole task may train.
    """
    plan = Plan.model_validate_json(path.read_bytes()) if path.exists() else Plan()
    found: dict[str, Steps] = {}
    for job in jobs:
        known = plan.networks.get(job.name)
        if known is None or known.job != job.digest:
            step_s, validation_s = _tried(job, place, workplace)
            steps, every = steps_within(seconds * job.share, step_s, validation_s, job.most_steps)
            known = Steps(job=job.digest, steps=steps, validate_every=every, step_s=step_s, validation_s=validation_s)
        found[job.name] = known
        path.write_text(Plan(networks=plan.networks | found).model_dump_json(indent=1) + "\n", encoding="utf-8")
    return found


def _clock(workplace: Workplace) -> Callable[[], float]:
    """Return a clock that a busy machine does not put off: on a GPU the clock, on a CPU that of the processors."""
    if workplace.accelerator != "cpu" and torch.cuda.is_available():
        return time.perf_counter
    return lambda: time.process_time() / torch.get_num_threads() / (1 - IDLE_SHARE)


def _tried(job: Job, place: Path, workplace: Workplace) -> tuple[float, float]:
    """Train a few steps in a folder of their own, and time them."""
    trial = place / f".trial-{job.name}.toml"
    trial.write_text(job.recipe(TRIAL_STEPS, TRIAL_STEPS), encoding="utf-8")
    folder = workplace.work / f".trial-{job.name}"
    shutil.rmtree(folder, ignore_errors=True)
    watch = Watch(_clock(workplace))
    try:
        recipe = read_recipe(trial)
        here = replace(workplace, report=watch.report, cancelled=watch.cancelled)
        data = data_of(recipe, recipe.networks[0], here, place)
        training, _ = training_of(recipe, recipe.networks[0], data, here, place)
        training.run(folder, watch.report, watch.cancelled)
    finally:
        trial.unlink()
        shutil.rmtree(folder, ignore_errors=True)
    return watch.measured()
