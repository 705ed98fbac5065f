"""Real servers, once per test process: a broker, a store, a model server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.servers.kafka import KafkaServer, running_kafka
from tests.system.servers.minio import running_minio
from tests.system.servers.s3_server import S3Server
from tests.system.servers.torchserve import TorchServeServer, running_torchserve


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    with running_kafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_minio(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture(scope="session")
def torchserve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeServer]:
    with running_torchserve(tmp_path_factory.mktemp("torchserve")) as server:
        yield server
