"""Where the time of a run goes: wall seconds per stage, and how far the run was when."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.runtime.clock import Clock

REPORT_FILE = "report.json"
SCORES_FILE = "evaluation.json"
# The curve of a run of any length has at most so many points; every second one goes when it is full.
MOST_POINTS = 400


class StageTimes:
    """Seconds per stage, summed over restarts; outside the results, since they depend on the machine.

    Parameters
    ----------
    path
        JSON file to go on from and to write, in the form that the report reads.
    clock
        Where the time comes from.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        before = json.loads(path.read_text()) if path.exists() else {}
        self._path = path
        self._clock = clock
        self._started_s = clock.monotonic_s() - float(before.get("wall_s", 0.0))
        self._points: list[tuple[float, int, int]] = [tuple(point) for point in before.get("progress", [])]
        self._every = 1
        self._offered = 0
        self.seconds = {name: float(stage["seconds"]) for name, stage in before.get("stages", {}).items()}

    @property
    def elapsed_s(self) -> float:
        """Seconds this run has worked, over restarts."""
        return self._clock.monotonic_s() - self._started_s

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside as this stage's."""
        started_s = self._clock.monotonic_s()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + self._clock.monotonic_s() - started_s

    def point(self, seen: int, final: int) -> None:
        """Offer a point of the curve of slices seen and final."""
        self._offered += 1
        if self._offered % self._every == 0:
            self._points.append((round(self.elapsed_s, 1), seen, final))
        if len(self._points) > MOST_POINTS:
            self._points = self._points[::2]
            self._every *= 2

    def keep(self, counts: Mapping[str, int]) -> None:
        """Write the seconds, and how many things each stage worked on."""
        stages = {name: {"seconds": seconds, "count": counts.get(name)} for name, seconds in self.seconds.items()}
        content = {"stages": stages, "wall_s": self.elapsed_s, "progress": self._points}
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
        temporary.replace(self._path)
