"""Pixel scores from a confusion matrix that is pooled over planes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.contracts.model_card import ClassScore

Confusion = NDArray[np.int64]


def confusion(truth: NDArray[np.uint8], predicted: NDArray[np.uint8], classes: int) -> Confusion:
    """Count pixels by true class (row) and predicted class (column).

    Parameters
    ----------
    truth, predicted
        uint8 of one shape, values below `classes`.
    classes
        Number of classes.

    Examples
    --------
    >>> confusion(np.array([0, 0, 1], np.uint8), np.array([0, 1, 1], np.uint8), 2)
    array([[1, 1],
           [0, 1]])
    """
    pairs = truth.ravel().astype(np.int64) * classes + predicted.ravel()
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def class_scores(counts: Confusion, names: Sequence[str]) -> tuple[ClassScore, ...]:
    """Return precision, recall, F1 and IoU of each class; a class that nobody has or sees scores 1.

    Examples
    --------
    >>> [round(score.f1, 3) for score in class_scores(np.array([[8, 2], [0, 5]]), ["a", "b"])]
    [0.889, 0.833]
    """
    return tuple(_class_score(counts, k, name) for k, name in enumerate(names))


def _class_score(counts: Confusion, k: int, name: str) -> ClassScore:
    hits, seen, real = int(counts[k, k]), int(counts[:, k].sum()), int(counts[k].sum())
    return ClassScore(
        name=name,
        precision=_ratio(hits, seen),
        recall=_ratio(hits, real),
        f1=_ratio(2 * hits, seen + real),
        iou=_ratio(hits, seen + real - hits),
    )


def _ratio(part: int, whole: int) -> float:
    return round(part / whole, 5) if whole else 1.0
