"""Grey planes out of TIFF files, exactly or not at all.

Microscopes write many dialects of TIFF, and a watched folder shows files that are half there. Every strip
and tile is located and checked against the end of the file before a pixel is unpacked, and what unpacks
must have exactly the size its page needs: nothing is padded, repeated or guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import BinaryIO

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from services.imaging.formats.description import GreyPlane, PageDescription, SliceDescription
from services.imaging.interleaved import read_sample
from services.imaging.tiff_faults import (
    DecodeFailedError,
    NoSuchChannelError,
    NoSuchPageError,
    TruncatedStripError,
    UnequalChannelsError,
)
from services.imaging.tiff_layout import MIN_IS_WHITE, PALETTE, PageLayout, TiffLimits, read_layouts

_DECODERS: dict[str, Callable[..., bytes | bytearray]] = {
    "lzw": imagecodecs.lzw_decode,
    "deflate": imagecodecs.deflate_decode,
    "packbits": imagecodecs.packbits_decode,
    "zstd": imagecodecs.zstd_decode,
}


class TiffReader:
    """An open file whose directories have been read and found whole.

    Parameters
    ----------
    file
        The file's bytes, or the file opened for reading; it must stay open while pages are read.
    limits
        What is too large.

    Attributes
    ----------
    description
        Pages, shapes and packing.
    file, directory
        The open file, and what the directory of its first page says.

    Raises
    ------
    TiffError
        The subclass and its `reason` say why the file cannot be read.
    """

    def __init__(self, file: BinaryIO | bytes, limits: TiffLimits = TiffLimits()) -> None:  # noqa: B008 - frozen
        self.file = BytesIO(file) if isinstance(file, bytes) else file
        self._layouts, self.directory = read_layouts(self.file, limits)
        self.description = SliceDescription(tuple(_described(layout) for layout in self._layouts))

    def read(self, page: int, channel: int | None = None) -> GreyPlane:
        """Return one page as grey; see `read_page`."""
        if not 0 <= page < len(self._layouts):
            raise NoSuchPageError(f"there is no page {page} in a file of {len(self._layouts)}")
        layout = self._layouts[page]
        if channel is not None and channel < layout.samples and _is_interleaved(layout):
            plane: GreyPlane = read_sample(
                self.file, int(layout.offsets[0]), (layout.height_px, layout.width_px), layout.samples, channel
            )
            return np.invert(plane) if layout.photometric == MIN_IS_WHITE else plane
        return _grey(_decode(self.file, layout), layout, channel)


def inspect(file: BinaryIO | bytes, limits: TiffLimits = TiffLimits()) -> SliceDescription:  # noqa: B008 - frozen
    """Describe a TIFF or BigTIFF without unpacking a pixel, and check that it is all there.

    Parameters
    ----------
    file
        The file's bytes, or the file opened for reading.
    limits
        What is too large.

    Raises
    ------
    TiffError
        The subclass and its `reason` say why the file cannot be read; `may_grow` says whether a file that is
        still being written looks like this.

    Examples
    --------
    >>> inspect(b"II*")
    Traceback (most recent call last):
    ...
    services.imaging.tiff_faults.TruncatedHeaderError: the file ends after 3 bytes
    """
    return TiffReader(file, limits).description


def read_page(
    file: BinaryIO | bytes,
    page: int = 0,
    channel: int | None = None,
    limits: TiffLimits = TiffLimits(),  # noqa: B008 - frozen
) -> GreyPlane:
    r"""Return one page as grey values.

    Parameters
    ----------
    file
        The file's bytes, or the file opened for reading.
    page
        Index of the page from 0, thumbnails left out.
    channel
        Sample to take from pages of several; None demands that colours are equal. Transparency is ignored,
        and so is the channel where a page has only one.
    limits
        What is too large.

    Returns
    -------
    ndarray
        (y, x), uint8 or uint16 in native byte order, black 0: pages stored with white as 0 are turned round,
        palette pages looked up. Signed values come 128 or 32,768 higher, so that the lowest is 0.

    Raises
    ------
    TiffError
        The subclass and its `reason` say why the page cannot be read.

    Examples
    --------
    >>> header = b"II*\0" + (8).to_bytes(4, "little")
    >>> tags = {256: 2, 257: 1, 258: 8, 262: 0, 273: 100, 279: 2}
    >>> entries = [np.array([tag, 3, 1, 0, value, 0], "<u2").tobytes() for tag, value in tags.items()]
    >>> short = header + bytes([len(tags), 0]) + b"".join(e[:4] + e[4:8] + e[8:12] for e in entries) + bytes(4)
    >>> read_page(short.ljust(100, b"\0") + bytes([0, 55])).tolist()
    [[255, 200]]
    """
    return TiffReader(file, limits).read(page, channel)


def _described(layout: PageLayout) -> PageDescription:
    coloured = layout.photometric == PALETTE
    choices = 3 if coloured else layout.samples if layout.colour_samples > 1 else 1
    return PageDescription(layout.height_px, layout.width_px, layout.bits, layout.samples, layout.compression, choices)


def _decode(file: BinaryIO, layout: PageLayout) -> GreyPlane:
    """Return the stored values of a page, (y, x, sample)."""
    dtype = _dtype(layout)
    shape = (layout.height_px, layout.width_px, layout.samples)
    together = _contiguous(file, layout, dtype.itemsize)
    if together is not None:
        return together.reshape(shape)
    pixels = np.empty(shape, dtype)
    down = -(-layout.height_px // layout.segment_rows)
    across = -(-layout.width_px // layout.segment_columns)
    for number in range(len(layout.offsets)):
        sample, place = divmod(number, down * across)
        y0, x0 = (place // across) * layout.segment_rows, (place % across) * layout.segment_columns
        segment = _segment(file, layout, number, y0)
        target = pixels[y0 : y0 + layout.segment_rows, x0 : x0 + layout.segment_columns]
        part = segment[: target.shape[0], : target.shape[1]]
        if layout.planar:
            target[..., sample] = part[..., 0]
        else:
            target[...] = part
    return pixels


def _dtype(layout: PageLayout) -> np.dtype[np.uint8 | np.uint16]:
    return np.dtype(np.uint8) if layout.bits == 8 else np.dtype(np.uint16)


def _is_interleaved(layout: PageLayout) -> bool:
    """Whether one of several samples can be picked out of the file: 8 bits, stored as they are, in one piece."""
    plain = layout.bits == 8 and not layout.signed and not layout.predicted
    return plain and layout.colour_samples > 1 and _lies_together(layout)


def _lies_together(layout: PageLayout) -> bool:
    """Whether the values of a page lie in one piece, uncompressed, in the order of its pixels."""
    if (
        layout.compression != "none"
        or layout.planar
        or layout.bits_reversed
        or layout.segment_columns != layout.width_px
    ):
        return False
    total = layout.height_px * layout.width_px * layout.samples * layout.bits // 8
    ends = layout.offsets + layout.sizes
    return not (layout.offsets[1:] != ends[:-1]).any() and int(layout.sizes.sum()) == total


def _contiguous(file: BinaryIO, layout: PageLayout, value_bytes: int) -> GreyPlane | None:
    """Return the values of a page that lies in one piece, in one read, or None if it does not."""
    if not _lies_together(layout):
        return None
    total = layout.height_px * layout.width_px * layout.samples * value_bytes
    payload: bytes | bytearray = _read(file, int(layout.offsets[0]), total)
    if layout.samples == 1:
        # A copy, so that the plane can be written to, whichever way it was read; one sample of several is a copy.
        payload = bytearray(payload)
    return _as_values(payload, layout, (total // value_bytes,), layout.width_px)


def _segment(file: BinaryIO, layout: PageLayout, number: int, y0: int) -> GreyPlane:
    """Return one tile or strip, (rows, columns, samples); the last strip may have fewer rows than the others."""
    samples = 1 if layout.planar else layout.samples
    row_bytes = layout.segment_columns * samples * layout.bits // 8
    tiled = layout.segment_columns != layout.width_px
    needed_rows = layout.segment_rows if tiled else min(layout.segment_rows, layout.height_px - y0)
    stored: bytes | bytearray = _read(file, int(layout.offsets[number]), int(layout.sizes[number]))
    if layout.bits_reversed:
        stored = imagecodecs.bitorder_decode(stored)
    payload = _unpack(stored, layout, row_bytes * layout.segment_rows)
    if len(payload) < row_bytes * needed_rows:
        kind = TruncatedStripError if layout.compression == "none" else DecodeFailedError
        raise kind(f"strip or tile {number} holds {len(payload)} bytes of {row_bytes * needed_rows}")
    shape = (needed_rows, layout.segment_columns, samples)
    return _as_values(payload[: row_bytes * needed_rows], layout, shape, layout.segment_columns)


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    payload = file.read(length)
    if len(payload) < length:
        raise TruncatedStripError(f"bytes {offset} to {offset + length} went away while they were read")
    return payload


def _unpack(stored: bytes | bytearray, layout: PageLayout, largest: int) -> bytes | bytearray:
    """Return the unpacked bytes; the codec is never given room for more than a whole tile or strip."""
    if layout.compression == "none":
        return stored
    try:
        return _DECODERS[layout.compression](stored, out=largest)
    except RuntimeError as error:
        # imagecodecs reports damaged data of any codec as RuntimeError, each with a class of its own.
        raise DecodeFailedError(f"{layout.compression}: {error}") from error


def _as_values(payload: bytes | bytearray, layout: PageLayout, shape: tuple[int, ...], columns: int) -> GreyPlane:
    stored = np.frombuffer(payload, f"{layout.byte_order}u{layout.bits // 8}")
    values: GreyPlane = stored.astype(_dtype(layout), copy=False).reshape(shape)
    if layout.predicted:
        samples = 1 if layout.planar else layout.samples
        rows = values.reshape(-1, columns, samples)
        values = np.cumsum(rows, axis=1, dtype=_dtype(layout)).reshape(shape)
    # The lowest value becomes 0 and order stays, as with `.dat` files and volumes.
    return values ^ values.dtype.type(1 << (layout.bits - 1)) if layout.signed else values


def _grey(pixels: GreyPlane, layout: PageLayout, channel: int | None) -> GreyPlane:
    """Return (y, x) grey of the stored values (y, x, sample)."""
    if layout.palette is not None:
        return _looked_up(pixels[..., 0], layout.palette, channel)
    if layout.colour_samples == 1:
        plane = _sample(pixels, 0)
    elif channel is None:
        plane = _common_value(pixels, layout.colour_samples)
    elif channel < layout.samples:
        plane = _sample(pixels, channel)
    else:
        raise NoSuchChannelError(f"channel {channel} was named, and pages have {layout.samples}")
    if layout.photometric == MIN_IS_WHITE:
        return np.invert(plane)
    return plane


def _sample(pixels: GreyPlane, number: int) -> GreyPlane:
    """Return one sample of every pixel, contiguous (y, x)."""
    if pixels.shape[-1] == 1:
        return pixels[..., 0]
    # Numpy copies every third value about eight times slower.
    plane: GreyPlane = cv2.extractChannel(pixels, number).astype(pixels.dtype, copy=False)
    return plane


def _common_value(pixels: GreyPlane, colour_samples: int) -> GreyPlane:
    first = _sample(pixels, 0)
    for number in range(1, colour_samples):
        other = _sample(pixels, number)
        # Numpy would write down of every pixel whether it differs.
        if cv2.norm(first, other, cv2.NORM_INF) > 0:
            differing = first != other
            y, x = (int(index) for index in np.argwhere(differing)[0])
            raise UnequalChannelsError(
                f"channels 0 and {number} differ in {int(differing.sum())} pixels, first at y {y}, x {x}; "
                "name the channel that holds the image"
            )
    return first


def _looked_up(indices: GreyPlane, palette: NDArray[np.uint16], channel: int | None) -> NDArray[np.uint8]:
    # The standard has 16-bit colours; some writers put 8-bit ones there.
    shift = 8 if int(palette.max()) > 255 else 0
    colours = (palette >> shift).astype(np.uint8)
    if channel is not None and channel > 2:
        raise NoSuchChannelError(f"channel {channel} was named, and a palette has 3")
    if channel is None:
        # Instruments colour the entries of their overlays; only those that the page uses matter.
        used = np.unique(indices)
        if (colours[:, used] != colours[0, used]).any():
            raise UnequalChannelsError(
                "the palette has colours that are not grey; name the channel that holds the image"
            )
    return np.take(colours[channel or 0], indices)
