"""Which network of segmentation-models-pytorch is the baseline: chosen by validation, at equal time, on two data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.science import membranes, mito
from tests.benchmarks.science.curves import best_macro_f1
from tests.benchmarks.science.pictures import Edges, write_dataset, write_split
from tests.benchmarks.science.recipes import Job
from tests.benchmarks.science.results import Score
from tests.benchmarks.science.task import Outcome, annotated, output
from tests.benchmarks.science.versus import OPTIMISER, Contest

CANDIDATES: Mapping[str, Mapping[str, Any]] = {
    "unet-resnet18": {"decoder": "Unet", "encoder": "resnet18"},
    "unet-resnet34": {"decoder": "Unet", "encoder": "resnet34"},
    "unet-resnet50": {"decoder": "Unet", "encoder": "resnet50"},
    "fpn-resnet34": {"decoder": "FPN", "encoder": "resnet34"},
}


@dataclass(frozen=True)
class Baseline:
    """The task."""

    turn_s: float = 60.0
    title: str = "The library's network to compare with: candidates of segmentation-models-pytorch"
    parts: str = (
        "Training and validation parts of ISBI 2012 (membranes) and CDeep3M (mitochondria) as in their tasks; no test "
        "part is looked at. Every candidate has an eighth of the time."
    )

    def prepare(self, data: Path, place: Path) -> Sequence[Job]:
        """Write both data sets."""
        found: list[Job] = []
        parts = (
            (membranes.ISBI, membranes.pictures_of(data, "isbi2012"), membranes.DIVISIONS["isbi2012"]),
            (mito.CONTEST, mito.pictures_of(data), mito.DIVISION),
        )
        for contest, pictures, division in parts:
            edges = Edges(contest.z_nm, contest.voxel_nm, contest.learned_nm)
            write_dataset(place / "data" / contest.name, pictures, {"background": 0, contest.label: 1}, edges)
            write_split(place / "data" / f"{contest.name}.split.json", division.split(pictures))
            found += [self._job(contest, name) for name in CANDIDATES]
        return found

    @staticmethod
    def _job(contest: Contest, name: str) -> Job:
        outputs = [output("background", 0), output(contest.label, 1)]
        return Job(
            f"{contest.name}-{name}", annotated(contest.name), outputs, {"family": "smp", **CANDIDATES[name]},
            {**OPTIMISER, "seed": 1}, 1 / 8, 20_000, f"networks/{contest.name}-{name}",
        )  # fmt: skip

    def measure(self, data: Path, place: Path, models: Mapping[str, Path]) -> Outcome:
        """Return each candidate's best validation."""
        del data
        scores = [Score(f"validation, macro F1, {name}", best_macro_f1(place, name)) for name in sorted(models)]
        means = {
            name: (best_macro_f1(place, f"isbi2012-{name}") + best_macro_f1(place, f"mito-{name}")) / 2
            for name in CANDIDATES
        }
        best = max(means, key=lambda name: means[name])
        told = ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
        return Outcome(scores, [f"Mean of both data sets: {told}. The highest is {best}'s."])
