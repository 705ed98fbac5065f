"""On a Docker Swarm, replicas come, go and die while slices arrive, and the results are those of a local run."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.servers.docker import REPOSITORY, build_images, running_engine
from tests.system.simulated import local_manifest, microscope

pytestmark = [pytest.mark.system, pytest.mark.full, pytest.mark.timeout(7200)]

STACK = "fibsem-test"
SCALED = ("inference", "extract-detect")
# Scaling and a death fall while slices arrive: 400 take seven minutes, and the nucleus lies in the middle five.
PERIOD_S = 1.0
DONE = 'sum by (stage) (increase(fibsem_messages_processed_total{{stage=~"inference|extract-detect"}}[{window:.0f}s]))'
LAG = 'fibsem:consumer_lag:messages{stage=~"inference|extract-detect"}'


def docker(*words: str, patience_s: float = 300.0, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        ["docker", *words], capture_output=True, text=True, timeout=patience_s, check=False, env=environment
    )
    assert done.returncode == 0, f"{words}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def eventually(is_so: Callable[[], bool], what: str, patience_s: float = 300.0) -> None:
    deadline_s = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < deadline_s, f"{what}: not within {patience_s:.0f} s\n{docker('service', 'ls')}"
        time.sleep(2.0)  # noqa: TID251 (real containers, in real time)


@dataclass(frozen=True)
class Swarm:
    """The stack of the test, by the script that a site uses."""

    results: Path

    def script(self, *words: str) -> str:
        environment = {
            **os.environ,  # noqa: TID251 (handed on, not read)
            "STACK": STACK,
            "RESOLVE_IMAGE": "never",
            "KAFKA_IMAGE": "fibsem-nuclei/kafka:0.1.0",
            "KAFKA_USER": "10001:10001",
            "PROMETHEUS_IMAGE": "fibsem-nuclei/prometheus:0.1.0",
            "ALERTMANAGER_IMAGE": "fibsem-nuclei/prometheus:0.1.0",
            "PROMETHEUS_USER": "10001:10001",
            "ALERTMANAGER_UID": "10001",
            "RESULTS": str(self.results),
            **microscope(PERIOD_S),
        }
        done = subprocess.run(
            [str(REPOSITORY / "deploy" / "swarm.sh"), *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )
        assert done.returncode == 0, f"{words}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def containers(self, service: str, *filters: str) -> list[str]:
        """Return the running containers of one service; `filters` as those of docker ps."""
        wanted = [f"label=com.docker.swarm.service.name={STACK}_{service}", *filters]
        return docker("ps", "--quiet", *(word for each in wanted for word in ("--filter", each))).split()

    def await_well(self, service: str, replicas: int) -> None:
        eventually(
            lambda: len(self.containers(service, "health=healthy")) == replicas == len(self.containers(service)),
            f"{replicas} of {service}",
        )

    def scale(self, replicas: int) -> None:
        docker("service", "scale", "--detach", *(f"{STACK}_{name}={replicas}" for name in SCALED))
        for name in SCALED:
            self.await_well(name, replicas)

    def ask(self, expression: str) -> dict[str, float]:
        """Return what Prometheus knows, by stage."""
        (container,) = self.containers("prometheus")
        said = docker(
            "exec", container, "promtool", "query", "instant", "-o", "json", "http://127.0.0.1:9090", expression
        )
        return {sample["metric"]["stage"]: float(sample["value"][1]) for sample in json.loads(said)}

    def phase(self, name: str, seconds: float) -> None:
        """Let it work for a while; print how much was done meanwhile and how much waits."""
        time.sleep(seconds)  # noqa: TID251 (real containers, in real time)
        done, lag = self.ask(DONE.format(window=seconds)), self.ask(LAG)
        for stage in SCALED:
            speed = done.get(stage, 0.0) / seconds
            print(f"{name:>32}  {stage:15} {speed:6.2f} messages/s, {lag.get(stage, 0.0):4.0f} waiting")


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Swarm]:
    results = tmp_path / "results"
    results.mkdir()
    # The containers' user writes there.
    results.chmod(0o777)
    with running_engine(tmp_path):
        build_images()
        was_manager = docker("info", "--format", "{{.Swarm.LocalNodeState}}").strip() == "active"
        if not was_manager:
            docker("swarm", "init", "--advertise-addr", "127.0.0.1")
        swarm = Swarm(results)
        try:
            swarm.script("up")
            yield swarm
        finally:
            swarm.script("down")
            if not was_manager:
                docker("swarm", "leave", "--force")
            remove_volumes()


def remove_volumes() -> None:
    """Leave nothing on the machine; a volume is free once its containers are gone."""
    left = ["volume", "ls", "--quiet", "--filter", f"name={STACK}_"]
    eventually(lambda: not docker("ps", "--quiet", "--filter", f"name={STACK}"), "the end of the stack")
    if volumes := docker(*left).split():
        docker("volume", "rm", "--force", *volumes)


def test_replicas_come_go_and_die_while_slices_arrive_and_the_manifest_is_a_local_runs(
    swarm: Swarm, tmp_path: Path
) -> None:
    for service in ("inference", "extract-detect", "components"):
        swarm.await_well(service, 1)
    swarm.script("simulate")
    eventually(lambda: swarm.ask(DONE.format(window=60.0)).get("inference", 0.0) > 0, "the first label plane")
    swarm.phase("one replica", 30.0)
    swarm.scale(3)
    swarm.phase("three replicas", 30.0)
    docker("kill", swarm.containers("inference")[0])
    swarm.phase("three replicas, one killed", 30.0)
    swarm.await_well("inference", 3)
    swarm.scale(1)
    swarm.phase("one replica again", 30.0)
    assert "complete" in swarm.script("operate", "collect", "stack", "--wait", "--out", "/results/live")
    assert (swarm.results / "live" / "MANIFEST.sha256").read_text() == local_manifest(tmp_path)
