"""Exterior and nucleoplasm: background divided by the outline of the nucleus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import draw

from services.contracts.classes import LabelClass
from services.trainer.annotations.class_map import BACKGROUND, UNLABELLED

Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]


class OpenMembraneError(ValueError):
    """The labelled membrane encloses nothing, so inside and outside cannot be told."""


@dataclass(frozen=True, slots=True)
class Sides:
    """Ids that background becomes outside and inside of the nucleus."""

    exterior: int = int(LabelClass.EXTERIOR)
    interior: int = int(LabelClass.NUCLEOPLASM)


def derive_exterior(labels_yx: Labels, inside_yx: Mask, sides: Sides = Sides()) -> Labels:
    """Divide background by the outline of the nucleus; what is labelled stays as it is.

    Source: domain.md section 4 ("Labels"): exterior from the mask's geometry.

    Parameters
    ----------
    labels_yx
        (y, x) class ids; `BACKGROUND` (254) where nothing was labelled.
    inside_yx
        (y, x) True inside the nucleus.
    sides
        Ids for both sides.

    Examples
    --------
    >>> derive_exterior(np.array([[254, 254, 2]], np.uint8), np.array([[False, True, False]])).tolist()
    [[0, 1, 2]]
    """
    divided = np.where(inside_yx, np.uint8(sides.interior), np.uint8(sides.exterior))
    return np.where(labels_yx == BACKGROUND, divided, labels_yx)


def derive_exterior_by_grey(
    labels_yx: Labels,
    grey_yx: NDArray[np.uint8],
    grey_at_most: int = 150,
    sides: Sides = Sides(),
) -> Labels:
    """Divide background by grey, as the manuscript's code does: dark is exterior, wherever it lies.

    Parity only: dark membrane and lateral elements that nobody labelled become exterior as well.

    Examples
    --------
    >>> grey = np.array([[150, 151, 90]], np.uint8)
    >>> derive_exterior_by_grey(np.array([[254, 254, 4]], np.uint8), grey).tolist()
    [[0, 1, 4]]
    """
    return derive_exterior(labels_yx, grey_yx > grey_at_most, sides)


def enclosed_by(membrane_yx: Mask) -> Mask:
    """Return what a closed membrane encloses, itself included.

    Raises
    ------
    OpenMembraneError
        If it encloses nothing: the ring is open, or cut by the border of the image.

    Examples
    --------
    >>> ring = np.ones((3, 3), bool); ring[1, 1] = False
    >>> bool(enclosed_by(ring).all())
    True
    """
    inside: Mask = ndimage.binary_fill_holes(membrane_yx)
    if not (inside & ~membrane_yx).any():
        raise OpenMembraneError(
            "the labelled membrane encloses nothing: close the ring, or give nucleus outlines instead"
        )
    return inside


def outline_mask(shape_yx: tuple[int, int], polygons_yx: Sequence[NDArray[np.floating]]) -> Mask:
    """Return the inside of polygons, each (n, 2) vertices as row and column, together.

    Examples
    --------
    >>> outline_mask((4, 5), [np.array([[1, 1], [1, 3], [2, 3], [2, 1]])]).astype(int).sum(axis=1).tolist()
    [0, 3, 3, 0]
    """
    drawing: Any = draw
    inside = np.zeros(shape_yx, bool)
    for polygon in polygons_yx:
        inside |= drawing.polygon2mask(shape_yx, np.asarray(polygon, np.float64))
    return inside


def labelled_outside(labels_yx: Labels, inside_yx: Mask, sides: Sides = Sides()) -> int:
    """Count pixels of foreground classes outside of the nucleus.

    >>> labelled_outside(np.array([[0, 1, 2, 255]], np.uint8), np.zeros((1, 4), bool))
    1
    """
    neutral = np.isin(labels_yx, [sides.exterior, sides.interior, BACKGROUND, UNLABELLED])
    return int((~neutral & ~inside_yx).sum())
