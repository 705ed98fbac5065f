"""Bus, store, model server and services of a deployed system against a bare loop over the same slices, interleaved.

    python -m tests.benchmarks.bench_distributed [--slices 120] [--rounds 3] [--live 40] [--period-s 2] [--json FILE]

A real Kafka, MinIO and TorchServe and one process per service, as compose runs them, on all cores; the bare loop calls
the same pure functions on as many threads of networks. Each side is idle in the other's turn. Time runs from ingest
being ready to the record that says that the last nucleus is measured; starting the processes is not counted, nor is
collecting the results; a first round warms up both sides. Classes must equal those of the bare loop, and the last
round's manifest that of a local run, or it fails. The goal is a ratio of at most 1.15.

The processor time of each side, and of every process, says what distribution costs however busy the machine is.

Then slices are delivered one every --period-s into a watched folder, and the time from a slice lying there to the
record of its last label plane is printed, p50 and p99, of the slices after those that freeze the grey mapping and
of nuclei that were open when the slice came: a new one is opened, and its first crops are cut, some slices later.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from services.runtime.deployment import SHIPPED_MODELS
from services.simulator.simulate import simulate, spec_for
from tests.benchmarks.bare_loop import BareLoop, normalisation_of
from tests.benchmarks.bench_pipeline import VOXEL_NM, Kept, check_equal, pipeline
from tests.benchmarks.deployed_rounds import (
    SETTLE_S,
    Round,
    Servers,
    await_so,
    running_servers,
    said_unix_s,
    start_ingest,
    waiting_system,
    worked_off,
)
from tests.system.deployed import System

GOAL = 1.15
VOXEL = f"{VOXEL_NM:g},{VOXEL_NM:g},{VOXEL_NM:g}"
# Before so many slices the grey mapping is not frozen, and nothing is segmented.
FROZEN_AT = 16
# The name of the local run, and so of the round whose manifest must equal its.
ACQUISITION = "bench"
STEPS = ("slices", "outlines", "crops", "segmentations")


def bare(segmenter: Kept, files: list[Path]) -> tuple[BareLoop, float, float]:
    """Run the bare loop; return it, its wall seconds and its processor seconds."""
    began_s, spent_s = time.perf_counter(), time.process_time()
    loop = BareLoop(segmenter, normalisation_of(files), VOXEL_NM)
    loop.run(files)
    return loop, time.perf_counter() - began_s, time.process_time() - spent_s


def compared(
    servers: Servers, system: System, segmenter: Kept, files: list[Path], rounds: int
) -> list[dict[str, object]]:
    """Run both sides in turns, after one round that warms up both."""
    measured: list[dict[str, object]] = []
    for turn in range(rounds + 1):
        name = ACQUISITION if turn == rounds else f"{ACQUISITION}{turn}"
        loop, bare_s, bare_processor_s = bare(segmenter, files)
        found = worked_off(servers, system, name, files[0].parent, len(loop.volumes))
        check_equal(servers.folder / name, loop)
        ratio, spent = found.total_s / bare_s, sum(found.processor_s.values())
        print(
            f"{f'round {turn}' if turn else 'warm-up'}: bare loop {bare_s:.1f} s, deployed {found.total_s:.1f} s, "
            f"ratio {ratio:.2f}; processor {bare_processor_s:.1f} and {spent:.1f} s, ratio "
            f"{spent / bare_processor_s:.2f}; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
        _print_processes(found, bare_processor_s)
        measured.append({
            "bare_s": bare_s, "ratio": ratio, "bare_processor_s": bare_processor_s,
            "processor_ratio": spent / bare_processor_s, **asdict(found),
        })  # fmt: skip
    return measured[1:]


def _print_processes(found: Round, bare_processor_s: float) -> None:
    shares = sorted(found.processor_s.items(), key=lambda entry: -entry[1])
    print("  " + ", ".join(f"{name} {spent:.1f} s" for name, spent in shares) + f" (bare loop {bare_processor_s:.1f})")


def latencies(servers: Servers, system: System, files: list[Path], period_s: float) -> dict[str, list[float]]:
    """Deliver slices at a live pace; return how late each step was with each slice, in seconds."""
    watched = servers.folder / "watched"
    watched.mkdir()
    delivered: dict[int, float] = {}
    start_ingest(system, "live", watched, watch=True)
    for z, path in enumerate(files):
        os.link(path, watched / path.name)
        delivered[z] = time.time()
        time.sleep(period_s)  # noqa: TID251 (a microscope, in real time)
    await_so(lambda: len(said_unix_s(servers.kafka, "live", "outlines")) == len(files))
    time.sleep(SETTLE_S + 2 * period_s)  # noqa: TID251 (the last crops)
    opened = {nucleus: unix_s for (_, nucleus), unix_s in said_unix_s(servers.kafka, "live", "nuclei").items()}
    return {step: _late(said_unix_s(servers.kafka, "live", step), opened, delivered) for step in STEPS}


def _late(said: dict[tuple[int, str], float], opened: dict[str, float], delivered: dict[int, float]) -> list[float]:
    """Return how late the last word about each slice came, as far as it is about nuclei known when it came."""
    late: dict[int, float] = {}
    for (z, nucleus), unix_s in said.items():
        if z >= FROZEN_AT and opened.get(nucleus, 0.0) <= delivered[z]:
            late[z] = max(unix_s - delivered[z], late.get(z, 0.0))
    return list(late.values())


def main() -> None:
    """Run and print."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--live", type=int, default=40, help="slices delivered at a live pace; 0: none")
    parser.add_argument("--period-s", type=float, default=2.0, help="seconds between two of them")
    parser.add_argument("--json", type=Path, default=None, help="file for the figures")
    options = parser.parse_args()
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as name, Kept(SHIPPED_MODELS) as segmenter:
        folder = Path(name)
        spec = spec_for(31, VOXEL_NM, 1, max(options.slices, options.live))
        simulate(folder / "sim", spec, period_s=None, progress=lambda *_: None, wait=lambda _: None)
        files = sorted((folder / "sim" / "slices").glob("*.tif"))
        print(f"{len(files)} slices made", flush=True)
        with running_servers(folder) as servers, waiting_system(servers, VOXEL) as system:
            if options.rounds:
                # A local run gives the manifest that the deployed system must have too.
                local_s, _ = pipeline(folder / "sim" / "slices", folder / "local", segmenter)
                print(f"run locally in {local_s:.1f} s", flush=True)
                measured = compared(servers, system, segmenter, files, options.rounds)
                if measured[-1]["manifest"] != (folder / "local" / "MANIFEST.sha256").read_text():
                    sys.exit("the manifest differs from that of a local run")
                figures |= {"rounds": measured, **_medians(measured)}
            if options.live:
                late = latencies(servers, system, files[: options.live], options.period_s)
                figures["latency_s"] = {step: _quantiles(step, values) for step, values in late.items()}
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def _medians(measured: list[dict[str, object]]) -> dict[str, float]:
    ratio, processor = (
        statistics.median(float(str(entry[key])) for entry in measured) for key in ("ratio", "processor_ratio")
    )
    print(f"processor time, deployed / bare loop: median {processor:.2f} of {len(measured)} rounds")
    print(f"deployed / bare loop: median {ratio:.2f} of {len(measured)} rounds (goal at most {GOAL:.2f})")
    return {"ratio": ratio, "processor_ratio": processor}


def _quantiles(step: str, late_s: list[float]) -> dict[str, float]:
    found = {f"p{share}": float(np.percentile(late_s, share)) for share in (50, 99)}
    print(f"slice on disk to {step:14}: p50 {found['p50']:.2f} s, p99 {found['p99']:.2f} s of {len(late_s)} slices")
    return {**found, "slices": len(late_s)}


if __name__ == "__main__":
    main()
