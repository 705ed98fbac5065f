"""The compiled loops that turn pixels into runs."""

import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling.kernels import Indices, Integer, Kinds, RunBuffer, compiled

EIGHT_BYTES = np.uint64(0x0101010101010101)


@compiled
def _word(line: NDArray[np.uint8], x: Integer) -> Integer:
    """Return eight pixels as one number; the compiler makes one load of it."""
    word: Integer = np.uint64(line[x])
    for byte in range(1, 8):
        word |= np.uint64(line[x + np.uint64(byte)]) << np.uint64(8 * byte)
    return word


@compiled
def _skip(line: NDArray[np.uint8], x: Integer, current: Integer) -> Integer:
    """Return the first place from x on that is not followed by eight pixels of the current value.

    Pixels are compared 32 at a time, and then 8 at a time, so that a uniform stretch costs one comparison.
    """
    size = np.uint64(line.size)
    same = current * EIGHT_BYTES
    while x + np.uint64(32) <= size:
        changed: Integer = np.uint64(0)
        for word in range(4):
            changed |= _word(line, x + np.uint64(8 * word)) ^ same
        if changed != 0:
            break
        x += np.uint64(32)
    while x + np.uint64(8) <= size and _word(line, x) == same:
        x += np.uint64(8)
    return x


@compiled
def _scan_row(line: NDArray[np.uint8], x0: int, n: int, buffer: RunBuffer) -> int:
    """Write the runs of one row from place n on; return the place after them."""
    starts, ends, kinds = buffer.start, buffer.end, buffer.kind
    size = np.uint64(line.size)
    current = np.uint64(0)
    x: Integer = np.uint64(0)
    while x < size:
        x = _skip(line, x, current)
        for at in range(x, min(x + np.uint64(8), size)):
            value = np.uint64(line[at])
            if value != current:
                if current != 0:
                    ends[n] = at + x0
                    n += 1
                if value != 0:
                    starts[n] = at + x0
                    kinds[n] = value
                current = value
        x += np.uint64(8)
    if current != 0:
        ends[n] = line.size + x0
        n += 1
    return n


@compiled
def _scan_wide_row(line: Kinds, x0: int, n: int, buffer: RunBuffer) -> int:
    """Write the runs of one row of any type from place n on; return the place after them."""
    starts, ends, kinds = buffer.start, buffer.end, buffer.kind
    current = np.uint64(0)
    for at in range(line.size):
        value = np.uint64(line[at])
        if value != current:
            if current != 0:
                ends[n] = at + x0
                n += 1
            if value != 0:
                starts[n] = at + x0
                kinds[n] = value
            current = value
    if current != 0:
        ends[n] = line.size + x0
        n += 1
    return n


@compiled
def scan_rows(plane: NDArray[np.uint8], x0: int, row: int, row_offset: Indices, buffer: RunBuffer) -> int:
    """Write the runs of the rows from ``row`` on, as far as the room reaches; return the first row not written."""
    height, width = plane.shape
    n = int(row_offset[row])
    while row < height and n + width <= buffer.start.size:
        n = _scan_row(plane[row], x0, n, buffer)
        row += 1
        row_offset[row] = n
    return row


@compiled
def scan_wide_rows(plane: Kinds, x0: int, row: int, row_offset: Indices, buffer: RunBuffer) -> int:
    """Do the same for pixels of more than one byte."""
    height, width = plane.shape
    n = int(row_offset[row])
    while row < height and n + width <= buffer.start.size:
        n = _scan_wide_row(plane[row], x0, n, buffer)
        row += 1
        row_offset[row] = n
    return row
