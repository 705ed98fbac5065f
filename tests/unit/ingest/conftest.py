from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ingest_bench import Bench

MEMORY = Path("/dev/shm")


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A bench on a file system in memory where there is one: the store waits for the disk at every put."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        found = Bench(Path(folder))
        yield found
        found.close()
