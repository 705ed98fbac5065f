"""One look at a folder of a hundred thousand files: ours against the bare listing, interleaved.

    python -m tests.benchmarks.bench_listing [--files 100000] [--turns 5] [--json FILE]

The bare side is `os.scandir` alone; "with stats" also asks for size and time of every file, as a look must that knows
none of them. Ours: the first look (every file unknown), a later one (every file settled, 256 of them asked about
again), and the hourly sweep (every file settled and asked about). Ratios are medians of each turn's ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from services.ingest.events import FileVersion
from services.ingest.folders import LocalFolders
from services.ingest.names import DEFAULT_PATTERN, NameRules, compile_pattern
from services.ingest.polling import FolderPolls


def _seconds(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def _bare(folder: Path) -> int:
    with os.scandir(folder) as entries:
        return sum(1 for entry in entries if entry.is_file())


def _bare_with_stats(folder: Path) -> int:
    with os.scandir(folder) as entries:
        return sum(os.stat(entry.path).st_size for entry in entries if entry.is_file())  # noqa: PTH116


def _polls(folder: Path) -> FolderPolls:
    return FolderPolls(LocalFolders([folder]), NameRules(compile_pattern(DEFAULT_PATTERN)), 1, None)


def measured(folder: Path, turns: int) -> dict[str, float]:
    """Return seconds (medians) and ratios."""
    settled = _polls(folder)
    for listed in settled.look(thorough=True).unsettled:
        settled.settle(FileVersion(name=listed.key.name, size_bytes=listed.size_bytes, mtime_ns=listed.mtime_ns))
    sides: dict[str, Callable[[], object]] = {
        "bare": lambda: _bare(folder),
        "bare_with_stats": lambda: _bare_with_stats(folder),
        "first_look": lambda: _polls(folder).look(thorough=True),
        "later_look": lambda: settled.look(thorough=False),
        "sweep": lambda: settled.look(thorough=True),
    }
    times: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(turns):
        names = list(sides)
        for side in names[turn % len(names) :] + names[: turn % len(names)]:
            times[side].append(_seconds(sides[side]))
    found = {f"{side}_s": statistics.median(taken) for side, taken in times.items()}
    for ours, other in (("first_look", "bare_with_stats"), ("later_look", "bare"), ("sweep", "bare_with_stats")):
        ratios = (mine / theirs for mine, theirs in zip(times[ours], times[other], strict=True))
        found[f"{ours}_to_{other}"] = statistics.median(ratios)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for number in range(arguments.files):
            (folder / f"slice_{number:06d}.tif").touch()
        found = measured(folder, arguments.turns)
    for name, value in found.items():
        print(f"{name:<32} {value:8.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
