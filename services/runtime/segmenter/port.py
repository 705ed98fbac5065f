"""The segmenter: grey crops in, fused label planes out, by a set of networks pinned by hash.

The embedded adapter runs torch in the process, the distributed one asks a model server. What every
adapter promises, the contract suite in `tests/contract/segmenter_suite.py` checks:

- One answer per crop, in order, of the crop's shape.
- Within one numeric profile on one kind of machine a crop's answer is the same to the bit, whatever else
  is in the call, in whatever order (design decision 2).
- `segment` may be called from several threads at once, so that a server's batches fill.
- A crop that cannot be segmented is refused before anything is computed; an outage is a
  `TransientError`, raised for the whole call, which may then be repeated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from services.contracts.model_card import ModelSet

Plane = NDArray[np.uint8]


class NumericProfile(StrEnum):
    """How numbers are computed; recorded in provenance, never mixed within a nucleus."""

    EXACT = "exact"
    FAST = "fast"


class CropRefusedError(ValueError):
    """A crop is not a two-dimensional, non-empty uint8 array."""


class CropTooLargeError(CropRefusedError):
    """A crop is larger than the networks' device, or their server's settings, have room for."""


class NormalisationError(ValueError):
    """Offset and scale do not describe a normalisation."""


class ModelSetError(ValueError):
    """A folder does not hold the networks that the fusion rules ask for, unaltered and runnable here."""


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Grey to network input: (grey - offset) / scale, frozen per acquisition.

    Attributes
    ----------
    offset, scale
        Mean and standard deviation of the 8-bit grey of the first slices (`GreyMapping`).
    """

    offset: float
    scale: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.offset) and math.isfinite(self.scale) and self.scale > 0):
            raise NormalisationError(f"offset {self.offset}, scale {self.scale}: both finite, scale positive")


@dataclass(frozen=True, slots=True)
class Segmented:
    """What the fused networks say about one crop.

    Attributes
    ----------
    classes_yx
        uint8, (y, x), values of `LabelClass`.
    confidence_yx
        uint8, (y, x): 255 times the probability that the deciding network gives to that class, rounded.
    """

    classes_yx: Plane
    confidence_yx: Plane


CANARY_NORMALISATION = Normalisation(170.0, 30.0)


class Segmenter(Protocol):
    """Segments crops with one model set under one numeric profile."""

    @property
    def profile(self) -> NumericProfile:
        """The numeric profile of every answer."""

    def model_set(self) -> ModelSet:
        """Return cards, fusion rules and digest of the networks that answer; never changes.

        Raises
        ------
        TransientError
            If the networks are out of reach.
        """

    def segment(self, crops: Sequence[Plane], normalisation: Normalisation) -> Sequence[Segmented]:
        """Segment crops that are at the voxel size of the model set.

        Parameters
        ----------
        crops
            Grey, uint8, (y, x), of any shapes; may be empty.
        normalisation
            That of the acquisition, the same for every crop of the call.

        Raises
        ------
        CropRefusedError
            If a crop has another type or number of axes, or no pixels.
        TransientError
            If the networks are out of reach; repeat the whole call.
        """

    def ready(self) -> bool:
        """Tell whether the networks are loaded and answer the canary as they did at first."""

    def close(self) -> None:
        """Give back threads and memory; calling it again does nothing."""

    def __enter__(self) -> Self:
        """Return the segmenter itself."""

    def __exit__(self, *_: object) -> None:
        """Close."""


def refuse_unfit(crops: Sequence[Plane]) -> None:
    """Refuse anything but two-dimensional, non-empty uint8 arrays.

    Raises
    ------
    CropRefusedError
        With the position, type and shape of the first unfit crop.

    Examples
    --------
    >>> refuse_unfit([np.zeros((2, 3), np.uint8)])
    """
    for position, crop in enumerate(crops):
        if crop.dtype != np.uint8 or crop.ndim != 2 or crop.size == 0:
            raise CropRefusedError(f"crop {position} is {crop.dtype} of shape {crop.shape}, not uint8 (y, x)")


def canary_crop(multiple_px: int = 64) -> Plane:
    """Return a fixed crop with a ramp, a disc and a ring, by which an adapter sees that its networks answer.

    Examples
    --------
    >>> canary_crop().shape
    (64, 64)
    """
    y, x = np.mgrid[:multiple_px, :multiple_px]
    radius = np.hypot(y - multiple_px / 2, x - multiple_px / 2)
    crop = 150 + 40 * (radius < multiple_px / 3) - 60 * (np.abs(radius - multiple_px / 3) < 2) + (x % 16)
    return np.asarray(crop, np.uint8)
