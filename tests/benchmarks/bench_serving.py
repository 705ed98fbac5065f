"""Crops per second through TorchServe against the bare loop in this process, interleaved; prints the ratio.

    python -m tests.benchmarks.bench_serving [--crops 32] [--rounds 3] [--threads 2] [--edge-px 432]

Both compute the same crops with the same networks on the same number of threads; what TorchServe adds is
transport, queueing and the gaps between batches. The goal is a ratio of at least 0.90.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.segmenter.in_process import InProcessSegmenter
from services.runtime.segmenter.port import Normalisation, Plane, Segmenter
from services.runtime.segmenter.torchserve import TorchServeSegmenter
from tests.contract.segmenter_suite import content, nucleus_like
from tests.system.servers.torchserve import SHIPPED_MODELS, running_torchserve

GOAL = 0.90
NORMALISATION = Normalisation(170.0, 20.0)


def crops_per_s(segmenter: Segmenter, crops: Sequence[Plane]) -> float:
    """Return how fast crops are segmented."""
    started_s = time.perf_counter()
    segmenter.segment(crops, NORMALISATION)
    return len(crops) / (time.perf_counter() - started_s)


def compared(bare: Segmenter, served: Segmenter, crops: Sequence[Plane], rounds: int) -> list[tuple[float, float]]:
    """Measure both in turns, the first to begin changing each time."""
    measured = []
    for turn in range(rounds):
        if turn % 2:
            through = crops_per_s(served, crops)
            measured.append((crops_per_s(bare, crops), through))
        else:
            measured.append((crops_per_s(bare, crops), crops_per_s(served, crops)))
        print(f"round {turn}: bare loop {measured[-1][0]:.2f} crops/s, TorchServe {measured[-1][1]:.2f} crops/s")
    return measured


def main() -> None:
    """Run the benchmark; stopped from outside, it takes its server with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--crops", type=int, default=32)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options.add_argument("--edge-px", type=int, default=432)
    asked = options.parse_args()
    crops = [nucleus_like((asked.edge_px, asked.edge_px), seed) for seed in range(asked.crops)]
    environment = {"FIBSEM_SERVER_THREADS": str(asked.threads)}
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
        measured = compared(bare, served, crops, asked.rounds)
    ratio = statistics.median(through / loop for loop, through in measured)
    print(
        f"{asked.crops} crops of {asked.edge_px} px, {asked.threads} threads, {os.cpu_count()} cores, "
        f"torch {torch.__version__}, same bytes: {same}\n"
        f"TorchServe / bare loop: {ratio:.3f} (goal {GOAL:.2f}: {'met' if ratio >= GOAL else 'missed'})"
    )


if __name__ == "__main__":
    main()
