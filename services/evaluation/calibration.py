"""Calibration: whether a network that says 0.9 is right nine times in ten (Guo et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DEFAULT_BINS = 15
Reliability = NDArray[np.float64]
"""float64 (bins, 3): pixels, sum of confidences, pixels that are right; those of several images add up."""


class ConfidenceRangeError(ValueError):
    """A confidence is no number from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Pixels of like confidence.

    Attributes
    ----------
    above, up_to
        Confidences of the bin, (above, up_to]; the first holds 0 too.
    pixels
        Number of them.
    confidence, accuracy
        Mean confidence and share that is right; None without pixels.
    """

    above: float
    up_to: float
    pixels: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """Expected calibration error and the reliability table it is made of."""

    ece: float | None
    bins: tuple[Bin, ...]


def reliability(confidence: NDArray[np.floating], right: NDArray[np.bool_], bins: int = DEFAULT_BINS) -> Reliability:
    """Count pixels by confidence, in bins of equal width.

    Parameters
    ----------
    confidence
        Probability that the network gave to the class it chose, 0 to 1.
    right
        bool of the same shape; whether that class is true.
    bins
        Number of bins.

    Raises
    ------
    ConfidenceRangeError
        If a confidence is no number from 0 to 1.

    Examples
    --------
    >>> reliability(np.array([0.2, 0.75, 1.0]), np.array([False, True, True]), 2).tolist()
    [[1.0, 0.2, 0.0], [2.0, 1.75, 2.0]]
    """
    values = np.asarray(confidence, np.float64).ravel()
    if values.size and not (values.min() >= 0.0 and values.max() <= 1.0):
        raise ConfidenceRangeError(
            "confidences must be numbers from 0 to 1; say which of the images holds probabilities"
        )
    place = np.clip(np.ceil(values * bins).astype(np.int64) - 1, 0, bins - 1)
    columns = (np.ones_like(values), values, right.ravel().astype(np.float64))
    return np.stack([np.bincount(place, weights=column, minlength=bins) for column in columns], axis=1)


def calibration(counts: Reliability) -> Calibration:
    """Return the expected calibration error: the mean distance of confidence and accuracy over pixels.

    Guo et al., On calibration of modern neural networks, ICML 2017, equation 3.

    Examples
    --------
    >>> calibration(np.array([[0.0, 0.0, 0.0], [4.0, 3.5, 3.0]])).ece  # says 0.875, is right 3 times in 4
    0.125
    """
    pixels, confidences, right = counts.T
    total = float(pixels.sum())
    edges = np.linspace(0.0, 1.0, len(counts) + 1)
    bins = tuple(
        Bin(
            above=float(edges[k]),
            up_to=float(edges[k + 1]),
            pixels=int(pixels[k]),
            confidence=float(confidences[k] / pixels[k]) if pixels[k] else None,
            accuracy=float(right[k] / pixels[k]) if pixels[k] else None,
        )
        for k in range(len(counts))
    )
    ece = float(np.abs(confidences - right).sum() / total) if total else None
    return Calibration(ece, bins)
