"""Bodies that a model server must refuse, each for a reason of its own."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

import numpy as np
import zstandard

from services.runtime.segmenter.port import Normalisation
from services.runtime.segmenter.windows import Window
from services.runtime.segmenter.wire import Request, encode_request

GREY = np.arange(6 * 7, dtype=np.uint8).reshape(6, 7)
GOOD = encode_request(Request(Window(GREY, Normalisation(170.0, 20.0))))
HEADER = struct.Struct("<4sHHIIIdd")


def request(pixels: bytes = GREY.tobytes(), **changes: object) -> bytes:
    """Return a request of which some fields of the header are other ones."""
    fields: dict[str, object] = {
        "magic": b"FSEQ", "version": 1, "flags": 0, "rows": 6, "columns": 7, "crc": zlib.crc32(GREY.data),
        "offset": 170.0, "scale": 20.0,
    }  # fmt: skip
    return HEADER.pack(*(fields | changes).values()) + pixels


BOMB = zstandard.ZstdCompressor(level=19).compress(bytes(2**26))
NAMELESS_FRAME = zstandard.ZstdCompressor(write_content_size=False).compress(GREY.tobytes())
FRAME = zstandard.ZstdCompressor().compress(GREY.tobytes())

HOSTILE_REQUESTS: Mapping[str, bytes] = {
    "nothing but a byte": b"\0",
    "text": b'{"instances": [[1, 2], [3, 4]]}',
    "a pickle": b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
    "half a header": GOOD[:20],
    "a header without pixels": GOOD[: HEADER.size],
    "a pixel too few": GOOD[:-1],
    "a pixel too many": GOOD + b"\0",
    "another magic": request(magic=b"FSEX"),
    "a later version": request(version=2),
    "an unknown flag": request(flags=64),
    "no rows": request(b"", rows=0, crc=0),
    "no columns": request(b"", columns=0, crc=0),
    "more rows than memory": request(rows=2**32 - 1, columns=2**32 - 1),
    "more pixels than are taken": request(rows=1025, columns=1024),
    "pixels that were changed": request(bytes([*GREY.tobytes()[:-1], 99])),
    "an offset that is none": request(offset=float("nan")),
    "an infinite offset": request(offset=float("inf")),
    "a scale of nought": request(scale=0.0),
    "a negative scale": request(scale=-20.0),
    "a frame that is none": request(b"not a frame at all", flags=1),
    "half a frame": request(FRAME[: len(FRAME) // 2], flags=1),
    "a frame and more": request(FRAME + b"\0", flags=1),
    "a frame that hides its size": request(NAMELESS_FRAME, flags=1),
    "a bomb": request(BOMB, flags=1),
    "a bomb that owns up to its size": request(BOMB, flags=1, rows=2**13, columns=2**13),
}
