"""What a task came to: scores with intervals beside what was published and what is wanted, as JSON and as a table."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Score:
    """A measured figure.

    Attributes
    ----------
    name
        What was measured, and on what.
    value
        Measured.
    low, high
        95 % interval; None without.
    published
        What others print, in words.
    goal
        What the value shall reach; None where it is only told.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    published: str = ""
    goal: float | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        return None if self.goal is None else self.value >= self.goal


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that a task says.

    Attributes
    ----------
    task
        Its name.
    parts
        Training, validation and test, in words.
    scores
        In the order of the table.
    networks
        By name: folder, parameters, seed, steps, seconds and the like.
    remarks
        What must be known to read the figures.
    tables
        Further tables, as Markdown.
    """

    task: str
    parts: str
    scores: Sequence[Score]
    networks: Mapping[str, Mapping[str, Any]]
    machine: str
    minutes: float
    remarks: Sequence[str] = ()
    tables: Sequence[str] = field(default_factory=tuple)


def machine() -> str:
    """Return what this program runs on, in words."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    said = f"{cores} cores ({_processor()}), {memory:.0f} GiB, {versions}"
    return f"{torch.cuda.get_device_name(0)}, {said}" if torch.cuda.is_available() else said


def markdown(result: Result) -> str:
    """Return a page that a person reads.

    Parameters
    ----------
    result
        Of a task.
    """
    lines = [
        f"## {result.task}",
        "",
        result.parts,
        "",
        "| score | measured | 95 % interval | published | goal | met |",
        "|---|---|---|---|---|---|",
        *(_row(score) for score in result.scores),
        "",
        "| network | parameters | seed | steps | patches | minutes | processor minutes |",
        "|---|---|---|---|---|---|---|",
        *(_network_row(name, network) for name, network in result.networks.items()),
        "",
        *(line for table in result.tables for line in (table, "")),
        *(f"- {remark}" for remark in result.remarks),
        f"- {result.minutes:.0f} minutes on the clock in all, on {result.machine}.",
    ]
    return "\n".join(lines) + "\n"


def write(result: Result, place: Path) -> None:
    """Write `result.json` and `result.md`."""
    content = asdict(result) | {"scores": [asdict(score) | {"met": score.is_met} for score in result.scores]}
    (place / "result.json").write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
    (place / "result.md").write_text(markdown(result), encoding="utf-8")


def _row(score: Score) -> str:
    interval = "" if score.low is None or score.high is None else f"{score.low:.3f} to {score.high:.3f}"
    goal = "" if score.goal is None else f">= {score.goal:g}"
    met = {None: "", True: "yes", False: "no"}[score.is_met]
    return f"| {score.name} | {score.value:.4f} | {interval} | {score.published} | {goal} | {met} |"


def _network_row(name: str, network: Mapping[str, Any]) -> str:
    cells = [
        name,
        f"{network['parameters'] / 1e6:.3f} M",
        str(network["seed"]),
        str(network["steps"]),
        str(network["patches"]),
        f"{network['wall_s'] / 60:.1f}",
        f"{network['processor_s'] / 60:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _processor() -> str:
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()
