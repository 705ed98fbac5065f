"""Clocks of machines differ: results do not depend on them, and a store that refuses them is waited for."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.toy_acquisition import Runner
from tests.system.clocks import clock_ahead
from tests.system.deployed import System
from tests.system.invariants import dead_letters, pids, require_recovery, require_same_results
from tests.system.matrix import Rows
from tests.system.servers.process import LOOK_EVERY_S

pytestmark = [pytest.mark.system, pytest.mark.full, pytest.mark.timeout(1200)]

HOUR_S = 3600.0
# An S3 server bears a quarter of an hour.
BORNE_S = 840.0
PATIENCE_S = 400.0


def await_logged(system: System, name: str, words: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    process = system.processes[name]
    while words not in process.log.read_text():
        assert process.is_running, process.last_lines()
        assert time.monotonic() < deadline_s, process.last_lines()
        time.sleep(LOOK_EVERY_S)  # noqa: TID251 (real processes, in real time)


def test_clocks_that_differ_change_no_result_and_those_the_store_refuses_are_waited_for(
    system: System, local: Runner, tmp_path: Path, rows: Rows
) -> None:
    """Two services begin two hours off and wait; set right, they go on, still a quarter of an hour off."""
    ahead, behind = (clock_ahead(sign * BORNE_S, tmp_path / "clock") for sign in (1, -1))
    far_ahead, far_behind = (clock_ahead(sign * 2 * HOUR_S, tmp_path / "clock") for sign in (1, -1))
    system.extra_of = {
        "ingest": ahead, "extract-detect": far_ahead, "extract-follow": behind, "components": far_behind,
    }  # fmt: skip
    system.start_all()
    for stage, off_s in (("extract-detect", 7200), ("components", -7200)):
        await_logged(system, f"{stage}-0", f"differ by {off_s}")
    began = pids(system)
    system.extra_of |= {"extract-detect": ahead, "components": behind}
    for stage in ("extract-detect", "components"):
        system.restart(stage)
    seconds = require_recovery(system)
    require_same_results(system, local.manifest(), tmp_path / "out")
    with system.stack() as stack:
        assert dead_letters(stack) == []
    for name in ("ingest-0", "extract-follow-0", "inference-0", "postprocess-0"):
        assert system.processes[name].pid == began[name], system.said()
    rows.add("clocks of two services 2 h ahead and behind: they wait, and say so", "clear pause, no dead letter")
    rows.add("clocks of four services 14 min ahead and behind", "I1 I2 I3 I5", seconds)
