"""Crops and label planes as bytes: lossless, and the same bytes for the same pixels."""

from __future__ import annotations

import io
import struct

import numpy as np
import numpy.typing as npt
import tifffile
import zstandard

UInt8Plane = npt.NDArray[np.uint8]

_HEADER = struct.Struct("<4sIII")
_MAGIC = b"FNP1"


class PlaneFormatError(ValueError):
    """The bytes are not a crop or a stack of planes written by this module."""


def encode_crop(grey: UInt8Plane, mask: UInt8Plane) -> bytes:
    """Return a two-page TIFF: the raw pixels and the mask, which any image viewer opens.

    Parameters
    ----------
    grey
        uint8 (y, x), pixels as they are in the slice (mapped to 8 bit, not resampled).
    mask
        uint8 (y, x): 0 outside the widened outline, 1 between the two outlines, 2 inside the outline.

    Raises
    ------
    PlaneFormatError
        If the two differ in shape or are not uint8 planes.
    """
    if grey.shape != mask.shape or grey.ndim != 2 or grey.dtype != np.uint8 or mask.dtype != np.uint8:
        raise PlaneFormatError(f"need two uint8 planes of one shape, got {grey.shape} {grey.dtype}, {mask.shape}")
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as tiff:
        tiff.write(np.ascontiguousarray(grey), photometric="minisblack", metadata=None)
        tiff.write(np.ascontiguousarray(mask), photometric="minisblack", compression="zlib", metadata=None)
    return buffer.getvalue()


def decode_crop(payload: bytes) -> tuple[UInt8Plane, UInt8Plane]:
    """Return the pixels and the mask of `encode_crop`.

    Raises
    ------
    PlaneFormatError
        If the bytes are not such a TIFF.
    """
    try:
        with tifffile.TiffFile(io.BytesIO(payload)) as tiff:
            grey, mask = (page.asarray() for page in tiff.pages)
    except (tifffile.TiffFileError, ValueError) as error:
        raise PlaneFormatError(f"not a crop: {error}") from error
    return grey, mask


def encode_planes(planes: npt.NDArray[np.uint8]) -> bytes:
    """Return a stack of uint8 planes (n, y, x), compressed with zstd.

    Examples
    --------
    >>> stack = np.array([[[1, 2]], [[3, 4]]], np.uint8)
    >>> decode_planes(encode_planes(stack)).tolist()
    [[[1, 2]], [[3, 4]]]
    """
    if planes.ndim != 3 or planes.dtype != np.uint8:
        raise PlaneFormatError(f"need uint8 (n, y, x), got {planes.shape} {planes.dtype}")
    header = _HEADER.pack(_MAGIC, *planes.shape)
    return header + zstandard.ZstdCompressor(level=1).compress(np.ascontiguousarray(planes).tobytes())


def decode_planes(payload: bytes) -> npt.NDArray[np.uint8]:
    """Return the stack of `encode_planes`.

    Raises
    ------
    PlaneFormatError
        If the bytes are damaged or something else.
    """
    if len(payload) < _HEADER.size or payload[:4] != _MAGIC:
        raise PlaneFormatError("not a stack of planes: wrong header")
    _, count, height, width = _HEADER.unpack_from(payload)
    size = count * height * width
    try:
        pixels = zstandard.ZstdDecompressor().decompress(payload[_HEADER.size :], max_output_size=max(size, 1))
    except zstandard.ZstdError as error:
        raise PlaneFormatError(f"damaged stack of planes: {error}") from error
    if len(pixels) != size:
        raise PlaneFormatError(f"damaged stack of planes: {len(pixels)} of {size} bytes")
    return np.frombuffer(pixels, np.uint8).reshape(count, height, width)
