"""What is trained for a task, and its recipe as TOML: `fibsem-nuclei train` takes the same file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

LICENCE = "research use; see the licence of the data"


@dataclass(frozen=True, slots=True)
class Job:
    """One network of a task.

    Attributes
    ----------
    name
        Of the network.
    data
        Section `[data]` of its recipe; folders are named from the task's folder on.
    outputs
        Its classes, as a recipe has them.
    architecture
        As a recipe has it.
    optimiser
        Section `[networks.optimiser]` but for steps.
    share
        Of the task's time.
    most_steps
        Steps after which more would not help, for machines that could take more.
    folder
        Of the task, in which the network is published.
    """

    name: str
    data: Mapping[str, Any]
    outputs: Sequence[Mapping[str, Any]]
    architecture: Mapping[str, Any]
    optimiser: Mapping[str, Any]
    share: float
    most_steps: int
    folder: str = "model"
    profile: str | None = "recommended"
    normalisation: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Twelve digits that change with anything that is asked for."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    def recipe(self, steps: int, validate_every: int) -> str:
        """Return the recipe.

        Parameters
        ----------
        steps, validate_every
            As many as fit the time.
        """
        network = {
            "name": self.name,
            "outputs": list(self.outputs),
            "architecture": dict(self.architecture),
            "optimiser": {**self.optimiser, "steps": steps, "validate_every": validate_every},
        }
        if self.profile:
            network["profile"] = self.profile
        content: dict[str, Any] = {"licence": LICENCE, "data": dict(self.data), "networks": [network]}
        if self.normalisation:
            content["normalisation"] = dict(self.normalisation)
        return "".join(f"{key} = {toml_value(value)}\n" for key, value in content.items())


def toml_value(value: Any) -> str:
    """Return a value as TOML on one line.

    >>> toml_value({"a": [1, 2.5], "b": {"c": "d"}, "e": True})
    '{ a = [1, 2.5], b = { c = "d" }, e = true }'
    """
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(each) for each in value) + "]"
    return json.dumps(value, ensure_ascii=False)
