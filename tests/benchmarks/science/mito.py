"""Mitochondria of mouse brain (CDeep3M's test sample, SBEM, 5.9 x 5.9 x 40 nm), against a library baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from tests.benchmarks.science.pictures import Division, Picture
from tests.benchmarks.science.recipes import Job
from tests.benchmarks.science.task import Outcome
from tests.benchmarks.science.versus import Contest, contest_jobs, contest_scores

FIRST_Z = 10
DIVISION = Division(frozenset(range(10, 14)), frozenset({15}), frozenset({17, 18, 19}), distance_planes=1)
"""One plane, 40 nm, is left out between parts."""
CONTEST = Contest("mito", "mitochondrion", 5.9, 40.0, 5.9 * 2, share=0.5)


def pictures_of(data: Path) -> list[Picture]:
    """Return the annotated planes."""
    folder = data / "cdeep3m_sbem_mito"
    grey, labels = (tifffile.imread(folder / f"train_{what}_z010-019.tif") for what in ("raw", "mito"))
    return [
        Picture(f"z{FIRST_Z + k:03}", "cdeep3m", FIRST_Z + k, plane, np.asarray(truth > 0, np.uint8))
        for k, (plane, truth) in enumerate(zip(grey, labels, strict=True))
    ]


@dataclass(frozen=True)
class Mito:
    """The task."""

    turn_s: float = 120.0
    title: str = "CDeep3M: mitochondria, against segmentation-models-pytorch"
    parts: str = (
        "Training z 10 to 13, validation z 15, test z 17 to 19; one plane of 40 nm is left out between parts. "
        "Each test plane is cut in 16 for the intervals."
    )

    def prepare(self, data: Path, place: Path) -> Sequence[Job]:
        """Write the data set and the test planes."""
        return contest_jobs(CONTEST, pictures_of(data), DIVISION, place)

    def measure(self, data: Path, place: Path, models: Mapping[str, Path]) -> Outcome:
        """Score both networks, and how far one is ahead."""
        del data
        return contest_scores(CONTEST, place, models)
