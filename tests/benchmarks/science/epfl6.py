"""Mitochondria of mouse hippocampus (EPFL, FIB-SEM, 5 nm), alone and among six classes.

Published on the same labels: Getmanskaya, Sokolov and Turlapov 2022, Dice .911 for a binary network and .908 in six
classes. Annotated are 27 planes in short runs; runs lie 15 nm to 130 nm apart. Parts keep at least 60 nm.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from services.evaluation.comparison import Settings
from tests.benchmarks.science.bits import BitClass, Labels, Precedence
from tests.benchmarks.science.pictures import Division, Edges, Picture, write_dataset, write_split, write_tiffs
from tests.benchmarks.science.recipes import Job
from tests.benchmarks.science.results import Score
from tests.benchmarks.science.scoring import Tested, counted, dice, predicted, score
from tests.benchmarks.science.task import Outcome, annotated, output

VOXEL_NM, LEARNED_NM = 5.0, 10.0
GOAL = 0.93
PUBLISHED = {"binary": "Dice .911", "six": "Dice .908"}
# The rim of a mitochondrion belongs to it; where classes overlap, the rarer and smaller one is kept.
CLASSES = Precedence(
    (
        BitClass("membrane", 4),
        BitClass("mitochondrion", 1),
        BitClass("mitochondrial_boundary", 2, within="mitochondrion"),
        BitClass("vesicle", 32),
        BitClass("axon_sheath", 16),
        BitClass("postsynaptic_density", 8),
    )
)
DISTANCE_PLANES = 11
"""Planes that are 12 apart, 60 nm, may be in two parts."""

_EARLY, _FIRST_RUN = frozenset({0, 1, 2, 3, 13, 17, 24, 28}), frozenset({42, 45, 46, 47, 48})
_SECOND_RUN, _THIRD_RUN = frozenset({61, 62, 63, 75}), frozenset({89, 90, 91, 105})
_LATE, _LAST_RUN = frozenset({118, 135}), frozenset({161, 162, 163, 164})
FOLDS = (
    Division(_EARLY | _FIRST_RUN | _THIRD_RUN, _SECOND_RUN, _LATE | _LAST_RUN, DISTANCE_PLANES),
    Division(_FIRST_RUN | _SECOND_RUN | _LATE | _LAST_RUN, _THIRD_RUN, _EARLY, DISTANCE_PLANES),
    Division(_EARLY | _LAST_RUN, _LATE, _FIRST_RUN | _SECOND_RUN | _THIRD_RUN, DISTANCE_PLANES),
)
"""Every plane is in one test part; the first fold's network is published."""

ARCHITECTURE: dict[str, Any] = {"family": "dlsia.TUNet", "depth": 5, "base_channels": 16, "growth_rate": 1.75}
OPTIMISER: dict[str, Any] = {
    "seed": 1, "batch_crops": 4, "patch_px": 256, "learning_rate": 2e-3, "artefact_share": 0.35, "warp_share": 0.4,
    "dice_weight": 1.0,
}  # fmt: skip


def read(data: Path) -> list[tuple[int, Labels, Labels]]:
    """Return z, grey and bits of every annotated plane."""
    folder = data / "epfl6"
    z_of = json.loads((folder / "info.json").read_text())["slice_index"]
    grey, bits = (tifffile.imread(folder / f"train_{what}.tif") for what in ("raw", "labels_bits"))
    return list(zip(z_of, grey, bits, strict=True))


def pictures_of(planes: Sequence[tuple[int, Labels, Labels]], *, binary: bool) -> list[Picture]:
    """Return planes with one label per pixel: mitochondria alone, or six classes by precedence."""
    return [
        Picture(f"z{z:03}", "epfl6", z, grey, np.asarray(bits & 1, np.uint8) if binary else CLASSES.labels(bits))
        for z, grey, bits in planes
    ]


