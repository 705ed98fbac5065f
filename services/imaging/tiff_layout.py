"""Where the pixels of a TIFF page lie and how they are packed, checked to be whole before any is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from services.imaging.tiff_directory import Directory, file_size, read_directories
from services.imaging.tiff_faults import (
    MalformedDirectoryError,
    TooLargeError,
    TruncatedStripError,
    UnsupportedCompressionError,
    UnsupportedDtypeError,
    UnsupportedLayoutError,
)

COMPRESSIONS = {1: "none", 5: "lzw", 8: "deflate", 32946: "deflate", 32773: "packbits", 50000: "zstd"}
MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE = 0, 1, 2, 3
# Tag 339; old writers use "undefined" for plain counts.
_UNSIGNED, _SIGNED, _UNDEFINED = 1, 2, 4
_ALPHA = (1, 2)
_REDUCED_RESOLUTION = 1
_MOST_SAMPLES = 16


@dataclass(frozen=True, slots=True)
class TiffLimits:
    """What is too large to be a slice: a guard against files that unpack to more than the machine holds.

    Attributes
    ----------
    max_page_pixels
        Pixels of a page.
    max_pages
        Pages of a file.
    max_page_bytes
        Bytes of a page once it is unpacked, all samples together, and of a tile or strip.
    max_segments
        Tiles and strips of all pages: their places are known before a pixel is unpacked.
    max_expansion
        How many times its own size all pages of a file may unpack to, beyond `free_expansion_bytes`: pages may name the
        same bytes again and again, and a small file could keep a reader busy for days.
    free_expansion_bytes
        What any file may unpack to.
    """

    max_page_pixels: int = 2**28
    max_pages: int = 100_000
    max_page_bytes: int = 2**29
    max_segments: int = 2**24
    max_expansion: int = 1000
    free_expansion_bytes: int = 2**32


@dataclass(frozen=True, slots=True)
class PageLayout:
    """One page of a file that holds every byte of it.

    Attributes
    ----------
    height_px, width_px
        Rows and columns.
    bits
        8 or 16, the same for every sample.
    signed
        Whether values are stored with a sign.
    samples, colour_samples
        Values per pixel, and how many of the first of them are colours or detectors rather than transparency.
    photometric
        Tag 262: `MIN_IS_WHITE`, `MIN_IS_BLACK`, `RGB` or `PALETTE`.
    compression
        A value of `COMPRESSIONS`.
    predicted
        Whether rows are stored as differences of neighbours.
    planar
        Whether samples are stored one after the other rather than pixel by pixel.
    bits_reversed
        Whether the first pixel is in the lowest bit of a byte.
    byte_order
        `<` or `>`.
    segment_rows, segment_columns
        Shape of a tile or strip.
    offsets, sizes
        Place of every tile or strip in the file, in bytes, row by row (sample by sample first if planar).
    palette
        (3, 256) uint16 colours of a palette page, else None.
    """

    height_px: int
    width_px: int
    bits: int
    signed: bool
    samples: int
    colour_samples: int
    photometric: int
    compression: str
    predicted: bool
    planar: bool
    bits_reversed: bool
    byte_order: str
    segment_rows: int
    segment_columns: int
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    palette: NDArray[np.uint16] | None

    @property
    def unpacked_bytes(self) -> int:
        """What the page takes once it is unpacked."""
        return self.height_px * self.width_px * self.samples * self.bits // 8


def read_layouts(file: BinaryIO, limits: TiffLimits) -> tuple[tuple[PageLayout, ...], Directory]:
    """Return the layout of every full-resolution page, each checked to be whole, and the first directory.

    Raises
    ------
    TiffError
        The subclass says why the file cannot be read.
    """
    size = file_size(file)
    directories = read_directories(file, limits.max_pages)
    layouts = _read_each(file, [each for each in directories if not _is_reduced(file, each)], limits)
    if not layouts:
        raise MalformedDirectoryError("the file holds no page of full resolution")
    if len(layouts) == 1:
        layouts = _undeclared_pages(layouts[0], directories[0].text(file, 270), size, limits)
    for number, layout in enumerate(layouts):
        _check_is_whole(layout, number, size)
    _check_expansion(layouts, size, limits)
    return tuple(layouts), directories[0]


def _read_each(file: BinaryIO, directories: Sequence[Directory], limits: TiffLimits) -> list[PageLayout]:
    layouts, segments = list[PageLayout](), 0
    for directory in directories:
        segments += max(directory.count(324), directory.count(273))
        if segments > limits.max_segments:
            raise TooLargeError(f"the file has more than {limits.max_segments} strips or tiles")
        layouts.append(_read_layout(file, directory, limits))
    return layouts


def _number(file: BinaryIO, directory: Directory, tag: int, default: int | None = None) -> int:
    values = directory.values(file, tag)
    if values is None or not len(values):
        if default is None:
            raise MalformedDirectoryError(f"a page lacks tag {tag}")
        return default
    return int(values[0])


def _is_reduced(file: BinaryIO, directory: Directory) -> bool:
    return bool(_number(file, directory, 254, 0) & _REDUCED_RESOLUTION)


def _read_layout(file: BinaryIO, directory: Directory, limits: TiffLimits) -> PageLayout:
    width, height = _number(file, directory, 256), _number(file, directory, 257)
    samples = _number(file, directory, 277, 1)
    if min(width, height, samples) < 1:
        raise MalformedDirectoryError(f"a page has {height} rows, {width} columns, {samples} samples")
    if width * height > limits.max_page_pixels or samples > _MOST_SAMPLES:
        raise TooLargeError(f"a page has {height} x {width} pixels of {samples} samples")
    compression = COMPRESSIONS.get(_number(file, directory, 259, 1))
    if compression is None:
        raise UnsupportedCompressionError(
            f"compression {_number(file, directory, 259)} is not read; none, LZW, deflate, zstd and packbits are"
        )
    bits, signed = _bits(file, directory)
    if width * height * samples * bits // 8 > limits.max_page_bytes:
        raise TooLargeError(f"a page unpacks to {width * height * samples * bits // 8} bytes")
    planar = samples > 1 and _number(file, directory, 284, 1) == 2
    photometric = _number(file, directory, 262, MIN_IS_BLACK)
    segment_rows, segment_columns = _segment_shape(file, directory, (height, width))
    if segment_rows * segment_columns * (1 if planar else samples) * bits // 8 > limits.max_page_bytes:
        raise TooLargeError(f"a tile or strip has {segment_rows} x {segment_columns} pixels of {samples} samples")
    count = -(-height // segment_rows) * -(-width // segment_columns) * (samples if planar else 1)
    offsets, sizes = _segment_places(file, directory, count)
    return PageLayout(
        height_px=height,
        width_px=width,
        bits=bits,
        signed=signed,
        samples=samples,
        colour_samples=_colour_samples(file, directory, photometric, samples),
        photometric=photometric,
        compression=compression,
        predicted=_is_predicted(file, directory, compression),
        planar=planar,
        bits_reversed=_number(file, directory, 266, 1) == 2,
        byte_order=directory.byte_order,
        segment_rows=segment_rows,
        segment_columns=segment_columns,
        offsets=offsets,
        sizes=sizes,
        palette=_palette(file, directory, (bits, signed), samples) if photometric == PALETTE else None,
    )


def _bits(file: BinaryIO, directory: Directory) -> tuple[int, bool]:
    """Return the bits of a value, and whether one of them is a sign."""
    bits = directory.values(file, 258)
    formats = directory.values(file, 339)
    depths = {1} if bits is None else set(bits.tolist())
    kinds = {_UNSIGNED} if formats is None else set(formats.tolist())
    signed = kinds == {_SIGNED}
    if len(depths) != 1 or not depths <= {8, 16} or not (signed or kinds <= {_UNSIGNED, _UNDEFINED}):
        said = "unsigned" if formats is None else f"sample format {sorted(kinds)}"
        raise UnsupportedDtypeError(
            f"pixels have {sorted(depths)} bits, {said}; whole numbers of 8 or 16 bits are read"
        )
    return int(depths.pop()), signed


def _is_predicted(file: BinaryIO, directory: Directory, compression: str) -> bool:
    predictor = _number(file, directory, 317, 1)
    # Readers disagree on what a predictor means for pixels that are not compressed.
    if predictor not in (1, 2) or (predictor == 2 and compression in ("none", "packbits")):
        raise UnsupportedCompressionError(f"predictor {predictor} with compression {compression} is not read")
    return predictor == 2


def _colour_samples(file: BinaryIO, directory: Directory, photometric: int, samples: int) -> int:
    if photometric not in (MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE):
        raise UnsupportedLayoutError(f"colour space {photometric} is not read; grey, RGB and palette are")
    if photometric == RGB:
        if samples < 3:
            raise MalformedDirectoryError(f"an RGB page has {samples} samples")
        return 3
    extra = directory.values(file, 338)
    transparent = 0 if extra is None else sum(int(kind) in _ALPHA for kind in extra)
    return max(1, samples - transparent)


def _palette(file: BinaryIO, directory: Directory, kind: tuple[int, bool], samples: int) -> NDArray[np.uint16]:
    if kind != (8, False) or samples != 1:
        sign = "signed" if kind[1] else "unsigned"
        raise UnsupportedDtypeError(
            f"a palette page has {kind[0]} bits, {sign}, and {samples} samples; 8 bits, unsigned, and 1 sample are read"
        )
    colours = directory.values(file, 320)
    if colours is None or len(colours) != 3 * 256:
        raise MalformedDirectoryError("a palette page lacks its 3 x 256 colours")
    return colours.astype(np.uint16).reshape(3, 256)


def _segment_shape(file: BinaryIO, directory: Directory, shape_yx: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of a tile or strip."""
    height, width = shape_yx
    tiled = 322 in directory.fields
    rows = _number(file, directory, 323) if tiled else min(height, _number(file, directory, 278, height))
    columns = _number(file, directory, 322) if tiled else width
    if rows < 1 or columns < 1 or rows * columns > 4 * max(height * width, 2**20):
        raise MalformedDirectoryError(f"tiles or strips of {rows} x {columns} pixels in a page of {height} x {width}")
    return rows, columns


