"""Slices as pixels: fetched, verified, decoded, mapped to 8 bit."""

from __future__ import annotations

import io
from collections import OrderedDict

import numpy as np
import numpy.typing as npt

from services.contracts.messages import SliceIngested
from services.imaging.grey import to_uint8
from services.imaging.tiff import read_page
from services.imaging.tiff_faults import TiffError
from services.runtime.errors import PermanentError
from services.runtime.store.port import ArtefactStore


class SliceReader:
    """Reads slices; keeps the last few, since the nuclei of one slice are cut out one after another.

    Parameters
    ----------
    store
        Where the raw bytes are, or are known.
    keep
        How many decoded slices to keep.
    """

    def __init__(self, store: ArtefactStore, keep: int = 2) -> None:
        self._store = store
        self._keep = keep
        self._slices: OrderedDict[str, npt.NDArray[np.uint8]] = OrderedDict()

    def read(self, message: SliceIngested) -> npt.NDArray[np.uint8]:
        """Return a slice as uint8 (y, x), mapped by the acquisition's frozen grey mapping.

        Raises
        ------
        PermanentError
            If the file cannot be decoded, which ingest has seen to be possible: it changed.
        """
        known = self._slices.get(message.identity)
        if known is not None:
            return known
        try:
            page = read_page(io.BytesIO(self._store.get(message.raw)), message.page, message.channel)
        except TiffError as error:
            raise PermanentError("slice_changed", f"{message.file_name}: {error}") from error
        grey = to_uint8(page, message.grey.low, message.grey.high)
        self._slices[message.identity] = grey
        while len(self._slices) > self._keep:
            self._slices.popitem(last=False)
        return grey
