"""Scores from counts: confusion of classes, and agreement of two partitions into chromosomes.

Everything here is a sum over voxels first, so that volumes of any size are counted slab by slab.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

MATCH_IOU = 0.5
"""Above this, at most one prediction can match a true segment."""
Confusion = NDArray[np.int64]
PairCounts = Mapping[tuple[int, int], int]


class LabelRangeError(ValueError):
    """A label is none of the classes."""


class ShapeMismatchError(ValueError):
    """Truth and prediction do not have the same shape."""


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Scores of one class; None where there is nothing to divide by.

    Attributes
    ----------
    precision
        Share of what was predicted that is right.
    recall
        Share of what is true that was predicted.
    f1
        Harmonic mean of the two, 2 TP / (2 TP + FP + FN).
    iou
        Intersection over union, TP / (TP + FP + FN).
    voxels
        True voxels of the class.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    iou: float | None
    voxels: int


@dataclass(frozen=True, slots=True)
class Averages:
    """F1 over classes; classes that are neither true nor predicted anywhere have no part in it.

    Attributes
    ----------
    macro
        Plain mean over classes.
    micro
        Over all voxels together, which is the share of voxels that are right.
    weighted
        Mean weighted by the true voxels of each class.
    macro_without_exterior
        Plain mean over all classes but class 0.
    """

    macro: float | None
    micro: float | None
    weighted: float | None
    macro_without_exterior: float | None


def confusion(truth: NDArray[np.integer], prediction: NDArray[np.integer], classes: int) -> Confusion:
    """Count voxels by true (row) and predicted (column) class.

    Parameters
    ----------
    truth, prediction
        Class ids 0 .. classes - 1, of one shape.
    classes
        Number of classes.

    Returns
    -------
    numpy.ndarray
        int64 (classes, classes).

    Raises
    ------
    LabelRangeError
        If an id is out of range.
    ShapeMismatchError
        If the shapes differ.

    Examples
    --------
    >>> confusion(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]), 3).tolist()
    [[1, 0, 0], [0, 1, 1], [0, 0, 1]]
    """
    if truth.shape != prediction.shape:
        raise ShapeMismatchError(f"truth has shape {truth.shape}, the prediction {prediction.shape}")
    for labels in (truth, prediction):
        if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise LabelRangeError(f"labels {labels.min()} to {labels.max()}, but classes are 0 to {classes - 1}")
    counts = np.zeros(classes * classes, np.int64)
    # Plane by plane: the pair index of a plane fits the processor's cache.
    for true_plane, predicted_plane in zip(_planes(truth), _planes(prediction), strict=True):
        pairs = true_plane.astype(np.int32) * classes + predicted_plane
        counts += np.bincount(pairs.ravel(), minlength=classes * classes)
    return counts.reshape(classes, classes)


def _planes(labels: NDArray[np.integer]) -> Iterable[NDArray[np.integer]]:
    return labels if labels.ndim > 2 else [labels]


def class_scores(counts: Confusion) -> list[ClassScore]:
    """Return the scores of every class.

    Examples
    --------
    >>> class_scores(np.array([[1, 0], [1, 2]]))[1]
    ClassScore(precision=1.0, recall=0.6666666666666666, f1=0.8, iou=0.6666666666666666, voxels=3)
    """
    scores = []
    for label in range(len(counts)):
        right = int(counts[label, label])
        true, predicted = int(counts[label].sum()), int(counts[:, label].sum())
        scores.append(
            ClassScore(
                precision=_share(right, predicted),
                recall=_share(right, true),
                f1=_share(2 * right, true + predicted),
                iou=_share(right, true + predicted - right),
                voxels=true,
            )
        )
    return scores


def averages(counts: Confusion) -> Averages:
    """Return the averages of F1 over classes; class 0 is the exterior.

    Examples
    --------
    >>> averages(np.array([[2, 0], [1, 1]])).micro
    0.75
    """
    scores = class_scores(counts)
    present = [score for score in scores if score.f1 is not None]
    total = int(counts.sum())
    weighted = sum(score.f1 * score.voxels for score in present if score.f1 is not None)
    return Averages(
        macro=mean(score.f1 for score in scores),
        micro=_share(int(np.trace(counts)), total),
        weighted=weighted / total if total else None,
        macro_without_exterior=mean(score.f1 for score in scores[1:]),
    )


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are not None, or None if there is none.

    >>> mean([0.5, None, 1.0])
    0.75
    """
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def count_pairs(truth: NDArray[np.integer], prediction: NDArray[np.integer]) -> Counter[tuple[int, int]]:
    """Count elements by true and predicted segment; counts of several blocks add up.

    Parameters
    ----------
    truth, prediction
        Segment ids of one shape, 0 or more; every id, 0 too, is a segment.

    Examples
    --------
    >>> sorted(count_pairs(np.array([1, 1, 2]), np.array([5, 5, 0])).items())
    [((1, 5), 2), ((2, 0), 1)]
    """
    if truth.shape != prediction.shape:
        raise ShapeMismatchError(f"truth has shape {truth.shape}, the prediction {prediction.shape}")
    if not truth.size:
        return Counter()
    width = int(prediction.max()) + 1
    keys, counts = np.unique(truth.ravel().astype(np.int64) * width + prediction.ravel(), return_counts=True)
    return Counter({divmod(int(key), width): int(count) for key, count in zip(keys, counts, strict=True)})


