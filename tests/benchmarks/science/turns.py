"""Trains networks of a task by interleaved turns; a stop at any time costs what was done since the last validation."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import Field

from services.contracts.values import Value
from services.trainer.keeping import Progress
from services.trainer.runs import Workplace, train
from services.trainer.training import TrainingCancelledError
from tests.benchmarks.science.budget import Steps
from tests.benchmarks.science.recipes import Job

Clock = Callable[[], float]


class Spent(Value):
    """What networks have taken so far, over all stops.

    Attributes
    ----------
    wall_s, processor_s
        By network: seconds on the clock, and of all processors together.
    turns
        By network: how often it was taken up.
    """

    wall_s: dict[str, float] = Field(default_factory=dict)
    processor_s: dict[str, float] = Field(default_factory=dict)
    turns: dict[str, int] = Field(default_factory=dict)


class Ledger:
    """Keeps what was spent in a file, so that a stop does not forget it.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path, clock: Clock = time.perf_counter, processor: Clock = time.process_time) -> None:
        self._path, self._clock, self._processor = path, clock, processor
        self._since = (clock(), processor())

    @property
    def spent(self) -> Spent:
        """What was spent until the last entry."""
        return Spent.model_validate_json(self._path.read_bytes()) if self._path.exists() else Spent()

    def begin(self, network: str) -> None:
        """Start a turn."""
        self._since = (self._clock(), self._processor())
        spent = self.spent
        self._write(spent.model_copy(update={"turns": {**spent.turns, network: spent.turns.get(network, 0) + 1}}))

    def enter(self, network: str) -> None:
        """Add what passed since the last entry of this turn."""
        now = (self._clock(), self._processor())
        wall, processor = (after - before for before, after in zip(self._since, now, strict=True))
        self._since = now
        spent = self.spent
        self._write(
            Spent(
                wall_s={**spent.wall_s, network: spent.wall_s.get(network, 0.0) + wall},
                processor_s={**spent.processor_s, network: spent.processor_s.get(network, 0.0) + processor},
                turns=spent.turns,
            )
        )

    def _write(self, spent: Spent) -> None:
        partial = self._path.with_name(f".{self._path.name}.partial")
        partial.write_text(spent.model_dump_json(indent=1) + "\n", encoding="utf-8")
        partial.replace(self._path)


@dataclass
class Turn:
    """Ends a training after the validation at which its turn is over.

    Attributes
    ----------
    ends
        On the clock.
    """

    network: str
    ends: float
    ledger: Ledger
    say: Callable[[Progress], None]
    clock: Clock = time.perf_counter
    _is_over: bool = False

    def report(self, progress: Progress) -> None:
        """Told after each validation, when the checkpoint is written."""
        self.ledger.enter(self.network)
        self.say(progress)
        self._is_over = self.clock() >= self.ends

    def cancelled(self) -> bool:
        """Asked before each step."""
        return self._is_over


def train_by_turns(
    jobs: Sequence[Job],
    plan: Mapping[str, Steps],
    place: Path,
    workplace: Workplace,
    ledger: Ledger,
    turn_s: float = math.inf,
) -> dict[str, Path]:
    """Train and publish the networks of a task.

    Parameters
    ----------
    jobs, plan
        What to train, and for how many steps.
    place
        Folder of the task: recipes, published networks.
    workplace
        Says how; networks are published in `place / job.folder`.
    ledger
        Keeps the time that each network took.
    turn_s
        Length of a turn; infinite trains one network after the other.

    Returns
    -------
    dict
        Folder of the published network, by name.
    """
    waiting = deque(jobs)
    published: dict[str, Path] = {}
    while waiting:
        job = waiting.popleft()
        steps = plan[job.name]
        recipe = place / f"{job.name}.toml"
        recipe.write_text(job.recipe(steps.steps, steps.validate_every), encoding="utf-8")
        ledger.begin(job.name)
        turn = Turn(job.name, time.perf_counter() + turn_s, ledger, workplace.report)
        out = place / job.folder
        try:
            (published[job.name],) = train(
                recipe, replace(workplace, out=out, report=turn.report, cancelled=turn.cancelled)
            )
        except TrainingCancelledError:
            waiting.append(job)
        else:
            ledger.enter(job.name)
    return published
