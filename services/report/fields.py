"""Label volumes turned into what rays can walk through: cropped, smoothed, with a pyramid for soft light."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.report.raymarching import SURFACE

MAX_VOXELS = 24_000_000
_SIGMA_VOXELS = 1.1
_MARGIN = 6  # voxels of nothing around the solid, so that every surface is closed and blur has room

Labels = NDArray[np.uint8]


class EmptyVolumeError(ValueError):
    """A picture was asked of a label volume in which nothing is labelled."""


@dataclass(frozen=True)
class Grid:
    """Where an isotropic rendering grid lies in a label volume.

    Parameters
    ----------
    start, stop
        First and last-but-one voxel (z, y, x) of the bounding box in the label volume.
    voxel_nm
        Edge (z, y, x) of a voxel of the label volume.
    spacing_nm
        Edge of a voxel of the rendering grid.
    """

    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    voxel_nm: tuple[float, float, float]
    spacing_nm: float


def bounding_box(volume: NDArray[np.generic]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return the first and last-but-one index (z, y, x) of what is not 0.

    Examples
    --------
    >>> bounding_box(np.array([[[0, 0, 0], [0, 7, 0]]], dtype=np.uint8))
    ((0, 1, 1), (1, 2, 2))

    Raises
    ------
    EmptyVolumeError
        When everything is 0.
    """
    planes = np.flatnonzero(volume.any(axis=(1, 2)))
    if planes.size == 0:
        raise EmptyVolumeError("the volume holds no labelled voxel")
    inside = volume[planes[0] : planes[-1] + 1]
    rows = np.flatnonzero(inside.any(axis=(0, 2)))
    columns = np.flatnonzero(inside.any(axis=(0, 1)))
    start = (int(planes[0]), int(rows[0]), int(columns[0]))
    return start, (int(planes[-1]) + 1, int(rows[-1]) + 1, int(columns[-1]) + 1)


def fit_grid(volume: NDArray[np.generic], voxel_nm: tuple[float, float, float], limit: int = MAX_VOXELS) -> Grid:
    """Return the finest isotropic grid over the labelled part of a volume that has at most `limit` voxels.

    Parameters
    ----------
    volume
        (z, y, x) labels, 0 for nothing.
    voxel_nm
        Edge (z, y, x) of its voxels.
    limit
        Most voxels of the grid: the bound on memory.

    Examples
    --------
    >>> fit_grid(np.ones((4, 4, 4), dtype=np.uint8), (16.0, 16.0, 16.0)).spacing_nm
    16.0
    """
    start, stop = bounding_box(volume)
    extent_nm = [(b - a) * v for a, b, v in zip(start, stop, voxel_nm, strict=True)]
    spacing_nm = float(min(voxel_nm))
    while float(np.prod([e / spacing_nm + 2 * _MARGIN for e in extent_nm])) > limit:
        spacing_nm *= 1.25
    return Grid(start, stop, voxel_nm, spacing_nm)


def resample(volume: Labels, grid: Grid) -> Labels:
    """Return the labels nearest to the points of a grid, with a margin of 0 around them."""
    indices = []
    for start, stop, voxel_nm in zip(grid.start, grid.stop, grid.voxel_nm, strict=True):
        count = max(1, round((stop - start) * voxel_nm / grid.spacing_nm))
        centres = (np.arange(count) + 0.5) * grid.spacing_nm / voxel_nm
        indices.append(np.clip(start + centres.astype(np.int64), start, stop - 1))
    return np.pad(volume[np.ix_(*indices)], _MARGIN)


def smooth(mask: NDArray[np.bool_], sigma_zyx: tuple[float, float, float]) -> Labels:
    """Return a mask blurred to a field: 255 inside, 0 outside, and as much above `SURFACE` as the mask holds.

    Parameters
    ----------
    mask
        (z, y, x) bool.
    sigma_zyx
        Width of the Gaussian in voxels.
    """
    field = mask.astype(np.uint8) * np.uint8(255)
    for plane in field:
        cv2.GaussianBlur(plane, (0, 0), sigma_zyx[2], plane, sigma_zyx[1], cv2.BORDER_CONSTANT)
    flat = field.reshape(field.shape[0], -1)
    kernel = cv2.getGaussianKernel(2 * int(np.ceil(3 * sigma_zyx[0])) + 1, sigma_zyx[0])
    one = np.ones((1, 1))
    blurred = np.asarray(cv2.sepFilter2D(flat, -1, one, kernel, borderType=cv2.BORDER_CONSTANT), np.uint8)
    return _keep_volume(blurred.reshape(mask.shape), int(np.count_nonzero(mask)))


