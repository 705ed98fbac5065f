from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

VOXEL_NM = 8.0
Stack = NDArray[np.uint8]


def tissue(n_slices: int, side_px: int, seed: int) -> NDArray[np.float32]:
    """Structure that is alike in all directions, coarse and fine; mean 150, standard deviation about 25."""
    rng = np.random.default_rng(seed)
    field = np.zeros((n_slices, side_px, side_px), dtype=np.float32)
    for sigma_px, amplitude in ((4.0, 22.0), (1.5, 12.0)):
        part = gaussian_filter(rng.standard_normal(field.shape, dtype=np.float32), sigma_px, mode="wrap")
        field += amplitude * part / part.std()
    return 150 + field


def imaged(plane: NDArray[np.float32], seed: int, noise: float = 8.0) -> Stack:
    """Image of a plane, with noise of its own."""
    rng = np.random.default_rng([7, seed])
    return np.clip(np.rint(plane + noise * rng.standard_normal(plane.shape)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def planes() -> NDArray[np.float32]:
    return tissue(60, 320, 3)


@pytest.fixture(scope="session")
def good(planes: NDArray[np.float32]) -> Stack:
    return np.stack([imaged(plane, z) for z, plane in enumerate(planes)])
