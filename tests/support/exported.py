"""What is known of the nucleus of `results_builder`: where its voxels lie in the acquisition."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tests.support.results_builder import VOXEL_NM

CORNER_NM = (0.0, 500.0, 700.0)


def place_nm(index: Sequence[float]) -> NDArray[np.float64]:
    """Middle (z, y, x) of a voxel, from the first corner of the acquisition's first voxel."""
    middle: NDArray[np.float64] = np.array(CORNER_NM) + (np.array(index, np.float64) + 0.5) * np.array(VOXEL_NM)
    return middle