def _keep_volume(blurred: Labels, voxels: int) -> Labels:
    """Shift the surface of a blurred mask to where it encloses as many voxels as the mask: thin parts would vanish."""
    counts = np.zeros(256, np.int64)
    for plane in blurred:  # counting a volume at once would widen it to eight bytes a voxel
        counts += np.bincount(plane.ravel(), minlength=256)
    above = np.cumsum(counts[::-1])[::-1]
    level = float(np.clip(np.count_nonzero(above > voxels), 16, SURFACE))
    values = np.arange(256.0)
    below = values * (SURFACE / level)
    beyond = SURFACE + (values - level) * (255.0 - SURFACE) / (255.0 - level)
    table = np.where(values < level, below, beyond)
    return _looked_up(np.floor(table + 0.5).astype(np.uint8), blurred)


def _looked_up(table: Labels, volume: Labels) -> Labels:
    """Value of the table for each voxel; indexing with numpy would widen the volume to eight bytes a voxel."""
    flat = cv2.LUT(volume.reshape(volume.shape[0], -1), table)
    return np.asarray(flat, np.uint8).reshape(volume.shape)


def solid_field(parts: Labels, grid: Grid) -> Labels:
    """Return the field of several parts, each smoothed alone, so that a groove stays where two of them touch."""
    sigma = tuple(_SIGMA_VOXELS * max(1.0, v / grid.spacing_nm) for v in grid.voxel_nm)
    reach = [int(np.ceil(3 * s)) + 1 for s in sigma]
    field = np.zeros(parts.shape, np.uint8)
    boxes: list[tuple[slice, ...] | None] = list(ndimage.find_objects(parts))
    for index, box in enumerate(boxes, start=1):
        if box is None:
            continue
        wide = tuple(slice(max(s.start - r, 0), s.stop + r) for s, r in zip(box, reach, strict=True))
        part = smooth(parts[wide] == index, (sigma[0], sigma[1], sigma[2]))
        np.maximum(field[wide], part, out=field[wide])
    return field


def sheet_field(sheet: NDArray[np.bool_], enclosed: NDArray[np.bool_], sigma_voxels: float) -> Labels:
    """Return the field of a thin sheet round a body, smooth on both faces and true in thickness.

    Blurring a sheet of two or three voxels makes holes in it; its outer and its inner face are blurred as the surfaces
    of two bodies instead, and the sheet is what lies between them.

    Parameters
    ----------
    sheet
        (z, y, x) bool.
    enclosed
        (z, y, x) bool, what the sheet surrounds; disjoint from it.
    sigma_voxels
        Width of the Gaussian.
    """
    sigma = (sigma_voxels,) * 3
    field = np.minimum(smooth(sheet | enclosed, sigma), 255 - smooth(enclosed, sigma))
    # A wide blur fades over several voxels, and what lies before the surface would count as shadow: steepen it.
    steeper = np.clip((np.arange(256) - SURFACE) * max(1.0, sigma_voxels / _SIGMA_VOXELS) + SURFACE, 0, 255)
    return _looked_up(steeper.astype(np.uint8), field)


def clearance(field: Labels) -> Labels:
    """Return for each cube of 2 voxels how many cubes away the nearest matter is, along the worst axis; at most 255.

    A point whose cube reads n can move 2 n - 3 voxels in any direction without meeting a voxel of the solid.

    Examples
    --------
    >>> row = np.zeros((1, 1, 8), dtype=np.uint8)
    >>> row[..., 7] = 255
    >>> clearance(row).tolist()
    [[[3, 2, 1, 0]]]
    """
    padded = np.pad(field, [(0, n % 2) for n in field.shape])
    d, h, w = (n // 2 for n in padded.shape)
    empty = padded.reshape(d, 2, h, 2, w, 2).max(axis=(1, 3, 5)) <= SURFACE
    if empty.all():
        return np.full(empty.shape, 255, np.uint8)
    cubes: NDArray[np.int32] = ndimage.distance_transform_cdt(empty.astype(np.uint8), "chessboard")
    return np.asarray(np.minimum(cubes, 255), np.uint8)


def pyramid(field: Labels, levels: int = 6) -> tuple[Labels, ...]:
    """Return the field and its means over cubes of 2, 4, 8 ... voxels.

    Examples
    --------
    >>> [int(level.max()) for level in pyramid(np.full((2, 2, 2), 200, dtype=np.uint8), 2)]
    [200, 200]
    """
    steps = [field]
    for _ in range(levels - 1):
        below = np.pad(steps[-1], [(0, n % 2) for n in steps[-1].shape])
        pairs = below[0::2].astype(np.uint16) + below[1::2]
        pairs = pairs[:, 0::2] + pairs[:, 1::2]
        steps.append(((pairs[:, :, 0::2] + pairs[:, :, 1::2]) // 8).astype(np.uint8))
    return tuple(np.ascontiguousarray(level) for level in steps)
