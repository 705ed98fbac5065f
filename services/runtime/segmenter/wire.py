"""What travels between a client and a model server: a fixed header and the pixels, as bytes.

A request for one window (little endian)::

    magic "FSEQ", version u16, flags u16, rows u32, columns u32, CRC-32 of the grey pixels u32,
    offset f64, scale f64, then the grey pixels, raw or one zstd frame (flag 1); flag 2 asks for a zstd reply

Its reply::

    magic "FSEA", version u16, flags u16, rows u32, columns u32, CRC-32 of the grey pixels it answers u32,
    CRC-32 of the planes u32, then the class plane and the confidence plane, raw or one zstd frame (flag 1)

The reply names the pixels it answers, so that a server that mixes up the requests of a batch is found out.
A request of magic "FSED" and the version alone asks what serves, and is answered in JSON.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
import zstandard

from services.runtime.segmenter.port import Normalisation, NormalisationError, Plane, Segmented
from services.runtime.segmenter.windows import Window

VERSION = 1
REQUEST_MAGIC = b"FSEQ"
REPLY_MAGIC = b"FSEA"
DESCRIBE = struct.pack("<4sH", b"FSED", VERSION)

_COMPRESSED = 1
_COMPRESSED_REPLY = 2
_REQUEST = struct.Struct("<4sHHIIIdd")
_REPLY = struct.Struct("<4sHHIIII")
# One is as small as others here, and several times faster (29 kB of a plane of 2.9 MB in under a millisecond).
_LEVEL = 1


class WireError(ValueError):
    """Bytes are no request, or no reply, of this version."""


class WindowTooLargeError(WireError):
    """A request has more pixels than the server takes."""


@dataclass(frozen=True, slots=True)
class Request:
    """One window to segment.

    Attributes
    ----------
    window
        Pixels and normalisation.
    compress_reply
        Whether the answer shall be a zstd frame.
    """

    window: Window
    compress_reply: bool = False


def encode_request(request: Request, *, compress: bool = False) -> bytes:
    """Return the bytes of a request; `compress` makes its pixels a zstd frame.

    Examples
    --------
    >>> window = Window(np.zeros((2, 3), np.uint8), Normalisation(170.0, 20.0))
    >>> len(encode_request(Request(window)))
    42
    """
    pixels = np.ascontiguousarray(request.window.grey_yx).tobytes()
    flags = (_COMPRESSED if compress else 0) | (_COMPRESSED_REPLY if request.compress_reply else 0)
    rows, columns = request.window.grey_yx.shape
    normalisation = request.window.normalisation
    header = _REQUEST.pack(
        REQUEST_MAGIC, VERSION, flags, rows, columns, zlib.crc32(pixels), normalisation.offset, normalisation.scale
    )
    return header + _packed(pixels, compress=compress)


def decode_request(body: bytes, max_pixels: int) -> Request:
    """Return the request that bytes hold; nothing is unpacked before its size is known to be allowed.

    Raises
    ------
    WindowTooLargeError
        If it has more pixels than `max_pixels`.
    WireError
        If it is damaged, or of another version.
    """
    flags, (rows, columns, crc, offset, scale) = _header(_REQUEST, REQUEST_MAGIC, body)
    if flags & ~(_COMPRESSED | _COMPRESSED_REPLY):
        raise WireError(f"unknown flags {flags:#x}")
    if rows < 1 or columns < 1:
        raise WireError(f"a window of {rows} x {columns} px has no pixels")
    if rows * columns > max_pixels:
        raise WindowTooLargeError(f"a window of {rows} x {columns} px exceeds max_pixels = {max_pixels}")
    pixels = _unpacked(body[_REQUEST.size :], rows * columns, compressed=bool(flags & _COMPRESSED))
    if zlib.crc32(pixels) != crc:
        raise WireError("the pixels are not those that were sent")
    try:
        normalisation = Normalisation(offset, scale)
    except NormalisationError as error:
        raise WireError(str(error)) from error
    grey = np.frombuffer(pixels, np.uint8).reshape(rows, columns)
    return Request(Window(grey, normalisation), bool(flags & _COMPRESSED_REPLY))


def encode_reply(request: Request, answer: Segmented) -> bytes:
    """Return the bytes of the answer to a request."""
    grey = np.ascontiguousarray(request.window.grey_yx)
    rows, columns = grey.shape
    planes = np.stack([answer.classes_yx, answer.confidence_yx]).tobytes()
    flags = _COMPRESSED if request.compress_reply else 0
    header = _REPLY.pack(REPLY_MAGIC, VERSION, flags, rows, columns, zlib.crc32(grey.data), zlib.crc32(planes))
    return header + _packed(planes, compress=request.compress_reply)


def decode_reply(body: bytes, grey_yx: Plane) -> Segmented:
    """Return the answer that bytes hold to a window of those grey pixels.

    Raises
    ------
    WireError
        If it is damaged, of another version, or answers other pixels.
    """
    flags, (rows, columns, grey_crc, crc) = _header(_REPLY, REPLY_MAGIC, body)
    if flags & ~_COMPRESSED:
        raise WireError(f"unknown flags {flags:#x}")
    if (rows, columns) != grey_yx.shape or grey_crc != zlib.crc32(np.ascontiguousarray(grey_yx).data):
        raise WireError("the reply answers another window")
    planes = _unpacked(body[_REPLY.size :], 2 * rows * columns, compressed=bool(flags & _COMPRESSED))
    if zlib.crc32(planes) != crc:
        raise WireError("the planes are not those that were sent")
    classes, confidence = np.frombuffer(planes, np.uint8).reshape(2, rows, columns)
    return Segmented(classes, confidence)


def _header(layout: struct.Struct, magic: bytes, body: bytes) -> tuple[int, tuple[int, ...]]:
    """Return flags and the fields after them."""
    if len(body) < layout.size:
        raise WireError(f"{len(body)} B are no header of {layout.size} B")
    found, version, flags, *fields = layout.unpack_from(body)
    if found != magic:
        raise WireError(f"the magic is {bytes(found)!r}, not {magic!r}")
    if version != VERSION:
        raise WireError(f"version {version} is not version {VERSION}: run client and server of one release")
    return flags, tuple(fields)


def _packed(content: bytes, *, compress: bool) -> bytes:
    return zstandard.ZstdCompressor(level=_LEVEL).compress(content) if compress else content


def _unpacked(content: bytes, size_bytes: int, *, compressed: bool) -> bytes:
    if compressed:
        content = _decompressed(content, size_bytes)
    if len(content) != size_bytes:
        raise WireError(f"{len(content)} B of pixels, not the {size_bytes} B that the header says")
    return content


def _decompressed(frame: bytes, size_bytes: int) -> bytes:
    """Unpack a frame that says beforehand that it holds so many bytes; a bomb says otherwise, or ends early."""
    try:
        claimed = zstandard.get_frame_parameters(frame).content_size
        if claimed != size_bytes:
            raise WireError(f"a frame of {claimed} B, not the {size_bytes} B that the header says")
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise WireError(f"no zstd frame: {error}") from error
