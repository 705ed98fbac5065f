"""The compiled loop that counts the faces at which runs of different objects touch."""

import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling.kernels import Integer, Runs, compiled

NODE_BITS = 32
"""Bits of the larger node in a key; the smaller one is above them."""


@compiled
def _count(
    keys: NDArray[np.int64], faces: NDArray[np.int64], n: int, pair: tuple[Integer, Integer], found: Integer
) -> int:
    """Add faces of a pair of nodes to the last entry, or make a new one; return the number of entries."""
    key = (np.int64(min(pair)) << NODE_BITS) | np.int64(max(pair))
    if n > 0 and keys[n - 1] == key:
        faces[n - 1] += found
        return n
    keys[n] = key
    faces[n] = found
    return n + 1


@compiled
def faces_in_rows(runs: Runs, keys: NDArray[np.int64], faces: NDArray[np.int64]) -> int:
    """Write the pairs of nodes that abut in a row, and at how many faces (x); return the number of entries."""
    n = 0
    for row in range(runs.row_offset.size - 1):
        for i in range(runs.row_offset[row] + 1, runs.row_offset[row + 1]):
            if runs.start[i] == runs.end[i - 1] and runs.node[i] != runs.node[i - 1]:
                n = _count(keys, faces, n, (np.int64(runs.node[i - 1]), np.int64(runs.node[i])), 1)
    return n


@compiled
def faces_between_rows(a: Runs, b: Runs, shift: int, keys: NDArray[np.int64], faces: NDArray[np.int64]) -> int:
    """Write the pairs of nodes that overlap between row r of ``a`` and row r + ``shift`` of ``b``; return how many.

    ``faces`` gets the number of pixels in which they overlap.
    """
    n = 0
    start_a, end_a, node_a = a.start, a.end, a.node
    start_b, end_b, node_b = b.start, b.end, b.node
    for row in range(max(0, -shift), min(a.row_offset.size - 1, b.row_offset.size - 1 - shift)):
        i, i_stop = a.row_offset[row], a.row_offset[row + 1]
        j, j_stop = b.row_offset[row + shift], b.row_offset[row + shift + 1]
        while i < i_stop and j < j_stop:
            i_end, j_end = np.int64(end_a[i]), np.int64(end_b[j])
            shared = min(i_end, j_end) - max(np.int64(start_a[i]), np.int64(start_b[j]))
            if shared > 0 and node_a[i] != node_b[j]:
                n = _count(keys, faces, n, (np.int64(node_a[i]), np.int64(node_b[j])), shared)
            if i_end <= j_end:
                i += 1
            if j_end <= i_end:
                j += 1
    return n
