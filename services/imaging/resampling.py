"""Resampling of crops to the voxel size of a model: area mean down, linear up, nearest for labels.

Pixels are squares that lie edge to edge from the crop's corner, so output pixel j covers
[j * to_nm, (j + 1) * to_nm) of the input, exactly, whatever the shapes. Only element-wise arithmetic and
running sums are used: the same input gives the same bytes on every machine.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Float = NDArray[np.float64]

# Sums of 8-bit grey over blocks of this size fit 32 bits.
LARGEST_BLOCK_PX = 2**24
_BAND_PX = 256


class VoxelSizeError(ValueError):
    """A pixel edge is not a positive finite length."""


def resampled_shape(shape_yx: tuple[int, int], from_nm: tuple[float, float], to_nm: float) -> tuple[int, int]:
    """Return rows and columns after resampling.

    Parameters
    ----------
    shape_yx
        Rows and columns of the input.
    from_nm
        Pixel edges (y, x) of the input in nanometres.
    to_nm
        Pixel edge of the output in nanometres, the same along both axes.

    Returns
    -------
    tuple of int
        Extent over edge, rounded half up, at least 1.

    Raises
    ------
    VoxelSizeError
        If an edge is not positive and finite.

    Examples
    --------
    >>> resampled_shape((1700, 1700), (4.0, 4.0), 16.0)
    (425, 425)
    >>> resampled_shape((10, 30), (8.0, 4.0), 16.0)
    (5, 8)
    """
    if not all(math.isfinite(edge) and edge > 0 for edge in (*from_nm, to_nm)):
        raise VoxelSizeError(f"pixel edges must be positive lengths, got {from_nm} and {to_nm} nm")
    rows, columns = (max(1, math.floor(n * edge / to_nm + 0.5)) for n, edge in zip(shape_yx, from_nm, strict=True))
    return rows, columns


def resample_grey(image_yx: Grey, from_nm: tuple[float, float], to_nm: float) -> Grey:
    """Resample grey: the mean over each output pixel's area going down, linear interpolation going up.

    Parameters
    ----------
    image_yx
        Grey, uint8, (y, x).
    from_nm, to_nm
        As in `resampled_shape`. Axes are resampled one after the other, each down or up as it needs.

    Returns
    -------
    numpy.ndarray
        uint8 of shape `resampled_shape`; the input itself where both edges are equal.

    Examples
    --------
    >>> resample_grey(np.array([[0, 10, 20, 30], [2, 12, 22, 32]], np.uint8), (8.0, 8.0), 16.0)
    array([[ 6, 26]], dtype=uint8)
    """
    rows, columns = resampled_shape(_shape(image_yx), from_nm, to_nm)
    if (from_nm[0], from_nm[1]) == (to_nm, to_nm):
        return image_yx
    block = (to_nm / from_nm[0], to_nm / from_nm[1])
    if block == (image_yx.shape[0] / rows, image_yx.shape[1] / columns) and _summed_exactly(*block):
        return _block_means(image_yx, int(block[0]), int(block[1]))
    values = _along_last(image_yx.astype(np.float64), columns, to_nm / from_nm[1])
    values = _along_last(np.ascontiguousarray(values.T), rows, to_nm / from_nm[0]).T
    return np.ascontiguousarray(np.rint(values).astype(np.uint8))


def resample_labels(labels_yx: NDArray[np.integer], from_nm: tuple[float, float], to_nm: float) -> NDArray[np.integer]:
    """Resample labels: each output pixel takes the label under its centre.

    Parameters
    ----------
    labels_yx
        Labels, any integer type, (y, x).
    from_nm, to_nm
        As in `resampled_shape`.

    Returns
    -------
    numpy.ndarray
        The same type, of shape `resampled_shape`; the input itself where both edges are equal.

    Examples
    --------
    >>> resample_labels(np.array([[1, 2], [3, 4]], np.uint8), (16.0, 16.0), 8.0)
    array([[1, 1, 2, 2],
           [1, 1, 2, 2],
           [3, 3, 4, 4],
           [3, 3, 4, 4]], dtype=uint8)
    """
    return labels_to_shape(labels_yx, resampled_shape(_shape(labels_yx), from_nm, to_nm), from_nm, to_nm)


def labels_to_shape(
    labels_yx: NDArray[np.integer], shape_yx: tuple[int, int], from_nm: tuple[float, float], to_nm: float
) -> NDArray[np.integer]:
    """Resample labels to a shape that is known, such as that of the image they were predicted for.

    Rounding a shape down and up again may be one pixel off; the missing pixels repeat the last ones.

    Parameters
    ----------
    labels_yx
        Labels, any integer type, (y, x).
    shape_yx
        Rows and columns wanted.
    from_nm, to_nm
        As in `resampled_shape`.

    Examples
    --------
    >>> labels_to_shape(np.array([[1, 2]], np.uint8), (1, 5), (16.0, 16.0), 8.0)
    array([[1, 1, 2, 2, 2]], dtype=uint8)
    """
    if tuple(shape_yx) == labels_yx.shape and (from_nm[0], from_nm[1]) == (to_nm, to_nm):
        return labels_yx
    rows, columns = (
        np.minimum((np.arange(n) + 0.5) * (to_nm / edge), size - 1).astype(np.intp)
        for n, edge, size in zip(shape_yx, from_nm, labels_yx.shape, strict=True)
    )
    return np.ascontiguousarray(labels_yx[np.ix_(rows, columns)])


def most_likely(
    probabilities: NDArray[np.float32], shape_yx: tuple[int, int], from_nm: float, to_nm: tuple[float, float]
) -> Grey:
    """Return the most likely class of each pixel of a finer image; borders run between the pixels of the coarser one.

    As `most_likely_sure`, without how likely it is.

    Examples
    --------
    >>> most_likely(np.array([[[0.9, 0.6, 0.0]], [[0.1, 0.4, 1.0]]], np.float32), (1, 6), 16.0, (16.0, 8.0))
    array([[0, 0, 0, 1, 1, 1]], dtype=uint8)
    """
    return most_likely_sure(probabilities, shape_yx, from_nm, to_nm)[0]


def most_likely_sure(
    probabilities: NDArray[np.float32], shape_yx: tuple[int, int], from_nm: float, to_nm: tuple[float, float]
) -> tuple[Grey, Grey]:
    """Return the most likely class of each pixel of a finer image, and how likely it is.

    Parameters
    ----------
    probabilities
        float32, (class, y, x), of pixels of `from_nm`; interpolated linearly.
    shape_yx
        Rows and columns wanted.
    from_nm, to_nm
        Edge of the pixels given, and edges (y, x) of those wanted.

    Returns
    -------
    tuple of numpy.ndarray
        uint8, the number of the class, of equal ones the first; and 255 times its probability, rounded.

    Examples
    --------
    >>> most_likely_sure(np.array([[[0.8, 0.2]], [[0.2, 0.8]]], np.float32), (1, 2), 16.0, (16.0, 16.0))[1]
    array([[204, 204]], dtype=uint8)
    """
    rows, columns = shape_yx
    answer, sure = np.empty(shape_yx, np.uint8), np.empty(shape_yx, np.uint8)
    wide = _interpolated(np.asarray(probabilities, np.float64), columns, to_nm[1] / from_nm)
    tall = np.ascontiguousarray(np.swapaxes(wide, 1, 2))
    # By bands of columns: all classes of a large image at once would take many times its memory.
    for first in range(0, columns, _BAND_PX):
        band = slice(first, first + _BAND_PX)
        finer = _interpolated(tall[:, band], rows, to_nm[0] / from_nm)
        answer[:, band] = finer.argmax(axis=0).T
        sure[:, band] = np.rint(255 * np.clip(finer.max(axis=0), 0, 1)).T
    return answer, sure


def _shape(image_yx: NDArray[np.integer]) -> tuple[int, int]:
    rows, columns = image_yx.shape
    return rows, columns


def _summed_exactly(height_px: float, width_px: float) -> bool:
    """Whether the general path rounds means over blocks of this size as integers would.

    A power of two divides a sum of grey without rounding; of an odd number of pixels no mean lies half-way between
    two levels, so that its rounding error cannot matter. Other even numbers have both.
    """
    area = int(height_px) * int(width_px)
    whole = (int(height_px), int(width_px)) == (height_px, width_px)
    return whole and 1 <= area <= LARGEST_BLOCK_PX and (area % 2 == 1 or area & (area - 1) == 0)


def _block_means(image_yx: Grey, height: int, width: int) -> Grey:
    """Return the mean of every block: the general path's bytes, without doubles of every pixel."""
    rows, columns = image_yx.shape[0] // height, image_yx.shape[1] // width
    bands = np.add.reduce(image_yx.reshape(rows, height, columns * width), axis=1, dtype=np.uint32)
    sums = bands[:, ::width].copy()
    for column in range(1, width):
        sums += bands[:, column::width]
    means: Grey = np.rint(sums / (height * width)).astype(np.uint8)
    return means


def _along_last(values: Float, size: int, ratio: float) -> Float:
    """Resample the last axis; `ratio` is output pixel over input pixel."""
    if ratio == 1.0:
        return values
    return _area_means(values, size, ratio) if ratio > 1.0 else _interpolated(values, size, ratio)


def _area_means(values: Float, size: int, ratio: float) -> Float:
    # Running sums of 8-bit grey are exact in doubles, so a mean is a difference of two of them.
    sums = np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(values, axis=-1)], axis=-1)
    edges = np.minimum(np.arange(size + 1) * ratio, values.shape[-1])
    left = np.minimum(edges.astype(np.intp), values.shape[-1] - 1)
    at_edges = sums[..., left] + (edges - left) * values[..., left]
    return np.asarray(np.diff(at_edges, axis=-1) / np.diff(edges))


def _interpolated(values: Float, size: int, ratio: float) -> Float:
    last = values.shape[-1] - 1
    centres = np.clip((np.arange(size) + 0.5) * ratio - 0.5, 0, last)
    left = np.minimum(centres.astype(np.intp), max(0, last - 1))
    right = np.minimum(left + 1, last)
    weight = centres - left
    return np.asarray(values[..., left] * (1 - weight) + values[..., right] * weight)
