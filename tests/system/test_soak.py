"""A long acquisition through running services: memory, descriptors and threads of each stay flat.

`FIBSEM_TEST_SOAK_S` says for how long (default 10 min). The first third is warm-up; over the rest a line is fitted.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.ingest.names import FINISH_MARKER
from tests.support.toy_acquisition import PLANES, slice_name, toy_slice
from tests.system.deployed import System
from tests.system.invariants import dead_letters, pids, states
from tests.system.matrix import Rows

pytestmark = [pytest.mark.system, pytest.mark.full, pytest.mark.timeout(4 * 3600)]

SAMPLE_EVERY_S = 5.0
# What two cores segment besides everything else that tests run.
SLICE_EVERY_S = 1.5
WARM_UP_SHARE = 1 / 3
# Per hour, at 40 slices a minute: 2400 slices, two days of an acquisition at 75 s a slice.
MOST_GROWTH_BYTES_PER_SLICE = 20_000
MOST_GROWTH = {"descriptors": 3.0, "threads": 2.0}


class SoakSettings(BaseSettings):
    """How long to soak."""

    model_config = SettingsConfigDict(env_prefix="FIBSEM_TEST_", extra="ignore")

    soak_s: float = Field(default=600.0, gt=60, description="duration of the soak test in s")


@dataclass(slots=True)
class Samples:
    """What was measured of one process."""

    at_s: list[float] = field(default_factory=list)
    resident_bytes: list[float] = field(default_factory=list)
    descriptors: list[float] = field(default_factory=list)
    threads: list[float] = field(default_factory=list)

    def take(self, process: psutil.Process, now_s: float) -> None:
        with process.oneshot():
            self.at_s.append(now_s)
            self.resident_bytes.append(process.memory_info().rss)
            self.descriptors.append(process.num_fds())
            self.threads.append(process.num_threads())

    def growth(self, name: str) -> float:
        """Return by how much a fitted line rises after the warm-up."""
        first = int(len(self.at_s) * WARM_UP_SHARE)
        at_s, values = np.array(self.at_s[first:]), np.array(getattr(self, name)[first:])
        return float(np.polyfit(at_s, values, 1)[0] * (at_s[-1] - at_s[0]))


def write_slices(folder: Path, over: threading.Event) -> int:
    """Write slices until told to stop; return how many."""
    z = 0
    while not over.wait(SLICE_EVERY_S):
        tifffile.imwrite(folder / slice_name(z), toy_slice(z % PLANES, seed=z // PLANES))
        z += 1
    return z


def sample(system: System, seconds: float) -> dict[str, Samples]:
    """Sample every service for so long."""
    processes = {name: psutil.Process(pid) for name, pid in pids(system).items()}
    found = {name: Samples() for name in processes}
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        for name, process in processes.items():
            found[name].take(process, time.monotonic())
        time.sleep(SAMPLE_EVERY_S)  # noqa: TID251 (a soak takes its time)
    return found


def table(found: dict[str, Samples], slices: int) -> str:
    lines = ["service             memory MB  growth MB  kB/slice  descriptors  growth  threads  growth"]
    for name, samples in found.items():
        grown = samples.growth("resident_bytes")
        lines.append(
            f"{name:20}{np.mean(samples.resident_bytes) / 1e6:9.0f}{grown / 1e6:11.2f}"
            f"{grown / 1e3 / slices:10.2f}{np.mean(samples.descriptors):13.1f}{samples.growth('descriptors'):8.2f}"
            f"{np.mean(samples.threads):9.1f}{samples.growth('threads'):8.2f}"
        )
    return "\n".join(lines)


def test_over_a_long_acquisition_memory_descriptors_and_threads_stay_flat(
    system: System, tmp_path: Path, rows: Rows
) -> None:
    seconds = SoakSettings().soak_s
    system.slices, system.watch = tmp_path / "slices", True
    system.slices.mkdir()
    system.start_all()
    over, written = threading.Event(), list[int]()
    microscope = threading.Thread(target=lambda: written.append(write_slices(system.slices, over)))
    microscope.start()
    try:
        system.await_segmented(10)
        running = pids(system)
        found = sample(system, seconds)
    finally:
        over.set()
        microscope.join()
    (system.slices / FINISH_MARKER).touch()
    system.await_complete()
    assert pids(system) == running, system.said()
    system.collect(tmp_path / "out")
    assert states(tmp_path / "out") == {"ingested": written[0]}
    with system.stack() as stack:
        assert dead_letters(stack) == []
    measured_slices = max(1, round(written[0] * (1 - WARM_UP_SHARE)))
    told = table(found, measured_slices)
    sys.stdout.write(f"\n{written[0]} slices, {seconds:.0f} s\n{told}\n")
    for name, samples in found.items():
        assert samples.growth("resident_bytes") < MOST_GROWTH_BYTES_PER_SLICE * measured_slices, f"{name}\n{told}"
        for what, most in MOST_GROWTH.items():
            assert samples.growth(what) < most, f"{name}: {what}\n{told}"
    rows.add(f"{written[0]} slices in {seconds:.0f} s, one acquisition", "memory, descriptors and threads flat")
