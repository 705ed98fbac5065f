"""What every task of the proof does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.benchmarks.science.recipes import Job
from tests.benchmarks.science.results import Score


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a task measured: rows of its table, what must be known to read them, and further tables as Markdown."""

    scores: Sequence[Score]
    remarks: Sequence[str] = ()
    tables: Sequence[str] = ()


class Task(Protocol):
    """A task.

    Attributes
    ----------
    title
        Of its page.
    parts
        Training, validation and test part, in words.
    turn_s
        Networks are trained by turns of so many seconds; infinite, one after the other.
    """

    @property
    def title(self) -> str: ...
    @property
    def parts(self) -> str: ...
    @property
    def turn_s(self) -> float: ...

    def prepare(self, data: Path, place: Path) -> Sequence[Job]:
        """Write data sets, splits and test images into the task's folder, and return what is to be trained."""

    def measure(self, data: Path, place: Path, models: Mapping[str, Path]) -> Outcome:
        """Score the published networks on the test part."""


def output(name: str, class_id: int, *absorbs: int) -> dict[str, Any]:
    """Return an output of a recipe.

    >>> output("background", 0)
    {'name': 'background', 'class_id': 0}
    """
    return {"name": name, "class_id": class_id} | ({"absorbs": list(absorbs)} if absorbs else {})


def annotated(dataset: str) -> dict[str, Any]:
    """Return the section `[data]` of a data set of the task, and of its split beside it."""
    return {
        "kind": "annotated", "folder": f"data/{dataset}", "split": "file", "split_file": f"data/{dataset}.split.json",
    }  # fmt: skip
