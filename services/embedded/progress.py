"""How far a run is, in the words an operator uses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Progress:
    """Numbers of the progress display; z counts are numbers of slices.

    Attributes
    ----------
    seen, expected
        Slices seen so far, and known to exist (None while the microscope is running).
    followed
        Slices through which nuclei have been followed, in z order.
    crops, segmented
        Crops cut out, and crops segmented.
    nuclei_open, nuclei_closed
        Nuclei that may still grow, and complete ones.
    final_z
        Planes below this z are cleaned for good in every nucleus.
    waiting_for
        What holds the run up, in words; empty when nothing does.
    elapsed_s
        Seconds since the start of this process's work.
    """

    seen: int
    expected: int | None
    followed: int
    crops: int
    segmented: int
    nuclei_open: int
    nuclei_closed: int
    final_z: int
    waiting_for: str
    elapsed_s: float

    @property
    def rate_per_s(self) -> float:
        """Crops segmented per second."""
        return self.segmented / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the crops that wait and the slices that are not followed yet; None while nobody can know."""
        if self.expected is None or self.followed == 0 or self.segmented == 0:
            return None
        crops_to_come = (self.expected - self.followed) * self.crops / self.followed
        return (self.crops - self.segmented + crops_to_come) / self.rate_per_s

    def line(self) -> str:
        """Return the progress in one line."""
        left = self.seconds_left
        parts = [
            f"slices {self.seen}/{self.expected if self.expected is not None else '?'}",
            f"followed {self.followed}",
            f"crops {self.segmented}/{self.crops}",
            f"nuclei {self.nuclei_open} open, {self.nuclei_closed} closed",
            f"final to z {self.final_z}",
            f"{self.rate_per_s:.1f} crops/s",
            f"left {duration(left)}" if left is not None else "left ?",
        ]
        if self.waiting_for:
            parts.append(f"waiting for {self.waiting_for}")
        return " | ".join(parts)


def duration(seconds: float) -> str:
    """Return a duration as people read it.

    >>> duration(42.4), duration(305), duration(7260)
    ('42 s', '5 min 05 s', '2 h 01 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


STATUS_FILE = "status.json"


def keep_status(state: Path, progress: Progress, ledger: Mapping[str, Mapping[str, int]]) -> None:
    """Write how far the run is, for `status` and `ledger` to read while it works or after it was stopped."""
    temporary = state / f"{STATUS_FILE}.tmp"
    temporary.write_text(json.dumps({"line": progress.line(), "progress": asdict(progress), "ledger": ledger}) + "\n")
    temporary.replace(state / STATUS_FILE)


def read_status(state: Path) -> dict[str, Any]:
    """Return what `keep_status` wrote last, or an empty dictionary."""
    path = state / STATUS_FILE
    return dict(json.loads(path.read_text())) if path.exists() else {}
