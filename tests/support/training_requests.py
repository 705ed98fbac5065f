"""A data set small enough to learn from in seconds, recipes for it, and the trainer over a directory store."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from services.contracts.messages import Message, ModelPublished, TrainingRequested
from services.contracts.topics import TOPICS
from services.runtime.bus.port import Outgoing
from services.runtime.bus.replay import replay_messages
from services.runtime.bus.sqlite import SqliteBus
from services.runtime.clock import SystemClock
from services.runtime.handler import Publication
from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.service import FaultPolicy, Ports, ServiceLoop, outgoing
from services.runtime.store.directory import DirectoryStore
from services.trainer.annotations.dataset import DatasetClass, Manifest, Origin, Pair, new_dataset
from services.trainer.handler import TrainerHandler
from services.trainer.requests import TrainingBox

CLASSES = {"exterior": 0, "nucleoplasm": 1, "chromosome": 2, "nucleolus": 3}
# The name, classes, voxel size and normalisation of a shipped network, so that it may take that one's place.
RECIPE = """
licence = "BSD-3-Clause"
[normalisation]
kind = "field-mean-sd"
[data]
kind = "annotated"
folder = "labelled"
voxel_size_nm = 16.0
split = "z-block"
test = 0.2
validation = 0.2
distance_nm = 16.0
[[networks]]
name = "chromatin"
outputs = [
  { name = "exterior", class_id = 0 },
  { name = "nucleoplasm", class_id = 1 },
  { name = "chromosome", class_id = 2 },
  { name = "nucleolus", class_id = 3 },
]
architecture = { family = "dlsia.TUNet", depth = 2, base_channels = 4, growth_rate = 1.5 }
[networks.optimiser]
seed = 1
steps = 40
batch_crops = 2
patch_px = 32
learning_rate = 3e-2
artefact_share = 0.0
focus_share = 0.5
validate_every = 10
"""


def write_labelled(folder: Path, planes: int = 12) -> None:
    """Write a data set of one stack: a bright nucleus with dark chromosomes and a nucleolus, moving along z."""
    with new_dataset(folder, CLASSES) as draft:
        entries = []
        for z in range(planes):
            y, x = np.mgrid[:48, :48]
            labels = np.zeros((48, 48), np.uint8)
            labels[np.hypot(y - 24, x - 20 - z % 4) < 18] = 1
            labels[np.hypot(y - 16, x - 20 - z % 4) < 5] = 2
            labels[np.hypot(y - 32, x - 20 - z % 4) < 4] = 3
            noise = np.random.default_rng(z).normal(0, 6, labels.shape)
            grey = np.array([165.0, 212.0, 130.0, 90.0])[labels] + noise
            pair = Pair(f"stack_z{z:03}", grey.astype(np.uint8), labels)
            entries.append(draft.add(pair, Origin("images.tif", "labels.tif", z, "stack", z)))
        listed = tuple(DatasetClass(class_id=number, name=name) for name, number in CLASSES.items())
        draft.finish(Manifest(classes=listed, images=tuple(entries)))


def write_recipe(folder: Path, *changes: tuple[str, str]) -> Path:
    """Write data set and recipe, the latter with some words replaced; return its path."""
    if not (folder / "labelled").exists():
        write_labelled(folder / "labelled")
    text = RECIPE
    for old, new in changes:
        assert old in text, f"the recipe does not say {old!r}"
        text = text.replace(old, new)
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


@dataclass
class Trainer:
    """The trainer's loop over a bus and a store in a folder; its jobs are real processes."""

    root: Path
    fail_job_at: str = ""
    metrics: RecordingMetrics = field(default_factory=RecordingMetrics)

    def __post_init__(self) -> None:
        self.clock = SystemClock()
        self.bus = SqliteBus(self.root / "bus.sqlite")
        self.bus.create_topics(TOPICS)
        self.store = DirectoryStore(self.root / "store")
        self.box = TrainingBox(self.store)
        self.handler = self._handler()
        self._loop: ServiceLoop | None = None

    def _handler(self) -> TrainerHandler:
        command = [sys.executable, "-m", "tests.support.directory_job", str(self.root / "store"), self.fail_job_at]
        return TrainerHandler(self.store, self.metrics, self.root / "jobs", [word or "-" for word in command])

    def start(self) -> ServiceLoop:
        """Start the loop anew, as a service does after a kill; a job of the one before goes on as an orphan does."""
        self.handler = self._handler()
        consumer = self.bus.consumer(self.handler.name, self.handler.topics, "0")
        ports = Ports(consumer, self.bus.producer(), self.store, self.metrics, self.clock)
        self._loop = ServiceLoop(self.handler, ports, FaultPolicy(ask_again_s=0.05))
        return self._loop

    def ask(self, recipe: Path, request_id: str = "request-1") -> TrainingRequested:
        """Ask for a training."""
        request = self.box.ask(recipe, request_id, "biologist")
        self.publish([Publication("training-requests", request)])
        return request

    def publish(self, publications: Sequence[Publication]) -> None:
        """Publish messages."""
        producer = self.bus.producer()
        producer.publish([outgoing(publication) for publication in publications])
        producer.close()

    def publish_raw(self, record: Outgoing) -> None:
        """Publish bytes."""
        producer = self.bus.producer()
        producer.publish([record])
        producer.close()

    def until_idle(self, patience_s: float = 1500.0) -> None:
        """Take turns until every request has been answered."""
        loop = self._loop or self.start()
        deadline_s = self.clock.monotonic_s() + patience_s
        loop.step()
        while loop.lag():
            loop.step(0.02)
            self.clock.wait(0.02)
            assert self.clock.monotonic_s() < deadline_s, self.box.names()

    def said(self, topic: str) -> list[Message]:
        """Return what stands on a topic."""
        return list(replay_messages(self.bus, (topic,)))

    def published(self) -> list[ModelPublished]:
        """Return the models that were published."""
        return [message for message in self.said("models") if isinstance(message, ModelPublished)]

    def close(self) -> None:
        """Stop everything."""
        self.handler.close()
        if self._loop is not None:
            self._loop.close()
        self.bus.close()
        self.store.close()
