"""Reads crops at the voxel size of the networks that segment them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.contracts.messages import CropExtracted
from services.contracts.model_card import ModelSet
from services.imaging.planes import PlaneFormatError, decode_crop
from services.imaging.resampling import resample_grey, resample_labels, resampled_shape
from services.inference.regions import Region, region_of_interest
from services.runtime.errors import PermanentError
from services.runtime.segmenter.port import Plane
from services.runtime.store.port import ArtefactStore

# At the voxel size of the models: 131 um on a side at 16 nm, far beyond any field; more would fill the memory.
LARGEST_CROP_PX = 2**26


@dataclass(frozen=True, slots=True)
class CropPixels:
    """A crop at the voxel size of a model set.

    Attributes
    ----------
    grey, mask
        uint8, (y, x); the mask is 0 where pixels belong to nobody.
    region
        The part that decides the nucleus; None where the mask is empty.
    """

    grey: Plane
    mask: Plane
    region: Region | None


def read_crop(store: ArtefactStore, crop: CropExtracted, models: ModelSet) -> CropPixels:
    """Return a crop at the voxel size of the models, and the part of it that decides its nucleus.

    Raises
    ------
    PermanentError
        If it is damaged, or its voxel size makes it larger than any crop can be.
    """
    try:
        grey, mask = decode_crop(store.get(crop.crop))
    except PlaneFormatError as error:
        raise PermanentError("damaged_crop", str(error)) from error
    source, target_nm = (crop.voxel_size.y_nm, crop.voxel_size.x_nm), models.voxel_size_nm
    rows, columns = resampled_shape((grey.shape[0], grey.shape[1]), source, target_nm)
    if rows * columns > LARGEST_CROP_PX:
        raise PermanentError(
            "crop_too_large",
            f"{crop.identity} has {rows} x {columns} pixels at the {target_nm} nm of the models; at most "
            f"{LARGEST_CROP_PX} are segmented: its voxel size must be wrong",
        )
    architectures = [card.architecture for card in models.cards]
    resampled = resample_labels(mask, source, target_nm).astype(np.uint8, copy=False)
    region = region_of_interest(
        resampled,
        max(architecture.context_px for architecture in architectures),
        max(architecture.shape_multiple_px for architecture in architectures),
    )
    return CropPixels(resample_grey(grey, source, target_nm), resampled, region)