def _segment_places(file: BinaryIO, directory: Directory, expected: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return offset and size of every tile or strip; nothing is read unless there are as many as there must be."""
    tags = (324, 325) if 322 in directory.fields else (273, 279)
    found = tuple(directory.count(tag) for tag in tags)
    if not all(found):
        raise MalformedDirectoryError("a page does not say where its pixels are")
    if found != (expected, expected):
        raise MalformedDirectoryError(f"a page has {found[0]} offsets, {found[1]} sizes for {expected} strips or tiles")
    offsets, sizes = (directory.values(file, tag, expected) for tag in tags)
    assert offsets is not None
    assert sizes is not None
    return offsets, sizes


def _undeclared_pages(layout: PageLayout, description: str, size: int, limits: TiffLimits) -> list[PageLayout]:
    """Return the pages of a file that has one directory and says in its description that it holds a stack.

    Fiji writes stacks beyond 4 GiB that way: one directory, then the pages without gaps.
    """
    if re.search(r'"truncated": *true', description):
        raise UnsupportedLayoutError("the file has one directory for a whole array; save it with one per page")
    found = re.search(r"^images=(\d{1,9})\s*$", description, re.MULTILINE)
    pages = int(found.group(1)) if found and description.startswith("ImageJ=") else 1
    if pages <= 1:
        return [layout]
    if pages > limits.max_pages:
        raise TooLargeError(f"the file has {pages} pages")
    if re.search(r"^channels=(?!1\s*$)", description, re.MULTILINE):
        raise UnsupportedLayoutError("the stack has several channels; save one channel")
    if layout.compression != "none" or layout.planar:
        raise UnsupportedLayoutError("the file has one directory for a compressed stack; save it with one per page")
    page_bytes = layout.height_px * layout.width_px * layout.samples * layout.bits // 8
    first = int(layout.offsets[0])
    if first + pages * page_bytes > size:
        raise TruncatedStripError(f"{pages} pages need {first + pages * page_bytes} bytes; the file has {size}")
    return [
        replace(
            layout,
            segment_rows=layout.height_px,
            offsets=np.array([first + page * page_bytes]),
            sizes=np.array([page_bytes]),
        )
        for page in range(pages)
    ]


def _check_is_whole(layout: PageLayout, page: int, size: int) -> None:
    # A strip that is declared but not yet written has offset or size 0.
    absent = (layout.sizes <= 0) | (layout.offsets <= 0) | (layout.offsets > size - layout.sizes)
    if absent.any():
        first = int(np.flatnonzero(absent)[0])
        raise TruncatedStripError(
            f"strip or tile {first} of page {page} lies at bytes {layout.offsets[first]} to "
            f"{layout.offsets[first] + layout.sizes[first]} of {size}"
        )


def _check_expansion(layouts: Sequence[PageLayout], size: int, limits: TiffLimits) -> None:
    unpacked_bytes = sum(layout.unpacked_bytes for layout in layouts)
    if unpacked_bytes > max(limits.free_expansion_bytes, limits.max_expansion * size):
        raise TooLargeError(
            f"{size} bytes would unpack to {unpacked_bytes}, more than {limits.max_expansion} times as many"
        )
