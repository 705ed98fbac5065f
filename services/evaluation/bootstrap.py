"""F1 over classes in every way of averaging, and confidence intervals by bootstrap over images (Efron 1979)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Interval:
    """Confidence interval of a score."""

    low: float
    high: float


def f1_by_class(counts: Counts) -> Floats:
    """Return F1 = 2 TP / (2 TP + FP + FN) of every class, NaN for a class that is neither true nor predicted.

    Parameters
    ----------
    counts
        int64 (..., classes, classes), true class by row; axes before are resamples or images.

    Examples
    --------
    >>> f1_by_class(np.array([[1, 0, 0], [1, 2, 0], [0, 0, 0]])).round(3).tolist()
    [0.667, 0.8, nan]
    """
    return _ratio(2 * np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1) + counts.sum(axis=-2))


def average_f1(counts: Counts) -> dict[str, Floats]:
    """Return macro, micro and weighted F1 with class 0, the exterior, and without it.

    Without the exterior, its own F1 has no part in the average; a pixel of another class that is taken for exterior
    still counts as missed, and one of the exterior taken for another class still counts as invented. That is what
    scikit-learn's `f1_score(labels=[1, ...])` does.

    Parameters
    ----------
    counts
        int64 (..., classes, classes), true class by row.

    Returns
    -------
    dict
        float64 (...) by name; NaN where there is nothing to average.

    Examples
    --------
    >>> scores = average_f1(np.array([[6, 0], [1, 1]]))
    >>> {name: round(float(value), 3) for name, value in sorted(scores.items()) if "without" not in name}
    {'macro': 0.795, 'micro': 0.875, 'weighted': 0.859}
    """
    found: dict[str, Floats] = {}
    for suffix, first in (("", 0), ("_without_exterior", 1)):
        f1 = f1_by_class(counts)[..., first:]
        true, predicted = counts.sum(axis=-1)[..., first:], counts.sum(axis=-2)[..., first:]
        right = np.diagonal(counts, axis1=-2, axis2=-1)[..., first:]
        known = np.where(np.isnan(f1), 0.0, f1)
        found[f"macro{suffix}"] = _ratio(known.sum(axis=-1), (~np.isnan(f1)).sum(axis=-1))
        found[f"micro{suffix}"] = _ratio(2 * right.sum(axis=-1), (true + predicted).sum(axis=-1))
        found[f"weighted{suffix}"] = _ratio((known * true).sum(axis=-1), true.sum(axis=-1))
    return found


def resample_weights(images: int, resamples: int, seed: int) -> Counts:
    """Return how often each image is drawn in each resample, (resamples, images); every row sums to `images`.

    Examples
    --------
    >>> resample_weights(3, 2, seed=1).sum(axis=1).tolist()
    [3, 3]
    """
    generator = np.random.default_rng(seed)
    return generator.multinomial(images, np.full(images, 1.0 / images), size=resamples)


def resampled(per_image: Counts, weights: Counts) -> Counts:
    """Return the counts of every resample: sums of the counts of the images that were drawn.

    Parameters
    ----------
    per_image
        int64 (images, ...).
    weights
        int64 (resamples, images).

    Returns
    -------
    numpy.ndarray
        int64 (resamples, ...).

    Examples
    --------
    >>> resampled(np.array([[1, 2], [10, 20]]), np.array([[2, 0], [1, 1]])).tolist()
    [[2, 4], [11, 22]]
    """
    return np.tensordot(weights, per_image, axes=1)


def intervals(values: Mapping[str, Floats], level: float = 0.95) -> dict[str, Interval]:
    """Return the percentile interval of every score over resamples.

    Resamples in which a score has no value, such as those that drew no image with the class, are left out;
    a score that has a value in none has no interval.

    Parameters
    ----------
    values
        float64 (resamples,) by name.
    level
        Share of the resamples within the interval.

    Examples
    --------
    >>> intervals({"f1": np.linspace(0.0, 1.0, 101)}, 0.9)
    {'f1': Interval(low=0.05, high=0.95)}
    """
    found = {}
    for name, drawn in values.items():
        known = drawn[~np.isnan(drawn)]
        if known.size:
            low, high = np.quantile(known, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
            found[name] = Interval(round(float(low), 6), round(float(high), 6))
    return found


def _ratio(part: NDArray[np.integer] | Floats, whole: NDArray[np.integer]) -> Floats:
    parts, wholes = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    ratio: Floats = np.divide(parts, wholes, out=np.full(wholes.shape, np.nan), where=wholes > 0)
    return ratio
