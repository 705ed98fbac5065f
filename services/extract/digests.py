"""What detection leaves of a slice for whoever compares slices with their neighbours: the slice, made small."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import zstandard

from services.imaging.registration.planes import reduced, reduction_of

Grey = npt.NDArray[np.uint8]

# Raised by hand when the same slice gives another digest.
STAGE_VERSION = 1
_HEADER = struct.Struct("<4sIII")
_MAGIC = b"FSD1"
_MOST_PX = 2**24


class DigestFormatError(ValueError):
    """Bytes that are not the digest of a slice."""


@dataclass(frozen=True, eq=False)
class SliceDigest:
    """A slice, made small.

    Attributes
    ----------
    plane
        uint8, (y, x): means of blocks of the slice; 12.5 megapixels of 4 nm become 24 nm.
    factor
        Edge of a block in pixels of the slice; 1 where the slice is small already.
    """

    plane: Grey
    factor: int


def digest_of(slice_yx: Grey) -> SliceDigest:
    """Return the digest of a slice, uint8 (y, x)."""
    factor = reduction_of((slice_yx.shape[0], slice_yx.shape[1]))
    return SliceDigest(reduced(slice_yx, factor), factor)


def digest_to_bytes(digest: SliceDigest) -> bytes:
    """Write a digest; the same one always gives the same bytes.

    Examples
    --------
    >>> payload = digest_to_bytes(SliceDigest(np.array([[1, 2, 3]], np.uint8), 4))
    >>> digest_from_bytes(payload).plane.tolist(), digest_from_bytes(payload).factor
    ([[1, 2, 3]], 4)
    """
    height, width = digest.plane.shape
    pixels = np.ascontiguousarray(digest.plane).tobytes()
    return _HEADER.pack(_MAGIC, height, width, digest.factor) + zstandard.compress(pixels, 1)


def digest_from_bytes(payload: bytes) -> SliceDigest:
    """Read what :func:`digest_to_bytes` wrote.

    Raises
    ------
    DigestFormatError
        If the bytes are anything else.
    """
    if len(payload) < _HEADER.size:
        raise DigestFormatError("too short for the digest of a slice")
    magic, height, width, factor = _HEADER.unpack_from(payload)
    if magic != _MAGIC or not 0 < height * width <= _MOST_PX or factor < 1:
        raise DigestFormatError("not the digest of a slice")
    try:
        pixels = zstandard.decompress(payload[_HEADER.size :], max_output_size=height * width)
    except zstandard.ZstdError as error:
        raise DigestFormatError(f"not the digest of a slice: {error}") from error
    if len(pixels) != height * width:
        raise DigestFormatError(f"the digest of a slice has {len(pixels)} pixels, not {height} x {width}")
    return SliceDigest(np.frombuffer(pixels, np.uint8).reshape(height, width), factor)
