"""Where the voxels of a label array lie: edges in y and x, and the depth of every plane."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

NM_PER_UM = 1e3
NM2_PER_UM2 = 1e6
NM3_PER_UM3 = 1e9

FloatArray = NDArray[np.float64]
Box = tuple[slice, slice, slice]


class LatticeError(ValueError):
    """Voxels without a positive edge, or planes whose depths do not increase."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """Places of the voxels of an array.

    Attributes
    ----------
    voxel_zyx_nm
        Edges of a voxel; z is the nominal slice thickness.
    origin_zyx_nm
        First corner of the first voxel.
    plane_z_nm
        Measured depth of the middle of each plane of the array, increasing, in the frame of the origin; None where
        only the nominal thickness is known. Real steps vary (domain.md 2: dataset means of 3.2 to 5.2 nm for a
        nominal 4 nm), and everything here uses these depths where they are given.

    Raises
    ------
    LatticeError
        When an edge is not a positive length, or the depths do not increase.

    Examples
    --------
    >>> Lattice((4.0, 4.0, 4.0), plane_z_nm=(2.0, 5.0, 10.0)).thickness_nm(3).tolist()
    [3.0, 4.0, 5.0]
    """

    voxel_zyx_nm: tuple[float, float, float]
    origin_zyx_nm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    plane_z_nm: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not all(math.isfinite(edge) and edge > 0 for edge in self.voxel_zyx_nm):
            raise LatticeError(f"voxel edges must be positive lengths. Got: {self.voxel_zyx_nm} nm")
        if self.plane_z_nm is not None and np.any(np.diff(self.plane_z_nm) <= 0):
            raise LatticeError("the depths of the planes must increase; sort them, or leave repeated slices out")

    @property
    def pixel_nm2(self) -> float:
        """Area of a voxel's face that looks along z."""
        return self.voxel_zyx_nm[1] * self.voxel_zyx_nm[2]

    @property
    def coarsest_nm(self) -> float:
        """The longest edge of a voxel."""
        return max(self.voxel_zyx_nm)

    def depths_nm(self, planes: int) -> FloatArray:
        """Return the depth of the middle of each plane, float64, shape (planes,).

        Raises
        ------
        LatticeError
            When depths were measured for another number of planes.
        """
        if self.plane_z_nm is None:
            return np.asarray(self.origin_zyx_nm[0] + (np.arange(planes) + 0.5) * self.voxel_zyx_nm[0], np.float64)
        if len(self.plane_z_nm) != planes:
            raise LatticeError(f"{len(self.plane_z_nm)} depths were given for {planes} planes")
        return np.array(self.plane_z_nm, np.float64)

    def thickness_nm(self, planes: int) -> FloatArray:
        """Return how much of the depth each plane stands for: from half-way to its neighbours, float64."""
        if self.plane_z_nm is None or planes < 2:
            return np.full(planes, self.voxel_zyx_nm[0])
        depths = self.depths_nm(planes)
        between = (depths[1:] + depths[:-1]) / 2
        first, last = 2 * depths[0] - between[0], 2 * depths[-1] - between[-1]
        return np.diff(np.concatenate([[first], between, [last]]))

    def places_nm(self, indices: NDArray[np.int64], planes: int) -> FloatArray:
        """Return the middles of voxels, float64, shape (n, 3), from their indices of the same shape."""
        places = np.empty(indices.shape, np.float64)
        places[:, 0] = self.depths_nm(planes)[indices[:, 0]]
        for axis in (1, 2):
            places[:, axis] = self.origin_zyx_nm[axis] + (indices[:, axis] + 0.5) * self.voxel_zyx_nm[axis]
        return places

    def cropped(self, box: Box, planes: int) -> Lattice:
        """Return the lattice of a box cut out of an array of so many planes."""
        first = [part.start or 0 for part in box]
        z_nm, y_nm, x_nm = (
            origin + start * edge
            for origin, start, edge in zip(self.origin_zyx_nm, first, self.voxel_zyx_nm, strict=True)
        )
        depths = None if self.plane_z_nm is None else tuple(self.depths_nm(planes)[box[0]].tolist())
        return replace(self, origin_zyx_nm=(z_nm, y_nm, x_nm), plane_z_nm=depths)

    def window(self, first_zyx: tuple[int, int, int], size: int, planes: int) -> Lattice:
        """Return the lattice of a window that may reach out of an array of so many planes.

        Parameters
        ----------
        first_zyx
            Index of its first voxel; may be negative.
        size
            How many planes the window has.
        planes
            How many the array has; planes outside it are as thick as the nearest one inside.
        """
        z_nm, y_nm, x_nm = (
            origin + start * edge
            for origin, start, edge in zip(self.origin_zyx_nm, first_zyx, self.voxel_zyx_nm, strict=True)
        )
        if self.plane_z_nm is None:
            return replace(self, origin_zyx_nm=(z_nm, y_nm, x_nm))
        depths, thick = self.depths_nm(planes), self.thickness_nm(planes)
        wanted = np.arange(first_zyx[0], first_zyx[0] + size)
        inside = np.clip(wanted, 0, planes - 1)
        shifted = depths[inside] + (wanted - inside) * thick[inside]
        return replace(self, origin_zyx_nm=(z_nm, y_nm, x_nm), plane_z_nm=tuple(shifted.tolist()))

    def thinned(self, factors: tuple[int, int, int], planes: int) -> Lattice:
        """Return the lattice of every n-th voxel, from the middle of each group of n on (see `thinned`)."""
        z, y, x = (edge * factor for edge, factor in zip(self.voxel_zyx_nm, factors, strict=True))
        depths = None if self.plane_z_nm is None else tuple(self.depths_nm(planes)[picked(planes, factors[0])].tolist())
        return replace(self, voxel_zyx_nm=(z, y, x), plane_z_nm=depths)


def picked(size: int, factor: int) -> slice:
    """Return which indices of an axis thinning keeps: the middle of each group, whole groups only.

    Examples
    --------
    >>> list(range(10))[picked(10, 3)]
    [1, 4, 7]
    """
    return slice(factor // 2, size // factor * factor if size >= factor else factor, factor)


def bounding_box(mask: NDArray[np.bool_], margin: int = 1) -> Box | None:
    """Return the box of a mask's voxels with a margin, cut at the array's edges; None for an empty mask.

    Examples
    --------
    >>> bounding_box(np.array([[[False, True, False]]]), margin=0)
    (slice(0, 1, None), slice(0, 1, None), slice(1, 2, None))
    """
    box = [slice(None)] * 3
    for axis in range(3):
        # Each axis looks at what the ones before it have left.
        part = mask[tuple(box)]
        used = np.flatnonzero(part.any(axis=tuple(other for other in range(3) if other != axis)))
        if used.size == 0:
            return None
        box[axis] = slice(max(0, int(used[0]) - margin), min(mask.shape[axis], int(used[-1]) + 1 + margin))
    return box[0], box[1], box[2]
