"""A disk is really full, under the store, the broker, the results: work waits or ends with the reason, and goes on."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.toy_acquisition import Runner
from tests.system.deployed import System
from tests.system.invariants import dead_letters, pids, require_recovery, require_same_results
from tests.system.matrix import Rows
from tests.system.servers.kafka import KafkaServer, running_kafka
from tests.system.servers.minio import running_minio
from tests.system.servers.process import LOOK_EVERY_S, ServerProcess
from tests.system.servers.s3_server import S3Server
from tests.system.servers.small_disk import SmallDisk, small_disk
from tests.system.servers.torchserve import TorchServeServer

pytestmark = [pytest.mark.system, pytest.mark.full, pytest.mark.timeout(1200)]

MIB = 1 << 20
PATIENCE_S = 400.0


def await_that(holds: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, what
        time.sleep(LOOK_EVERY_S)  # noqa: TID251 (real processes, in real time)


def logged(system: System, *words: str) -> bool:
    """Whether some service wrote a line with all these words."""
    return any(
        all(word in line for word in words)
        for process in system.processes.values()
        for line in process.log.read_text().splitlines()
    )


@pytest.fixture
def full_store(tmp_path: Path) -> Iterator[tuple[S3Server, SmallDisk]]:
    """A store on a disk of its own."""
    with (
        small_disk(tmp_path / "minio" / "data", 512 * MIB) as disk,
        running_minio(tmp_path / "minio") as server,
    ):
        yield server, disk


def test_work_waits_while_the_disk_of_the_store_is_full(
    kafka: KafkaServer,
    full_store: tuple[S3Server, SmallDisk],
    torchserve: TorchServeServer,
    slices: Path,
    local: Runner,
    tmp_path: Path,
    rows: Rows,
) -> None:
    server, disk = full_store
    system = System(tmp_path / "logs", kafka, server, torchserve.url, slices)
    system.set_up()
    system.start_all()
    try:
        system.await_segmented(8)
        running = pids(system)
        disk.fill()
        await_that(lambda: logged(system, "dependency_outage", "StorageFull"), system.said())
        disk.make_room()
        seconds = require_recovery(system)
        require_same_results(system, local.manifest(), tmp_path / "out")
        assert pids(system) == running, system.said()
        with system.stack() as stack:
            assert dead_letters(stack) == []
    finally:
        system.stop_all()
    rows.add("disk of the store full", "I1 I2 I3 I5; no service ends", seconds)


@pytest.fixture
def full_broker(tmp_path: Path) -> Iterator[tuple[KafkaServer, SmallDisk]]:
    """A broker whose log lies on a disk of its own."""
    with (
        small_disk(tmp_path / "kafka" / "data", 512 * MIB) as disk,
        running_kafka(tmp_path / "kafka") as server,
    ):
        yield server, disk


def test_work_waits_while_the_disk_of_the_broker_is_full(
    full_broker: tuple[KafkaServer, SmallDisk],
    minio: S3Server,
    torchserve: TorchServeServer,
    slices: Path,
    local: Runner,
    tmp_path: Path,
    rows: Rows,
) -> None:
    """A broker that cannot write its log ends itself; a supervisor starts it again when there is room."""
    broker, disk = full_broker
    system = System(tmp_path / "logs", broker, minio, torchserve.url, slices)
    system.set_up()
    system.start_all()
    try:
        system.await_segmented(8)
        running = pids(system)
        disk.fill()
        await_that(lambda: not broker.process.is_running, broker.process.last_lines())
        assert "No space left on device" in broker.process.log.read_text(errors="replace")
        await_that(lambda: logged(system, "outage", "bus is unavailable"), system.said())
        disk.make_room()
        broker.start()
        seconds = require_recovery(system)
        require_same_results(system, local.manifest(), tmp_path / "out")
        assert pids(system) == running, system.said()
        with system.stack() as stack:
            assert dead_letters(stack) == []
    finally:
        system.stop_all()
    rows.add("disk of the broker full, until it ended", "I1 I2 I3 I5; no service ends", seconds)


@pytest.fixture(scope="module")
def finished(
    minio: S3Server, torchserve: TorchServeServer, slices: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A system that is done with the acquisition."""
    folder = tmp_path_factory.mktemp("finished")
    with running_kafka(folder / "kafka") as kafka:
        system = System(folder / "logs", kafka, minio, torchserve.url, slices)
        system.set_up()
        system.start_all()
        try:
            system.await_complete()
        finally:
            system.stop_all()
        yield system


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from services.cli import main; main()", *arguments]


def torn_results(out: Path, manifest: str) -> list[str]:
    """Return the results in a folder that are there and are not what the manifest says, parts of files among them."""
    expected = dict(line.split("  ")[::-1] for line in manifest.splitlines())
    torn = [str(path.relative_to(out)) for path in out.rglob("*.part") if path.is_file()]
    for name, digest in expected.items():
        if (out / name).is_file() and hashlib.sha256((out / name).read_bytes()).hexdigest() != digest:
            torn.append(name)
    return torn


@pytest.mark.parametrize("left_bytes", [0, 100_000, 1_000_000])
def test_collecting_onto_a_full_disk_ends_with_the_reason_and_can_be_repeated(
    left_bytes: int, finished: System, local: Runner, tmp_path: Path, rows: Rows
) -> None:
    with small_disk(tmp_path / "results", 256 * MIB) as disk:
        out = disk.folder / "out"
        disk.fill(left_bytes)
        done = subprocess.run(
            command("collect", "stack", "--out", str(out)),
            env=finished.process_environment("operator"),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 1, done.stdout + done.stderr
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        assert torn_results(out, local.manifest()) == []
        disk.make_room()
        assert finished.collect(out) == local.manifest()
    rows.add(f"disk of the results full but for {left_bytes} bytes", "I2; clear end, nothing torn")


def test_a_local_run_waits_while_its_disk_is_full(slices: Path, local: Runner, tmp_path: Path, rows: Rows) -> None:
    with small_disk(tmp_path / "results", 512 * MIB) as disk:
        out = disk.folder / "out"
        arguments = ("run", str(slices), "--out", str(out), "--acquisition", "toy", "--voxel-nm", "80,80,80")
        run = ServerProcess(command(*arguments), tmp_path / "run.log", lambda: True)
        run.start()
        try:
            await_that(lambda: len([*out.glob("**/planes/*")]) >= 8, run.last_lines())
            disk.fill()
            await_that(lambda: "No space left" in run.log.read_text() or not run.is_running, run.last_lines())
            assert run.is_running, run.last_lines()
            disk.make_room()
            began_s = time.monotonic()
            count = len([*out.glob("**/planes/*")])
            await_that(lambda: len([*out.glob("**/planes/*")]) > count, run.last_lines())
            seconds = time.monotonic() - began_s
            await_that(lambda: not run.is_running, run.last_lines())
            assert run.exit_status == 0, run.last_lines()
        finally:
            run.stop()
        assert (out / "MANIFEST.sha256").read_text() == local.manifest()
    rows.add("disk of a local run full", "I2; it waits", seconds)
