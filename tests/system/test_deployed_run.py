"""The deployed system gives the results of a local run, to the byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.embedded.run import Parts
from services.runtime.deployment import SHIPPED_MODELS
from tests.support.toy_acquisition import Runner, toy_settings, write_toy
from tests.system.deployed import System
from tests.system.servers.kafka import KafkaServer
from tests.system.servers.s3_server import S3Server
from tests.system.servers.torchserve import TorchServeServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]

PLANES = 60


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy") / "slices", PLANES)


@pytest.fixture(scope="module")
def local(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """The same acquisition in one process, with the same networks: what every deployed run must equal."""
    settings = toy_settings(slices, models=SHIPPED_MODELS)
    runner = Runner(tmp_path_factory.mktemp("local"), settings, parts=Parts())
    runner.to_the_end()
    return runner


@pytest.fixture
def system(
    kafka: KafkaServer, minio: S3Server, torchserve: TorchServeServer, slices: Path, tmp_path: Path
) -> Iterator[System]:
    system = System(tmp_path / "logs", kafka, minio, torchserve.url, slices)
    system.set_up()
    yield system
    system.stop_all()


def test_a_deployed_run_gives_the_manifest_of_a_local_one(system: System, local: Runner, tmp_path: Path) -> None:
    system.start_all()
    system.await_complete()
    assert system.collect(tmp_path / "out") == local.manifest()
