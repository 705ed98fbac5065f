"""Closed surfaces of labelled bodies, as large as the bodies: what mesh files and Neuroglancer show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure

from services.exports.blocks import Box, Read, blocks, whole
from services.exports.place import Index, Placement

MOST_VOXELS = 24_000_000
VOLUME_TOLERANCE = 0.005
_MARGIN = 4
_SIGMA_VOXELS = 0.8
_ROUNDS = 16
_NOTHING = 1e-4
_BLOCK: Index = (32, 256, 256)

Points = NDArray[np.float64]
Faces = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Surface:
    """Triangles of a closed surface, seen anticlockwise from outside.

    Attributes
    ----------
    points_nm
        (n, 3) float64 corners as (x, y, z), from the first corner of the acquisition's first voxel.
    faces
        (m, 3) int32 indices into the corners.
    """

    points_nm: Points
    faces: Faces

    @property
    def volume_nm3(self) -> float:
        """Volume enclosed."""
        return enclosed_volume(self.points_nm, self.faces)


@dataclass(frozen=True, eq=False)
class Body:
    """A labelled body in its box, thinned where it is too large.

    Attributes
    ----------
    share
        (z, y, x) float32: how much of each voxel is body, 0 to 1.
    placement
        Where those voxels lie.
    volume_nm3
        Volume of the labelled voxels at full resolution.
    """

    share: NDArray[np.float32]
    placement: Placement
    volume_nm3: float


def gather(read: Read, label: int, box: Box, placement: Placement, limit: int = MOST_VOXELS) -> Body:
    """Return a body from a label image that is read block by block.

    Parameters
    ----------
    read
        Returns the labels in a window.
    label
        Value of the body's voxels.
    box
        Box that holds them.
    placement
        Where the label image lies.
    limit
        Most voxels of what is returned; a larger body is averaged over blocks of voxels, the finest axes first.
    """
    factors = _factors(box.shape, placement, limit)
    shape = [-(-n // f) for n, f in zip(box.shape, factors, strict=True)]
    share = np.zeros(shape, np.float32)
    step = [max(1, b // f) * f for b, f in zip(_BLOCK, factors, strict=True)]
    voxels = 0
    for block in blocks(whole(box.shape), (step[0], step[1], step[2])):
        z, y, x = (slice(a.start + b, a.stop + b) for a, b in zip(block.window, box.start, strict=True))
        mask = read((z, y, x)) == label
        voxels += int(np.count_nonzero(mask))
        share[block.coarser(factors).window] = _averaged(mask, factors)
    return Body(share, placement.cropped(box.start).coarser(factors), voxels * float(np.prod(placement.voxel_nm)))


def _factors(shape: Index, placement: Placement, limit: int) -> Index:
    factors = [1, 1, 1]
    while np.prod([-(-n // f) for n, f in zip(shape, factors, strict=True)]) > limit:
        finest = min(range(3), key=lambda axis: factors[axis] * placement.voxel_nm[axis])
        factors[finest] += 1
    return factors[0], factors[1], factors[2]


def _averaged(mask: NDArray[np.bool_], factors: Index) -> NDArray[np.float32]:
    if factors == (1, 1, 1):
        return mask.astype(np.float32)
    total = mask.astype(np.float32)
    for axis, factor in enumerate(factors):
        total = np.add.reduceat(total, np.arange(0, mask.shape[axis], factor), axis=axis)
    return np.asarray(total / np.float32(np.prod(factors)), np.float32)


def surface_of(body: Body) -> Surface:
    """Return the closed surface of a body: that of its smoothed occupancy which encloses the volume of its voxels.

    The occupancy is blurred by 0.8 voxels, which removes the stairs; the level of the surface is then chosen so that
    the enclosed volume is that of the voxels within 0.5 % (marching cubes of a mask as it is would lose a thin body's
    volume). Source: marching cubes of Lewiner et al. 2003, as scikit-image has them.

    Examples
    --------
    >>> cube = np.ones((4, 4, 4), np.float32)
    >>> surface = surface_of(Body(cube, Placement((10.0, 10.0, 10.0), (0.0, 0.0, 0.0)), 64_000.0))
    >>> round(surface.volume_nm3 / 64_000.0, 2)
    1.0
    """
    field = ndimage.gaussian_filter(np.pad(body.share, _MARGIN), _SIGMA_VOXELS, mode="constant")
    values = np.sort(field[field > _NOTHING], axis=None)[::-1]
    wanted = body.volume_nm3 / float(np.prod(body.placement.voxel_nm))
    bracket = [(0.0, _NOTHING), (0.0, float(values[0]))]  # logarithm of the volume ratio, level
    level = float(values[min(int(wanted), len(values) - 1)])
    for _ in range(_ROUNDS):
        level = min(max(level, 0.02 * bracket[1][1]), 0.98 * float(values[0]))
        points, faces = _at_level(field, level, body.placement)
        error = float(np.log(max(enclosed_volume(points, faces) / body.volume_nm3, 1e-6)))
        if abs(error) < VOLUME_TOLERANCE:
            break
        bracket[0 if error > 0 else 1] = (error, level)
        level = _between(bracket[0], bracket[1])
    return Surface(points, faces)


def _between(low: tuple[float, float], high: tuple[float, float]) -> float:
    """Level where the error would vanish on a line between two, but never near either: the volume has plateaus."""
    share = low[0] / (low[0] - high[0]) if low[0] > 0 > high[0] else 0.5
    return low[1] + min(max(share, 0.1), 0.9) * (high[1] - low[1])


def _at_level(field: NDArray[np.float32], level: float, placement: Placement) -> tuple[Points, Faces]:
    """Corners and faces of the surface at a level, in the frame of the acquisition and facing out."""
    found, faces, _, _ = measure.marching_cubes(field, level, allow_degenerate=False)  # type: ignore[no-untyped-call]
    middles = placement.centre_nm((-_MARGIN, -_MARGIN, -_MARGIN))
    zyx_nm = found.astype(np.float64) * np.array(placement.voxel_nm) + np.array(middles)
    points = np.ascontiguousarray(zyx_nm[:, ::-1])
    faces = np.ascontiguousarray(faces, np.int32)
    return points, faces if enclosed_volume(points, faces) > 0 else np.ascontiguousarray(faces[:, ::-1])


def enclosed_volume(points: Points, faces: Faces) -> float:
    """Return the volume that a closed surface encloses, positive where its faces are anticlockwise from outside.

    Source: divergence theorem; the sum of the signed tetrahedra between each face and a common point.

    Examples
    --------
    >>> corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    >>> round(enclosed_volume(corners, np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)), 6)
    0.166667
    """
    if not len(faces):
        return 0.0
    a, b, c = (points[faces[:, i]] - points[0] for i in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6.0)
