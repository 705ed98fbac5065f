"""The nearest of some points to others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from services.components.measuring.lattice import FloatArray


class Points:
    """Points to be asked which of them is nearest.

    Parameters
    ----------
    points_nm
        float64, shape (n, 3).
    """

    def __init__(self, points_nm: FloatArray) -> None:
        self._tree = cKDTree(points_nm)

    def nearest(self, places_nm: FloatArray, within_nm: float = np.inf) -> tuple[FloatArray, NDArray[np.int64]]:
        """Return the distance of each place to its nearest point, infinite beyond a limit, and the point's index.

        Examples
        --------
        >>> distance, index = Points(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 9.0]])).nearest(np.array([[0.0, 0.0, 7.0]]))
        >>> distance.tolist(), index.tolist()
        ([2.0], [1])
        """
        distance, index = self._tree.query(places_nm, distance_upper_bound=within_nm)
        return np.asarray(distance, np.float64), np.asarray(index, np.int64)
