"""clDice: whether thin things are whole and unbroken, whatever their thickness (Shit et al. 2021)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage import morphology

from services.evaluation.hits import Hits

Mask = NDArray[np.bool_]
_morphology: Any = morphology  # its types leave functions untyped


def centreline_hits(truth_yx: Mask, prediction_yx: Mask, counted_yx: Mask) -> Hits:
    """Count pixels of either centreline, and those that lie within the other mask.

    Shit et al., clDice: a novel topology-preserving loss function for tubular structure segmentation, CVPR 2021:
    topology precision is the share of the predicted skeleton inside the true mask, topology sensitivity the share of
    the true skeleton inside the predicted mask; clDice is their harmonic mean. Skeletons are of planes, thinned as by
    Zhang and Suen 1984.

    Parameters
    ----------
    truth_yx, prediction_yx
        bool (y, x), one class in truth and prediction.
    counted_yx
        bool (y, x); where there is a truth. The rest belongs to neither mask.

    Returns
    -------
    numpy.ndarray
        int64 (4,), see `services.evaluation.hits`.

    Examples
    --------
    >>> truth = np.zeros((5, 9), bool)
    >>> truth[2, :] = True
    >>> found = truth.copy()
    >>> found[2, 4:] = False
    >>> centreline_hits(truth, found, np.ones((5, 9), bool)).tolist()
    [4, 4, 4, 9]
    """
    true, found = truth_yx & counted_yx, prediction_yx & counted_yx
    true_line, found_line = _skeleton(true), _skeleton(found)
    parts = (found_line & true, found_line, true_line & found, true_line)
    return np.array([np.count_nonzero(part) for part in parts], np.int64)


def _skeleton(mask_yx: Mask) -> Mask:
    line: Mask = np.asarray(_morphology.skeletonize(mask_yx), np.bool_)
    return line
