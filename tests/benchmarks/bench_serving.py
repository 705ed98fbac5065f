"""Crops per second through TorchServe against the bare loop in this process, interleaved; prints the ratio.

    python -m tests.benchmarks.bench_serving [--crops 32] [--rounds 5] [--threads 2] [--edge-px 432] [--json FILE]

Both compute the same crops with the same networks on the same number of threads, and give the same bytes. Either
side is idle in the other's turn: no request is under way while the bare loop computes. What TorchServe adds is
transport, queueing and the gaps between batches. The goal is a ratio of at least 0.90.

The second ratio is that of processor time per crop, server, worker and client together: what serving costs, however
busy the machine is with other things. The share of the time in which the server's worker computed shows the gaps.
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
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.segmenter.in_process import InProcessSegmenter
from services.runtime.segmenter.port import Normalisation, Plane, Segmenter
from services.runtime.segmenter.torchserve import TorchServeSegmenter
from tests.benchmarks.processor_time import spent_s
from tests.contract.segmenter_suite import content, nucleus_like
from tests.system.servers.torchserve import SHIPPED_MODELS, TorchServeServer, running_torchserve

GOAL = 0.90
NORMALISATION = Normalisation(170.0, 20.0)
QUIET_SHARE = 0.05
LOOK_S = 0.2


@dataclass(frozen=True)
class Turn:
    """One side's turn.

    Attributes
    ----------
    crops_per_s
        By the clock on the wall.
    processor_s
        Processor seconds per crop, of every process that took part.
    """

    crops_per_s: float
    processor_s: float


class Processors:
    """Processor time of this process and of a server."""

    def __init__(self, server: TorchServeServer) -> None:
        self._group = server.process.pid

    def server_s(self) -> float:
        """Return what the server has spent."""
        return spent_s([self._group])[self._group]

    def all_s(self) -> float:
        """Return what both have spent."""
        return self.server_s() + time.process_time()

    def await_quiet(self) -> None:
        """Wait until the server does next to nothing."""
        before_s = self.server_s()
        while True:
            time.sleep(LOOK_S)  # noqa: TID251 (a real server, in real time)
            now_s = self.server_s()
            if now_s - before_s <= QUIET_SHARE * LOOK_S:
                return
            before_s = now_s


def taken(segmenter: Segmenter, crops: Sequence[Plane], processors: Processors) -> Turn:
    """Let one side segment all crops."""
    processors.await_quiet()
    spent_before_s, began_s = processors.all_s(), time.perf_counter()
    segmenter.segment(crops, NORMALISATION)
    took_s = time.perf_counter() - began_s
    return Turn(len(crops) / took_s, (processors.all_s() - spent_before_s) / len(crops))


def compared(
    bare: Segmenter, served: Segmenter, crops: Sequence[Plane], rounds: int, processors: Processors
) -> list[tuple[Turn, Turn]]:
    """Measure both in turns, the first to begin changing each time."""
    measured = []
    for turn in range(rounds):
        order = (bare, served) if turn % 2 == 0 else (served, bare)
        turns = {id(side): taken(side, crops, processors) for side in order}
        loop, through = turns[id(bare)], turns[id(served)]
        measured.append((loop, through))
        print(
            f"round {turn}: bare loop {loop.crops_per_s:.2f} crops/s, TorchServe {through.crops_per_s:.2f} crops/s, "
            f"ratio {through.crops_per_s / loop.crops_per_s:.3f}; processor {1e3 * loop.processor_s:.0f} and "
            f"{1e3 * through.processor_s:.0f} ms a crop; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    return measured


def main() -> None:
    """Run the benchmark; stopped from outside, it takes its server with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--crops", type=int, default=32)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options.add_argument("--edge-px", type=int, default=432)
    options.add_argument("--json", type=Path, default=None, help="file for the figures")
    asked = options.parse_args()
    crops = [nucleus_like((asked.edge_px, asked.edge_px), seed) for seed in range(asked.crops)]
    environment = {"FIBSEM_SERVER_THREADS": str(asked.threads), "OMP_NUM_THREADS": "1"}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_torchserve(Path(folder), environment=environment) as server,
        TorchServeSegmenter(server.settings.model_copy(update={"read_timeout_s": 59.0}), RecordingMetrics()) as served,
        InProcessSegmenter(SHIPPED_MODELS, threads=asked.threads) as bare,
    ):
        first = crops[: 2 * asked.threads]
        for _ in range(3):
            # The client begins with few requests at once, and asks for more while answers come fast.
            served.segment(first, NORMALISATION)
        same = content(bare.segment(first, NORMALISATION)) == content(served.segment(first, NORMALISATION))
        busy_before_s = server.counters()["fibsem_server_busy_seconds_total"]
        measured = compared(bare, served, crops, asked.rounds, Processors(server))
        busy_s = server.counters()["fibsem_server_busy_seconds_total"] - busy_before_s
    ratio = statistics.median(through.crops_per_s / loop.crops_per_s for loop, through in measured)
    cost = statistics.median(loop.processor_s / through.processor_s for loop, through in measured)
    busy = busy_s / sum(len(crops) / through.crops_per_s for _, through in measured)
    print(
        f"{asked.crops} crops of {asked.edge_px} px, {asked.threads} threads, {os.cpu_count()} cores, "
        f"torch {torch.__version__}, same bytes: {same}; the worker was busy {busy:.1%} of its turns\n"
        f"processor time per crop, bare loop / TorchServe: {cost:.3f}\n"
        f"TorchServe / bare loop: {ratio:.3f} (goal {GOAL:.2f}: {'met' if ratio >= GOAL else 'missed'})"
    )
    if asked.json is not None:
        turns = [{"bare": asdict(loop), "served": asdict(through)} for loop, through in measured]
        figures = {"ratio": ratio, "processor_ratio": cost, "busy_share": busy, "same_bytes": same, "rounds": turns}
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
