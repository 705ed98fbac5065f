"""A connection to a deployed system, for the verbs that ask and tell it things."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from services.contracts.topics import TOPICS
from services.runtime.bus.port import Bus
from services.runtime.deployment import Deployment, bus_of, store_of
from services.runtime.metrics.prometheus import PrometheusMetrics
from services.runtime.store.port import ArtefactStore

# Consumer groups, which are the names of handlers, with what each reads (`results` is collected, not run).
GROUPS: dict[str, tuple[str, ...]] = {
    "extract-detect": ("slices",),
    "extract-follow": ("outlines", "acquisitions"),
    "inference": ("crops",),
    "postprocess": ("segmentations", "nuclei"),
    "components": ("volumes",),
}
# What runs beside acquisitions: none of them waits for it.
BESIDE: dict[str, tuple[str, ...]] = {"trainer": ("training-requests",), "shadow": ("segmentations",)}


class NoDeploymentError(ValueError):
    """Neither a folder of a run nor the settings of a deployed system were given."""


@dataclass(frozen=True, slots=True)
class Stack:
    """What a deployed system is reached by.

    Attributes
    ----------
    deployment
        Its settings.
    store, bus
        Connections.
    """

    deployment: Deployment
    store: ArtefactStore
    bus: Bus

    def backlog(self) -> dict[str, int]:
        """Return the messages that wait for each service.

        Raises
        ------
        TransientError
            If the bus is out of reach.
        """
        return {group: self.bus.backlog(group, topics) for group, topics in GROUPS.items()}

    def waiting_for(self, group: str) -> int:
        """Return the messages that wait for one service, of those beside acquisitions as well."""
        return self.bus.backlog(group, (GROUPS | BESIDE)[group])

    def create_topics(self) -> None:
        """Create the topics that are not there."""
        self.bus.create_topics(TOPICS)


def deployment_of(settings: Path | None) -> Deployment:
    """Return the settings that a file holds, or the environment where no file is given.

    Raises
    ------
    NoDeploymentError
        If they do not describe a deployed system.
    """
    try:
        return Deployment(_env_file=settings)
    except ValidationError as error:
        where = f"{settings} does not hold" if settings else "the environment does not hold"
        raise NoDeploymentError(
            f"{where} the settings of a deployed system: name the folder of a run, or a file with FIBSEM_* variables. "
            f"{error}"
        ) from error


@contextmanager
def connected(settings: Path | None) -> Iterator[Stack]:
    """Connect to a deployed system for as long as the context lasts."""
    deployment, metrics = deployment_of(settings), PrometheusMetrics()
    with ExitStack() as resources:
        store = store_of(deployment, metrics)
        resources.callback(store.close)
        bus = bus_of(deployment, metrics)
        resources.callback(bus.close)
        yield Stack(deployment, store, bus)
