"""Surface and contact areas from label arrays, without the 50 % that voxel faces add.

A voxel face that looks along axis k stands for a piece of the true surface whose projection along k it is: the
piece's area is the face's times ``|n_k|``, with n the unit normal there. For a plane of any tilt the sum over its
faces is exact, since n_z**2 + n_y**2 + n_x**2 = 1. This is area estimation by normal integration (Lenoir, Malgouyres
& Revenu 1996; Coeurjolly, Flin, Teytaud & Tougne 2003). A normal is the first moment of the object within a ball of
radius R about the face, weighted by ``(1 - (r / R)**2)**2``. It needs no mesh, and measures what touches as well as
what is free. Marching cubes on a binary volume, whether scikit-image's or zmesh's, is 9 % too large whatever the
resolution; docs/measuring.md has the figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from services.components.measuring.lattice import NM2_PER_UM2, FloatArray, Lattice

REACH_VOXELS = 4.0
"""Radius of the ball in which a normal is estimated, in coarsest voxel edges: chosen by error on analytic shapes."""


@dataclass(frozen=True, eq=False)
class Faces:
    """Areas of labels 0..k of an array.

    Attributes
    ----------
    area_um2
        float64, shape (k + 1,): surface of each label, against everything else; that of label 0 is 0.
    contact_um2
        float64, shape (k + 1, k + 1), symmetric: surface that two labels share. Row 0 has what borders on nothing.
    """

    area_um2: FloatArray
    contact_um2: FloatArray


def face_areas(labels: NDArray[Any], lattice: Lattice) -> Faces:
    """Return the surface area of each label and the contact area of each pair of labels.

    Parameters
    ----------
    labels
        Unsigned integers, (z, y, x), 0 is nothing; labels should be small numbers, as a table of all pairs is made.
        Beyond the array there is nothing: what touches its edge is closed there.
    lattice
        Where its voxels lie; may have uneven planes.

    Notes
    -----
    Error on analytic shapes at 16 x 16 x 16 and 24 x 16 x 16 nm: below 0.5 % for radii of curvature of 80 nm and more,
    below 2 % for a rod of 60 nm.

    Examples
    --------
    >>> cube = np.ones((20, 20, 20), np.uint8)
    >>> bool(abs(face_areas(cube, Lattice((10.0, 10.0, 10.0))).area_um2[1] - 6 * 0.2**2) < 0.02)
    True
    """
    padded = np.pad(labels, 1)
    z_nm, thick_nm = _padded_planes(lattice, labels.shape[0])
    reach_nm = REACH_VOXELS * lattice.coarsest_nm
    contact = np.zeros((int(labels.max(initial=0)) + 1,) * 2)
    area = np.zeros(contact.shape[0])
    _sum_faces(padded, (z_nm, thick_nm), lattice.voxel_zyx_nm, reach_nm, (area, contact))
    area[0] = 0.0
    return Faces(area / NM2_PER_UM2, (contact + contact.T) / NM2_PER_UM2)


def sphericity(volume_um3: float, area_um2: float) -> float:
    """Return how near a body is to a ball: pi^(1/3) (6 V)^(2/3) / A, 1 for a ball (Wadell 1935; domain.md 6).

    Examples
    --------
    >>> round(sphericity(4 / 3 * np.pi, 4 * np.pi), 12)
    1.0
    """
    return float(np.pi ** (1 / 3) * (6 * volume_um3) ** (2 / 3) / area_um2)


def _padded_planes(lattice: Lattice, planes: int) -> tuple[FloatArray, FloatArray]:
    """Return depth and thickness of the planes of an array with one more plane on either side."""
    z_nm, thick_nm = lattice.depths_nm(planes), lattice.thickness_nm(planes)
    z_nm = np.concatenate([[z_nm[0] - thick_nm[0]], z_nm, [z_nm[-1] + thick_nm[-1]]])
    return z_nm, np.pad(thick_nm, 1, mode="edge")


@njit(cache=True, nogil=True)
def _normal_shares(
    labels: NDArray[Any],
    z_nm: FloatArray,
    voxel: tuple[float, float, float],
    reach: float,
    face: tuple[int, int, int, int],
) -> tuple[float, float, float]:
    """Share ``|n_k|`` of a face of axis k by the normal of its first label, of its second, and of both together."""
    z, y, x, axis = face
    pair = (labels[z, y, x], labels[z + (axis == 0), y + (axis == 1), x + (axis == 2)])
    middle_z = z_nm[z] if axis != 0 else 0.5 * (z_nm[z] + z_nm[z + 1])
    middle_y, middle_x = y + 0.5 * (axis == 1), x + 0.5 * (axis == 2)
    ry = reach / voxel[1]
    y0, y1 = max(0, int(np.ceil(middle_y - ry))), min(labels.shape[1], int(np.floor(middle_y + ry)) + 1)
    moments = np.zeros((2, 3))
    low = z
    while low > 0 and middle_z - z_nm[low - 1] < reach:
        low -= 1
    for k in range(low, labels.shape[0]):
        dz = z_nm[k] - middle_z
        if dz >= reach:
            break
        for j in range(y0, y1):
            _add_row(labels[k, j], pair, (middle_x, voxel[2], reach), (dz, (j - middle_y) * voxel[1]), moments)
    return (
        _share(moments[0, 0], moments[0, 1], moments[0, 2], axis),
        _share(moments[1, 0], moments[1, 1], moments[1, 2], axis),
        _share(moments[0, 0] - moments[1, 0], moments[0, 1] - moments[1, 1], moments[0, 2] - moments[1, 2], axis),
    )


@njit(cache=True, nogil=True)
def _add_row(
    row: NDArray[Any],
    pair: tuple[int, int],
    along: tuple[float, float, float],
    beside: tuple[float, float],
    moments: FloatArray,
) -> None:
    """Add the weighted first moments of both labels in a row to ``moments`` (label, axis)."""
    middle, edge, reach = along
    dz, dy = beside
    per_square = 1.0 / (reach * reach)
    room = 1.0 - (dz * dz + dy * dy) * per_square
    if room <= 0.0:
        return
    half = np.sqrt(room) * reach / edge
    for i in range(max(0, int(np.ceil(middle - half))), min(len(row), int(np.floor(middle + half)) + 1)):
        for which in range(2):
            if row[i] == pair[which]:
                dx = (i - middle) * edge
                weight = (room - dx * dx * per_square) ** 2
                moments[which, 0] += weight * dz
                moments[which, 1] += weight * dy
                moments[which, 2] += weight * dx


@njit(cache=True, nogil=True, inline="always")
def _share(z: float, y: float, x: float, axis: int) -> float:
    length = np.sqrt(z * z + y * y + x * x)
    if length == 0.0:
        return 1.0
    along = z if axis == 0 else (y if axis == 1 else x)
    share: float = abs(along) / length
    return share


@njit(cache=True, nogil=True)
def _sum_faces(
    labels: NDArray[Any],
    planes: tuple[FloatArray, FloatArray],
    voxel: tuple[float, float, float],
    reach: float,
    sums: tuple[FloatArray, FloatArray],
) -> None:
    """Add every face between different labels to the area of both and to the contact of the pair."""
    z_nm, thick = planes
    area, contact = sums
    depth, height, width = labels.shape
    for z in range(depth - 1):
        faces = (voxel[1] * voxel[2], thick[z] * voxel[2], thick[z] * voxel[1])
        for y in range(height - 1):
            for x in range(width - 1):
                here = labels[z, y, x]
                for axis in range(3):
                    there = labels[z + (axis == 0), y + (axis == 1), x + (axis == 2)]
                    if here == there:
                        continue
                    face = faces[axis]
                    a, b, both = _normal_shares(labels, z_nm, voxel, reach, (z, y, x, axis))
                    area[here] += face * a
                    area[there] += face * b
                    contact[here, there] += face * (both if here and there else (a if here else b))
