"""Slices as pixels: fetched, verified, decoded, mapped to 8 bit."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections import OrderedDict
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from services.contracts.messages import SliceIngested
from services.contracts.values import ArtefactRef
from services.imaging.formats.description import SliceFile
from services.imaging.formats.faults import FormatError
from services.imaging.formats.opening import open_slice
from services.imaging.grey import to_uint8
from services.runtime.errors import PermanentError, TransientError
from services.runtime.store.port import ArtefactStore

# A file up to this size is held in memory while it is read, a larger one in a temporary file.
IN_MEMORY_BYTES = 256 << 20


class SliceReader:
    """Reads slices; keeps the last few, since the nuclei of one slice are cut out one after another.

    Of a file of many pages the bytes are fetched and verified once, and kept until another file is read.

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
        self._file: BinaryIO | None = None
        self._stack: tuple[ArtefactRef, SliceFile] | None = None

    def read(self, message: SliceIngested) -> npt.NDArray[np.uint8]:
        """Return a slice as uint8 (y, x), mapped by the acquisition's frozen grey mapping.

        Rows below the height that ingest found, a data bar, are left out.

        Raises
        ------
        PermanentError
            If the file cannot be decoded, which ingest has seen to be possible: it changed.
        TransientError
            If the store cannot be read, or no room is left for a temporary file.
        """
        known = self._slices.get(message.identity)
        if known is not None:
            return known
        try:
            # Of these very bytes ingest has seen that, where no channel was named, all are equal.
            page = self._opened(message.raw).read(message.page, message.channel or 0)[: message.height_px]
        except FormatError as error:
            raise PermanentError("slice_changed", f"{message.file_name}: {error}") from error
        if self._stack is None:
            self._let_go()
        grey = to_uint8(page, message.grey.low, message.grey.high, inverted=message.grey.inverted)
        self._slices[message.identity] = grey
        while len(self._slices) > self._keep:
            self._slices.popitem(last=False)
        return grey

    def _opened(self, raw: ArtefactRef) -> SliceFile:
        """Return a reader of a file; that of a stack is kept for the pages to come."""
        if self._stack is not None and self._stack[0] == raw:
            return self._stack[1]
        self._let_go()
        self._file = self._fetched(raw)
        reader = open_slice(self._file)
        if len(reader.description.pages) > 1:
            self._stack = (raw, reader)
        return reader

    def _fetched(self, raw: ArtefactRef) -> BinaryIO:
        small = raw.size_bytes <= IN_MEMORY_BYTES
        fetched: BinaryIO = io.BytesIO() if small else tempfile.TemporaryFile()  # noqa: SIM115 - it outlives this call
        try:
            with self._store.open(raw) as source:
                shutil.copyfileobj(source, fetched, 1 << 20)
        except OSError as error:
            fetched.close()
            raise TransientError("disk", f"no temporary copy of {raw.key}: {error}") from error
        except BaseException:
            fetched.close()
            raise
        return fetched

    def _let_go(self) -> None:
        self._stack = None
        if self._file is not None:
            self._file.close()
            self._file = None
