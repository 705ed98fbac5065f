"""One sample of pixels that lie interleaved in a file, without ever holding all of them."""

from typing import BinaryIO, Protocol, cast

import numpy as np
import numpy.typing as npt
from numba import njit

from services.imaging.tiff_faults import TruncatedStripError

_PIECE_BYTES = 1 << 18  # stays in a processor's cache between being read and being picked from


class _Filling(Protocol):
    """What every binary file can do, though its type does not say so."""

    def readinto(self, buffer: memoryview, /) -> int: ...


def read_sample(
    file: BinaryIO, offset: int, shape_yx_px: tuple[int, int], samples: int, sample: int
) -> npt.NDArray[np.uint8]:
    """Read one sample of every pixel of an uncompressed 8-bit image.

    Parameters
    ----------
    file
        Opened for reading.
    offset
        Where the first byte of the image lies.
    shape_yx_px
        Rows and columns.
    samples, sample
        How many bytes a pixel has, and which of them is wanted, from 0.

    Returns
    -------
    numpy.ndarray
        uint8, (y, x).

    Raises
    ------
    TruncatedStripError
        If the file ends before the image does.

    Examples
    --------
    >>> import io
    >>> read_sample(io.BytesIO(b"..abcABC"), 2, (1, 2), 3, 1).tobytes()
    b'bB'
    """
    plane = np.empty(shape_yx_px, np.uint8)
    flat = plane.reshape(-1)
    at_once = max(1, _PIECE_BYTES // samples)
    buffer = np.empty(at_once * samples, np.uint8)
    file.seek(offset)
    for first in range(0, flat.size, at_once):
        part = flat[first : first + at_once]
        piece = buffer[: part.size * samples]
        if cast("_Filling", file).readinto(piece.data) < piece.size:
            raise TruncatedStripError(f"the file ends before pixel {first + part.size} of {flat.size}")
        _pick(piece[sample:], samples, part)
    return plane


@njit(cache=True, nogil=True)
def _pick(values: npt.NDArray[np.uint8], distance: int, out: npt.NDArray[np.uint8]) -> None:
    if distance == 3:  # a constant, for which there are vector instructions
        for i in range(out.size):
            out[i] = values[3 * i]
    else:
        for i in range(out.size):
            out[i] = values[distance * i]
