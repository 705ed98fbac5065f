"""A deployed system run for a benchmark: real servers, a process per service, and what its records tell afterwards."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kafka

from services.contracts.codec import decode
from services.contracts.messages import (
    ComponentsMeasured,
    CropExtracted,
    CropSegmented,
    Message,
    NucleusOpened,
    OutlinesDetected,
    SliceIngested,
)
from services.runtime.bus.kafka_consumer import TYPE_HEADER
from tests.benchmarks.processor_time import spent_s
from tests.system.deployed import STAGES, System
from tests.system.servers.kafka import KafkaServer, running_kafka
from tests.system.servers.minio import running_minio
from tests.system.servers.s3_server import S3Server
from tests.system.servers.torchserve import TorchServeServer, running_torchserve

LOOK_S = 0.02
PATIENCE_S = 1800.0
# Members have joined their groups a little after they are ready.
SETTLE_S = 5.0
INGEST = "ingest"
# As compose has it: on a busy machine nobody is to be taken for dead.
NO_OUTAGES = {"FIBSEM_KAFKA__SESSION_TIMEOUT_S": "45", "FIBSEM_KAFKA__HEARTBEAT_S": "3"}


@dataclass(frozen=True)
class Servers:
    """What serves a deployed system."""

    folder: Path
    kafka: KafkaServer
    s3: S3Server
    torchserve: TorchServeServer

    @property
    def groups(self) -> dict[str, int]:
        """Process groups by name."""
        processes = {"kafka": self.kafka.process, "minio": self.s3.process, "torchserve": self.torchserve.process}
        return {name: process.pid for name, process in processes.items()}


@dataclass(frozen=True)
class Round:
    """One acquisition worked off by a deployed system.

    Attributes
    ----------
    total_s
        From ingest being ready to the last nucleus measured, as the broker's records say.
    processor_s
        Processor seconds of that time, by process.
    manifest
        Of the collected results.
    """

    total_s: float
    processor_s: dict[str, float]
    manifest: str


@contextmanager
def running_servers(folder: Path) -> Iterator[Servers]:
    """Run a broker, a store and a model server with as many threads as there are cores."""
    threads = {"FIBSEM_SERVER_THREADS": str(len(os.sched_getaffinity(0))), "OMP_NUM_THREADS": "1"}
    with (
        running_kafka(folder / "kafka") as broker,
        running_minio(folder / "minio") as s3,
        running_torchserve(folder / "torchserve", environment=threads) as torchserve,
    ):
        yield Servers(folder, broker, s3, torchserve)


@contextmanager
def waiting_system(servers: Servers, voxel_nm: str) -> Iterator[System]:
    """Run every service but ingest until the end of the block; they serve one acquisition after the other."""
    folder = servers.folder
    system = System(
        folder / "logs", servers.kafka, servers.s3, servers.torchserve.url, folder, voxel_nm=voxel_nm, extra=NO_OUTAGES
    )
    system.set_up()
    try:
        for stage in STAGES:
            if stage != INGEST:
                system.start(stage)
        for process in system.processes.values():
            process.await_ready()
        time.sleep(SETTLE_S)  # noqa: TID251 (real processes, in real time)
        yield system
    finally:
        system.stop_all()


def worked_off(servers: Servers, system: System, acquisition: str, slices: Path, nuclei: int) -> Round:
    """Have a finished folder worked off until so many nuclei are measured, and collect the results."""
    began_unix_s = start_ingest(system, acquisition, slices, watch=False)
    before = _spent(system, servers)
    ended_unix_s = last_measured_unix_s(servers.kafka, acquisition, nuclei)
    processor_s = {name: spent - before[name] for name, spent in _spent(system, servers).items()}
    system.await_complete()
    system.processes.pop(f"{INGEST}-{acquisition}").stop()
    return Round(ended_unix_s - began_unix_s, processor_s, system.collect(servers.folder / acquisition))


def start_ingest(system: System, acquisition: str, slices: Path, *, watch: bool) -> float:
    """Start ingest of an acquisition; return when it was ready."""
    system.acquisition, system.slices, system.watch = acquisition, slices, watch
    system.start(INGEST, member=acquisition, wait=True)
    return time.time()


def last_measured_unix_s(broker: KafkaServer, acquisition: str, nuclei: int) -> float:
    """Wait until so many nuclei are measured; return the time of the last of these records."""
    measured: dict[str, float] = {}
    deadline_s = time.monotonic() + PATIENCE_S
    with closing(_reader(broker, "components")) as reader:
        while len(measured) < nuclei:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{len(measured)} of {nuclei} nuclei measured after {PATIENCE_S:.0f} s")
            for message, unix_s in _next(reader, 500):
                if isinstance(message, ComponentsMeasured) and message.about_acquisition == acquisition:
                    measured[message.key] = unix_s
    return max(measured.values())


# What is said of a slice, and how its z and its nucleus, if it is of one, are read from it.
_SAID: Mapping[str, tuple[type[Message], Callable[[Any], tuple[int, str]]]] = {
    "slices": (SliceIngested, lambda message: (message.z, "")),
    "outlines": (OutlinesDetected, lambda message: (message.slice.z, "")),
    "nuclei": (NucleusOpened, lambda message: (message.z_first, message.key)),
    "crops": (CropExtracted, lambda message: (message.z, message.key)),
    "segmentations": (CropSegmented, lambda message: (message.crop.z, message.crop.key)),
}


def said_unix_s(broker: KafkaServer, acquisition: str, topic: str) -> dict[tuple[int, str], float]:
    """Return when the last record about each z, and each of its nuclei, was written to a topic."""
    kind, place_of = _SAID[topic]
    said: dict[tuple[int, str], float] = {}
    with closing(_reader(broker, topic)) as reader:
        while records := _next(reader, 1500):
            for message, unix_s in records:
                if isinstance(message, kind) and message.about_acquisition == acquisition:
                    said[place_of(message)] = max(unix_s, said.get(place_of(message), 0.0))
    return said


def await_so(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"it was not so for {PATIENCE_S:.0f} s")
        time.sleep(LOOK_S)  # noqa: TID251 (real processes, in real time)


def _spent(system: System, servers: Servers) -> dict[str, float]:
    groups = {name.rpartition("-")[0]: process.pid for name, process in system.processes.items()} | servers.groups
    spent = spent_s(groups.values())
    return {name: spent[group] for name, group in groups.items()}


def _reader(broker: KafkaServer, topic: str) -> kafka.KafkaConsumer:
    reader = kafka.KafkaConsumer(bootstrap_servers=broker.bootstrap, enable_auto_commit=False, metrics_enabled=False)
    places = [kafka.TopicPartition(topic, number) for number in sorted(reader.partitions_for_topic(topic))]
    reader.assign(places)
    reader.seek_to_beginning(*places)
    return reader


def _next(reader: kafka.KafkaConsumer, timeout_ms: int) -> list[tuple[Message, float]]:
    """Return messages that have come, each with the time of its record."""
    return [
        (decode(dict(record.headers)[TYPE_HEADER].decode(), record.value), record.timestamp / 1e3)
        for batch in reader.poll(timeout_ms=timeout_ms).values()
        for record in batch
    ]
