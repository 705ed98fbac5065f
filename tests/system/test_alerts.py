"""Every alert calls by its name while its fault lasts, and is silent afterwards (failure matrix, I6).

A real Prometheus with the deployed rules scrapes running services, and faults are injected for real. The rules' times
are divided (`shortened_rules`): an alert that waits for two minutes calls after four seconds.
"""

from __future__ import annotations

import itertools
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import kafka
import numpy as np
import pytest
import tifffile
from kafka.admin import KafkaAdminClient

from services.cli.sites import Site
from services.contracts.topics import DEAD_LETTERS
from services.deployed.rebuilding import reconcile
from services.deployed.rewinding import rewind
from services.ingest.registry import settings_of
from services.runtime.bus.port import LogEnd, Outgoing
from tests.support.hostile_wire import HOSTILE
from tests.support.moved_toy import moved_slice
from tests.support.toy_acquisition import FIELD, PLANES, Runner, slice_name, toy_slice
from tests.system.clocks import clock_ahead
from tests.system.deployed import STAGES, System
from tests.system.invariants import require_same_results
from tests.system.matrix import Rows
from tests.system.servers.fault_proxy import Fault, fault_proxy
from tests.system.servers.kafka import KafkaServer
from tests.system.servers.prometheus import PrometheusServer, running_prometheus
from tests.system.servers.s3_server import S3Server
from tests.system.servers.shortened_rules import alert_names, shortened_rules
from tests.system.servers.small_disk import small_disk
from tests.system.servers.torchserve import TorchServeServer, running_torchserve

pytestmark = [pytest.mark.system, pytest.mark.full, pytest.mark.timeout(1200)]

# Two minutes become four seconds, ten minutes twenty, an hour two minutes.
FACTOR = 30.0
# The folder's alerts have longer times, and none of them looks at a rate: an hour becomes a minute.
FOLDER_FACTOR = 60.0
# Hours of a growing backlog become half a minute.
BACKLOG_FACTOR = 120.0
# A fault is noticed within a client's time-out (25 s) and over within a pause of its service (30 s).
PATIENCE_S = 90.0
GIB = 1 << 30
NO_NETWORKS = "http://127.0.0.1:9"

FIRED_BELOW = frozenset({
    "AcquisitionStalled", "BacklogGrowing", "ClockSkew", "CrashLoop", "DependencyDown", "DiskAlmostFull",
    "DiskWillFill", "DlqBurst", "DlqNonEmpty", "FallingBehind", "HashMismatch", "InferenceCanaryFailed", "OffsetReset",
    "NucleusLeavesField", "PipelineStuck", "QualityDrift", "RebalanceStorm", "SliceConflict", "SliceGap",
    "SliceGapWide", "SliceTroubled", "SlicesTroubled", "SlicesUnlinked", "TargetDown", "Watchdog",
})  # fmt: skip
# A ledger that does not close would be a defect of ours: no fault from outside brings it about (promtool tests it).
NEVER = frozenset({"SliceUnaccounted"})
OF_THE_DISK = frozenset({"DiskAlmostFull", "DiskWillFill"})


