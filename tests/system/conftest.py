"""Real servers: a broker for each test; a store and a model server once per test process."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.embedded.run import Parts
from services.runtime.deployment import SHIPPED_MODELS
from tests.support.toy_acquisition import Runner, toy_settings, write_toy
from tests.system.deployed import System
from tests.system.matrix import Rows
from tests.system.servers.kafka import KafkaServer, running_kafka
from tests.system.servers.minio import running_minio
from tests.system.servers.s3_server import S3Server
from tests.system.servers.torchserve import TorchServeServer, running_torchserve

PLANES = 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bear with kafka-python, which leaves some sockets of what it closes to the garbage collector."""
    for item in items:
        # Whichever real-server test runs after one that left some: the collector does not ask whose they were.
        if item.get_closest_marker("system") is not None:
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


@pytest.fixture(autouse=True)
def garbage_of_its_own() -> Iterator[None]:
    """Collect what a test leaves while its own filters hold."""
    yield
    gc.collect()


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> Iterator[Rows]:
    """Take the rows of the failure matrix that this test tells of; they are written with its result."""
    found, failed_before = Rows(), request.session.testsfailed
    yield found
    found.write(request.node.nodeid, passed=request.session.testsfailed == failed_before)


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[KafkaServer]:
    """A broker without records: every run has the same acquisition."""
    with running_kafka(tmp_path / "kafka") as server:
        yield server


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_minio(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture(scope="session")
def torchserve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeServer]:
    with running_torchserve(tmp_path_factory.mktemp("torchserve")) as server:
        yield server


@pytest.fixture(scope="session")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy") / "slices", PLANES)


@pytest.fixture(scope="session")
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
