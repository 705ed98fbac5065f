"""Shares of pixels that were hit, either way round: what boundary F and clDice have in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Hits = NDArray[np.int64]
"""int64 (..., 4): predicted pixels that were hit, predicted pixels, true pixels that were hit, true pixels."""


def harmonic_f(hits: Hits) -> NDArray[np.float64]:
    """Return the harmonic mean of the two shares that were hit.

    Counts of several images add up before, so that an image with much of a class counts more than one with little.

    Parameters
    ----------
    hits
        int64 (..., 4), see `Hits`.

    Returns
    -------
    numpy.ndarray
        float64 (...). NaN where there is neither a predicted nor a true pixel, 0 where there is only one of the two.

    Examples
    --------
    >>> harmonic_f(np.array([[3, 4, 2, 4], [0, 5, 0, 0], [0, 0, 0, 0]])).tolist()
    [0.6, 0.0, nan]
    """
    hit_predicted, predicted, hit_true, true = np.moveaxis(np.asarray(hits, np.float64), -1, 0)
    precision = hit_predicted / np.maximum(predicted, 1)
    recall = hit_true / np.maximum(true, 1)
    both = precision + recall
    found = np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)
    return np.where(predicted + true > 0, found, np.nan)
