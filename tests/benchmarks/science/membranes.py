"""Cell membranes of serial sections (ISBI 2012, 4 nm; VNC, 4.6 nm; planes 45 to 50 nm), against a library baseline."""

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

MEMBRANE_BIT = 1
ISBI = Contest("isbi2012", "membrane", 4.0, 50.0, 4.0, share=0.25)
VNC = Contest("vnc", "membrane", 4.6, 50.0, 4.6, share=0.25, folder="-vnc")
DIVISIONS = {
    "isbi2012": Division(frozenset(range(14)), frozenset(range(15, 18)), frozenset(range(19, 24)), distance_planes=1),
    "vnc": Division(frozenset(range(8)), frozenset({9, 10}), frozenset({12, 13, 14}), distance_planes=1),
}
"""One plane, about 50 nm, is left out between parts."""


def pictures_of(data: Path, name: str) -> list[Picture]:
    """Return the annotated planes of a data set; membranes are 1, all else is 0."""
    labels_name = {"isbi2012": "membrane.tif", "vnc": "labels_bits_membrane1_mito2_synapse4.tif"}[name]
    grey, labels = (tifffile.imread(data / name / file) for file in ("raw.tif", labels_name))
    return [
        Picture(f"z{z:03}", name, z, plane, np.asarray(truth & MEMBRANE_BIT, np.uint8))
        for z, (plane, truth) in enumerate(zip(grey, labels, strict=True))
    ]


@dataclass(frozen=True)
class Membranes:
    """The task."""

    turn_s: float = 120.0
    title: str = "ISBI 2012 and VNC: membranes, against segmentation-models-pytorch"
    parts: str = (
        "ISBI 2012: training z 0 to 13, validation 15 to 17, test 19 to 23. VNC: training z 0 to 7, "
        "validation 9 and 10, test 12 to 14. One plane of about 50 nm is left out between parts. Each test plane is "
        "cut in 16 for the intervals."
    )

    def prepare(self, data: Path, place: Path) -> Sequence[Job]:
        """Write both data sets and their test planes."""
        found: list[Job] = []
        for contest in (ISBI, VNC):
            found += contest_jobs(contest, pictures_of(data, contest.name), DIVISIONS[contest.name], place)
        return found

    def measure(self, data: Path, place: Path, models: Mapping[str, Path]) -> Outcome:
        """Score both networks on both data sets, and how far one is ahead."""
        del data
        first, second = (contest_scores(contest, place, models) for contest in (ISBI, VNC))
        return Outcome([*first.scores, *second.scores], first.remarks)
