"""What a local run costs: time per stage, the microscope's period, disk; read from what the run keeps of itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.embedded.progress import read_status
from services.embedded.settings import STATE
from services.embedded.timing import REPORT_FILE
from services.imaging.forecasting.advising import Advice
from services.imaging.forecasting.pace import DiskForecast, PaceForecast, forecast_disk, forecast_pace

# The networks work beside everything else.
BESIDE = ("inference",)
# What is worked on only at the end costs nothing while slices come.
_AT_THE_END = ("results",)
_RECENT_POINTS = 40


@dataclass(frozen=True, slots=True)
class Load:
    """Time and room that a run has taken so far.

    Attributes
    ----------
    stage_seconds
        Seconds per stage.
    followed
        Slices that are done with.
    waiting
        Slices that wait, those whose crops wait among them.
    period_s
        The time between two slices lately, as they were ingested; None while too few were.
    used_bytes, free_bytes
        Of the disk of the results.
    """

    stage_seconds: Mapping[str, float]
    followed: int
    waiting: float
    period_s: float | None
    used_bytes: int
    free_bytes: int

    def costs(self, advice: Advice, period_s: float | None) -> tuple[PaceForecast, DiskForecast]:
        """Forecast computer and disk up to where it is advised to go on."""
        slices_to_go = advice.slices_to(advice.until.z_nm) if advice.until else 0
        return self.pace(period_s, slices_to_go), self.disk(period_s)

    def pace(self, period_s: float | None, slices_to_go: int) -> PaceForecast:
        """Forecast whether the computer keeps up."""
        return forecast_pace(
            self.stage_seconds,
            self.followed,
            period_s=period_s,
            waiting=self.waiting,
            slices_to_go=slices_to_go,
            at_once=BESIDE,
        )

    def disk(self, period_s: float | None) -> DiskForecast:
        """Forecast when the disk is full."""
        return forecast_disk(self.free_bytes, self.used_bytes, self.followed, period_s)


def load_of(out: Path) -> Load:
    """Return what the run in a folder has cost so far."""
    path = out / STATE / REPORT_FILE
    times = json.loads(path.read_text()) if path.exists() else {}
    progress = read_status(out / STATE).get("progress", {})
    seconds = {name: float(stage["seconds"]) for name, stage in times.get("stages", {}).items()}
    return Load(
        stage_seconds={name: spent for name, spent in seconds.items() if name not in _AT_THE_END},
        followed=int(progress.get("followed", 0)),
        waiting=waiting_slices(progress),
        period_s=period_of(times.get("progress", ())),
        used_bytes=_size_of(out),
        free_bytes=shutil.disk_usage(out).free,
    )


def waiting_slices(progress: Mapping[str, Any]) -> float:
    """Return how many slices wait, from the numbers of the progress display; waiting crops count as parts of slices.

    >>> waiting_slices({"seen": 120, "followed": 100, "crops": 500, "segmented": 450})
    30.0
    """
    seen, followed, crops, segmented = (
        float(progress.get(name, 0)) for name in ("seen", "followed", "crops", "segmented")
    )
    per_slice = crops / followed if followed else 0.0
    return max(0.0, seen - followed) + (max(0.0, crops - segmented) / per_slice if per_slice else 0.0)


def period_of(points: Sequence[Sequence[float]]) -> float | None:
    """Return the time between two slices from the latest points (seconds, slices seen, ...) of a run's curve.

    >>> period_of([(0.0, 1, 0), (75.0, 2, 0), (750.0, 11, 4)])
    75.0
    """
    recent = points[-_RECENT_POINTS:]
    if len(recent) < 2 or recent[-1][1] <= recent[0][1]:
        return None
    return float((recent[-1][0] - recent[0][0]) / (recent[-1][1] - recent[0][1]))


def _size_of(folder: Path) -> int:
    """Bytes of all files, each once however many links it has."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for path in folder.rglob("*"):
        try:
            entry = path.lstat()
        except FileNotFoundError:
            continue  # a run is at work beside this
        if (entry.st_dev, entry.st_ino) not in seen:
            seen.add((entry.st_dev, entry.st_ino))
            total += entry.st_blocks * 512
    return total
