"""Planes to register: reduced, freed of brightness and noise, as a pyramid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Float = NDArray[np.float32]

LARGEST_PLANE_PX = 420_000
"""A plane of more pixels than this is reduced: 12.5 megapixels by 6, to 24 nm of 4."""

_NOISE_PX, _WIDE_PX = 1.0, 25
_FAINT = 0.2
_SMALLEST_LEVEL_PX = 40
_MARGIN_PX = 2
_TILE_PX = 16
_MOST_POINTS, _MOST_COARSE = 8_000, 3_000


class EmptyPlaneError(ValueError):
    """A plane in which there is nothing to register."""


def reduction_of(shape_yx: tuple[int, int], largest_px: int = LARGEST_PLANE_PX) -> int:
    """Return by how much slices of a shape are reduced before they are registered: a whole number.

    Examples
    --------
    >>> reduction_of((2500, 5000)), reduction_of((608, 656))
    (6, 1)
    """
    return max(1, math.ceil(math.sqrt(shape_yx[0] * shape_yx[1] / largest_px)))


def reduced(slice_yx: Grey, factor: int) -> Grey:
    """Return the mean of every block of ``factor`` by ``factor`` pixels; incomplete ones at the far edges are left out.

    Examples
    --------
    >>> reduced(np.array([[0, 2, 4], [2, 4, 9]], np.uint8), 2)
    array([[2]], dtype=uint8)
    """
    rows, columns = slice_yx.shape[0] // factor, slice_yx.shape[1] // factor
    if factor == 1 or not rows or not columns:
        return slice_yx
    whole = np.ascontiguousarray(slice_yx[: rows * factor, : columns * factor])
    return np.asarray(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)


@dataclass(frozen=True)
class Level:
    """One size of a plane: its contrast, and the points at which others are compared with it.

    Attributes
    ----------
    contrast
        float32, (y, x): grey without noise and brightness, of standard deviation 1.
    scale
        How many pixels of the plane its pixels are wide.
    """

    contrast: Float
    scale: int

    @property
    def centre_yx(self) -> tuple[float, float]:
        """Middle of the level, in its pixels."""
        return ((self.contrast.shape[0] - 1) / 2, (self.contrast.shape[1] - 1) / 2)

    @cached_property
    def points(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the points with the steepest contrast, evenly spread: 8,000, or 3,000 of a coarse one."""
        slope = np.hypot(*self.slopes)
        slope[:_MARGIN_PX], slope[-_MARGIN_PX:] = -1, -1
        slope[:, :_MARGIN_PX], slope[:, -_MARGIN_PX:] = -1, -1
        share = min(0.5, (_MOST_POINTS if self.scale == 1 else _MOST_COARSE) / slope.size)
        rows, columns = (size // _TILE_PX for size in slope.shape)
        if rows and columns:
            tiles = slope[: rows * _TILE_PX, : columns * _TILE_PX]
            tiles = tiles.reshape(rows, _TILE_PX, columns, _TILE_PX).transpose(0, 2, 1, 3).reshape(rows, columns, -1)
            least = np.quantile(tiles, 1 - share, axis=2)
            steep = cv2.resize(least.astype(np.float32), slope.shape[::-1], interpolation=cv2.INTER_NEAREST)
        else:
            steep = np.full(slope.shape, np.quantile(slope, 1 - share), np.float32)
        y, x = np.nonzero((slope >= steep) & (slope > 0))
        return y, x

    @cached_property
    def from_middle(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The points' y and x, counted from the middle."""
        (rows, columns), (y, x) = self.points, self.centre_yx
        return rows.astype(np.float64) - y, columns.astype(np.float64) - x

    @cached_property
    def at_points(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Contrast at the points, and its derivatives along y and x."""
        rows, columns = self.points
        contrast, along_y, along_x = (
            values[rows, columns].astype(np.float64) for values in (self.contrast, *self.slopes)
        )
        return contrast, along_y, along_x

    @cached_property
    def slopes(self) -> tuple[Float, Float]:
        """Derivatives along y and x, per pixel."""
        along_y = cv2.sepFilter2D(self.contrast, cv2.CV_32F, np.ones(1), np.array([-0.5, 0, 0.5]))
        along_x = cv2.sepFilter2D(self.contrast, cv2.CV_32F, np.array([-0.5, 0, 0.5]), np.ones(1))
        return np.asarray(along_y, np.float32), np.asarray(along_x, np.float32)


class Pyramid:
    """A plane in several sizes, the finest first; what is asked for is computed once.

    Parameters
    ----------
    plane_yx
        uint8, (y, x), reduced.

    Raises
    ------
    EmptyPlaneError
        If the plane has no contrast, or no room for any.
    """

    def __init__(self, plane_yx: Grey) -> None:
        if min(plane_yx.shape) < 16:
            raise EmptyPlaneError(f"a plane of {plane_yx.shape} pixels is too small to be registered")
        self.plane = plane_yx
        self._levels: dict[int, Level] = {}
        if float(self.level(0).contrast.std()) == 0.0:
            raise EmptyPlaneError("a plane of one grey cannot be registered")

    @property
    def centre_yx(self) -> tuple[float, float]:
        """Middle of the plane, in its pixels."""
        return ((self.plane.shape[0] - 1) / 2, (self.plane.shape[1] - 1) / 2)

    @property
    def depth(self) -> int:
        """How often the plane can be halved."""
        return max(0, int(math.log2(min(self.plane.shape) / _SMALLEST_LEVEL_PX)))

    def level(self, number: int) -> Level:
        """Return the plane, halved `number` times."""
        known = self._levels.get(number)
        if known is None:
            known = self._levels[number] = Level(_contrast(reduced(self.plane, 1 << number)), 1 << number)
        return known


def _contrast(grey: Grey) -> Float:
    """Return grey without noise and slow brightness, scaled to standard deviation 1; charged spots are cut off."""
    values = grey.astype(np.float32)
    fine = cv2.GaussianBlur(values, (0, 0), _NOISE_PX, borderType=cv2.BORDER_REFLECT)
    coarse = _widely(values)
    contrast = fine - coarse
    # In doubles: the mean of many singles depends on how they are added up.
    spread = float(np.std(contrast, dtype=np.float64))
    if spread < 1e-3:
        return np.zeros_like(contrast)
    # A few sharp outlines must not outvote all the fine texture: contrast counts by what is usual around it.
    around = _widely(contrast * contrast)
    usual = np.sqrt(np.maximum(around, 0)) + np.float32(_FAINT * spread)
    return np.asarray(np.clip(contrast / usual, -3, 3), np.float32)


def _widely(values: Float) -> Float:
    """Return means over what lies around each pixel: two boxes, whose cost does not grow with their width."""
    once = cv2.blur(values, (_WIDE_PX, _WIDE_PX), borderType=cv2.BORDER_REFLECT)
    return np.asarray(cv2.blur(once, (_WIDE_PX, _WIDE_PX), borderType=cv2.BORDER_REFLECT), np.float32)
