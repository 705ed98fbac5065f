"""TIFF files of every kind that is read, with the planes they hold, and files of every kind that is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

Plane = NDArray[np.uint8 | np.uint16]
# Neither square nor a multiple of anything, so that no pair of axes or strips can be mixed up unnoticed.
SHAPE_YX = (37, 23)


@dataclass(frozen=True)
class Sample:
    """A file that can be read, and the planes it must give."""

    name: str
    payload: bytes
    planes: tuple[Plane, ...]
    channel: int | None = None


def plane(seed: int = 0, bits: int = 8, shape_yx: tuple[int, int] = SHAPE_YX) -> Plane:
    """Return an image with edges, gradients and noise, so that every codec has something to do."""
    random = np.random.default_rng(seed)
    y, x = np.indices(shape_yx)
    grey = (y * 3 + x * 5 + random.integers(0, 9, shape_yx)) % 256
    grey[shape_yx[0] // 3 : shape_yx[0] // 2] = 40 + seed % 50
    return grey.astype(np.uint8) if bits == 8 else (grey.astype(np.uint16) * 211 + 1000).astype(np.uint16)


def written(pages: Sequence[NDArray[Any]], **options: Any) -> bytes:
    """Return the bytes of a TIFF with these pages, each written with the same options of `tifffile`."""
    file = BytesIO()
    first: dict[str, Any] = {"bigtiff": options.pop("bigtiff", False), "byteorder": options.pop("byteorder", "<")}
    options.setdefault("metadata", None)
    options.setdefault("photometric", "minisblack")
    with tifffile.TiffWriter(file, **first) as writer:
        for page in pages:
            writer.write(page, **options)
    return file.getvalue()


def colours(grey: Plane, samples: int = 3) -> Plane:
    """Return a colour image with equal channels; a fourth is transparency."""
    stacked = np.repeat(grey[..., None], samples, axis=-1)
    if samples == 4:
        stacked[..., 3] = 255 - (grey % 7)
    return stacked


def grey_palette() -> NDArray[np.uint16]:
    """Return a palette that turns index i into grey 255 - i."""
    return np.tile((255 - np.arange(256)) * 257, (3, 1)).astype(np.uint16)


def readable() -> list[Sample]:
    """Return one file of every kind that must be read exactly."""
    return [*_compressions(), *_layouts(), *_signed(), *_colour_kinds(), *_stacks()]


def _compressions() -> list[Sample]:
    samples = []
    for compression in (None, "lzw", "zlib", "adobe_deflate", "zstd", "packbits"):
        for bits in (8, 16):
            grey = plane(1, bits)
            name = f"{compression or 'none'}-{bits}"
            samples.append(Sample(name, written([grey], compression=compression, rowsperstrip=10), (grey,)))
            if compression in ("lzw", "zlib", "zstd"):
                payload = written([grey], compression=compression, predictor=True, rowsperstrip=10)
                samples.append(Sample(f"{name}-predicted", payload, (grey,)))
    return samples


def _layouts() -> list[Sample]:
    grey, deep = plane(2), plane(2, 16)
    return [
        Sample("one-strip", written([grey]), (grey,)),
        Sample("strips-of-one-row", written([grey], rowsperstrip=1), (grey,)),
        Sample("tiles", written([grey], tile=(16, 32)), (grey,)),
        Sample("tiles-lzw-predicted-16", written([deep], tile=(16, 16), compression="lzw", predictor=True), (deep,)),
        Sample("big-endian-16", written([deep], byteorder=">"), (deep,)),
        Sample(
            "big-endian-deflate-predicted", written([deep], byteorder=">", compression="zlib", predictor=True), (deep,)
        ),
        Sample("bigtiff", written([grey], bigtiff=True), (grey,)),
        Sample("bigtiff-big-endian-tiles", written([deep], bigtiff=True, byteorder=">", tile=(16, 16)), (deep,)),
        Sample("white-is-zero", written([255 - grey], photometric="miniswhite"), (grey,)),
        Sample("white-is-zero-16", written([np.invert(deep)], photometric="miniswhite"), (deep,)),
        Sample("described", written([grey], description="Fiji was here; " * 40, metadata={}), (grey,)),
    ]


def signed(grey: Plane) -> NDArray[np.int8 | np.int16]:
    """Return values with a sign that stand for this grey: the lowest possible one for 0."""
    middle = 1 << (grey.dtype.itemsize * 8 - 1)
    return (grey.astype(np.int32) - middle).astype(np.int8 if grey.dtype == np.uint8 else np.int16)


def _signed() -> list[Sample]:
    grey, deep = plane(2), plane(2, 16)
    several = np.stack([signed(plane(4)), signed(grey)], axis=-1)
    return [
        Sample("signed-8", written([signed(grey)]), (grey,)),
        Sample("signed-16", written([signed(deep)], rowsperstrip=7), (deep,)),
        Sample("signed-16-big-endian", written([signed(deep)], byteorder=">"), (deep,)),
        Sample("signed-16-deflate-predicted", written([signed(deep)], compression="zlib", predictor=True), (deep,)),
        Sample("signed-16-tiles-lzw", written([signed(deep)], tile=(16, 16), compression="lzw"), (deep,)),
        Sample("signed-16-white-is-zero", written([signed(np.invert(deep))], photometric="miniswhite"), (deep,)),
        Sample(
            "signed-8-named-channel", written([several], planarconfig="contig", extrasamples=[0]), (grey,), channel=1
        ),
    ]


def _colour_kinds() -> list[Sample]:
    grey, deep = plane(3), plane(3, 16)
    different = np.stack([plane(4), grey, plane(5)], axis=-1)
    return [
        Sample("rgb", written([colours(grey)], photometric="rgb"), (grey,)),
        Sample("rgb-16-lzw", written([colours(deep)], photometric="rgb", compression="lzw", predictor=True), (deep,)),
        Sample("rgba", written([colours(grey, 4)], photometric="rgb", extrasamples=["unassalpha"]), (grey,)),
        Sample(
            "rgb-planar",
            written([np.moveaxis(colours(grey), -1, 0)], photometric="rgb", planarconfig="separate", rowsperstrip=9),
            (grey,),
        ),
        Sample("rgb-tiles", written([colours(grey)], photometric="rgb", tile=(16, 16), compression="zstd"), (grey,)),
        Sample("rgb-named-channel", written([different], photometric="rgb"), (grey,), channel=1),
        Sample("grey-alpha", written([colours(grey, 4)[..., 2:]], extrasamples=["assocalpha"]), (grey,)),
        Sample("grey-named-channel", written([grey]), (grey,), channel=2),
        Sample("palette", written([255 - grey], photometric="palette", colormap=grey_palette()), (grey,)),
        Sample("palette-named-channel", _coloured_palette(grey), (grey,), channel=0),
    ]


def _coloured_palette(grey: Plane) -> bytes:
    palette = np.tile(np.arange(256) * 257, (3, 1)).astype(np.uint16)
    palette[1:] //= 2
    return written([grey], photometric="palette", colormap=palette)


def _signed_palette(grey: Plane) -> bytes:
    payload = written([signed(grey)])
    return retagged(payload, 262, 3)


def _stacks() -> list[Sample]:
    planes = tuple(plane(seed) for seed in range(6, 9))
    with_thumbnail = BytesIO()
    with tifffile.TiffWriter(with_thumbnail) as writer:
        writer.write(planes[0], metadata=None)
        writer.write(planes[0][::4, ::4], metadata=None, subfiletype=1)
    return [
        Sample("pages", written(planes), planes),
        Sample("pages-zstd-bigtiff", written(planes, compression="zstd", bigtiff=True), planes),
        Sample("contiguous-pages", written([np.stack(planes)]), planes),
        Sample("with-thumbnail", with_thumbnail.getvalue(), planes[:1]),
        Sample("fiji-one-directory", fiji_stack(planes), planes),
    ]


def fiji_stack(planes: Sequence[Plane]) -> bytes:
    """Return a stack with one directory, as Fiji writes those beyond 4 GiB."""
    description = f"ImageJ=1.54f\nimages={len(planes)}\nslices={len(planes)}\nloop=false\n"
    return written([planes[0]], description=description) + b"".join(page.tobytes() for page in planes[1:])


def retagged(payload: bytes, tag: int, value: int) -> bytes:
    """Return a classic little-endian TIFF with the first value of a short field changed."""
    changed = bytearray(payload)
    at = int.from_bytes(payload[4:8], "little")
    for number in range(int.from_bytes(payload[at : at + 2], "little")):
        entry = at + 2 + 12 * number
        if int.from_bytes(payload[entry : entry + 2], "little") == tag:
            kind = int.from_bytes(payload[entry + 2 : entry + 4], "little")
            changed[entry + 8 : entry + (10 if kind == 3 else 12)] = value.to_bytes(2 if kind == 3 else 4, "little")
            return bytes(changed)
    raise AssertionError(f"tag {tag} is not in the first directory")


def refused() -> dict[str, tuple[bytes, str]]:
    """Return one file of every kind that must be refused: its bytes and the reason."""
    grey = plane(9)
    whole = written([grey], rowsperstrip=10)
    directory = int.from_bytes(whole[4:8], "little")
    compressed = written([grey], compression="zlib")
    with tifffile.TiffFile(BytesIO(compressed)) as opened:
        strip = opened.pages[0].dataoffsets[0]
    damaged = bytearray(compressed)
    damaged[strip + 20 : strip + 60] = bytes(40)
    return {
        "empty": (b"", "empty_file"),
        "text": (b"z;y;x\n1;2;3\n", "not_a_tiff"),
        "zeros": (bytes(4096), "not_a_tiff"),
        "png": (b"\x89PNG\r\n\x1a\n" + bytes(64), "not_a_tiff"),
        "cut-in-mark": (whole[:1], "truncated_header"),
        "cut-in-header": (whole[:6], "truncated_header"),
        "cut-in-bigtiff-header": (written([grey], bigtiff=True)[:12], "truncated_header"),
        "cut-before-directory": (whole[:directory], "truncated_directory"),
        "cut-in-directory": (whole[: directory + 30], "truncated_directory"),
        "directory-not-written": (whole[:4] + bytes(4) + whole[8:], "truncated_directory"),
        "cut-in-strip": (whole[:-5], "truncated_strip"),
        "cut-in-tile": (written([grey], tile=(16, 16))[:-1], "truncated_strip"),
        "strip-not-written": (retagged(written([grey]), 273, 0), "truncated_strip"),
        "strip-too-short": (retagged(written([grey]), 279, 20), "truncated_strip"),
        "damaged-strip": (bytes(damaged), "decode_failed"),
        "float": (written([grey.astype(np.float32)]), "unsupported_dtype"),
        "signed-32-bit": (written([grey.astype(np.int32)]), "unsupported_dtype"),
        "signed-palette": (_signed_palette(grey), "unsupported_dtype"),
        "32-bit": (written([grey.astype(np.uint32)]), "unsupported_dtype"),
        "1-bit": (written([grey > 100]), "unsupported_dtype"),
        "unequal-channels": (written([np.stack([grey, grey, grey + 1], -1)], photometric="rgb"), "unequal_channels"),
        "coloured-palette": (_coloured_palette(grey), "unequal_channels"),
        "two-detectors": (written([np.stack([grey, grey + 1], -1)], extrasamples=[0]), "unequal_channels"),
        "jpeg": (retagged(whole, 259, 7), "unsupported_compression"),
        "cmyk": (written([np.stack([grey] * 4, -1)], photometric="separated"), "unsupported_layout"),
        "predictor-without-codec": (_with_predictor(grey), "unsupported_compression"),
        "huge": (retagged(retagged(whole, 256, 65535), 257, 65535), "too_large"),
        "no-rows": (retagged(whole, 257, 0), "malformed_directory"),
        "more-rows-than-strips": (retagged(whole, 257, 2000), "malformed_directory"),
        "loop": (_looping(whole), "malformed_directory"),
        "fiji-cut": (fiji_stack([grey, grey, grey])[:-40], "truncated_strip"),
        "fiji-channels": (
            written([grey], description="ImageJ=1.54f\nimages=2\nchannels=2\n") + grey.tobytes(),
            "unsupported_layout",
        ),
    }


def _with_predictor(grey: Plane) -> bytes:
    """Return a file that says it is differenced but not compressed: the tag of another field is turned into it."""
    whole = written([grey], extratags=[(65000, "H", 1, 2, True)])
    at = whole.index((65000).to_bytes(2, "little") + b"\x03\x00")
    return whole[:at] + (317).to_bytes(2, "little") + whole[at + 2 :]


def _looping(whole: bytes) -> bytes:
    directory = int.from_bytes(whole[4:8], "little")
    entries = int.from_bytes(whole[directory : directory + 2], "little")
    following = directory + 2 + 12 * entries
    return whole[:following] + whole[4:8] + whole[following + 4 :]
