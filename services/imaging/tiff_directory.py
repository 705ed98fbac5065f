"""The directories of a TIFF or BigTIFF file, read with every offset checked against the end of the file."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.imaging.tiff_faults import (
    EmptyFileError,
    MalformedDirectoryError,
    NotATiffError,
    TooLargeError,
    TruncatedDirectoryError,
    TruncatedHeaderError,
)

# Numpy letter of each TIFF field type; fractions stand as pairs, and their values are never needed.
_FIELD_DTYPES = {
    1: "u1", 2: "u1", 3: "u2", 4: "u4", 5: "u8", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 10: "i8", 11: "f4", 12: "f8",
    13: "u4", 16: "u8", 17: "i8", 18: "u8",
}  # fmt: skip
_LARGEST_ENTRY_COUNT = 4096
# What a page is told by; other fields are checked to be inside the file and forgotten, since a hundred thousand
# directories may share the bytes of thousands of them.
_READ_TAGS = frozenset(
    {254, 256, 257, 258, 259, 262, 266, 270, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339}
    # What instruments say: resolution, Zeiss SmartSEM, Thermo (three generations), Zeiss Atlas.
    | {282, 283, 296, 34118, 34680, 34682, 34683, 51023}
)
# The longest field besides those that say where pixels are is a palette, 3 x 256 colours.
_MOST_VALUES = 4096


class _Dialect(NamedTuple):
    """How classic TIFF and BigTIFF differ: struct formats of what a directory is made of."""

    byte_order: str
    directory_length: struct.Struct
    entry: struct.Struct
    pointer: struct.Struct


def _classic(order: str) -> _Dialect:
    return _Dialect(order, struct.Struct(f"{order}H"), struct.Struct(f"{order}HHI4s"), struct.Struct(f"{order}I"))


def _big(order: str) -> _Dialect:
    return _Dialect(order, struct.Struct(f"{order}Q"), struct.Struct(f"{order}HHQ8s"), struct.Struct(f"{order}Q"))


_DIALECTS = {b"II*\0": _classic("<"), b"MM\0*": _classic(">"), b"II+\0": _big("<"), b"MM\0+": _big(">")}


class Field(NamedTuple):
    """One entry of a directory, with the number of its values and the byte where they begin."""

    dtype: str
    length: int
    offset: int


@dataclass(frozen=True, slots=True)
class Directory:
    """The fields of one page that are ever read, by tag number."""

    byte_order: str
    fields: dict[int, Field]

    def count(self, tag: int) -> int:
        """Return how many values a field says that it has; 0 if the page lacks it."""
        field = self.fields.get(tag)
        return 0 if field is None else field.length

    def values(self, file: BinaryIO, tag: int, most: int = _MOST_VALUES) -> NDArray[np.int64] | None:
        """Return the whole numbers of a field, or None if the page lacks it.

        Raises
        ------
        MalformedDirectoryError
            If the field does not hold whole numbers, or more than `most`, so that memory is taken for no more.
        """
        field = self.fields.get(tag)
        if field is None:
            return None
        if field.dtype[0] == "f":
            raise MalformedDirectoryError(f"tag {tag} holds fractions where whole numbers are needed")
        if field.length > most:
            raise MalformedDirectoryError(f"tag {tag} has {field.length} values, at most {most} make sense")
        dtype = np.dtype(f"{self.byte_order}{field.dtype}")
        file.seek(field.offset)
        payload = file.read(field.length * dtype.itemsize)
        if len(payload) < field.length * dtype.itemsize:
            raise TruncatedDirectoryError(f"the values of tag {tag} went away while they were read")
        return np.frombuffer(payload, dtype, field.length).astype(np.int64)

    def text(self, file: BinaryIO, tag: int, most: int = 65536) -> str:
        """Return the text of a field, at most so many bytes of it; an empty string if the page lacks it."""
        field = self.fields.get(tag)
        if field is None:
            return ""
        file.seek(field.offset)
        return file.read(min(field.length, most)).decode("latin-1")

    def fraction(self, file: BinaryIO, tag: int) -> float | None:
        """Return the first fraction of a field, None if the page lacks it or its denominator is 0."""
        field = self.fields.get(tag)
        if field is None or field.dtype != "u8" or not field.length:
            return None
        file.seek(field.offset)
        pair = np.frombuffer(file.read(8).ljust(8, b"\0"), f"{self.byte_order}u4")
        return float(pair[0]) / float(pair[1]) if pair[1] else None


def file_size(file: BinaryIO) -> int:
    """Return the number of bytes of an open file."""
    return file.seek(0, 2)


def read_directories(file: BinaryIO, max_pages: int) -> tuple[Directory, ...]:
    """Return the directory of every page, in the order of the file.

    Parameters
    ----------
    file
        Open for reading, seekable.
    max_pages
        Most directories that are followed.

    Raises
    ------
    EmptyFileError, NotATiffError, TruncatedHeaderError, TruncatedDirectoryError, MalformedDirectoryError, TooLargeError
        As their names say. Every directory and every value outside the entries is inside the file
        when this returns; strips are not looked at.
    """
    size = file_size(file)
    dialect, offset = _read_header(file, size)
    directories: list[Directory] = []
    visited: set[int] = set()
    while offset:
        if offset in visited:
            raise MalformedDirectoryError(f"the directory at byte {offset} follows itself")
        if len(directories) == max_pages:
            raise TooLargeError(f"the file has more than {max_pages} pages")
        visited.add(offset)
        directory, offset = _read_directory(file, offset, dialect, size)
        directories.append(directory)
    return tuple(directories)


def _read_header(file: BinaryIO, size: int) -> tuple[_Dialect, int]:
    """Return the dialect and the offset of the first directory."""
    file.seek(0)
    header = file.read(16)
    dialect = _dialect(header)
    # BigTIFF has the size of its offsets between the version and the first offset.
    at = dialect.pointer.size
    if len(header) < at + dialect.pointer.size:
        raise TruncatedHeaderError(f"the file ends after {len(header)} bytes")
    offset: int = dialect.pointer.unpack_from(header, at)[0]
    if not 8 <= offset < size:
        # Writers that put the directory last leave 0 here until they are done.
        raise TruncatedDirectoryError(f"the first directory is said to be at byte {offset} of {size}")
    return dialect, offset


def _dialect(header: bytes) -> _Dialect:
    if not header:
        raise EmptyFileError("the file has no bytes")
    known = [start for start in _DIALECTS if start.startswith(header[:4])]
    if not known:
        raise NotATiffError(f"the file begins with {header[:4]!r}")
    if len(header) < 4:
        raise TruncatedHeaderError(f"the file ends after {len(header)} bytes")
    return _DIALECTS[known[0]]


def _read_directory(file: BinaryIO, offset: int, dialect: _Dialect, size: int) -> tuple[Directory, int]:
    """Return the directory at `offset` and the offset of the next one (0: there is none)."""
    entry_count: int = dialect.directory_length.unpack(
        _read_exactly(file, offset, dialect.directory_length.size, size)
    )[0]
    if not 1 <= entry_count <= _LARGEST_ENTRY_COUNT:
        raise MalformedDirectoryError(f"the directory at byte {offset} claims {entry_count} entries")
    first = offset + dialect.directory_length.size
    body = _read_exactly(file, first, entry_count * dialect.entry.size + dialect.pointer.size, size)
    inline = dialect.pointer.size
    fields: dict[int, Field] = {}
    for number in range(entry_count):
        tag, field_type, count, value = dialect.entry.unpack_from(body, number * dialect.entry.size)
        dtype = _FIELD_DTYPES.get(field_type)
        if dtype is None:
            continue
        length = count * int(dtype[1])
        at = (
            first + (number + 1) * dialect.entry.size - inline if length <= inline else dialect.pointer.unpack(value)[0]
        )
        if at + length > size:
            raise TruncatedDirectoryError(f"tag {tag} lies at bytes {at} to {at + length} of {size}")
        if tag in _READ_TAGS:
            fields.setdefault(tag, Field(dtype, count, at))
    following: int = dialect.pointer.unpack_from(body, entry_count * dialect.entry.size)[0]
    if following >= size:
        raise TruncatedDirectoryError(f"the next directory is said to be at byte {following} of {size}")
    return Directory(dialect.byte_order, fields), following


def _read_exactly(file: BinaryIO, offset: int, length: int, size: int) -> bytes:
    if offset + length > size:
        raise TruncatedDirectoryError(f"a directory lies at bytes {offset} to {offset + length} of {size}")
    file.seek(offset)
    payload = file.read(length)
    if len(payload) < length:
        raise TruncatedDirectoryError(f"the directory at byte {offset} went away while it was read")
    return payload
