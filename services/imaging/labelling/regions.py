"""Small regions of single planes: the per-slice reading of small-object removal."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling.errors import InvalidParametersError
from services.imaging.labelling.kernels import Reach
from services.imaging.labelling.parameters import check_thresholds, threshold_table
from services.imaging.labelling.planes import Scanner, find_sections, paint

REACH_IN_PLANE = {4: Reach(0, -1, -1), 8: Reach(1, -1, -1)}


def remove_small_regions(
    plane: NDArray[np.uint8], min_area_px: Mapping[int, int], connectivity: int = 4, removed_value: int = 255
) -> NDArray[np.uint8]:
    """Replace the regions of a class plane that are smaller than their class's threshold.

    Parameters
    ----------
    plane
        uint8, shape (y, x): a class per pixel, 0 = background.
    min_area_px
        By class: a region with fewer pixels is removed. A class that is not named keeps all its regions.
    connectivity
        4 (edges) or 8 (and corners). Pixels join only with the same class.
    removed_value
        uint8 written in the place of what is removed.

    Returns
    -------
    uint8, shape (y, x).

    Raises
    ------
    InvalidParametersError
        When the connectivity is neither 4 nor 8, or a threshold is out of its range.
    InvalidPlaneError
        When the plane is not uint8 with two axes.

    Examples
    --------
    >>> remove_small_regions(np.array([[2, 2, 0, 2], [0, 0, 4, 0]], np.uint8), {2: 2}, removed_value=9).tolist()
    [[2, 2, 0, 9], [0, 0, 4, 0]]
    """
    if connectivity not in REACH_IN_PLANE:
        raise InvalidParametersError(f"Connectivity in a plane is 4 or 8. Got: {connectivity}")
    check_thresholds(min_area_px)
    scanner = Scanner(plane.shape[:2] if plane.ndim >= 2 else (1, 1), np.dtype(np.int32), np.dtype(np.uint8))
    sections, count = find_sections(scanner.scan(0, plane, (0, 0)), REACH_IN_PLANE[connectivity])
    runs = sections.runs
    length = runs.end.astype(np.int64) - runs.start
    area_px = np.bincount(runs.node, weights=length, minlength=count)
    class_id = np.zeros(count, np.uint8)
    class_id[runs.node] = runs.kind
    kept = area_px >= threshold_table(min_area_px)[class_id]
    return paint(sections, np.where(kept, class_id, np.uint8(removed_value)))
