"""Our network against a library's on the same planes, with the same time, by interleaved turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.evaluation.comparison import LabelPair, Settings
from tests.benchmarks.science.pictures import Division, Edges, Picture, pieces, write_dataset, write_split, write_tiffs
from tests.benchmarks.science.recipes import Job
from tests.benchmarks.science.results import Score
from tests.benchmarks.science.scoring import Counted, Measure, Tested, ahead, counted, dice, predicted, score, thin
from tests.benchmarks.science.task import Outcome, annotated, output

OURS: dict[str, Any] = {"family": "dlsia.TUNet", "depth": 5, "base_channels": 16, "growth_rate": 1.75}
THEIRS: dict[str, Any] = {"family": "smp", "decoder": "Unet", "encoder": "resnet34"}
PIECES_ACROSS = 4
OPTIMISER: dict[str, Any] = {
    "batch_crops": 4,
    "patch_px": 256,
    "learning_rate": 2e-3,
    "warp_share": 0.3,
    "focus_share": 0.0,
}


@dataclass(frozen=True, slots=True)
class Contest:
    """A data set on which two networks are compared.

    Attributes
    ----------
    name
        Of the data set.
    label
        Name of class 1; what is thin is scored by clDice too.
    voxel_nm, z_nm, learned_nm
        Edge of a pixel, distance of planes, and edge of the pixels that both learn from.
    share
        Of the task's time, for each of the two.
    folder
        Added to `model` and `baseline`.
    """

    name: str
    label: str
    voxel_nm: float
    z_nm: float
    learned_nm: float
    share: float
    folder: str = ""

    @property
    def settings(self) -> Settings:
        """How label images are compared."""
        return Settings({0: "background", 1: self.label})

    @property
    def networks(self) -> tuple[str, str]:
        """Names of ours and of the library's."""
        return f"{self.name}-tunet", f"{self.name}-resnet34-unet"


def contest_jobs(contest: Contest, pictures: Sequence[Picture], division: Division, place: Path) -> list[Job]:
    """Write the data set and its test planes, and return both networks' trainings: alike but for the architecture."""
    edges = Edges(contest.z_nm, contest.voxel_nm, contest.learned_nm)
    write_dataset(place / "data" / contest.name, pictures, {"background": 0, contest.label: 1}, edges)
    write_split(place / "data" / f"{contest.name}.split.json", division.split(pictures))
    test = [picture for picture in pictures if picture.z in division.test]
    write_tiffs(place / "test" / contest.name / "images", [(p.name, p.grey_yx) for p in test])
    write_tiffs(place / "test" / contest.name / "truth", [(p.name, p.labels_yx) for p in test])
    outputs = [output("background", 0), output(contest.label, 1)]
    sides = zip(contest.networks, (OURS, THEIRS), ("model", "baseline"), strict=True)
    return [
        Job(
            name, annotated(contest.name), outputs, architecture, {**OPTIMISER, "seed": 1}, contest.share, 20_000,
            f"{folder}{contest.folder}",
        )
        for name, architecture, folder in sides
    ]  # fmt: skip


def contest_scores(contest: Contest, place: Path, models: Mapping[str, Path]) -> Outcome:
    """Score both networks, and by how much ours is ahead, with paired intervals."""
    test = place / "test" / contest.name
    ours, theirs = (
        _counted(
            predicted(models[name], Tested(test / "images", test / "truth", test / name), contest.voxel_nm), contest
        )
        for name in contest.networks
    )
    scores = []
    for told, which, measure in _measures(contest):
        mine, other = getattr(ours, which), getattr(theirs, which)
        scores += [
            score(f"{contest.name}, {told}, TUNet", mine, measure),
            score(f"{contest.name}, {told}, smp Unet resnet34", other, measure),
            Score(f"{contest.name}, {told}, TUNet ahead by", *ahead(mine, other, measure), "", 0.0),
        ]
    return Outcome(
        scores,
        [
            "Both networks have the same patches, loss, optimiser, schedule and time, by turns of two minutes; each is "
            "selected by its best validation. A 16th of a plane is the unit of the intervals, and the differences are "
            "paired: neighbouring planes look alike, so that the intervals are too narrow.",
        ],
    )


def _measures(contest: Contest) -> Iterator[tuple[str, str, Measure]]:
    yield "Dice", "confusion", dice(1)
    yield "boundary F at 2 px", "boundary", thin(1)
    if contest.label in contest.settings.thin:
        yield "clDice", "centreline", thin(1)


def _counted(tested: Tested, contest: Contest) -> Counted:
    """Count the pieces of every plane; planes are segmented whole."""
    pairs = []
    for name in tested.names:
        pair = tested.pair(name)
        cut = zip(pieces(pair.truth, PIECES_ACROSS), pieces(pair.prediction, PIECES_ACROSS), strict=True)
        pairs += [LabelPair(f"{name}-{k:02}", truth, found) for k, (truth, found) in enumerate(cut)]
    return counted(pairs, contest.settings)
