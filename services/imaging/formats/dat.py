"""Planes and telemetry out of Janelia `.dat` files, versions 1 to 9, exactly or not at all.

A header of 1,024 bytes, then the pixels: rows of pixels of channels, big-endian, signed 16 bit or unsigned 8 bit.
The header's `FileLength` says where they end; a footer that other programs cannot read may follow. Other readers
fill a short file with zeros: here it is refused until it has grown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from services.imaging.formats.dat_faults import (
    ChannelNotNamedError,
    ContradictoryHeaderError,
    NoSuchChannelError,
    NoSuchPageError,
    TooLargeError,
    TruncatedHeaderError,
    TruncatedPixelsError,
    UnknownVersionError,
)
from services.imaging.formats.dat_fields import (
    FIRST_VERSION,
    HEADER_BYTES,
    LAST_VERSION,
    MAGIC,
    SCALING_OFFSET,
    fields_of,
    scaling_dtype,
    scaling_shape,
)
from services.imaging.formats.description import GreyPlane, PageDescription, SliceDescription
from services.imaging.tiff_layout import TiffLimits

DAT_MAGIC = MAGIC.to_bytes(4, "big")
_MOST_CHANNELS = 4
# Pixels of all channels that are in memory at once, beside the plane that they become.
_BLOCK_BYTES = 2**24
_SIGN_BIT = np.uint16(0x8000)

FieldValue = int | float | str


@dataclass(frozen=True, slots=True)
class DatHeader:
    """What a header says.

    Attributes
    ----------
    version
        1 to 9.
    height_px, width_px
        Rows and columns.
    detectors
        Name of the detector of each channel, in the order of the channels.
    eight_bit
        Whether pixels are unsigned 8 bit; signed 16 bit otherwise.
    file_length
        Byte behind the pixels and what pads them.
    scaling
        (rows, 4) float64; a row per channel up to version 6, of detector A and B from version 7 on.
    fields
        Every field of the version by the name that the field tables give it.
    """

    version: int
    height_px: int
    width_px: int
    detectors: tuple[str, ...]
    eight_bit: bool
    file_length: int
    scaling: NDArray[np.float64]
    fields: Mapping[str, FieldValue]

    @property
    def channels(self) -> int:
        """How many detectors were recorded."""
        return len(self.detectors)

    @property
    def pixels_end(self) -> int:
        """Byte behind the last pixel."""
        return HEADER_BYTES + self.height_px * self.width_px * self.channels * (1 if self.eight_bit else 2)


def parse_header(head: bytes) -> DatHeader:
    """Read a header.

    Parameters
    ----------
    head
        The first 1,024 bytes of a file that begins with the magic number.

    Raises
    ------
    DatError
        The subclass and its `reason` say why it cannot be read.

    Examples
    --------
    >>> parse_header(DAT_MAGIC + bytes([0, 12]) + bytes(1018))
    Traceback (most recent call last):
    ...
    services.imaging.formats.dat_faults.UnknownVersionError: version 12 is not known; 1 to 9 are read
    """
    if len(head) < HEADER_BYTES:
        raise TruncatedHeaderError(f"the file ends after {len(head)} bytes of its header of {HEADER_BYTES}")
    version = int.from_bytes(head[4:6], "big")
    if not FIRST_VERSION <= version <= LAST_VERSION:
        raise UnknownVersionError(f"version {version} is not known; {FIRST_VERSION} to {LAST_VERSION} are read")
    fields = {name: _value(head, field.offset, field.dtype) for name, field in fields_of(version).items()}
    channels = int(fields["ChanNum"])
    height, width = int(fields["YResolution"]), int(fields["XResolution"])
    if not 1 <= channels <= _MOST_CHANNELS or height < 1 or width < 1:
        raise ContradictoryHeaderError(f"the header says {height} rows, {width} columns, {channels} channels")
    header = DatHeader(
        version=version,
        height_px=height,
        width_px=width,
        detectors=_detectors(fields, channels),
        eight_bit=bool(fields["EightBit"]),
        file_length=int(fields["FileLength"]),
        scaling=_scaling(head, version, channels),
        fields=fields,
    )
    if header.file_length < header.pixels_end:
        raise ContradictoryHeaderError(
            f"the header says that the file has {header.file_length} bytes; its pixels alone need {header.pixels_end}"
        )
    return header


def _value(head: bytes, offset: int, dtype: np.dtype[np.generic]) -> FieldValue:
    if dtype.kind == "S":
        text = head[offset : offset + dtype.itemsize].split(b"\0", 1)[0]
        return text.decode("latin-1").strip()
    value = np.frombuffer(head, dtype, 1, offset)[0]
    return float(value) if dtype.kind == "f" else int(value)


def _detectors(fields: Mapping[str, FieldValue], channels: int) -> tuple[str, ...]:
    """Return the detector of each channel: channels are the analogue inputs that were on, in their order."""
    inputs = [letter for number, letter in enumerate("ABCD", 1) if fields[f"AI{number}"]]
    if len(inputs) != channels:
        inputs = list("ABCD"[:channels])
    return tuple(str(fields.get(f"Det{letter}", "")) or f"detector {letter}" for letter in inputs)


def _scaling(head: bytes, version: int, channels: int) -> NDArray[np.float64]:
    shape, dtype = scaling_shape(version, channels), scaling_dtype(version)
    return np.frombuffer(head, dtype, shape[0] * shape[1], SCALING_OFFSET).astype(np.float64).reshape(shape)


class DatReader:
    """An open file whose header has been read and whose pixels are all there.

    Parameters
    ----------
    file
        The file's bytes, or the file opened for reading; it must stay open while pages are read.
    limits
        What is too large.

    Attributes
    ----------
    header
        What the header says.
    description
        The one page.

    Raises
    ------
    FormatError
        The subclass and its `reason` say why the file cannot be read.
    """

    def __init__(self, file: BinaryIO | bytes, limits: TiffLimits = TiffLimits()) -> None:  # noqa: B008 - frozen
        self._file = BytesIO(file) if isinstance(file, bytes) else file
        size = self._file.seek(0, 2)
        self._file.seek(0)
        self.header = header = parse_header(self._file.read(HEADER_BYTES))
        pixels = header.height_px * header.width_px
        plane_bytes = pixels * (1 if header.eight_bit else 2)
        if pixels > limits.max_page_pixels or plane_bytes > limits.max_page_bytes:
            raise TooLargeError(f"a page has {header.height_px} x {header.width_px} pixels")
        if size < header.file_length:
            raise TruncatedPixelsError(f"the header says {header.file_length} bytes; the file has {size}")
        bits = 8 if header.eight_bit else 16
        page = PageDescription(header.height_px, header.width_px, bits, header.channels, "none", header.channels)
        self.description = SliceDescription((page,), "dat")

    def read(self, page: int, channel: int | None = None) -> GreyPlane:
        """Return the plane of one detector.

        Parameters
        ----------
        page
            0: a file holds one page.
        channel
            The detector, by its place in `header.detectors`; None demands that there is only one.

        Returns
        -------
        ndarray
            (y, x), uint8, or uint16 in native byte order: 16 bits are stored signed and come 32,768 higher, so that
            the lowest possible value is 0 and the order of grey stays.
        """
        if page != 0:
            raise NoSuchPageError(f"there is no page {page} in a file of 1")
        header = self.header
        chosen = self._chosen(channel)
        plane: GreyPlane = np.empty((header.height_px, header.width_px), np.uint8 if header.eight_bit else np.uint16)
        row_bytes = (header.pixels_end - HEADER_BYTES) // header.height_px
        rows = max(1, _BLOCK_BYTES // row_bytes)
        self._file.seek(HEADER_BYTES)
        for y in range(0, header.height_px, rows):
            count = min(rows, header.height_px - y)
            payload = self._file.read(count * row_bytes)
            if len(payload) < count * row_bytes:
                raise TruncatedPixelsError(f"the pixels of row {y} and on went away while they were read")
            stored = np.frombuffer(payload, "u1" if header.eight_bit else ">u2")
            block = stored.reshape(count, header.width_px, header.channels)[..., chosen]
            plane[y : y + count] = block if header.eight_bit else block.astype(np.uint16) ^ _SIGN_BIT
        return plane

    def _chosen(self, channel: int | None) -> int:
        detectors = self.header.detectors
        if channel is None and len(detectors) == 1:
            return 0
        if channel is None:
            named = ", ".join(f"{number} {name}" for number, name in enumerate(detectors))
            raise ChannelNotNamedError(f"the file holds several detectors ({named}); name the channel to take")
        if not 0 <= channel < len(detectors):
            raise NoSuchChannelError(f"channel {channel} was named, and the file has {len(detectors)}")
        return channel


def scaled(header: DatHeader, plane_yx: GreyPlane, channel: int) -> NDArray[np.float32]:
    """Return a plane in the unit of the detector: volts up to version 6, electron counts times ten from version 7 on.

    Parameters
    ----------
    header
        Of the file that the plane is from.
    plane_yx
        (y, x) as `DatReader.read` returns it.
    channel
        The channel that it is.

    Returns
    -------
    ndarray
        (y, x) float32.

    Notes
    -----
    The arithmetic is that of the instrument's makers (their Matlab reader, vendored with `jfibsem_dat`): up to
    version 6 offset + raw x gain; in version 7 (raw - offset) x gain; from version 8 on divided by the time of a
    pixel and by 0.1; 8-bit files are first brought back to 16 bits. Segmentation never needs it.
    """
    row = header.scaling[_scaling_row(header, channel)]
    rate = float(header.fields["ScanRate"])
    if header.eight_bit:
        raw = plane_yx.astype(np.float64) * rate / row[0] / row[2] / row[3] + row[1]
    else:
        raw = plane_yx.astype(np.float64) - 32768.0
    if header.version <= 6:
        return np.asarray(row[0] + raw * row[1], np.float32)
    counts = (raw - row[1]) * row[2]
    if header.version >= 8:
        counts = counts / rate * row[0] / 0.1
    return np.asarray(counts, np.float32)


def _scaling_row(header: DatHeader, channel: int) -> int:
    """Return the row of a channel: from version 7 on rows are detectors A and B, whether they were recorded or not."""
    if header.version >= 7 and header.channels == 1 and not header.fields["AI1"] and header.fields["AI2"]:
        return 1
    return min(channel, len(header.scaling) - 1)


@dataclass(frozen=True, slots=True)
class DatTelemetry:
    """What the instrument said about itself while it took a slice; None where the version does not record it.

    Attributes
    ----------
    pixel_nm
        Edge of a pixel.
    slice_number
        Count of milled slices.
    machine, sample, notes, date
        As the operator or the instrument wrote them; the date's order of day and month differs between files.
    restart, stage_move
        Whether milling was started anew, or the stage was moved, since the slice before.
    first_x_px, first_y_px
        Place of the first pixel, counted from the centre of the field.
    stage_x_mm, stage_y_mm, stage_z_mm, stage_tilt_deg, stage_rotation_deg
        Of the stage.
    working_distance_mm, accelerating_kv, beam_current_a, scan_rate_hz
        Of the electron beam.
    milling_on, milling_target, milling_y_voltage_v, milling_current_na, fib_current_na, faraday_cup_na
        Of the milling and the loop that controls it.
    temperature_f
        Of the room, in degrees Fahrenheit.
    """

    pixel_nm: float
    date: str
    notes: str
    scan_rate_hz: float
    working_distance_mm: float
    accelerating_kv: float
    beam_current_a: float
    stage_x_mm: float
    stage_y_mm: float
    stage_z_mm: float
    stage_tilt_deg: float
    stage_rotation_deg: float
    fib_current_na: float
    machine: str | None = None
    sample: str | None = None
    slice_number: int | None = None
    restart: bool | None = None
    stage_move: bool | None = None
    first_x_px: int | None = None
    first_y_px: int | None = None
    milling_on: bool | None = None
    milling_target: float | None = None
    milling_y_voltage_v: float | None = None
    milling_current_na: float | None = None
    faraday_cup_na: float | None = None
    temperature_f: float | None = None


_TELEMETRY: Mapping[str, str] = {
    "pixel_nm": "PixelSize", "date": "SWdate", "notes": "Notes", "scan_rate_hz": "ScanRate",
    "working_distance_mm": "WD", "accelerating_kv": "EHT", "beam_current_a": "SEMCurr", "stage_x_mm": "StageX",
    "stage_y_mm": "StageY", "stage_z_mm": "StageZ", "stage_tilt_deg": "StageT", "stage_rotation_deg": "StageR",
    "fib_current_na": "FIBCurr", "machine": "MachineID", "sample": "SampleID", "slice_number": "FIBSliceNum",
    "restart": "Restart", "stage_move": "StageMove", "first_x_px": "FirstX", "first_y_px": "FirstY",
    "milling_on": "MillingPIDOn", "milling_target": "MillingPIDTarget", "milling_y_voltage_v": "MillingYVoltage",
    "milling_current_na": "MillingI", "faraday_cup_na": "FaradayCupI", "temperature_f": "Temperature",
}  # fmt: skip
_FLAGS = frozenset({"restart", "stage_move", "milling_on"})


def telemetry(header: DatHeader) -> DatTelemetry:
    """Return what the instrument said about itself; values that are no numbers come as 0."""
    said: dict[str, Any] = {}
    for name, field in _TELEMETRY.items():
        if field not in header.fields:
            continue
        value = header.fields[field]
        if isinstance(value, float) and not math.isfinite(value):
            value = 0.0
        said[name] = bool(value) if name in _FLAGS else value
    return DatTelemetry(**said)
