"""Scores a results folder against the truth, or label images against label images, slab by slab."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.contracts.classes import LabelClass
from services.evaluation.matching import Matching, count_nuclei, match_nuclei
from services.evaluation.metrics import (
    Confusion,
    adapted_rand_error,
    averages,
    class_scores,
    confusion,
    count_pairs,
    matched_dice,
    mean,
    panoptic_quality,
    variation_of_information,
)
from services.evaluation.reading import (
    EvaluationInputError,
    PredictedNucleus,
    Truth,
    label_images,
    read_label_pairs,
    read_prediction,
)
from services.evaluation.scores import Agreement, ChromosomeScores, GroupScores, NucleusScore, PixelScores, Scores
from services.evaluation.windows import Box, Grids, bounding_box, covered, joined, placed, slabs, volume, whole

CLASS_NAMES: Mapping[int, str] = {int(label): label.label for label in LabelClass}
PARTITIONS = ("bivalents", "chromosomes")

Pairs = Counter[tuple[int, int]]


def evaluate(truth: Path, prediction: Path, class_names: Mapping[int, str] = CLASS_NAMES) -> Scores:
    """Score a prediction.

    Over volumes, each true nucleus is scored in the window of the prediction that found it, joined with its
    own bounding box; other nuclei in that window count as exterior, since a predicted volume is of one
    nucleus. A missed nucleus counts with all its voxels against recall; a prediction that found no nucleus
    (a fragment of one that was split, or an invented one) counts with all its voxels against precision, among the
    whole nuclei unless what it holds most of is a clipped one. The headline is of whole nuclei.

    Parameters
    ----------
    truth
        The `truth` folder of a simulation, or a folder of label TIFFs.
    prediction
        A results folder, or a folder of label TIFFs of the same names and shapes.
    class_names
        Name of every class id, 0 first; label images may have other classes than nuclei.

    Raises
    ------
    EvaluationInputError
        If either is not what it should be.
    LabelRangeError
        If a label is none of the classes.
    ShapeMismatchError
        If two label images differ in shape.
    """
    if not truth.is_dir() or not prediction.is_dir():
        raise EvaluationInputError(f"{truth if not truth.is_dir() else prediction} is not a folder")
    if label_images(truth):
        return _evaluate_images(truth, prediction, class_names)
    return _evaluate_volumes(Truth(truth), read_prediction(prediction), class_names)


def _evaluate_images(truth: Path, prediction: Path, class_names: Mapping[int, str]) -> Scores:
    counts = np.zeros((len(class_names), len(class_names)), np.int64)
    for _, true_labels, predicted_labels in read_label_pairs(truth, prediction):
        counts += confusion(true_labels, predicted_labels, len(class_names))
    return Scores(pixels=_pixel_scores(counts, class_names))


@dataclass(slots=True)
class _Extent:
    """Size and bounding box of a nucleus; the box is half open, in voxels of the truth."""

    voxels: int = 0
    low: NDArray[np.int64] = field(default_factory=lambda: np.full(3, np.iinfo(np.int64).max))
    high: NDArray[np.int64] = field(default_factory=lambda: np.zeros(3, np.int64))

    def add(self, voxels: int, low: Sequence[int], high: Sequence[int]) -> None:
        self.voxels += voxels
        self.low = np.minimum(self.low, low)
        self.high = np.maximum(self.high, high)

    @property
    def box(self) -> Box:
        z, y, x = ((int(low), int(high)) for low, high in zip(self.low, self.high, strict=True))
        return z, y, x

    def is_clipped(self, grids: Grids) -> bool:
        """Whether it reaches a face of the acquisition."""
        return bool((self.low == 0).any() or any(self.high[axis] == grids[axis].count for axis in range(3)))


@dataclass(frozen=True, slots=True)
class _Found:
    """A prediction: the volume, where it holds labels, and what it shares with the true nuclei."""

    nucleus: PredictedNucleus
    extent: _Extent
    shared: Mapping[int, int]


@dataclass(slots=True)
class _Counts:
    """What was counted for one nucleus."""

    confusion: Confusion
    partitions: dict[str, Pairs] = field(default_factory=lambda: {name: Counter() for name in PARTITIONS})


def _evaluate_volumes(truth: Truth, predictions: list[PredictedNucleus], class_names: Mapping[int, str]) -> Scores:
    nuclei = _true_nuclei(truth)
    clipped = frozenset(n for n, extent in nuclei.items() if extent.is_clipped(truth.grids))
    by_id = {prediction.nucleus_id: _found(truth, prediction) for prediction in predictions}
    overlaps = {(n, name): voxels for name, found in by_id.items() for n, voxels in found.shared.items()}
    matching = match_nuclei({n: extent.voxels for n, extent in nuclei.items()}, overlaps)
    matched = {n: by_id[name] for n, name in matching.prediction_of.items()}
    counts = {n: _count(truth, n, extent.box, matched.get(n), len(class_names)) for n, extent in nuclei.items()}
    scores = tuple(_nucleus_score(n, n in clipped, counts[n], matched.get(n), class_names) for n in nuclei)
    stray = _stray_counts(truth, by_id, matching, clipped, len(class_names))
    whole_group, clipped_group = (
        _group_scores([s for s in scores if s.clipped is side], stray[side], counts, matching, class_names)
        for side in (False, True)
    )
    invented = tuple(name for name in by_id if name not in matching.home_of)
    return Scores(whole_group.pixels, whole_group, clipped_group, invented, scores)


def _true_nuclei(truth: Truth) -> dict[int, _Extent]:
    """Return size and bounding box of every true nucleus, by id, in one pass."""
    nuclei: dict[int, _Extent] = {}
    for box in slabs(whole(truth.grids)):
        for z, plane in enumerate(truth.nuclei.read(placed(truth.grids, box)), start=box[0][0]):
            voxels = np.bincount(plane.ravel())
            for index, place in enumerate(ndimage.find_objects(plane), start=1):
                if place is not None:
                    rows, columns = place
                    extent = nuclei.setdefault(index, _Extent())
                    extent.add(int(voxels[index]), (z, rows.start, columns.start), (z + 1, rows.stop, columns.stop))
    return dict(sorted(nuclei.items()))


def _found(truth: Truth, prediction: PredictedNucleus) -> _Found:
    """Return where a prediction holds labels, and the voxels that it shares with each true nucleus."""
    extent = _Extent()
    shared: Counter[int] = Counter()
    for box in slabs(covered(truth.grids, prediction.classes.grids)):
        inside = prediction.classes.read(placed(truth.grids, box)) > 0
        held = bounding_box(inside)
        if held is not None:
            window = tuple(slice(first, stop) for first, stop in held)
            z, y, x = ((first + low, first + high) for (first, _), (low, high) in zip(box, held, strict=True))
            extent.add(int(np.count_nonzero(inside[window])), (z[0], y[0], x[0]), (z[1], y[1], x[1]))
            true_ids = truth.nuclei.read(placed(truth.grids, (z, y, x)))[inside[window]]
            shared.update({n: int(voxels) for n, voxels in enumerate(np.bincount(true_ids)) if n and voxels})
    return _Found(prediction, extent, dict(shared))


def _count(truth: Truth, nucleus: int, box: Box, found: _Found | None, classes: int) -> _Counts:
    """Count one true nucleus against the prediction that found it, or against nothing."""
    counts = _Counts(np.zeros((classes, classes), np.int64))
    prediction = found.nucleus if found else None
    held = joined(box, found.extent.box) if found else box
    for slab in slabs(held):
        grids = placed(truth.grids, slab)
        own = truth.nuclei.read(grids) == nucleus
        true_classes = np.where(own, truth.classes.read(grids), 0)
        predicted = prediction.classes.read(grids) if prediction else np.zeros_like(true_classes)
        counts.confusion += confusion(true_classes, predicted, classes)
        _count_chromosomes(truth, grids, true_classes == LabelClass.CHROMOSOME, prediction, counts.partitions)
    if prediction:
        # The rest of the window is exterior in both.
        window = joined(box, covered(truth.grids, prediction.classes.grids))
        counts.confusion[0, 0] += volume(window) - volume(held)
    return counts


def _count_chromosomes(
    truth: Truth,
    grids: Grids,
    chromosome: NDArray[np.bool_],
    prediction: PredictedNucleus | None,
    partitions: dict[str, Pairs],
) -> None:
    """Count pairs of true and predicted chromosome where there is a chromosome in truth."""
    if not chromosome.any():
        return
    predicted = np.zeros(int(np.count_nonzero(chromosome)), np.int64)
    if prediction is not None:
        predicted = prediction.chromosome_numbers(grids)[chromosome]
    for name in PARTITIONS:
        image = truth.bivalents if name == "bivalents" else truth.chromosomes
        true_ids = image.read(grids)[chromosome]
        partitions[name].update(count_pairs(true_ids[true_ids > 0], predicted[true_ids > 0]))


def _stray_counts(
    truth: Truth, predictions: Mapping[str, _Found], matching: Matching, clipped: frozenset[int], classes: int
) -> dict[bool, Confusion]:
    """Count predictions that found no nucleus, apart by whether they lie in a clipped one: all exterior in truth."""
    stray = {side: np.zeros((classes, classes), np.int64) for side in (False, True)}
    for name in sorted(predictions.keys() - set(matching.prediction_of.values())):
        prediction = predictions[name].nucleus
        for box in slabs(covered(truth.grids, prediction.classes.grids)):
            predicted = prediction.classes.read(placed(truth.grids, box))
            stray[matching.home_of.get(name) in clipped] += confusion(np.zeros_like(predicted), predicted, classes)
    return stray


def _nucleus_score(
    nucleus: int,
    clipped: bool,
    counts: _Counts,
    found: _Found | None,
    class_names: Mapping[int, str],
) -> NucleusScore:
    prediction = found.nucleus if found else None
    partition = _asked_for(counts.partitions, prediction)
    pairs = counts.partitions[partition]
    comparable = prediction is not None and prediction.objects is not None
    agreements = {name: _agreement(found) if comparable else Agreement() for name, found in counts.partitions.items()}
    asked_for = agreements[partition]
    return NucleusScore(
        truth_id=nucleus,
        nucleus_id=prediction.nucleus_id if prediction else None,
        clipped=clipped,
        f1={class_names[label]: score.f1 for label, score in enumerate(class_scores(counts.confusion))},
        partition=partition,
        chromosomes_true=_parts(pairs),
        chromosomes_found=prediction.chromosome_count if prediction else None,
        adapted_rand_error=asked_for.adapted_rand_error,
        vi_split=asked_for.vi_split,
        vi_merge=asked_for.vi_merge,
        dice=asked_for.dice,
        pq=asked_for.pq,
        bivalents=agreements["bivalents"],
        homologs=agreements["chromosomes"],
    )


def _agreement(pairs: Pairs) -> Agreement:
    if not pairs:
        return Agreement()
    split, merge = variation_of_information(pairs)
    return Agreement(adapted_rand_error(pairs), split, merge, matched_dice(pairs), panoptic_quality(pairs))


def _mean_agreement(agreements: Sequence[Agreement]) -> Agreement:
    return Agreement(
        adapted_rand_error=mean(one.adapted_rand_error for one in agreements),
        vi_split=mean(one.vi_split for one in agreements),
        vi_merge=mean(one.vi_merge for one in agreements),
        dice=mean(one.dice for one in agreements),
        pq=mean(one.pq for one in agreements),
    )


def _asked_for(partitions: Mapping[str, Pairs], prediction: PredictedNucleus | None) -> str:
    """Return the true partition whose number of parts is the nearest to what the run was told to expect."""
    expected = prediction.expected_chromosomes if prediction is not None else None
    if expected is None:
        return PARTITIONS[0]
    return min(PARTITIONS, key=lambda name: abs(_parts(partitions[name]) - expected))


def _parts(pairs: Pairs) -> int:
    return len({true for true, _ in pairs})


def _group_scores(
    scores: Sequence[NucleusScore],
    stray: Confusion,
    counts: Mapping[int, _Counts],
    matching: Matching,
    class_names: Mapping[int, str],
) -> GroupScores:
    total = stray + sum((counts[score.truth_id].confusion for score in scores), np.zeros_like(stray))
    exact = [float(score.chromosomes_found == score.chromosomes_true) for score in scores]
    return GroupScores(
        pixels=_pixel_scores(total, class_names),
        nuclei=count_nuclei(matching, [score.truth_id for score in scores]),
        chromosomes=ChromosomeScores(
            count_exact_fraction=mean(exact),
            adapted_rand_error=mean(score.adapted_rand_error for score in scores),
            vi_split=mean(score.vi_split for score in scores),
            vi_merge=mean(score.vi_merge for score in scores),
            dice=mean(score.dice for score in scores),
            pq=mean(score.pq for score in scores),
            bivalents=_mean_agreement([score.bivalents for score in scores]),
            homologs=_mean_agreement([score.homologs for score in scores]),
        ),
    )


def _pixel_scores(counts: Confusion, class_names: Mapping[int, str]) -> PixelScores:
    scores = {class_names[label]: score for label, score in enumerate(class_scores(counts))}
    return PixelScores(scores, averages(counts))
