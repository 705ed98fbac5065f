"""A deployed system's outside, on the embedded adapters: bus and store are ports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.deployed.stack import Stack
from services.runtime.bus.port import Bus
from services.runtime.deployment import Deployment
from services.runtime.store.port import ArtefactStore
from tests.support.ingest_bench import Bench

NOWHERE = Deployment.model_validate(
    {
        "kafka": {"bootstrap": "nowhere:1"},
        "s3": {"endpoint": "http://nowhere:1", "access_key": "operator", "secret_key": "of no use"},
    }
)


def stack_of(store: ArtefactStore, bus: Bus) -> Stack:
    return Stack(NOWHERE, store, bus)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()
