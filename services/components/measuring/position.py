"""Where things lie in a nucleus: depth below its surface, its envelope, eccentricity."""

from __future__ import annotations

import edt
import numpy as np
from numba import njit
from numpy.typing import NDArray

from services.components.measuring.lattice import FloatArray, Lattice


def depth_nm(body: NDArray[np.bool_], lattice: Lattice) -> NDArray[np.float32]:
    """Return how deep each voxel of a body lies below its surface, float32, (z, y, x), 0 outside.

    The distance to the nearest voxel outside, less half the way between the two. Beyond the array is outside. Planes
    count as even here, at their mean thickness, since the exact transform (Felzenszwalb & Huttenlocher 2012, in the
    library edt) is one of even lattices.
    """
    thickness_nm = float(lattice.thickness_nm(body.shape[0]).mean())
    edges = (thickness_nm, *lattice.voxel_zyx_nm[1:])
    # The transform counts the array's edge as outside itself (`black_border`).
    inner = edt.edt(body, anisotropy=edges, black_border=True, parallel=1)
    return np.asarray(np.maximum(inner - min(edges) / 2, 0), np.float32)


def radial_position(mask: NDArray[np.bool_], depths_nm: NDArray[np.float32]) -> float:
    """Return how far out an object lies: 1 - mean depth / greatest depth; 0 in the middle, 1 at the surface.

    In a ball of radius R this is the mean of r / R over the object's voxels; unlike that it needs no centre and follows
    the shape of the nucleus.
    """
    return float(1 - depths_nm[mask].mean(dtype=np.float64) / depths_nm.max())


def inner_surface_nm(classes: NDArray[np.uint8], lattice: Lattice, membrane: int) -> FloatArray:
    """Return the middles of the voxel faces between the envelope and what it holds, float64, shape (n, 3)."""
    places = []
    for axis in range(3):
        count = _inner_faces(classes, membrane, axis, np.empty((0, 3), np.int64))
        here = np.empty((count, 3), np.int64)
        _inner_faces(classes, membrane, axis, here)
        there = here.copy()
        there[:, axis] += 1
        planes = classes.shape[0]
        places.append((lattice.places_nm(here, planes) + lattice.places_nm(there, planes)) / 2)
    return np.concatenate(places)


@njit(cache=True, nogil=True)
def _inner_faces(classes: NDArray[np.uint8], membrane: int, axis: int, found: NDArray[np.int64]) -> int:
    """Write the first voxel of every face between a membrane and anything but the exterior; return their number."""
    dz, dy, dx = int(axis == 0), int(axis == 1), int(axis == 2)
    count = 0
    for z in range(classes.shape[0] - dz):
        for y in range(classes.shape[1] - dy):
            for x in range(classes.shape[2] - dx):
                here, there = classes[z, y, x], classes[z + dz, y + dy, x + dx]
                if here != 0 and there != 0 and (here == membrane) != (there == membrane):
                    if count < len(found):
                        found[count, 0], found[count, 1], found[count, 2] = z, y, x
                    count += 1
    return count


def centroid_nm(mask: NDArray[np.bool_], lattice: Lattice) -> FloatArray:
    """Return the centre of gravity of a mask, float64 (z, y, x); planes weigh by their thickness.

    Examples
    --------
    >>> centroid_nm(np.ones((2, 2, 4), bool), Lattice((10.0, 10.0, 5.0))).tolist()
    [10.0, 10.0, 10.0]
    """
    planes = mask.shape[0]
    thick = lattice.thickness_nm(planes)
    weight = [np.tensordot(thick, mask.sum(axis=3 - axis), axes=1) for axis in (1, 2)]
    along_z = thick * mask.sum(axis=(1, 2))
    z_nm = along_z @ lattice.depths_nm(planes) / along_z.sum()
    across = [
        lattice.origin_zyx_nm[axis]
        + (weight[axis - 1] @ (np.arange(mask.shape[axis]) + 0.5)) / weight[axis - 1].sum() * lattice.voxel_zyx_nm[axis]
        for axis in (1, 2)
    ]
    return np.array([z_nm, *across])


def eccentricity(offset_um: float, outer_um3: float, inner_um3: float) -> float:
    """Return how far a body lies from the middle of the one that holds it: 0 in the middle, 1 at its surface.

    The distance of their centroids over the difference of their equivalent radii, (3 V / 4 pi)^(1/3).

    Examples
    --------
    >>> round(eccentricity(0.5, 4 / 3 * np.pi * 2**3, 4 / 3 * np.pi), 6)
    0.5
    """
    outer, inner = ((3 * volume / (4 * np.pi)) ** (1 / 3) for volume in (outer_um3, inner_um3))
    return float(offset_um / (outer - inner))