def adapted_rand_error(pairs: PairCounts) -> float:
    """Return 1 minus the F-score of "the two voxels of a pair lie in one segment".

    0 is perfect. As in SNEMI3D and scikit-image; leave elements that should not count out of `pairs`.
    Without any pair of voxels to be wrong about, the error is 0.

    Examples
    --------
    >>> round(adapted_rand_error({(1, 1): 2, (2, 1): 2}), 3)
    0.5
    """
    true, predicted = _marginals(pairs)
    together = _ordered_pairs(pairs.values())
    possible = _ordered_pairs(true.values()) + _ordered_pairs(predicted.values())
    return 1.0 - 2 * together / possible if possible else 0.0


def variation_of_information(pairs: PairCounts) -> tuple[float, float]:
    """Return the information, in bits per element, that splits and merges cost.

    Returns
    -------
    split
        H(prediction | truth): 0 when no true segment is cut.
    merge
        H(truth | prediction): 0 when no predicted segment holds two true ones.

    Examples
    --------
    >>> variation_of_information({(1, 1): 2, (2, 1): 2})
    (0.0, 1.0)
    """
    true, predicted = _marginals(pairs)
    total = sum(pairs.values())
    if total == 0:
        return 0.0, 0.0
    split = math.fsum(count / total * math.log2(true[t] / count) for (t, _), count in pairs.items())
    merge = math.fsum(count / total * math.log2(predicted[p] / count) for (_, p), count in pairs.items())
    return split, merge


def matched_dice(pairs: PairCounts) -> float | None:
    """Return the mean Dice of true segments and the predicted ones they are matched with, one to one (Kuhn 1955).

    The matching makes the sum of Dice as large as it can be; a true segment without a partner counts 0, a prediction
    without one does not count (`panoptic_quality` counts it). Predicted segment 0 is none. None without true segments.

    Parameters
    ----------
    pairs
        Elements by true and predicted segment, elements without a true segment left out.

    Examples
    --------
    >>> round(matched_dice({(1, 1): 2, (2, 1): 2, (2, 5): 2}), 3)
    0.667
    """
    true, predicted = _marginals(pairs)
    known = sorted(true)
    found = sorted(predicted.keys() - {0})
    if not known:
        return None
    dice = np.zeros((len(known), max(1, len(found))))
    for (t, p), count in pairs.items():
        if p:
            dice[known.index(t), found.index(p)] = 2 * count / (true[t] + predicted[p])
    rows, columns = linear_sum_assignment(dice, maximize=True)
    return math.fsum(dice[rows, columns].tolist()) / len(known)


def panoptic_quality(pairs: PairCounts, least_iou: float = 0.5) -> float | None:
    """Return panoptic quality: the IoU of matches over matches and half of what is left (Kirillov et al. 2019).

    A true and a predicted segment match where their intersection over union exceeds 0.5, which makes the match unique.
    Predicted segment 0 is none. None without any segment.

    Parameters
    ----------
    pairs
        Elements by true and predicted segment.
    least_iou
        At least 0.5; what a match has to exceed.

    Examples
    --------
    >>> panoptic_quality({(1, 1): 3, (1, 2): 1, (2, 2): 4})
    0.775
    """
    true, predicted = _marginals(pairs)
    found = predicted.keys() - {0}
    ious = [count / (true[t] + predicted[p] - count) for (t, p), count in sorted(pairs.items()) if p]
    matched = [iou for iou in ious if iou > max(least_iou, MATCH_IOU)]
    left = len(true) + len(found) - 2 * len(matched)
    return math.fsum(matched) / (len(matched) + left / 2) if true or found else None


def _marginals(pairs: PairCounts) -> tuple[Counter[int], Counter[int]]:
    true: Counter[int] = Counter()
    predicted: Counter[int] = Counter()
    for (true_segment, predicted_segment), count in pairs.items():
        true[true_segment] += count
        predicted[predicted_segment] += count
    return true, predicted


def _ordered_pairs(counts: Iterable[int]) -> int:
    return sum(count * (count - 1) for count in counts)
