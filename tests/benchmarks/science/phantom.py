"""Three networks fused against one for all classes, on phantoms of 16 nm of unseen seeds: the manuscript's claim."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

import services.trainer
from services.contracts.classes import LabelClass
from services.evaluation.comparison import LabelPair, Settings
from services.simulator.phantom import Phantom, PhantomSpec
from tests.benchmarks.science.pictures import write_tiffs
from tests.benchmarks.science.recipes import Job
from tests.benchmarks.science.results import Score
from tests.benchmarks.science.scoring import Counted, Measure, Tested, ahead, counted, dice, macro, predicted, score
from tests.benchmarks.science.task import Outcome, output

VOXEL_NM = 16.0
FIRST_SLICES = 16
TRAINING_SEEDS = tuple(range(200_000, 200_012))
VALIDATION_SEEDS, CARD_SEEDS = (200_900,), (200_950,)
TEST_SEEDS = tuple(range(300_000, 300_006))
TEST_PLANES = 24
NUCLEI = 3
DATA: dict[str, Any] = {
    "kind": "phantoms", "voxel_size_nm": VOXEL_NM, "training_seeds": list(TRAINING_SEEDS),
    "validation_seeds": list(VALIDATION_SEEDS), "held_out_seeds": list(CARD_SEEDS), "nuclei_per_phantom": NUCLEI,
    "planes_per_phantom": 40,
}  # fmt: skip
ALL = "all-classes"
NAMES = tuple(label.label for label in LabelClass)
# What the manuscript's two tables tell apart: without the complex, and with it; the envelope counts as exterior.
FOUR = np.array([0, 1, 2, 3, 2, 0], np.uint8)
FIVE = np.array([0, 1, 2, 3, 4, 0], np.uint8)
SHIPPED = Path(services.trainer.__file__).parent / "recipes" / "shipped.toml"
FIRST_NAME = "000-first-slices"
"""An acquisition's first slices fix the normalisation; they stand before the others, and are not scored."""


def grown(seed: int) -> Phantom:
    """Return a phantom."""
    return Phantom(PhantomSpec(seed=seed, voxel_nm=VOXEL_NM, n_nuclei=NUCLEI))


def write_test(folder: Path, seeds: Sequence[int], planes: int) -> None:
    """Write the test planes of each seed: `SEED/images` with the first slices before them, `SEED/truth`."""
    for seed in seeds:
        place = folder / str(seed)
        if (place / "truth" / "planes.tif").exists():
            continue
        specimen = grown(seed)
        depth = specimen.shape_zyx[0]
        chosen = [int((k + 0.5) * depth / planes) for k in range(planes)]
        first = np.stack([specimen.slice(z) for z in range(FIRST_SLICES)])
        pairs = [(specimen.slice(z), specimen.truth(z).classes) for z in chosen]
        grey, truth = (np.stack(column) for column in zip(*pairs, strict=True))
        write_tiffs(place / "images", [(FIRST_NAME, first), ("planes", grey)])
        write_tiffs(place / "truth", [("planes", truth)])


def shipped_networks() -> list[dict[str, Any]]:
    """Return the three networks of the package, as their recipe has them."""
    networks: list[dict[str, Any]] = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))["networks"]
    return networks


def jobs() -> list[Job]:
    """Return the three networks of the package, and one for all classes with as much time as they together."""
    three = shipped_networks()
    shares = {"chromatin": 0.15, "complex": 0.23, "membrane": 0.12}
    found = [
        Job(
            network["name"], DATA, network["outputs"], network["architecture"],
            {k: v for k, v in network["optimiser"].items() if k != "steps"}, shares[network["name"]], 12_000,
            profile=None,
        )
        for network in three
    ]  # fmt: skip
    architecture = {
        "family": "dlsia.TUNet",
        "depth": 5,
        "base_channels": 16,
        "growth_rate": 1.5,
        "normalization": "none",
    }
    optimiser = {
        "seed": 4, "batch_crops": 4, "patch_px": 128, "learning_rate": 2e-3, "dice_weight": 0.5,
        "artefact_share": 0.35,
        "class_weights": [0.5, 1.0, 1.0, 1.0, 1.4, 1.1], "focus": [4, 4, 4, 2, 3, 5], "focus_share": 0.8,
    }  # fmt: skip
    outputs = [output(name, k) for k, name in enumerate(NAMES)]
    return [*found, Job(ALL, DATA, outputs, architecture, optimiser, 0.5, 24_000, "model-one", profile=None)]


