"""One detector out of a Janelia `.dat` slice: ours against plain numpy, interleaved.

    python -m tests.benchmarks.bench_dat [--rows 5000] [--columns 2500] [--turns 7]

Plain numpy reads the whole file, takes every second value and moves it up, as a script would; ours also checks
the header, and holds only a block of both detectors at once. The ratio is the median of each turn's.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

from services.imaging.formats.dat import DatReader
from services.imaging.formats.dat_fields import HEADER_BYTES
from services.imaging.formats.dat_writing import dat_bytes


def plain(path: Path, shape_yx: tuple[int, int]) -> object:
    """Read the second detector as a script would."""
    stored = np.fromfile(path, ">i2", offset=HEADER_BYTES).reshape(*shape_yx, 2)
    return (stored[..., 1].astype(np.int32) + 32768).astype(np.uint16)


def ours(path: Path) -> object:
    """Read the second detector as ingest does."""
    with path.open("rb") as file:
        return DatReader(file).read(0, 1)


def _seconds(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def _peak_mb(work: Callable[[], object]) -> float:
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--columns", type=int, default=2500)
    parser.add_argument("--turns", type=int, default=7)
    arguments = parser.parse_args()
    shape = (arguments.rows, arguments.columns)
    planes = np.random.default_rng(1).integers(0, 65536, (2, *shape)).astype(np.uint16)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slice.dat"
        path.write_bytes(dat_bytes(planes, {}))
        sides: tuple[Callable[[], object], Callable[[], object]] = (lambda: ours(path), lambda: plain(path, shape))
        times: list[tuple[float, float]] = []
        for turn in range(arguments.turns + 1):
            first, second = sides if turn % 2 else sides[::-1]
            taken = (_seconds(first), _seconds(second))
            times.append(taken if turn % 2 else taken[::-1])
        mine, theirs = (statistics.median(side) for side in zip(*times[1:], strict=True))
        ratio = statistics.median(b / a for a, b in times[1:])
        print(f"{shape[0]} x {shape[1]}, 2 detectors: ours {mine * 1e3:.0f} ms, {_peak_mb(sides[0]):.0f} MB at most;")
        print(f"plain numpy {theirs * 1e3:.0f} ms, {_peak_mb(sides[1]):.0f} MB; numpy takes {ratio:.2f} times as long")


if __name__ == "__main__":
    main()
