"""A folder, a store, a bus and a clock to try ingest on: real adapters, and time that moves only when told to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from services.contracts.codec import decode
from services.contracts.messages import DeadLettered, DecisionRecorded, Message, SliceAbsent, SliceIngested
from services.contracts.topics import TOPICS
from services.contracts.values import VoxelSize
from services.ingest.folders import SliceFolders
from services.ingest.requests import RequestBox
from services.ingest.settings import IngestSettings
from services.ingest.watcher import Ingest, IngestPorts
from services.runtime.bus.port import Producer
from services.runtime.bus.sqlite import SqliteBus
from services.runtime.clock import ManualClock
from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.store.directory import DirectoryStore
from services.runtime.store.port import ArtefactStore
from tests.support.tiff_corpus import plane, written

VOXEL = VoxelSize(z_nm=8, y_nm=4, x_nm=5)
Kind = TypeVar("Kind", bound=Message)


def slice_bytes(z: int, bits: int = 8, shape_yx: tuple[int, int] = (24, 17)) -> bytes:
    """Return a slice of which no two are alike."""
    return written([plane(z, bits, shape_yx)])


def blank_bytes(level: int = 0, shape_yx: tuple[int, int] = (24, 17)) -> bytes:
    """Return a slice that shows nothing."""
    return written([np.full(shape_yx, level, np.uint8)])


def name_of(z: int) -> str:
    return f"slice_{z:04d}.tif"


class Bench:
    """Everything that ingest needs, in one folder."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "slices"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.store: ArtefactStore = DirectoryStore(root / "store", reference_files=True)
        self.requests = RequestBox(self.store, "roi")
        self.clock = ManualClock()
        self.bus = SqliteBus(clock=self.clock)
        self.bus.create_topics(TOPICS)
        self.metrics = RecordingMetrics()
        self.times = 0

    def close(self) -> None:
        self.bus.close()
        self.store.close()

    def write(self, name: str, payload: bytes) -> Path:
        """Write a file at once, with a time of its own."""
        path = self.folder / name
        path.write_bytes(payload)
        self.times += 1
        self.touch(name)
        return path

    def touch(self, name: str) -> None:
        """Give a file another time of last change."""
        self.times += 1
        os.utime(self.folder / name, ns=(self.times * 10**9, self.times * 10**9))

    def write_slices(self, numbers: Sequence[int]) -> None:
        for z in numbers:
            self.write(name_of(z), slice_bytes(z))

    def settings(self, **changes: Any) -> IngestSettings:
        return IngestSettings(
            **{
                "acquisition_id": "roi",
                "folders": (self.folder,),
                "voxel_size": VOXEL,
                **changes,
            }
        )

    def ingest(
        self,
        *,
        producer: Producer | None = None,
        source: SliceFolders | None = None,
        from_start: bool = False,
        **changes: Any,
    ) -> Ingest:
        """Start ingest, as after a reboot: what it remembers is in the store."""
        ports = IngestPorts(producer or self.bus.producer(), self.store, self.clock, self.metrics, source)
        return Ingest(self.settings(**changes), ports, from_start=from_start)

    def turn(self, ingest: Ingest, *, polls: int = 1) -> None:
        """Let ingest do all it can, poll by poll; the ledgers must close all along."""
        for _ in range(polls):
            self.clock.advance(1.0)
            while ingest.step():
                assert ingest.ledger().is_closed
            assert ingest.ledger().is_closed

    def run(self, ingest: Ingest, *, most_polls: int = 40) -> Ingest:
        """Let ingest work until it is done."""
        for _ in range(most_polls):
            self.turn(ingest)
            if ingest.is_done:
                return ingest
        raise AssertionError(f"not done: {ingest.status()}")

    def messages(self) -> list[Message]:
        """Return everything that was published, topic by topic, each in order."""
        return list(self._records())

    def of_kind(self, kind: type[Kind]) -> list[Kind]:
        return [message for message in self.messages() if isinstance(message, kind)]

    def ingested(self) -> dict[int, SliceIngested]:
        return {message.z: message for message in self.of_kind(SliceIngested)}

    def absent(self) -> dict[int, str]:
        return {message.z: message.reason.value for message in self.of_kind(SliceAbsent)}

    def letters(self) -> dict[str, str]:
        """Return the reason of every dead letter, by file."""
        return {message.message_key: message.reason for message in self.of_kind(DeadLettered)}

    def decisions(self) -> list[tuple[str, int, int, str]]:
        found = self.of_kind(DecisionRecorded)
        return [(decision.kind.value, decision.z_first, decision.z_last, decision.decided_by) for decision in found]

    def stored(self, ingested: SliceIngested) -> bytes:
        """Return the bytes that a slice's message refers to."""
        return self.store.get(ingested.raw)

    def kept(self, name: str) -> bytes:
        """Return the bytes that a dead letter kept of a file."""
        (letter,) = [letter for letter in self.of_kind(DeadLettered) if letter.message_key == name]
        return self.store.get(letter.original)

    def _records(self) -> Iterator[Message]:
        for topic in ("acquisitions", "slices", "dead-letters"):
            consumer = self.bus.consumer("reader-of-everything", [topic], "one")
            empty = 0
            while empty < 2:
                records = consumer.poll(1000, 0.0)
                empty = 0 if records else empty + 1
                for record in sorted(records, key=lambda record: (record.partition, record.offset)):
                    yield decode(record.message_type, record.payload)
            consumer.close()


def content(messages: Sequence[Message]) -> set[tuple[str, str]]:
    """Return what messages say, whatever their number and order."""
    return {(type(message).__name__, message.model_dump_json()) for message in messages}
