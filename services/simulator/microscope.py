"""A microscope's side of the disk: files that grow in place, in the order and with the faults of an acquisition."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from services.imaging.formats.dat_writing import dat_header, dat_pixels
from services.simulator.faults import Faults
from services.simulator.phantom import Phantom

ImageFormat = Literal["grey8", "rgb8", "grey16", "dat"]
Pixels = NDArray[np.uint8] | NDArray[np.uint16]

STRIPS = 8
"""Strips of a file, and writes it grows by."""
FINISH_MARKER = "ACQUISITION_FINISHED"
"""Empty file beside the slices that says that no more will come."""
_WRITING_SHARE = 0.2
"""Part of the period during which a file grows."""
_SHORT, _LONG, _RATIONAL = 3, 4, 5


def slice_name(seed: int, voxel_nm: float, z: int, suffix: str = "tif") -> str:
    """File name of a slice; its z is the last number.

    Examples
    --------
    >>> slice_name(7, 16.0, 12)
    'phantom_s7_16x16x16nm.0012.tif'
    """
    size = f"{voxel_nm:g}"
    return f"phantom_s{seed}_{size}x{size}x{size}nm.{z:04d}.{suffix}"


def dat_pieces(pixels: NDArray[np.uint16], voxel_nm: float, z: int, *, restarted: bool = False) -> list[bytes]:
    """Cut an image into what Janelia's microscopes write: the header, then rows of one detector, signed 16 bit.

    Parameters
    ----------
    pixels
        uint16 grey of shape (y, x).
    voxel_nm
        Pixel size, for the header.
    z
        Goes into the header as the number of the slice.
    restarted
        Whether milling was started anew before this slice.
    """
    height, width = pixels.shape
    fields: dict[str, int | float | str] = {
        "PixelSize": voxel_nm,
        "FIBSliceNum": z,
        "Restart": int(restarted),
        "MachineID": "phantom",
        "DetA": "InLens",
    }
    rows = -(-height // STRIPS)
    strips = [dat_pixels(pixels[None, y : y + rows]) for y in range(0, height, rows)]
    return [dat_header((height, width, 1), fields, eight_bit=False), *strips]


def _entry(tag: int, kind: int, values: list[int], data_at: int) -> tuple[bytes, bytes]:
    """One directory entry and the data it points to, if they do not fit into it."""
    form = {_SHORT: "H", _LONG: "I", _RATIONAL: "I"}[kind]
    packed = struct.pack(f"<{len(values)}{form}", *values)
    count = len(values) // 2 if kind == _RATIONAL else len(values)
    if len(packed) <= 4:
        return struct.pack("<HHI", tag, kind, count) + packed.ljust(4, b"\0"), b""
    return struct.pack("<HHII", tag, kind, count, data_at), packed


def tiff_pieces(pixels: Pixels, voxel_nm: float) -> list[bytes]:
    """Cut an image into what a microscope writes one after another: the header with the directory, then strip by strip.

    Parameters
    ----------
    pixels
        uint8 or uint16 grey of shape (y, x), or uint8 RGB of shape (y, x, 3).
    voxel_nm
        Pixel size, for the resolution tags.

    Returns
    -------
    list of bytes
        Together an uncompressed little-endian TIFF; any proper part of it is incomplete, since the directory comes
        first.
    """
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    rows = -(-height // STRIPS)
    strips = [
        np.ascontiguousarray(pixels[y : y + rows]).astype(pixels.dtype.newbyteorder("<")).tobytes()
        for y in range(0, height, rows)
    ]
    per_cm = [round(1e10 / voxel_nm), 1000]
    fields: list[tuple[int, int, list[int]]] = [
        (256, _LONG, [width]),
        (257, _LONG, [height]),
        (258, _SHORT, [8 * pixels.dtype.itemsize] * channels),
        (259, _SHORT, [1]),
        (262, _SHORT, [2 if channels == 3 else 1]),
        (273, _LONG, [0] * len(strips)),
        (277, _SHORT, [channels]),
        (278, _LONG, [rows]),
        (279, _LONG, [len(strip) for strip in strips]),
        (282, _RATIONAL, per_cm),
        (283, _RATIONAL, per_cm),
        (284, _SHORT, [1]),
        (296, _SHORT, [3]),
    ]
    header = _header(fields, [len(strip) for strip in strips])
    return [header, *strips]


def _header(fields: list[tuple[int, int, list[int]]], strip_bytes: list[int]) -> bytes:
    """Header and directory; laid out twice, since the strips' offsets depend on the directory's size."""
    start = 0
    for _ in range(2):
        offsets = [start + sum(strip_bytes[:k]) for k in range(len(strip_bytes))]
        data_at = 8 + 2 + 12 * len(fields) + 4
        entries, data = b"", b""
        for tag, kind, values in fields:
            entry, more = _entry(tag, kind, offsets if tag == 273 else values, data_at + len(data))
            entries, data = entries + entry, data + more + b"\0" * (len(more) % 2)
        start = data_at + len(data)
    return struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(fields)) + entries + struct.pack("<I", 0) + data


@dataclass(frozen=True)
class Microscope:
    """Writes the slices of a phantom into a folder.

    Attributes
    ----------
    phantom
        What lies under the beam.
    folder
        Where the slices go; it must exist.
    image_format
        Pixels of the files: 8-bit grey, RGB with equal channels, 16-bit grey, or Janelia's `.dat`.
    period_s
        Time from slice to slice; None for no waiting at all.
    wait
        Waits so many seconds.
    """

    phantom: Phantom
    folder: Path
    image_format: ImageFormat
    period_s: float | None
    wait: Callable[[float], object]

    def path(self, z: int) -> Path:
        """File of slice ``z``."""
        suffix = "dat" if self.image_format == "dat" else "tif"
        return self.folder / slice_name(self.phantom.spec.seed, self.phantom.spec.voxel_nm, z, suffix)

    def pieces(self, z: int) -> list[bytes]:
        """Give all that will ever be written of slice ``z``; a half-written one ends inside a strip."""
        pieces = self._cut(self._pixels(z), z)
        if z in self.phantom.faults.half_written:
            pieces = pieces[: 1 + len(pieces) // 2]
            pieces[-1] = pieces[-1][: len(pieces[-1]) // 2]
        return pieces

    def acquire(self, z: int) -> None:
        """Write slice ``z``, piece by piece; a file that already holds the same bytes is left alone."""
        pieces = self.pieces(z)
        path = self.path(z)
        if not (path.exists() and path.read_bytes() == b"".join(pieces)):
            pause_s = (self.period_s or 0.0) * _WRITING_SHARE / len(pieces)
            with path.open("wb", buffering=0) as file:
                for piece in pieces:
                    file.write(piece)
                    self._pause(pause_s)
            self._pause((self.period_s or 0.0) * (1 - _WRITING_SHARE))

    def complete(self, z: int) -> bool:
        """Whether the file of slice ``z`` has its full length."""
        path = self.path(z)
        return path.exists() and path.stat().st_size == self._length(z)

    def finish(self) -> None:
        """Leave the marker that says that the acquisition has ended."""
        (self.folder / FINISH_MARKER).touch()

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            self.wait(seconds)

    def _length(self, z: int) -> int:
        """Length of the file of slice ``z``; like every length here it does not depend on what the slice shows."""
        blank = self._cut(self._shaped(np.zeros(self.phantom.shape_zyx[1:], dtype=np.uint8)), z)
        if z in self.phantom.faults.half_written:
            kept = blank[: 1 + len(blank) // 2]
            return sum(map(len, kept)) - len(kept[-1]) + len(kept[-1]) // 2
        return sum(map(len, blank))

    def _cut(self, pixels: Pixels, z: int) -> list[bytes]:
        voxel_nm = self.phantom.spec.voxel_nm
        if self.image_format == "dat":
            restarted = bool(self.phantom.stage.restarted[z])
            return dat_pieces(pixels.astype(np.uint16, copy=False), voxel_nm, z, restarted=restarted)
        return tiff_pieces(pixels, voxel_nm)

    def _pixels(self, z: int) -> Pixels:
        if z in self.phantom.faults.blank:
            level = 0 if z % 2 else 255
            return self._shaped(np.full(self.phantom.shape_zyx[1:], level, dtype=np.uint8))
        if self.image_format in {"grey16", "dat"}:
            return self.phantom.slice_16bit(z)
        return self._shaped(self.phantom.slice(z))

    def _shaped(self, grey: NDArray[np.uint8]) -> Pixels:
        """Grey in the pixels of the file format."""
        if self.image_format in {"grey16", "dat"}:
            return grey.astype(np.uint16) * np.uint16(257)
        return np.repeat(grey[:, :, None], 3, axis=2) if self.image_format == "rgb8" else grey


def due_slices(z: int, n_slices: int, faults: Faults) -> list[int]:
    """Slices whose files are written once slice ``z`` was imaged; after the last one, all that are still late.

    Examples
    --------
    >>> late = Faults(missed=frozenset({0}), late=((2, 1), (4, 3)))
    >>> [due_slices(z, 5, late) for z in range(5)]
    [[], [1], [], [3, 2], [4]]
    """
    late = dict(faults.late)
    own = [] if z in late or z in faults.missed else [z]
    last = z == n_slices - 1
    return own + sorted(k for k, delay in late.items() if k + delay == z or (last and k + delay > z))
