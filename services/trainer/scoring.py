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
    """Return precision, recall, F1 and IoU of each class that is there or is predicted.

    A class that is neither has no score, as in `evaluate`: nothing is known of it. One that is there and never
    predicted, or the other way round, has 0 for all.

    Examples
    --------
    >>> [round(score.f1, 3) for score in class_scores(np.array([[8, 2, 0], [0, 5, 0], [0, 0, 0]]), ["a", "b", "c"])]
    [0.889, 0.833]
    """
    known = (counts.sum(axis=0) + counts.sum(axis=1)) > 0
    return tuple(_class_score(counts, k, name) for k, name in enumerate(names) if known[k])


def macro_f1(counts: Confusion) -> float:
    """Return the mean F1 of the classes that have one; 0 where none has.

    Examples
    --------
    >>> macro_f1(np.array([[4, 0, 0], [0, 0, 0], [1, 0, 0]]))
    0.444445
    """
    scores = class_scores(counts, [f"channel-{k}" for k in range(len(counts))])
    return sum(score.f1 for score in scores) / max(1, len(scores))


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
    return round(part / whole, 5) if whole else 0.0