@dataclass(frozen=True)
class PhantomTask:
    """The task."""

    turn_s: float = math.inf
    title: str = "Phantom at 16 nm: three networks fused, against one for all classes"
    parts: str = (
        f"Training seeds {TRAINING_SEEDS[0]} to {TRAINING_SEEDS[-1]}, validation {VALIDATION_SEEDS[0]}, test seeds "
        f"{TEST_SEEDS[0]} to {TEST_SEEDS[-1]}, {TEST_PLANES} planes of each."
    )

    def prepare(self, data: Path, place: Path) -> Sequence[Job]:
        """Write the test planes."""
        del data
        write_test(place / "test", TEST_SEEDS, TEST_PLANES)
        return jobs()

    def measure(self, data: Path, place: Path, models: Mapping[str, Path]) -> Outcome:
        """Score both on the same planes, and how far the three are ahead."""
        del data
        three = _counts(models["chromatin"].parent, place / "test", "three")
        one = _counts(models[ALL], place / "test", "one")
        scores: list[Score] = []
        for told, published, goal, measure, table in _rows():
            mine, other = three[table].confusion, one[table].confusion
            scores += [
                score(f"{told}, three fused", mine, measure, published, goal),
                score(f"{told}, one network", other, measure),
                Score(f"{told}, three ahead by", *ahead(mine, other, measure), "", 0.0),
            ]
        claim = next(row for row in scores if row.name == "macro F1, 5 classes, three ahead by")
        holds = "holds" if (claim.low or 0) > 0 else "is refuted" if (claim.high or 0) < 0 else "is not decided"
        return Outcome(
            scores,
            [
                f"The manuscript's claim, that three networks fused do better than one, {holds} at equal time: the one "
                "network had as long as the three together.",
                "Planes are the unit of the intervals; those of one seed are not independent.",
            ],
        )


def _rows() -> Iterator[tuple[str, str, float | None, Measure, str]]:
    yield "macro F1, 4 classes", "Table 1: .9041 (other data)", 0.97, macro, "four"
    yield "macro F1, 5 classes", "Table 1: .7808 (other data)", 0.94, macro, "five"
    yield "synaptonemal complex, F1", "", 0.87, dice(4), "five"
    yield "nuclear membrane, F1", "", None, dice(5), "six"


def _counts(model: Path, test: Path, side: str) -> dict[str, Counted]:
    """Count every plane of every seed, with 4, 5 and all 6 classes."""
    pairs: list[LabelPair] = []
    for seed in TEST_SEEDS:
        place = test / str(seed)
        predicted(model, Tested(place / "images", place / "truth", place / side), VOXEL_NM)
        truth, found = (tifffile.imread(place / which / "planes.tif") for which in ("truth", side))
        pairs += [LabelPair(f"{seed}-{k:03}", *planes) for k, planes in enumerate(zip(truth, found, strict=True))]
    tables: dict[str, tuple[NDArray[np.uint8], int]] = {
        "four": (FOUR, 4), "five": (FIVE, 5), "six": (np.arange(6, dtype=np.uint8), 6),
    }  # fmt: skip
    return {
        name: counted(
            [LabelPair(pair.name, table[pair.truth], table[pair.prediction]) for pair in pairs],
            Settings(dict(enumerate(NAMES[:classes])), frozenset()),
        )
        for name, (table, classes) in tables.items()
    }