@dataclass(frozen=True, slots=True)
class Calls:
    """Waits for alerts and takes down how long they took."""

    prometheus: PrometheusServer
    rows: Rows

    def calling(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether an alert fires now, with these labels among its own."""
        wanted = {"alertname": name, **labels}
        return any(wanted.items() <= found.items() for found in self.prometheus.alert_labels())

    def await_call(self, name: str, patience_s: float = PATIENCE_S, **labels: str) -> float:
        """Wait until an alert fires; return how long it took."""
        return self._await(f"{name} never fired", lambda: self.calling(name, labels), patience_s)

    def await_silence(self, name: str, patience_s: float = PATIENCE_S, **labels: str) -> float:
        """Wait until an alert no longer fires; return how long it took."""
        return self._await(f"{name} never cleared", lambda: not self.calling(name, labels), patience_s)

    def await_scraped(self, job: str) -> None:
        """Wait until a service that has just been started has been seen."""
        started_s = time.time()
        seen = f'process_start_time_seconds{{job="{job}"}} > {started_s - 1.0}'
        self._await(f"{job} was not scraped", lambda: bool(self.prometheus.query(seen)), PATIENCE_S)

    @contextmanager
    def fault(self, injected: str, *names: str, patience_s: float = PATIENCE_S, **labels: str) -> Iterator[None]:
        """Entered with the fault on: wait for the calls, let the block take the fault away, wait for silence."""
        for name in names:
            self.await_call(name, patience_s, **labels)
        yield
        for name in names:
            silent_s = self.await_silence(name, patience_s, **labels)
            self.rows.add(injected, f"I6 {name}", silent_s, "silent again")

    def _await(self, what: str, holds: Callable[[], bool], patience_s: float) -> float:
        began_s = time.monotonic()
        try:
            self.prometheus.await_that(holds, patience_s)
        except TimeoutError as error:
            pending = [dict(labels) for labels in self.prometheus.alert_labels("pending")]
            firing = [dict(labels) for labels in self.prometheus.alert_labels()]
            raise AssertionError(f"{what}; pending: {pending}; firing: {firing}") from error
        return time.monotonic() - began_s


@contextmanager
def watched(system: System, stages: Sequence[str], folder: Path, rows: Rows, factor: float = FACTOR) -> Iterator[Calls]:
    """Start services, and a Prometheus that watches them."""
    for stage in stages:
        system.start(stage)
    targets = {stage: [f"127.0.0.1:{system.ports[f'{stage}-0']}"] for stage in stages}
    if system.model_server_url != NO_NETWORKS:
        targets["torchserve"] = [urlsplit(system.model_metrics_url).netloc]
    rules = shortened_rules(folder / "rules", factor)
    try:
        with running_prometheus(folder / "prometheus", targets, rules=rules) as prometheus:
            calls = Calls(prometheus, rows)
            for stage in stages:
                calls.await_silence("TargetDown", job=stage)
            yield calls
    finally:
        system.stop_all()


def write_flat(folder: Path, zs: Sequence[int], lighter: int = 0) -> None:
    """Write slices without a nucleus, all of one mean grey."""
    for z in zs:
        tifffile.imwrite(folder / slice_name(z), toy_slice(0, seed=z) + lighter)


def keep_writing(folder: Path, first: int, holds: Callable[[], bool], lighter: int = 0) -> int:
    """Write a slice every half second until something holds; return the next z."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, "it never held"
        write_flat(folder, [first], lighter)
        first += 1
        time.sleep(0.5)  # noqa: TID251 (a microscope takes its time)
    return first


def poison(system: System, topic: str, count: int) -> None:
    """Put messages on a topic that nobody can read."""
    with system.stack() as stack:
        producer = stack.bus.producer()
        kind, payload = HOSTILE["noise"]
        producer.publish([Outgoing(topic, system.acquisition, kind, payload + bytes([n])) for n in range(count)])
        producer.close()


def dismiss_dead_letters(system: System) -> None:
    """Say that somebody dealt with the dead letters, as `dead-letters dismiss` does."""
    with system.stack() as stack:
        site = Site(settings_of(stack.store, system.acquisition), stack.store, lambda: stack.bus, dict)
        with site.open_dead_letters() as letters:
            assert letters, f"nothing on {DEAD_LETTERS}"


@pytest.fixture
def small_system(kafka: KafkaServer, minio: S3Server, slices: Path, tmp_path: Path) -> System:
    """A system without networks."""
    system = System(tmp_path / "logs", kafka, minio, NO_NETWORKS, slices)
    system.set_up()
    return system


def test_every_alert_of_a_fault_is_brought_about_below() -> None:
    assert alert_names() == FIRED_BELOW | NEVER
    assert not FIRED_BELOW & NEVER


def test_what_goes_wrong_in_the_folder_calls_by_name(small_system: System, tmp_path: Path, rows: Rows) -> None:
    system = small_system
    system.watch = True
    with small_disk(tmp_path / "share", 30 * GIB) as share:
        system.slices = share.folder / "slices"
        system.slices.mkdir()
        with watched(system, ("ingest", "extract-detect"), tmp_path, rows, FOLDER_FACTOR) as calls:
            calls.await_call("Watchdog")
            pace_known_s = time.monotonic() + 30.0
            z = keep_writing(system.slices, 0, lambda: time.monotonic() > pace_known_s)
            with calls.fault("no slice for four intervals", "AcquisitionStalled"):
                z = keep_writing(system.slices, z, lambda: not calls.calling("AcquisitionStalled", {}))
            share.resize(1 * GIB)
            poison(system, "slices", 5)
            with calls.fault("five dead letters of one service", "DlqBurst", stage="extract-detect"):
                pass
            # A gap of three, and slices behind it.
            write_flat(system.slices, range(z + 3, z + 8))
            shutil.copy(system.slices / slice_name(2), system.slices / "again_0001.tif")
            with calls.fault("another file for a z", "SliceConflict"):
                pass
            with calls.fault("three slices missing", "SliceGap", "SliceGapWide"):
                write_flat(system.slices, range(z, z + 3))
            with calls.fault("share nearly full", "DiskAlmostFull", "DiskWillFill"):
                share.resize(30 * GIB)
            away = system.slices.rename(share.folder / "away")
            with calls.fault("share away", "DependencyDown", job="ingest", dependency="disk"):
                away.rename(system.slices)
            with calls.fault("a dead letter nobody looks at", "DlqNonEmpty"):
                dismiss_dead_letters(system)
            z = keep_writing(system.slices, z + 8, lambda: calls.calling("QualityDrift", {}), lighter=60)
            with calls.fault("slices lighter by 60 of 255", "QualityDrift"):
                keep_writing(system.slices, z, lambda: not calls.calling("QualityDrift", {}))
            system.extra_of["ingest"] = clock_ahead(300.0, tmp_path / "clock")
            system.restart("ingest")
            keep_writing(system.slices, z + 200, lambda: calls.calling("ClockSkew", {"job": "ingest"}))
            with calls.fault("clock of ingest five minutes ahead", "ClockSkew", job="ingest"):
                system.extra_of.clear()
                system.restart("ingest")


def test_what_goes_wrong_with_field_and_images_calls_by_name(small_system: System, tmp_path: Path, rows: Rows) -> None:
    system = small_system
    system.slices, system.watch = tmp_path / "slices", True
    system.slices.mkdir()
    system.extra["FIBSEM_METHOD__REGISTRATION"] = "translation"
    # The stage drifts: the first nucleus would be cut near z 36, and is brought back before.
    stage = np.zeros((PLANES, 2), np.int64)
    stage[:31, 1] = np.rint(np.linspace(-24, 12, 31))
    noisy = (47, 49, 51)

    def deliver(first: int, last: int) -> None:
        for z in range(first, last + 1):
            noise = np.random.default_rng(z).integers(0, 256, FIELD, np.uint8)
            tifffile.imwrite(system.slices / slice_name(z), noise if z in noisy else moved_slice(z, stage))

    with watched(system, ("ingest", "extract-detect", "extract-follow"), tmp_path, rows, FOLDER_FACTOR) as calls:
        deliver(0, 30)
        with calls.fault("a nucleus drifts out of the field", "NucleusLeavesField"):
            deliver(31, 39)
        deliver(40, PLANES - 1)
        # Noise has no structure, as a blank slice has none.
        calls.await_call("SliceTroubled", reason="blank")
        with calls.fault("three slices of noise", "SlicesTroubled", "SlicesUnlinked"):
            pass
        calls.await_silence("SliceTroubled", reason="blank")


def test_what_goes_wrong_with_processes_bus_and_store_calls_by_name(
    small_system: System, minio: S3Server, tmp_path: Path, rows: Rows
) -> None:
    system = small_system
    stages = ("ingest", "extract-detect", "extract-follow")
    system.watch, source, system.slices = True, system.slices, tmp_path / "slices"
    system.slices.mkdir()
    names = iter(sorted(path.name for path in source.iterdir()))

    def deliver(count: int) -> None:
        for _, name in zip(range(count), names, strict=False):
            shutil.copy(source / name, system.slices / name)

    with fault_proxy(minio.port) as proxy:
        system.s3_endpoint = proxy.endpoint
        system.extra["FIBSEM_S3__READ_TIMEOUT_S"] = "3"
        with watched(system, stages, tmp_path, rows) as calls:
            deliver(20)
            # A service that was never started is down.
            calls.await_call("TargetDown", job="components")
            system.processes["extract-detect-0"].kill()
            with calls.fault("service killed", "TargetDown", job="extract-detect"):
                system.start("extract-detect")
            system.processes["extract-follow-0"].freeze()
            with calls.fault("service frozen", "TargetDown", job="extract-follow"):
                system.processes["extract-follow-0"].thaw()
            system.kafka.stop()
            with calls.fault("broker away", "DependencyDown", dependency="bus"):
                system.kafka.start()
            proxy.fail(Fault.REFUSED)
            deliver(5)
            with calls.fault("store away", "DependencyDown", dependency="store"):
                proxy.heal()
            for job in stages:
                calls.await_silence("DependencyDown", job=job)
            proxy.fail(Fault.FLIPPED)
            deliver(5)
            with calls.fault("bits flipped on the way from the store", "HashMismatch"):
                proxy.heal()
            storm(system)
            with calls.fault("a replica comes and goes", "RebalanceStorm", stage="extract-detect"):
                pass
            for _ in range(5):
                system.processes["extract-detect-0"].kill()
                system.start("extract-detect")
                calls.await_scraped("extract-detect")
            with calls.fault("service killed five times", "CrashLoop", job="extract-detect"):
                pass
            lose_a_place(system, calls, deliver)


def lose_a_place(system: System, calls: Calls, deliver: Callable[[int], None]) -> None:
    """Have the bus lose what a service has still to read, and mend it as the runbook says."""
    system.processes["extract-detect-0"].stop()
    with system.stack() as stack:
        detected = len(system.standing(stack).detected)
    deliver(5)
    system.await_standing(lambda found: found.backlog["extract-detect"] >= 5)
    lose_records(system, "slices")
    with system.supervised():
        system.start("extract-detect")
        calls.await_call("OffsetReset", topic="slices")
    system.processes["extract-detect-0"].stop()
    with system.stack() as stack:
        rewind(stack, "extract-detect", LogEnd.EARLIEST)
    with calls.fault("records lost before they were read", "OffsetReset", topic="slices"):
        system.start("extract-detect", wait=True)
        with system.stack() as stack:
            reconcile(stack)
    system.await_standing(lambda found: len(found.detected) >= detected + 5)


def lose_records(system: System, topic: str) -> None:
    """Delete every record of a topic, as too short a retention does."""
    consumer = kafka.KafkaConsumer(bootstrap_servers=system.kafka.bootstrap)
    ends = consumer.end_offsets([kafka.TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic)])
    consumer.close()
    admin = KafkaAdminClient(bootstrap_servers=system.kafka.bootstrap)
    admin.delete_records(ends)
    admin.close()


