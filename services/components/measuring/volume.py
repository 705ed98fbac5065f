"""Volumes, and how much a one-voxel error of the outline would change them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.components.measuring.lattice import NM3_PER_UM3, Lattice


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume in um3, and that of the same object eroded and dilated by one voxel (6 neighbours)."""

    um3: float
    eroded_um3: float
    dilated_um3: float


def volume_um3(mask: NDArray[np.bool_], lattice: Lattice) -> float:
    """Return the volume of a mask: the sum over planes of area times slice thickness (Cavalieri's estimator).

    Parameters
    ----------
    mask
        Bool, (z, y, x).
    lattice
        Where its voxels lie; a measured thickness per plane is used where it is known.

    Examples
    --------
    >>> volume_um3(np.ones((10, 10, 10), bool), Lattice((100.0, 50.0, 20.0)))
    0.1
    """
    per_plane = np.count_nonzero(mask.reshape(mask.shape[0], -1), axis=1)
    return float(per_plane @ lattice.thickness_nm(mask.shape[0])) * lattice.pixel_nm2 / NM3_PER_UM3


def volume(mask: NDArray[np.bool_], lattice: Lattice) -> Volume:
    """Return the volume of a mask with its bounds by one-voxel erosion and dilation (domain.md 6, Uncertainty).

    The mask needs an empty margin of a voxel for the dilation to find room; where the array cuts it, it counts as
    going on outside for the erosion.
    """
    return Volume(
        volume_um3(mask, lattice),
        volume_um3(eroded(mask), lattice),
        volume_um3(~eroded(~mask), lattice),
    )


def eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask without its voxels that have one of their six neighbours outside it.

    Examples
    --------
    >>> eroded(np.array([[[True, True, False, True]]])).tolist()
    [[[True, False, False, False]]]
    """
    kept = mask.copy()
    for axis in range(3):
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        kept[tuple(low)] &= mask[tuple(high)]
        kept[tuple(high)] &= mask[tuple(low)]
    return kept