@dataclass(frozen=True)
class Epfl6:
    """The task.

    Attributes
    ----------
    fold
        Number of the fold.
    """

    fold: int = 0
    turn_s: float = math.inf
    title: str = "EPFL hippocampus: mitochondria alone and among six classes"

    @property
    def division(self) -> Division:
        """Parts by z."""
        return FOLDS[self.fold]

    @property
    def parts(self) -> str:
        """Parts, in words."""
        division = self.division
        told = [
            f"{part} z {', '.join(map(str, sorted(zs)))}"
            for part, zs in (
                ("training", division.training), ("validation", division.validation), ("test", division.test),
            )
        ]  # fmt: skip
        return f"Fold {self.fold}: {'; '.join(told)}; at least 60 nm between parts. Learned at {LEARNED_NM:g} nm."

    def prepare(self, data: Path, place: Path) -> Sequence[Job]:
        """Write both data sets, and the test planes at 5 nm."""
        planes = read(data)
        edges = Edges(VOXEL_NM, VOXEL_NM, LEARNED_NM)
        for name, binary in (("binary", True), ("six", False)):
            pictures = pictures_of(planes, binary=binary)
            classes = {"background": 0, "mitochondrion": 1} if binary else CLASSES.class_ids
            write_dataset(place / "data" / name, pictures, classes, edges)
            write_split(place / "data" / f"{name}.split.json", self.division.split(pictures))
            test = [picture for picture in pictures if picture.z in self.division.test]
            write_tiffs(place / "test" / "images", [(p.name, p.grey_yx) for p in test])
            write_tiffs(place / "test" / f"truth-{name}", [(p.name, p.labels_yx) for p in test])
        six = [output(name, class_id) for name, class_id in CLASSES.class_ids.items()]
        return (
            Job(
                "mitochondria", annotated("binary"), [output("background", 0), output("mitochondrion", 1)],
                ARCHITECTURE, {**OPTIMISER, "focus": [1], "focus_share": 0.5}, 0.5, 20_000,
            ),
            Job(
                "epfl-six-classes", annotated("six"), six, ARCHITECTURE,
                {**OPTIMISER, "seed": 2, "focus": [2, 6, 5, 4], "focus_share": 0.6}, 0.5, 20_000, "model-six",
            ),
        )  # fmt: skip

    def measure(self, data: Path, place: Path, models: Mapping[str, Path]) -> Outcome:
        """Score mitochondria of both networks, and every class of the second."""
        test = place / "test"
        alone = predicted(
            models["mitochondria"], Tested(test / "images", test / "truth-binary", test / "binary"), VOXEL_NM
        )
        among = predicted(
            models["epfl-six-classes"], Tested(test / "images", test / "truth-six", test / "six"), VOXEL_NM
        )
        names = Settings({0: "background", 1: "mitochondrion"})
        counts = counted([alone.pair(name) for name in alone.names], names)
        scores = [score("mitochondria, binary network, Dice", counts.confusion, dice(1), PUBLISHED["binary"], GOAL)]
        bits = {f"z{z:03}": bits for z, _, bits in read(data)}
        shown = [each for each in CLASSES.classes if any((bits[name] & each.bit).any() for name in among.names)]
        scores += [self._of_class(each.name, among, bits) for each in sorted(shown, key=lambda each: each.bit)]
        return Outcome(scores, _remarks(bits, among.names, shown))

    @staticmethod
    def _of_class(name: str, among: Tested, bits: Mapping[str, Labels]) -> Score:
        """Score a class by its bit: what another class covers in the truth counts all the same."""
        is_main = name == "mitochondrion"
        return score(
            f"{name.replace('_', ' ')}, six classes, Dice",
            np.stack([_mask_counts(name, among, bits, image) for image in among.names]),
            dice(1),
            PUBLISHED["six"] if is_main else "",
            GOAL if is_main else None,
        )


def _mask_counts(name: str, among: Tested, bits: Mapping[str, Labels], image: str) -> NDArray[np.int64]:
    found = CLASSES.mask(among.pair(image).prediction.astype(np.uint8), name)
    true = (bits[image] & CLASSES.bit(name)) > 0
    return _two_by_two(true, found)


def _two_by_two(true: NDArray[np.bool_], found: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.bincount(2 * true.ravel() + found.ravel(), minlength=4).reshape(2, 2).astype(np.int64)


def _remarks(bits: Mapping[str, Labels], names: Sequence[str], shown: Sequence[BitClass]) -> list[str]:
    """Say what one label per pixel costs at most: the Dice of the truth's own labels with its bits."""
    best = []
    for each in shown:
        counts = np.zeros((2, 2), np.int64)
        for name in names:
            found = CLASSES.mask(CLASSES.labels(bits[name]), each.name)
            counts += _two_by_two((bits[name] & each.bit) > 0, found)
        best.append(f"{each.name.replace('_', ' ')} {float(dice(1)(counts)):.4f}")
    return [
        "Six overlapping classes are one label per pixel (later ones of membrane, mitochondrion, its "
        f"boundary, vesicle, axon sheath, density win) and are scored against the bits; a perfect network would get "
        f"{', '.join(best)}.",
        "Classes that the test part does not show have no row. Planes are the unit of the intervals; some "
        "follow each other, so that the intervals are too narrow.",
    ]
