"""What a split by image makes of a score: one network, learned and tested with neighbours in both parts and without.

The printed recipe of the manuscript divides images at random; slices of one nucleus that lie next to each other then
stand on both sides. Our default keeps a distance in z between parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.evaluation.comparison import Settings
from services.trainer.splits import Split
from tests.benchmarks.science import epfl6
from tests.benchmarks.science.pictures import Edges, Picture, write_dataset, write_split, write_tiffs
from tests.benchmarks.science.recipes import Job
from tests.benchmarks.science.results import Score
from tests.benchmarks.science.scoring import Tested, counted, dice, predicted, score
from tests.benchmarks.science.task import Outcome, annotated, output

FOLD = 0
SEED = 11
KINDS = ("by-image", "by-z-block")


def by_image(pictures: Sequence[Picture], like: Split, seed: int) -> Split:
    """Return a split at random, with parts as large as those of another."""
    used = sorted({*like.training, *like.validation, *like.test})
    drawn = [str(name) for name in np.random.default_rng(seed).permutation(used)]
    test, validation = len(like.test), len(like.validation)
    return like.model_copy(
        update={
            "kind": "image",
            "seed": seed,
            "distance_planes": 0,
            "test": tuple(sorted(drawn[:test])),
            "validation": tuple(sorted(drawn[test : test + validation])),
            "training": tuple(sorted(drawn[test + validation :])),
            "left_out": tuple(sorted({picture.name for picture in pictures} - set(used))),
        }
    )


@dataclass(frozen=True)
class Leakage:
    """The task."""

    turn_s: float = 120.0
    title: str = "EPFL mitochondria, split by image and by z-block: what neighbours in both parts are worth"
    parts: str = (
        f"By z-block: fold {FOLD} of the task `epfl6`. By image: the same planes at random (seed {SEED}), parts as "
        "large. Each network is tested on its own test part."
    )

    def prepare(self, data: Path, place: Path) -> Sequence[Job]:
        """Write the data set once for each split, and the test planes of each."""
        pictures = epfl6.pictures_of(epfl6.read(data), binary=True)
        honest = epfl6.FOLDS[FOLD].split(pictures)
        splits = dict(zip(KINDS, (by_image(pictures, honest, SEED), honest), strict=True))
        edges = Edges(epfl6.VOXEL_NM, epfl6.VOXEL_NM, epfl6.LEARNED_NM)
        outputs = [output("background", 0), output("mitochondrion", 1)]
        jobs = []
        for kind, split in splits.items():
            write_dataset(place / "data" / kind, pictures, {"background": 0, "mitochondrion": 1}, edges)
            write_split(place / "data" / f"{kind}.split.json", split)
            test = [picture for picture in pictures if picture.name in split.test]
            write_tiffs(place / "test" / kind / "images", [(p.name, p.grey_yx) for p in test])
            write_tiffs(place / "test" / kind / "truth", [(p.name, p.labels_yx) for p in test])
            optimiser = {**epfl6.OPTIMISER, "focus": [1], "focus_share": 0.5}
            job = Job(
                kind, annotated(kind), outputs, epfl6.ARCHITECTURE, optimiser, 0.5, 20_000, f"networks/{kind}",
            )  # fmt: skip
            jobs.append(job)
        return jobs

    def measure(self, data: Path, place: Path, models: Mapping[str, Path]) -> Outcome:
        """Score each network on its own test part."""
        del data
        names = Settings({0: "background", 1: "mitochondrion"})
        scores: list[Score] = []
        for kind in KINDS:
            test = place / "test" / kind
            tested = predicted(
                models[kind], Tested(test / "images", test / "truth", test / "predicted"), epfl6.VOXEL_NM
            )
            counts = counted([tested.pair(name) for name in tested.names], names)
            scores.append(score(f"mitochondria, split {kind}, Dice", counts.confusion, dice(1)))
        gained = scores[0].value - scores[1].value
        return Outcome(
            scores,
            [
                f"The split by image scores {gained:+.4f} against the split by z-block. The test planes differ, so "
                "that part of the difference is how hard they are; planes are the unit of the intervals.",
            ],
        )
