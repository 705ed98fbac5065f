"""TIFF files that somebody wrote to do harm: small on disk, endless in memory or in time."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import imagecodecs
import numpy as np

SHORT, LONG, ASCII = 3, 4, 2
HEADER_BYTES = 8
ZSTD, NONE = 50000, 1

Fields = Mapping[int, tuple[int, int, int]]


def directory(fields: Fields, following: int = 0) -> bytes:
    """Return a classic little-endian directory; fields are (type, number of values, value or its offset) by tag."""
    entries = [struct.pack("<HHII", tag, kind, count, value) for tag, (kind, count, value) in sorted(fields.items())]
    return struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", following)


def page(
    rows: int, columns: int, strip: tuple[int, int], compression: int = NONE, **more: int
) -> dict[int, tuple[int, int, int]]:
    """Return the fields of a page of one strip at (offset, size); `more` are `bits` and `samples`."""
    return {
        256: (LONG, 1, columns),
        257: (LONG, 1, rows),
        258: (SHORT, 1, more.get("bits", 8)),
        259: (SHORT, 1, compression),
        262: (SHORT, 1, 1),
        273: (LONG, 1, strip[0]),
        277: (SHORT, 1, more.get("samples", 1)),
        279: (LONG, 1, strip[1]),
    }


def file_of(fields: Fields, payload: bytes) -> bytes:
    """Return a file of one page; the payload begins right behind the header, at byte 8."""
    return struct.pack("<2sHI", b"II", 42, HEADER_BYTES + len(payload)) + payload + directory(fields)


def squeezed(size_bytes: int) -> bytes:
    """Return a few bytes that unpack to so many zeros."""
    return bytes(imagecodecs.zstd_encode(bytes(size_bytes), level=19))


def bomb(rows: int, columns: int, **more: int) -> bytes:
    """Return a small file whose one page unpacks to all its pixels."""
    size_bytes = rows * columns * more.get("samples", 1) * more.get("bits", 8) // 8
    # What it says and what it holds need not be the same: a reader must stop before it can tell.
    strip = squeezed(min(size_bytes, 2**24))
    return file_of(page(rows, columns, (HEADER_BYTES, len(strip)), ZSTD, **more), strip)


def pages_that_share(count: int, rows: int, columns: int) -> bytes:
    """Return a file of many pages that all unpack the same strip."""
    strip = squeezed(rows * columns)
    fields = page(rows, columns, (HEADER_BYTES, len(strip)), ZSTD)
    first, size = HEADER_BYTES + len(strip), len(directory(fields))
    body = bytearray(directory(fields) * count)
    # The pointer to the next directory stands at the end of each.
    following = first + size * np.arange(1, count + 1, dtype="<u4")
    following[-1] = 0
    np.frombuffer(body, np.uint8).reshape(count, size)[:, -4:] = following.view(np.uint8).reshape(count, 4)
    return struct.pack("<2sHI", b"II", 42, first) + strip + bytes(body)


def field_of(tag: int, kind: int, count: int, value_bytes: int) -> bytes:
    """Return a file with one field of so many values, all of them there."""
    values = bytes(value_bytes)
    fields = page(16, 16, (HEADER_BYTES, 256)) | {tag: (kind, count, HEADER_BYTES)}
    return file_of(fields, values)