def storm(system: System) -> None:
    """Have a replica come and die, three times."""
    for _ in range(3):
        replica = system.start("extract-detect", member="1", wait=True)
        time.sleep(3.0)  # noqa: TID251 (until the group has shared out anew)
        replica.kill()
        # The session ends, and the others take over.
        time.sleep(9.0)  # noqa: TID251
    system.processes.pop("extract-detect-1")


@pytest.fixture
def own_torchserve(tmp_path: Path) -> Iterator[TorchServeServer]:
    """A model server that a test may kill."""
    with running_torchserve(tmp_path / "torchserve") as server:
        yield server


def test_what_goes_wrong_with_the_model_server_calls_by_name_and_changes_nothing(
    system: System,
    own_torchserve: TorchServeServer,
    local: Runner,
    tmp_path: Path,
    rows: Rows,
) -> None:
    system.model_server_url, system.model_metrics_url = own_torchserve.url, own_torchserve.metrics_url
    with watched(system, tuple(STAGES), tmp_path, rows) as calls:
        system.await_segmented(5)
        own_torchserve.process.freeze()
        calls.await_call("PipelineStuck", stage="inference")
        with calls.fault("model server hangs", "PipelineStuck", stage="inference"):
            own_torchserve.process.thaw()
        calls.await_silence("DependencyDown", dependency="segmenter")
        own_torchserve.kill()
        with (
            calls.fault("model server gone", "InferenceCanaryFailed"),
            calls.fault("model server gone", "DependencyDown", job="inference", dependency="segmenter"),
            calls.fault("model server gone", "TargetDown", job="torchserve"),
        ):
            own_torchserve.start()
        require_same_results(system, local.manifest(), tmp_path / "out")
        # The disk is that of whoever runs the tests.
        calls.prometheus.await_that(lambda: calls.prometheus.alerts() - OF_THE_DISK == {"Watchdog"}, 2 * PATIENCE_S)


def test_a_backlog_calls_by_name_while_it_grows_and_while_it_is_worked_off(
    system: System, own_torchserve: TorchServeServer, tmp_path: Path, rows: Rows
) -> None:
    system.model_server_url, system.model_metrics_url = own_torchserve.url, own_torchserve.metrics_url
    system.slices, system.watch = tmp_path / "slices", True
    system.slices.mkdir()
    over = threading.Event()

    def write() -> None:
        for z in itertools.count():
            if over.wait(1.0):
                return
            tifffile.imwrite(system.slices / slice_name(z), toy_slice(z % PLANES, seed=z // PLANES))

    microscope = threading.Thread(target=write)
    with watched(system, tuple(STAGES), tmp_path, rows, BACKLOG_FACTOR) as calls:
        microscope.start()
        try:
            system.await_segmented(5)
            own_torchserve.kill()
            with calls.fault("model server gone for longer", "BacklogGrowing", patience_s=400.0, stage="inference"):
                own_torchserve.start()
            with calls.fault("backlog worked off", "FallingBehind", patience_s=200.0, stage="inference"):
                over.set()
        finally:
            over.set()
            microscope.join()
