"""Every service is killed at every step of its loop, in one run; the results are those of an undisturbed one."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.support.toy_acquisition import Runner
from tests.system.deployed import STAGES, System
from tests.system.invariants import RECOVERY_S, dead_letters, states, torn_artefacts
from tests.system.matrix import Rows
from tests.system.servers.process import LOOK_EVERY_S, ServerProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

# A commit between every two deaths: a message that meets more than six, alone, is blamed for them.
STEPS = (
    "after-poll:1", "before-get:1", "after-commit:1", "after-get:2", "before-put:1", "after-commit:1", "after-put:2",
    "before-publish:1", "after-publish:1", "after-commit:1", "before-commit:1",
)  # fmt: skip
INGEST_STEPS = ("before-put:3", "after-put:2", "before-publish:1", "after-publish:1")


class Killed(threading.Thread):
    """Runs one service, which dies at one point after another and is started again at once.

    A death is recovered from when the service takes work again: it says that it is ready, or it is so far already that
    it reaches its next point.
    """

    def __init__(self, system: System, stage: str) -> None:
        super().__init__(name=stage)
        self._system, self._stage = system, stage
        self.left = list(INGEST_STEPS if stage == "ingest" else STEPS)
        self.recoveries_s: list[tuple[str, float]] = []
        self.over = threading.Event()
        self._died: tuple[str, float] | None = None

    def run(self) -> None:
        while self.left and not self.over.is_set():
            process = self._system.start(self._stage, fail_at=self.left[0])
            self._await_death(process)
            if process.is_running:
                return
            status = process.exit_status
            assert status == -9, f"{self._stage} ended with {status}, not by its fail point\n{process.last_lines()}"
            self._died = (self.left.pop(0), time.monotonic())
        if self._died is not None and not self.over.is_set():
            self._system.start(self._stage, wait=True)
            self._recovered()

    def _await_death(self, process: ServerProcess) -> None:
        while process.is_running and not self.over.is_set():
            if self._died is not None and process.is_ready():
                self._recovered()
            time.sleep(LOOK_EVERY_S)  # noqa: TID251 (real processes, in real time)
        if not process.is_running:
            self._recovered()

    def _recovered(self) -> None:
        if self._died is not None:
            point, died_s = self._died
            self.recoveries_s.append((point, time.monotonic() - died_s))
            self._died = None


def test_killed_at_every_step_every_service_gives_the_same_results(
    system: System, local: Runner, tmp_path: Path, rows: Rows
) -> None:
    killers = {stage: Killed(system, stage) for stage in STAGES}
    for killer in killers.values():
        killer.start()
    try:
        found = system.await_complete(1200.0)
    finally:
        for killer in killers.values():
            killer.over.set()
            killer.join()
    assert found.complete
    assert system.collect(tmp_path / "out") == local.manifest()
    with system.stack() as stack:
        assert dead_letters(stack) == []
        assert torn_artefacts(stack) == []
    assert set(states(tmp_path / "out")) <= {"ingested"}
    not_reached = {stage: killer.left for stage, killer in killers.items() if killer.left}
    assert not_reached == {}, "the acquisition was over before these points were reached"
    for stage, killer in killers.items():
        for point, seconds in killer.recoveries_s:
            assert seconds < RECOVERY_S, f"{stage} took {seconds:.0f} s after {point}"
            rows.add(f"SIGKILL of {stage} {point.partition(':')[0]}", "I1 I2 I3 I5", seconds, "takes work again")
