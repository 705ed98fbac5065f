"""`docker compose up` with the simulated microscope, to a finished result that equals a local run's.

Meanwhile the model server takes published networks over, which a decision names, and they are compared in shadow mode.
Everything is built on a base of Debian's packages, since nothing need be pulled for that: Kafka, MinIO, TorchServe,
Prometheus, Alertmanager and every service. Grafana cannot be built that way; its panels are proven elsewhere.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.shipped_networks import altered
from tests.system.deployed import without
from tests.system.servers.docker import LOCAL_FILES, REPOSITORY, build_images, compose, running_engine
from tests.system.simulated import local_manifest, microscope

pytestmark = [pytest.mark.system, pytest.mark.full, pytest.mark.timeout(5400)]

PROJECT = "fibsem-nuclei-test"
STARTED = (
    "kafka", "minio", "torchserve", "prometheus", "alertmanager",
    "ingest", "extract-detect", "extract-follow", "inference", "postprocess", "components", "shadow", "trainer",
)  # fmt: skip
# Behind the last slice: results stay those of the networks that are deployed.
NEVER = "100000"
MODELS_SERVED = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8081/models').read().decode())"


class Stack:
    """The compose project of the test."""

    def __init__(self, results: Path) -> None:
        self._compose = [
            *compose(), "--project-name", PROJECT, *LOCAL_FILES,
        ]  # fmt: skip
        self._environment = {
            **os.environ,  # noqa: TID251 (handed on, not read)
            "RESULTS": str(results),
            **microscope(period_s=0.2),
        }

    def run(self, *words: str, patience_s: float = 1800.0) -> str:
        done = subprocess.run(
            [*self._compose, *words],
            cwd=REPOSITORY,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=patience_s,
            check=False,
        )
        assert done.returncode == 0, f"{words}:\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    def operate(self, *words: str) -> str:
        return self.run("run", "--rm", "-T", "operate", "fibsem-nuclei", *words)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    results = tmp_path / "results"
    results.mkdir()
    # The containers' user writes there.
    results.chmod(0o777)
    subprocess.run(["python3", str(REPOSITORY / "deploy" / "make_secrets.py")], check=True)
    with running_engine(tmp_path):
        stack = Stack(results)
        build_images()
        yield stack
        stack.run(
            "--profile", "simulate", "--profile", "tools", "--profile", "train", "down", "--volumes", "--remove-orphans"
        )


def test_compose_up_with_a_microscope_ends_in_the_manifest_of_a_local_run(stack: Stack, tmp_path: Path) -> None:
    stack.run("up", "--detach", "--no-build", *STARTED)
    (tmp_path / "results" / "networks").mkdir()
    address = altered(tmp_path / "results" / "networks", "membrane", licence="BSD-3-Clause (again)")
    stack.operate("models", "publish", "stack", f"/results/networks/{address}")
    stack.operate("models", "use", "stack", address, "--from-z", NEVER)
    stack.operate("models", "shadow", "stack", address)
    stack.run("--profile", "simulate", "up", "--detach", "--no-build", "microscope")
    said = stack.operate("collect", "stack", "--wait", "--out", "/results/live")
    assert "complete" in said
    live = tmp_path / "results" / "live"
    expected = local_manifest(tmp_path)
    tells = ("events.jsonl", "provenance.json")
    assert without((live / "MANIFEST.sha256").read_text(), *tells) == without(expected, *tells)
    events = (live / "events.jsonl").read_text().splitlines()
    (swap,) = [line for line in events if '"decision"' in line]
    assert '"MODELS_SWAPPED"' in swap
    assert [line for line in events if line != swap] == (tmp_path / "local" / "events.jsonl").read_text().splitlines()
    assert "healthy" in stack.run("ps", "--format", "{{.Name}} {{.Status}}")
    assert address in stack.operate("models", "history", "stack", "--json")
    # The candidate has the same weights as the network in use: wherever both answered, they agree.
    compared = json.loads(stack.operate("models", "shadow", "stack", "--json"))
    assert compared["networks"] == [address]
    assert compared["crops"] > 0
    assert compared["equal"] == 1.0
    # The set that was built into the image, and the one that was taken over since.
    assert stack.run("exec", "-T", "torchserve", "python", "-c", MODELS_SERVED).count('"modelName": "nucleus') == 2
    targets = stack.run("exec", "-T", "prometheus", "promtool", "query", "instant", "http://127.0.0.1:9090", "up == 1")
    for service in STARTED[STARTED.index("ingest") :]:
        assert f'job="{service}"' in targets
