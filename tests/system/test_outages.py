"""Servers go away and come back, in the middle of a run; it waits, goes on, and gives the results of any other."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.contracts.topics import TOPICS
from services.deployed.rebuilding import reconcile
from services.runtime.bus.port import Outgoing
from tests.support.hostile_wire import HOSTILE
from tests.support.toy_acquisition import Runner
from tests.system.deployed import STAGES, System
from tests.system.invariants import dead_letters, pids, require_recovery, require_same_results
from tests.system.matrix import Rows
from tests.system.servers.fault_proxy import Fault, FaultProxy, fault_proxy
from tests.system.servers.kafka import KafkaServer
from tests.system.servers.process import ServerProcess
from tests.system.servers.s3_server import S3Server
from tests.system.servers.torchserve import TorchServeServer, running_torchserve

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

EXIT_S = 10.0


def pause(seconds: float) -> None:
    """Let an outage last."""
    time.sleep(seconds)  # noqa: TID251 (real outages last)


@pytest.fixture
def own_torchserve(tmp_path: Path) -> Iterator[TorchServeServer]:
    """A model server that a test may kill."""
    with running_torchserve(tmp_path / "torchserve") as server:
        yield server


def outage(server: ServerProcess, seconds: float) -> None:
    """Take a server away for so long."""
    server.kill()
    pause(seconds)
    server.start()


def test_every_server_goes_away_in_turn_and_no_service_ends(
    system: System, own_torchserve: TorchServeServer, local: Runner, tmp_path: Path, rows: Rows
) -> None:
    def recovered(injected: str) -> None:
        rows.add(injected, "I1 I2 I3 I5; no service ends, no dead letter", require_recovery(system))

    system.model_server_url = own_torchserve.url
    system.start_all()
    system.await_segmented(10)
    running = pids(system)
    # Longer than the time after which the client gives records up (25 s).
    system.kafka.stop()
    pause(60.0)
    system.kafka.start()
    recovered("broker away for 60 s")
    outage(system.s3.process, 20.0)
    recovered("store away for 20 s")
    own_torchserve.kill_worker()
    recovered("worker of the model server killed")
    own_torchserve.process.freeze()
    pause(30.0)
    own_torchserve.process.thaw()
    recovered("model server hangs for 30 s")
    own_torchserve.kill()
    pause(5.0)
    own_torchserve.start()
    recovered("model server gone for 5 s, and its start")
    require_same_results(system, local.manifest(), tmp_path / "out")
    assert pids(system) == running, system.said()
    with system.stack() as stack:
        assert dead_letters(stack) == []


def test_a_bus_that_lost_everything_is_rebuilt_from_the_store(
    system: System, local: Runner, tmp_path: Path, rows: Rows
) -> None:
    system.start_all()
    with system.supervised():
        system.await_segmented(30)
        system.kafka.wipe()
        system.kafka.start()
        with system.stack() as stack:
            assert reconcile(stack)[system.acquisition] >= 60
        seconds = require_recovery(system)
        require_same_results(system, local.manifest(), tmp_path / "out")
    rows.add("broker's log wiped, then `reconcile`", "I1 I2 I3 I5", seconds)


@pytest.fixture
def proxied(
    kafka: KafkaServer, minio: S3Server, torchserve: TorchServeServer, slices: Path, tmp_path: Path
) -> Iterator[tuple[System, FaultProxy]]:
    with fault_proxy(minio.port) as proxy:
        extra = {"FIBSEM_S3__READ_TIMEOUT_S": "3", "FIBSEM_S3__CONNECT_TIMEOUT_S": "2"}
        system = System(tmp_path / "logs", kafka, minio, torchserve.url, slices, extra=extra)
        system.set_up()
        system.s3_endpoint = proxy.endpoint
        yield system, proxy
        proxy.heal()
        system.stop_all()


def test_a_store_that_fails_in_every_way_costs_nothing_but_time(
    proxied: tuple[System, FaultProxy], local: Runner, tmp_path: Path, rows: Rows
) -> None:
    system, proxy = proxied
    system.start_all()
    system.await_segmented(5)
    running = pids(system)
    for fault, amount, seconds in (
        (Fault.UNAVAILABLE, 0, 6.0),
        (Fault.BLACK_HOLE, 0, 8.0),
        (Fault.REFUSED, 0, 6.0),
        (Fault.SLOW, 20_000, 8.0),
        (Fault.RESET, 2_000, 6.0),
        (Fault.CUT, 0, 6.0),
        (Fault.FLIPPED, 0, 6.0),
        (Fault.FLIPPED_UPLOAD, 0, 6.0),
    ):
        proxy.fail(fault, amount)
        pause(seconds)
        proxy.heal()
        rows.add(f"store: {fault}, {seconds:.0f} s", "I1 I2 I3 I5; no service ends", require_recovery(system))
    require_same_results(system, local.manifest(), tmp_path / "out")
    assert pids(system) == running, system.said()


def test_poison_on_every_topic_is_refused_and_what_comes_behind_it_flows(
    system: System, local: Runner, tmp_path: Path, rows: Rows
) -> None:
    """A few at a time: a service that meets only poison stops, as it should, rather than refuse everything."""
    poison = [HOSTILE[name] for name in sorted(HOSTILE)][:2]
    with system.stack() as stack:
        producer = stack.bus.producer()
        for topic in TOPICS:
            producer.publish([Outgoing(topic.name, system.acquisition, kind, payload) for kind, payload in poison])
        producer.close()
    system.start_all()
    system.await_complete()
    assert system.collect(tmp_path / "out") == local.manifest()
    with system.stack() as stack:
        read_by_services = sum(1 for topic in TOPICS if set(topic.consumers) & {*STAGES})
        assert len(dead_letters(stack)) >= read_by_services
        assert all("malformed_message" in letter for letter in dead_letters(stack))
    rows.add("two malformed messages on every topic, before anything else", "I2; each refused")


def test_replicas_share_the_work_and_any_of_them_may_end(
    system: System, local: Runner, tmp_path: Path, rows: Rows
) -> None:
    system.start_all()
    for stage in ("extract-detect", "inference", "postprocess", "components"):
        system.start(stage, member="1")
    system.await_segmented(15)
    # A replica dies for good; the others take over what it had in hand.
    system.processes.pop("inference-1").kill()
    system.processes.pop("postprocess-1").kill()
    rows.add("two replicas of four services, two killed for good", "I1 I2 I3 I5", require_recovery(system))
    # A rolling restart of everything else.
    for stage in STAGES:
        took_s = system.restart(stage)
        assert took_s < EXIT_S, f"{stage} took too long to end"
        rows.add(f"SIGTERM to {stage}", "I1 I2 I3; ends within 10 s", took_s, "its end")
    require_same_results(system, local.manifest(), tmp_path / "out")
    with system.stack() as stack:
        assert dead_letters(stack) == []
    logged = [json.loads(line) for line in system.processes["inference-0"].log.read_text().splitlines()]
    assert "stopped" in [entry["event"] for entry in logged]
