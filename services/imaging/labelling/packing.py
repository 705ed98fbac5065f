"""Arrays and a small header as bytes: the same content, the same bytes.

Layout: eight bytes that name the content and its version, and one zstd frame with a checksum. In it are the length of
the header (uint32), the header (JSON) and the arrays end to end. Numbers are little-endian; structured arrays go field
by field, so that padding is never stored.
"""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zstandard
from numpy.typing import DTypeLike, NDArray

from services.imaging.labelling.errors import CorruptTablesError

MAGIC_BYTES = 8
LENGTH = struct.Struct("<I")
ZSTD_LEVEL = 3


def pack(magic: bytes, header: Mapping[str, object], arrays: Sequence[NDArray[Any]]) -> bytes:
    """Return a header and arrays as bytes.

    Parameters
    ----------
    magic
        Eight bytes that name the content and its version.
    header
        What JSON can hold, without the key ``arrays``.
    arrays
        Of any type without objects; their types and shapes are stored.

    Examples
    --------
    >>> unpacked = Unpacked(b"example1", pack(b"example1", {"z": 5}, [np.array([1, 2], np.int32)]))
    >>> unpacked.header["z"], unpacked.take(np.int32).tolist()
    (5, [1, 2])
    """
    columns = [column for array in arrays for column in _columns(array)]
    listed = {**header, "arrays": [[column.dtype.str, list(column.shape)] for column in columns]}
    head = json.dumps(listed, sort_keys=True, separators=(",", ":")).encode()
    content = b"".join([LENGTH.pack(len(head)), head, *(column.tobytes() for column in columns)])
    return magic + zstandard.ZstdCompressor(ZSTD_LEVEL, write_checksum=True).compress(content)


class Unpacked:
    """What `pack` was given: ``header``, and the arrays one after the other.

    Parameters
    ----------
    magic
        As given to `pack`.
    data
        What `pack` returned.

    Raises
    ------
    CorruptTablesError
        When the bytes are something else, another version, cut short or changed.
    """

    def __init__(self, magic: bytes, data: bytes) -> None:
        if data[:MAGIC_BYTES] != magic:
            raise CorruptTablesError(f"Expected content {magic!r}. Got: {data[:MAGIC_BYTES]!r}")
        try:
            self._content = zstandard.ZstdDecompressor().decompress(data[MAGIC_BYTES:], allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise CorruptTablesError(f"{len(data)} bytes of {magic!r} are damaged: {error}") from error
        (length,) = LENGTH.unpack_from(self._content)
        self._at = LENGTH.size + length
        self.header: dict[str, Any] = json.loads(self._content[LENGTH.size : self._at])
        self._listed: list[tuple[np.dtype[Any], tuple[int, ...]]] = [
            (np.dtype(dtype), tuple(shape)) for dtype, shape in self.header["arrays"]
        ]

    def next_dtype(self) -> np.dtype[Any]:
        """Return the type of the next array."""
        return self._listed[0][0]

    def take(self, dtype: DTypeLike) -> NDArray[Any]:
        """Return the next array, writable.

        Raises
        ------
        CorruptTablesError
            When it has another type.
        """
        expected = np.dtype(dtype)
        if expected.names is None:
            return self._take_column(expected)
        columns = [self._take_column(expected[name]) for name in expected.names]
        array = np.zeros(columns[0].shape, expected)
        for name, column in zip(expected.names, columns, strict=True):
            array[name] = column
        return array

    def _take_column(self, expected: np.dtype[Any]) -> NDArray[Any]:
        dtype, shape = self._listed.pop(0)
        if dtype != expected:
            raise CorruptTablesError(f"Expected an array of {expected}. Got: {dtype}")
        array = np.frombuffer(self._content, dtype, math.prod(shape), self._at).reshape(shape).copy()
        self._at += array.nbytes
        return array


def _columns(array: NDArray[Any]) -> list[NDArray[Any]]:
    return [array] if array.dtype.names is None else [array[name] for name in array.dtype.names]
