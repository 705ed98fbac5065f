"""The deployed system gives the results of a local run, to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.toy_acquisition import Runner
from tests.system.deployed import System

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]


def test_a_deployed_run_gives_the_manifest_of_a_local_one(system: System, local: Runner, tmp_path: Path) -> None:
    system.start_all()
    system.await_complete()
    assert system.collect(tmp_path / "out") == local.manifest()
