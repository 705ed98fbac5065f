"""The manuscript's Table 1 on the phantom: five TUNets and an MSDNet with the same time each, by interleaved turns."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.contracts.classes import LabelClass
from services.evaluation.comparison import LabelPair, Settings
from services.evaluation.manuscript import TABLE_1
from services.runtime.segmenter.cards import read_card
from tests.benchmarks.science.curves import best_by_validation, validations
from tests.benchmarks.science.phantom import DATA, TEST_SEEDS, VOXEL_NM, write_test
from tests.benchmarks.science.recipes import Job
from tests.benchmarks.science.results import Score
from tests.benchmarks.science.scoring import Tested, counted, macro, predicted, score
from tests.benchmarks.science.task import Outcome, output
from tests.benchmarks.science.turns import Ledger

TUNETS = tuple((row.depth, row.base, row.growth) for row in TABLE_1[:5])
MSDNET = {"family": "dlsia.MixedScaleDenseNetwork", "layers": 40, "max_dilation": 10}
TEST_PLANES = 12
SEEDS = TEST_SEEDS[:4]
NAMES = {0: "exterior", 1: "nucleoplasm", 2: "chromosome", 3: "nucleolus"}
_OPTIMISER: dict[str, Any] = {
    "seed": 1, "batch_crops": 2, "patch_px": 128, "learning_rate": 1e-3, "artefact_share": 0.35, "focus": [2, 2, 3, 1],
    "focus_share": 0.75, "dice_weight": 0.5,
}  # fmt: skip


def tunet(depth: int, base: int, growth: float) -> dict[str, Any]:
    """Return a TUNet as the manuscript's DLSIA built it: up-convolutions of 3 px."""
    return {
        "family": "dlsia.TUNet", "depth": depth, "base_channels": base, "growth_rate": growth, "up_kernel_px": 3,
    }  # fmt: skip


def jobs() -> list[Job]:
    """Return all six, which have the same time."""
    outputs = [
        output("exterior", 0, int(LabelClass.NUCLEAR_MEMBRANE)), output("nucleoplasm", 1),
        output("chromosome", 2, int(LabelClass.SYNAPTONEMAL_COMPLEX)), output("nucleolus", 3),
    ]  # fmt: skip
    networks = {_name(*row): tunet(*row) for row in TUNETS} | {"msdnet-40": MSDNET}
    return [
        Job(name, DATA, outputs, architecture, _OPTIMISER, 1 / 6, 12_000, f"networks/{name}", profile=None)
        for name, architecture in networks.items()
    ]


@dataclass(frozen=True)
class Table1:
    """The task."""

    turn_s: float = 60.0
    title: str = "Table 1 on the phantom: five TUNets and an MSDNet, four classes"
    parts: str = (
        f"Phantoms as in the task `phantom`; test seeds {SEEDS[0]} to {SEEDS[-1]}, {TEST_PLANES} planes of each. "
        "Every network has a sixth of the time."
    )

    def prepare(self, data: Path, place: Path) -> Sequence[Job]:
        """Write the test planes."""
        del data
        write_test(place / "test", SEEDS, TEST_PLANES)
        return jobs()

    def measure(self, data: Path, place: Path, models: Mapping[str, Path]) -> Outcome:
        """Score all on the same planes, and publish the one that was the best on the validation planes."""
        del data
        scores = {name: _score(name, model, place) for name, model in models.items()}
        best = best_by_validation(place, models)
        _publish(models[best], place / "model")
        return Outcome(
            list(scores.values()),
            [
                f"`model` holds {best}, chosen by macro F1 on the validation planes; no test score had a part in it.",
                "The printed figures are of the manuscript's own images: they tell which way sizes go, no more.",
                "Planes are the unit of the intervals; those of one seed are not independent.",
            ],
            [_table(models, scores, place)],
        )


def _name(depth: int, base: int, growth: float) -> str:
    return f"tunet-d{depth}-b{base}-g{growth:g}".replace(".", "p")


def _score(name: str, model: Path, place: Path) -> Score:
    pairs: list[LabelPair] = []
    fold = {4: 2, 5: 0}
    for seed in SEEDS:
        test = place / "test" / str(seed)
        tested = predicted(model, Tested(test / "images", test / "truth", test / name), VOXEL_NM)
        pair = tested.pair("planes")
        truth = pair.truth.copy()
        for label, into in fold.items():
            truth[pair.truth == label] = into
        pairs += [
            LabelPair(f"{seed}-{k:03}", true, found)
            for k, (true, found) in enumerate(zip(truth, pair.prediction, strict=True))
        ]
    return score(f"macro F1, {name}", counted(pairs, Settings(NAMES, frozenset())).confusion, macro)


def _table(models: Mapping[str, Path], scores: Mapping[str, Score], place: Path) -> str:
    """Return the table with the columns of the manuscript's, and the printed figures beside."""
    printed = {_name(row.depth, row.base, row.growth): row for row in TABLE_1[:5]}
    spent = Ledger(place / "spent.json").spent
    lines = [
        "| network | parameters | train loss | validation loss | F1 | minutes | printed: train | validation | F1 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, model in models.items():
        card, (train, validation) = read_card(model), _losses(place, name)
        row = printed.get(name)
        there = f"{row.train_loss:.4f} | {row.validation_loss:.4f} | {row.f1:.4f}" if row else " | | "
        lines.append(
            f"| {name} | {card.parameters / 1e6:.3f} M | {train:.4f} | {validation:.4f} | {scores[name].value:.4f} | "
            f"{spent.wall_s[name] / 60:.1f} | {there} |"
        )
    return "\n".join(lines)


def _losses(place: Path, name: str) -> tuple[float, float]:
    """Return training and validation loss at the lowest validation loss."""
    best = min(validations(place, name), key=lambda row: float(row["validation_loss"]))
    return float(best["train_loss"]), float(best["validation_loss"])


def _publish(model: Path, out: Path) -> None:
    """Copy a published network, and remove what was there before."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(model, out / model.name)
