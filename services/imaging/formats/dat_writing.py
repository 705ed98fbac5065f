"""Writes Janelia `.dat` files: what the simulated microscope leaves, and what tests read back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from services.imaging.formats.dat_fields import (
    HEADER_BYTES,
    MAGIC,
    SCALING_OFFSET,
    fields_of,
    scaling_dtype,
    scaling_shape,
)

_SCALING_ROOM_BYTES = 64


class UnwritableDatError(ValueError):
    """Planes or fields that no `.dat` file can hold."""


def dat_header(
    shape_yxc: tuple[int, int, int],
    fields: Mapping[str, int | float | str],
    *,
    eight_bit: bool,
    version: int = 9,
    scaling: NDArray[np.float64] | None = None,
) -> bytes:
    """Return the header of a file.

    Parameters
    ----------
    shape_yxc
        Rows, columns, channels.
    fields
        Values by the names of the field tables; sizes and lengths follow from the other parameters unless given.
    eight_bit
        Whether pixels are unsigned 8 bit; signed 16 bit otherwise.
    version
        1 to 9.
    scaling
        See `DatHeader.scaling`; default: 1 electron count per grey value.

    Raises
    ------
    UnwritableDatError
        If the version has no such field, or there are not 1 to 4 channels.
    """
    height, width, channels = shape_yxc
    if not 1 <= channels <= 4:
        raise UnwritableDatError(f"a file has 1 to 4 channels, not {channels}")
    places = fields_of(version)
    said: dict[str, int | float | str] = {
        "FileMagicNum": MAGIC,
        "FileVersion": version,
        "FileType": 1,
        "ChanNum": channels,
        "EightBit": int(eight_bit),
        "XResolution": width,
        "YResolution": height,
        "FileLength": HEADER_BYTES + height * width * channels * (1 if eight_bit else 2),
        **{f"AI{number}": int(number <= channels) for number in range(1, 5)},
        **fields,
    }
    unknown = sorted(said.keys() - places.keys())
    if unknown:
        raise UnwritableDatError(f"version {version} has no field {unknown[0]}")
    head = bytearray(HEADER_BYTES)
    for name, value in said.items():
        offset, dtype = places[name]
        packed = np.array(value.encode("latin-1") if isinstance(value, str) else value).astype(dtype).tobytes()
        head[offset : offset + dtype.itemsize] = packed
    shape = scaling_shape(version, channels)
    rows = np.tile([1.0, 0.0, 1.0, 1.0], (shape[0], 1)) if scaling is None else scaling.reshape(shape)
    # Of four channels of 8-byte values there is room for two before the fields that follow.
    packed = rows.astype(scaling_dtype(version)).tobytes()[:_SCALING_ROOM_BYTES]
    head[SCALING_OFFSET : SCALING_OFFSET + len(packed)] = packed
    return bytes(head)


def dat_pixels(planes_cyx: NDArray[np.uint8 | np.uint16]) -> bytes:
    """Return planes, one per channel, as a file holds them: 16 bits come signed, 32,768 lower, big-endian.

    >>> dat_pixels(np.array([[[0, 65535]], [[32768, 1]]], np.uint16)).hex(" ", 2)
    '8000 0000 7fff 8001'
    """
    together = np.moveaxis(planes_cyx, 0, -1)
    if together.dtype == np.uint8:
        return np.ascontiguousarray(together).tobytes()
    return (together ^ np.uint16(0x8000)).astype(">u2").tobytes()


def dat_bytes(
    planes_cyx: NDArray[np.uint8 | np.uint16], fields: Mapping[str, int | float | str], *, version: int = 9
) -> bytes:
    """Return a whole file of planes (channel, y, x), uint8 or uint16; see `dat_header`."""
    channels, height, width = planes_cyx.shape
    head = dat_header((height, width, channels), fields, eight_bit=planes_cyx.dtype == np.uint8, version=version)
    return head + dat_pixels(planes_cyx)
