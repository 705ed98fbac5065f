"""Seeded watershed in a mask, on one heap of voxels."""

from __future__ import annotations

import heapq

import edt
import numpy as np
from numba import njit
from numpy.typing import NDArray

Labels = NDArray[np.uint8]
Distance = NDArray[np.float32]

_REACH = [(z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1) if (z, y, x) != (0, 0, 0)]


class MarginError(ValueError):
    """The mask reaches the border of its array."""


def distance_to(mask: NDArray[np.bool_], step_zyx_nm: tuple[float, float, float]) -> Distance:
    """Return the Euclidean distance of every voxel centre to the nearest true one, nm, float32 (z, y, x).

    Parameters
    ----------
    mask
        Bool (z, y, x).
    step_zyx_nm
        Edges of a voxel.

    Examples
    --------
    >>> distance_to(np.array([[[True, False, False]]]), (1.0, 1.0, 3.0)).tolist()
    [[[0.0, 3.0, 6.0]]]
    """
    found: Distance = edt.edt(np.ascontiguousarray(~mask), anisotropy=step_zyx_nm, parallel=1)
    return found


def watershed(height: Distance, markers: Labels, mask: NDArray[np.bool_]) -> Labels:
    """Flood from markers over a landscape, lowest voxel first (Meyer 1991; the order of scikit-image's `watershed`).

    Of voxels of one height the one reached first goes first, so that plateaus are shared by steps from the markers.

    Parameters
    ----------
    height
        float32 (z, y, x): the landscape.
    markers
        uint8 (z, y, x): 0 where nothing starts. Those outside of the mask do not count.
    mask
        Bool (z, y, x): where to flood; false in the outermost layer.

    Returns
    -------
    numpy.ndarray
        uint8 (z, y, x): the marker that reached each voxel of the mask, 0 where none did. 26-connected.

    Raises
    ------
    MarginError
        If the mask is true in the outermost layer.

    Examples
    --------
    >>> mask = np.zeros((3, 3, 6), bool)
    >>> mask[1, 1, 1:5] = True
    >>> markers = np.zeros(mask.shape, np.uint8)
    >>> markers[1, 1, 1], markers[1, 1, 4] = 7, 9
    >>> watershed(np.zeros(mask.shape, np.float32), markers, mask)[1, 1].tolist()
    [0, 7, 7, 9, 9, 0]
    """
    shape = np.array(mask.shape)
    inner = mask[1:-1, 1:-1, 1:-1]
    if int(np.count_nonzero(mask)) != int(np.count_nonzero(inner)):
        raise MarginError("the mask must leave the outermost layer of its array free")
    labels: Labels = np.where(mask, markers, 0).astype(np.uint8)
    offsets = np.array([z * shape[1] * shape[2] + y * shape[2] + x for z, y, x in _REACH], np.int64)
    starts = np.flatnonzero(labels)
    if starts.size:
        _flood(height.ravel(), labels.reshape(-1), mask.ravel(), starts, offsets)
    return labels


@njit(cache=True, nogil=True)
def _flood(
    height: Distance, labels: Labels, mask: NDArray[np.bool_], starts: NDArray[np.int64], offsets: NDArray[np.int64]
) -> None:
    heap = [(height[starts[0]], 0, starts[0])]
    for k in range(1, starts.size):
        heapq.heappush(heap, (height[starts[k]], k, starts[k]))
    age = starts.size
    while heap:
        _, _, voxel = heapq.heappop(heap)
        for k in range(offsets.size):
            neighbour = voxel + offsets[k]
            if mask[neighbour] and labels[neighbour] == 0:
                labels[neighbour] = labels[voxel]
                heapq.heappush(heap, (height[neighbour], age, neighbour))
                age += 1
