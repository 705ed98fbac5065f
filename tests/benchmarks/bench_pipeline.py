"""The pipeline against a bare loop that calls the same pure functions on the same slices, interleaved.

    python tests/benchmarks/bench_pipeline.py [--slices 120] [--repeat 3]

Prints the wall time of both sides of every pair, the ratio pair by pair, and the pipeline's time by stage. Both
sides must give the same classes, or it fails.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import zarr

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from services.cli.options import SHIPPED_MODELS  # noqa: E402
from services.contracts.values import VoxelSize  # noqa: E402
from services.embedded.run import EmbeddedRun, Parts  # noqa: E402
from services.embedded.settings import RunSettings, settle  # noqa: E402
from services.runtime.segmenter.in_process import InProcessSegmenter  # noqa: E402
from services.simulator.simulate import simulate, spec_for  # noqa: E402
from tests.benchmarks.bare_loop import BareLoop, normalisation_of  # noqa: E402

VOXEL_NM = 16.0


class Kept(InProcessSegmenter):
    """Networks that stay loaded from run to run: loading them is not what is compared."""

    def __exit__(self, *_: object) -> None:
        """Leave the networks loaded."""


def pipeline(slices: Path, out: Path, segmenter: Kept) -> tuple[float, dict[str, float]]:
    """Run the pipeline; return its wall seconds and those of its stages."""
    settings = RunSettings(
        acquisition="bench",
        slices=(slices,),
        voxel_size=VoxelSize(z_nm=VOXEL_NM, y_nm=VOXEL_NM, x_nm=VOXEL_NM),
        models=SHIPPED_MODELS,
    )
    started = time.perf_counter()
    run = EmbeddedRun(out, settle(out, settings, joined=True), watch=False, parts=Parts(segmenter=segmenter))
    while not run.complete:
        run.turn()
    run.finish()
    seconds = time.perf_counter() - started
    run.close()
    return seconds, run.times.seconds


def check_equal(out: Path, loop: BareLoop) -> None:
    """Fail unless both sides segmented every nucleus alike."""
    for nucleus_id, expected in loop.volumes.items():
        array = zarr.open_array(out / "nuclei" / nucleus_id / "volume.ome.zarr" / "labels/classes/0", mode="r")
        found = np.asarray(array[...])
        if not np.array_equal(found, expected):
            sys.exit(f"{nucleus_id}: the two sides differ in {np.count_nonzero(found != expected)} voxels")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=120)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Kept(SHIPPED_MODELS) as segmenter:
        folder = Path(name)
        spec = spec_for(31, VOXEL_NM, 1, options.slices)
        simulate(folder / "sim", spec, period_s=None, progress=lambda *_: None, wait=lambda _: None)
        files = sorted((folder / "sim" / "slices").glob("*.tif"))
        ratios, totals = [], {}
        for turn in range(options.repeat + 1):
            started = time.perf_counter()
            loop = BareLoop(segmenter, normalisation_of(files), VOXEL_NM)
            loop.run(files)
            bare_s = time.perf_counter() - started
            pipeline_s, stages = pipeline(folder / "sim" / "slices", folder / f"out{turn}", segmenter)
            check_equal(folder / f"out{turn}", loop)
            if turn == 0:
                continue  # the first pair compiles and warms up
            ratios.append(pipeline_s / bare_s)
            totals = stages
            print(f"pair {turn}: bare loop {bare_s:.1f} s, pipeline {pipeline_s:.1f} s, ratio {ratios[-1]:.2f}")
        print(f"ratio pipeline / bare loop: median {statistics.median(ratios):.2f} of {len(ratios)} pairs")
        print("stage            seconds   ms per slice")
        for stage, seconds in sorted(totals.items(), key=lambda entry: -entry[1]):
            print(f"{stage:15s} {seconds:8.2f} {1e3 * seconds / len(files):10.1f}")


if __name__ == "__main__":
    main()
