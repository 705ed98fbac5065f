"""What becomes of a label plane on its way into the volume: masked before labelling, filled after cleaning."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from services.contracts.classes import LabelClass
from services.imaging.labelling import remove_small_regions

UInt8Plane = npt.NDArray[np.uint8]

EXTERIOR = int(LabelClass.EXTERIOR)
NUCLEOPLASM = int(LabelClass.NUCLEOPLASM)
REMOVED = 255
"""What the labeller paints where an object was too small."""

INSIDE = 2
"""Value of a mask pixel inside the outline; 1 is the rim between the outline and the widened one."""

REFERENCE_VOXEL_NM3 = 64.0
MINIMUM_VOXELS_AT_4_NM = {
    int(LabelClass.SYNAPTONEMAL_COMPLEX): 1000,
    int(LabelClass.CHROMOSOME): 2000,
    int(LabelClass.NUCLEOLUS): 3000,
}
"""Smallest synaptonemal complex, chromosome and nucleolus of the manuscript (4.4), in voxels of 4 nm."""

AS_RUN_PIXELS_AT_4_NM = {
    int(LabelClass.SYNAPTONEMAL_COMPLEX): 300,
    int(LabelClass.CHROMOSOME): 800,
    int(LabelClass.NUCLEOLUS): 9500,
}
"""The per-slice areas that the authors ran, in pixels of 4 nm, 4-connected."""


def minimum_voxels(voxel_volume_nm3: float) -> dict[int, int]:
    """Return the smallest object kept per class, in voxels of the given volume.

    The manuscript removes objects below 1000, 2000 and 3000 voxels (synaptonemal complex, chromosome,
    nucleolus); read as volumes at 4 nm and scaled, since the printed numbers mean nothing at another size.

    >>> minimum_voxels(16.0**3)
    {4: 16, 2: 32, 3: 47}
    """
    scale = REFERENCE_VOXEL_NM3 / voxel_volume_nm3
    return {label: max(1, -int(-count * scale // 1)) for label, count in MINIMUM_VOXELS_AT_4_NM.items()}


def minimum_pixels(pixel_area_nm2: float, areas_at_4_nm: Mapping[int, int]) -> dict[int, int]:
    """Return the smallest region kept per class and slice, in pixels of the given area.

    >>> minimum_pixels(256.0, {4: 300})
    {4: 19}
    """
    return {label: max(1, -int(-count * 16.0 / pixel_area_nm2 // 1)) for label, count in areas_at_4_nm.items()}


def masked(classes: UInt8Plane, mask: UInt8Plane) -> UInt8Plane:
    """Return the classes inside the widened outline; outside it belongs to somebody else.

    >>> masked(np.array([[2, 3]], np.uint8), np.array([[0, 1]], np.uint8)).tolist()
    [[0, 3]]
    """
    return np.where(mask > 0, classes, EXTERIOR).astype(np.uint8)


def filled(cleaned: UInt8Plane, mask: UInt8Plane) -> UInt8Plane:
    """Return a cleaned plane with removed specks as nucleoplasm inside the outline, exterior outside (decision 8).

    >>> filled(np.array([[255, 255, 2]], np.uint8), np.array([[1, 2, 2]], np.uint8)).tolist()
    [[0, 1, 2]]
    """
    speck = np.where(mask == INSIDE, NUCLEOPLASM, EXTERIOR)
    return np.where(cleaned == REMOVED, speck, cleaned).astype(np.uint8)


def without_small_regions(classes: UInt8Plane, mask: UInt8Plane, minimum_px: Mapping[int, int]) -> UInt8Plane:
    """Return a plane without regions that are small in this slice alone: the printed text read per slice.

    Regions are 4-connected, as the authors ran it.
    """
    return filled(remove_small_regions(classes, dict(minimum_px), removed_value=REMOVED), mask)
