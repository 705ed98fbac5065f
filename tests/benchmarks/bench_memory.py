"""Memory and file descriptors against the number of slices of one field.

    python tests/benchmarks/bench_memory.py [--slices 300 600 900 1200]

Each length runs in a process of its own, over one simulated field that repeats a nucleus along z, with the networks
and, apart, with a segmenter without torch. Prints what the process held before its first slice (libraries, networks),
its peak, the median of the second half of its turns, open descriptors, and the slopes per slice between the shortest
and the longest run. A short run before them compiles what is compiled once on a machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

VOXEL_NM = 80.0
WARM_UP = 70


def measure(slices: Path, out: Path, count: int, kind: str) -> dict[str, float]:
    """Run over the first `count` slices; return figures of this process."""
    from services.cli.options import SHIPPED_MODELS  # noqa: PLC0415 - the parent process must stay small
    from services.embedded.run import EmbeddedRun, Parts  # noqa: PLC0415
    from services.embedded.settings import settle  # noqa: PLC0415
    from tests.support.grey_segmenter import GreySegmenter  # noqa: PLC0415
    from tests.support.toy_acquisition import toy_settings  # noqa: PLC0415

    settings = toy_settings(slices, last_z=count - 1, models=SHIPPED_MODELS)
    parts = Parts() if kind == "networks" else Parts(segmenter=GreySegmenter(VOXEL_NM))
    run = EmbeddedRun(out, settle(out, settings, joined=True), watch=False, parts=parts)
    before_kb = resident_kb()
    descriptors, resident = 0, []
    while not run.complete:
        run.turn()
        descriptors = max(descriptors, len(os.listdir("/proc/self/fd")))
        resident.append(resident_kb())
    run.finish()
    run.close()
    tail = sorted(resident[len(resident) // 2 :])
    return {
        "before_kb": before_kb,
        "peak_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "steady_kb": tail[len(tail) // 2],
        "descriptors": descriptors,
    }


def measured_apart(slices: Path, out: Path, count: int, kind: str) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--one", str(slices), str(out), str(count), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def resident_kb() -> float:
    """Return what this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024


def main() -> None:
    """Run every length and print the slopes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, nargs="+", default=[300, 600, 900, 1200])
    parser.add_argument("--kinds", nargs="+", default=["grey", "networks"], choices=["grey", "networks"])
    parser.add_argument("--one", nargs=4, metavar=("SLICES", "OUT", "COUNT", "KIND"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        slices, out, count, kind = options.one
        print(json.dumps(measure(Path(slices), Path(out), int(count), kind)))
        return
    from tests.support.toy_acquisition import write_repeating_toy  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as name:
        folder = write_repeating_toy(Path(name) / "slices", max(options.slices))
        for kind in options.kinds:
            figures = {}
            measured_apart(folder, Path(name) / f"{kind}-warm", WARM_UP, kind)
            for count in options.slices:
                figures[count] = measured_apart(folder, Path(name) / f"{kind}{count}", count, kind)
                print(
                    f"{kind:9s} {count:5d} slices: " + ", ".join(f"{k} {v:.0f}" for k, v in figures[count].items()),
                    flush=True,
                )
            first, last = min(figures), max(figures)
            for figure in ("peak_kb", "steady_kb", "descriptors"):
                slope = (figures[last][figure] - figures[first][figure]) / (last - first)
                print(f"{kind:9s} slope of {figure}: {slope:.2f} per slice between {first} and {last} slices")


if __name__ == "__main__":
    main()
