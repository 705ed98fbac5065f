"""What an evaluation says: as values, as JSON, and as a table to read."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from services.evaluation.matching import NucleusCounts
from services.evaluation.metrics import Averages, ClassScore


@dataclass(frozen=True, slots=True)
class PixelScores:
    """Scores of classes, by name, and their averages."""

    classes: dict[str, ClassScore]
    averages: Averages


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well one partition into chromosomes agrees with the true one; means over nuclei, None without any.

    Attributes
    ----------
    adapted_rand_error
        0 is perfect; over the true chromosome voxels.
    vi_split, vi_merge
        Variation of information in bits; 0 is perfect.
    dice
        Mean over the true chromosomes of the Dice with the predicted one it is matched with; 1 is perfect.
    pq
        Panoptic quality at an IoU of 0.5; 1 is perfect.
    """

    adapted_rand_error: float | None = None
    vi_split: float | None = None
    vi_merge: float | None = None
    dice: float | None = None
    pq: float | None = None


@dataclass(frozen=True, slots=True)
class ChromosomeScores:
    """How well chromosomes were told apart; means over nuclei, None where there was nothing to compare.

    Attributes
    ----------
    count_exact_fraction
        Share of the true nuclei in which as many chromosomes were found as there are; missed ones count against it.
    adapted_rand_error
        0 is perfect; over the true chromosome voxels of found nuclei.
    vi_split, vi_merge, dice, pq
        As in `Agreement`.
    bivalents, homologs
        Agreement with the true bivalents and the true homologs, whatever the run was told to look for. A run that
        looked for the one cannot agree with the other.
    """

    count_exact_fraction: float | None
    adapted_rand_error: float | None
    vi_split: float | None
    vi_merge: float | None
    dice: float | None = None
    pq: float | None = None
    bivalents: Agreement = Agreement()
    homologs: Agreement = Agreement()


@dataclass(frozen=True, slots=True)
class NucleusScore:
    """What became of one true nucleus.

    Attributes
    ----------
    truth_id
        Its id in the truth.
    nucleus_id
        The prediction that found it, None if it was missed.
    clipped
        Whether a face of the acquisition cuts it.
    f1
        F1 of each class by name.
    partition
        What its chromosomes were compared with: `bivalents` or `chromosomes` (homologs).
    chromosomes_true, chromosomes_found
        Numbers of them; found is None if nobody looked.
    adapted_rand_error, vi_split, vi_merge, dice, pq
        Agreement with that partition.
    bivalents, homologs
        Agreement with either.
    """

    truth_id: int
    nucleus_id: str | None
    clipped: bool
    f1: dict[str, float | None]
    partition: str
    chromosomes_true: int
    chromosomes_found: int | None
    adapted_rand_error: float | None
    vi_split: float | None
    vi_merge: float | None
    dice: float | None = None
    pq: float | None = None
    bivalents: Agreement = Agreement()
    homologs: Agreement = Agreement()


@dataclass(frozen=True, slots=True)
class GroupScores:
    """Scores of a group of nuclei taken together."""

    pixels: PixelScores
    nuclei: NucleusCounts
    chromosomes: ChromosomeScores


@dataclass(frozen=True, slots=True)
class Scores:
    """The outcome of an evaluation.

    Attributes
    ----------
    pixels
        Scores of classes: over whole nuclei, or over all pixels of label images.
    whole, clipped
        Nuclei that lie inside the acquisition, and those that a face of it cuts; None for label images.
    invented
        Predictions that hold no true nucleus, by id.
    per_nucleus
        Every true nucleus, by id.
    """

    pixels: PixelScores
    whole: GroupScores | None = None
    clipped: GroupScores | None = None
    invented: tuple[str, ...] = ()
    per_nucleus: tuple[NucleusScore, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Return the scores under the keys of `evaluate --json`; what has no value is None."""
        return {
            **_pixels_json(self.pixels),
            "nuclei": asdict(self.whole.nuclei) if self.whole else None,
            "chromosomes": asdict(self.whole.chromosomes) if self.whole else None,
            "clipped_nuclei": _group_json(self.clipped) if self.clipped else None,
            "invented": list(self.invented),
            "per_nucleus": [asdict(score) for score in self.per_nucleus],
        }


def _pixels_json(pixels: PixelScores) -> dict[str, object]:
    return {
        "classes": {name: asdict(score) for name, score in pixels.classes.items()},
        "f1_macro": pixels.averages.macro,
        "f1_micro": pixels.averages.micro,
        "f1_weighted": pixels.averages.weighted,
        "f1_macro_without_exterior": pixels.averages.macro_without_exterior,
    }


def _group_json(group: GroupScores) -> dict[str, object]:
    return {
        **_pixels_json(group.pixels),
        "nuclei": asdict(group.nuclei),
        "chromosomes": asdict(group.chromosomes),
    }


def format_scores(scores: Scores) -> str:
    """Return the scores as text to read, lines of at most 80 characters."""
    lines = [f"{'class':<22}{'precision':>10}{'recall':>10}{'F1':>10}{'IoU':>10}"]
    lines += [
        f"{name:<22}{_number(s.precision):>10}{_number(s.recall):>10}{_number(s.f1):>10}{_number(s.iou):>10}"
        for name, s in scores.pixels.classes.items()
    ]
    average = scores.pixels.averages
    lines.append(
        f"F1: macro {_number(average.macro)}, without exterior {_number(average.macro_without_exterior)}, "
        f"weighted {_number(average.weighted)}, micro {_number(average.micro)}"
    )
    for title, group in (("whole nuclei", scores.whole), ("nuclei cut by a face", scores.clipped)):
        if group is not None and group.nuclei.truth:
            lines += ["", *_group_lines(title, group)]
    if scores.invented:
        lines.append(f"found where nothing is: {', '.join(scores.invented)}")
    return "\n".join(lines)


def _group_lines(title: str, group: GroupScores) -> list[str]:
    nuclei, chromosomes = group.nuclei, group.chromosomes
    return [
        f"{title}: {nuclei.found} of {nuclei.truth} found, {nuclei.missed} missed, "
        f"{nuclei.split} split, {nuclei.merged} merged",
        f"  F1 without exterior {_number(group.pixels.averages.macro_without_exterior)}",
        f"  chromosomes: count exact in {_number(chromosomes.count_exact_fraction)} of them, "
        f"Rand error {_number(chromosomes.adapted_rand_error)},",
        f"    bits of information: split {_number(chromosomes.vi_split)}, merge {_number(chromosomes.vi_merge)},",
        f"    Dice {_number(chromosomes.dice)}, panoptic quality {_number(chromosomes.pq)}",
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
