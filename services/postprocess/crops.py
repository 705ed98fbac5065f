"""Reads crops at the voxel size of their label planes, and keeps them until they are painted."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from services.contracts.messages import CropSegmented
from services.contracts.values import VoxelSize
from services.imaging.planes import PlaneFormatError, decode_crop
from services.imaging.resampling import resample_grey, resample_labels, resampled_shape
from services.postprocess.cleaning import UInt8Plane
from services.runtime.errors import PermanentError
from services.runtime.store.port import ArtefactStore

# Of a thousand nuclei, a slab of each at 16 nm; of what is not kept, the store is asked again.
KEPT_BYTES = 256 << 20

_Place = tuple[str, str, VoxelSize, VoxelSize]


class CropReader:
    """Reads every crop once, where memory allows: its mask is needed first, its grey when its slab is written.

    Parameters
    ----------
    store
        Where crops are.
    kept_bytes
        Most memory for crops that are read and not yet taken; the one read longest ago goes first.
    """

    def __init__(self, store: ArtefactStore, kept_bytes: int = KEPT_BYTES) -> None:
        self._store, self._kept_bytes = store, kept_bytes
        self._kept: OrderedDict[_Place, tuple[UInt8Plane, UInt8Plane]] = OrderedDict()
        self._bytes = 0

    def mask(self, message: CropSegmented, shape_yx: tuple[int, ...]) -> UInt8Plane:
        """Return the mask of a crop at the voxel size of its planes; the crop is kept for `take`.

        Parameters
        ----------
        message
            Says which crop, and the voxel size of its planes.
        shape_yx
            Of its planes.

        Raises
        ------
        PermanentError
            If the crop is damaged, or has another shape than its planes at their voxel size.
        TransientError
            If the store is out.
        """
        kept = self._kept.get(_place(message))
        if kept is not None and kept[1].shape == shape_yx:
            return kept[1]
        grey, mask = self._read(message, shape_yx)
        self._keep(message, grey, mask)
        return mask

    def take(self, message: CropSegmented) -> tuple[UInt8Plane, UInt8Plane]:
        """Return the grey and the mask of a crop at the voxel size of its planes, and keep it no longer.

        Raises
        ------
        PermanentError
            If the crop is damaged.
        TransientError
            If the store is out.
        """
        kept = self._dropped(_place(message))
        return self._read(message) if kept is None else kept

    def let_go(self, message: CropSegmented) -> None:
        """Keep a crop no longer, because its slab was written before."""
        self._dropped(_place(message))

    def _read(self, message: CropSegmented, shape_yx: tuple[int, ...] | None = None) -> tuple[UInt8Plane, UInt8Plane]:
        try:
            grey, mask = decode_crop(self._store.get(message.crop.crop))
        except PlaneFormatError as error:
            raise PermanentError("damaged_crop", f"{message.identity}: {error}") from error
        source = (message.crop.voxel_size.y_nm, message.crop.voxel_size.x_nm)
        target_nm = message.plane_voxel_size.x_nm
        shape = resampled_shape((grey.shape[0], grey.shape[1]), source, target_nm)
        # Before anything of that shape is made: the voxel size is what somebody said.
        if shape_yx is not None and shape != shape_yx:
            raise PermanentError(
                "unequal_shapes", f"{message.identity}: planes of {shape_yx} pixels for a crop of {shape}"
            )
        return resample_grey(grey, source, target_nm), resample_labels(mask, source, target_nm).astype(
            np.uint8, copy=False
        )

    def _keep(self, message: CropSegmented, grey: UInt8Plane, mask: UInt8Plane) -> None:
        place = _place(message)
        self._dropped(place)
        self._kept[place] = grey, mask
        self._bytes += grey.nbytes + mask.nbytes
        while self._bytes > self._kept_bytes:
            self._dropped(next(iter(self._kept)))

    def _dropped(self, place: _Place) -> tuple[UInt8Plane, UInt8Plane] | None:
        kept = self._kept.pop(place, None)
        if kept is not None:
            self._bytes -= kept[0].nbytes + kept[1].nbytes
        return kept


def _place(message: CropSegmented) -> _Place:
    return message.identity, message.crop.crop.sha256, message.crop.voxel_size, message.plane_voxel_size
