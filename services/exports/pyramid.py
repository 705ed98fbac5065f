"""Coarser copies of an image or of labels: how many there are, and how a block of one is made from the finer one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np

from services.exports.blocks import Voxels
from services.exports.place import Index, Zyx

SMALLEST_PX = 128


@dataclass(frozen=True, slots=True)
class Level:
    """A resolution of a pyramid.

    Attributes
    ----------
    shape
        (z, y, x) of its array.
    step
        How many voxels of the level before go into one of this level, per axis; (1, 1, 1) for the first.
    factors
        How many voxels of the first level go into one of this level, per axis.
    """

    shape: Index
    step: Index
    factors: Index


def levels(shape: Index, voxel_nm: Zyx, smallest_px: int = SMALLEST_PX) -> Iterator[Level]:
    """Yield the levels of a pyramid, finest first, until one is at most `smallest_px` along every axis.

    Axes are halved together where their voxels are about as long; a longer axis waits, so that the voxels of coarse
    levels become cubes.

    Examples
    --------
    >>> [level.shape for level in levels((100, 600, 300), (8.0, 4.0, 4.0))]
    [(100, 600, 300), (100, 300, 150), (50, 150, 75), (25, 75, 38)]
    """
    factors: Index = (1, 1, 1)
    yield Level(shape, (1, 1, 1), factors)
    while max(shape) > smallest_px:
        edges = [v * f for v, f in zip(voxel_nm, factors, strict=True)]
        finest = min(edge for edge, n in zip(edges, shape, strict=True) if n > 1)
        step = [2 if edge < 1.5 * finest and n > 1 else 1 for edge, n in zip(edges, shape, strict=True)]
        shape = tuple(-(-n // s) for n, s in zip(shape, step, strict=True))  # type: ignore[assignment]
        factors = tuple(f * s for f, s in zip(factors, step, strict=True))  # type: ignore[assignment]
        yield Level(shape, (step[0], step[1], step[2]), factors)


def coarsen(block: Voxels, step: Index, are_labels: bool) -> Voxels:
    """Return a block with one voxel for `step` voxels: their rounded mean, or of labels the one that occurs most often.

    Parameters
    ----------
    block
        (z, y, x) unsigned integers; at the end of an array fewer voxels may go into the last ones.
    step
        1 or 2 per axis.
    are_labels
        Whether the values are ids. Among labels that occur equally often the smallest but 0 is taken, so that thin
        structures last a level longer.

    Examples
    --------
    >>> coarsen(np.array([[[9, 9, 5, 0], [9, 0, 0, 5]]], np.uint8), (1, 2, 2), True).tolist()
    [[[9, 5]]]
    >>> coarsen(np.array([[[10, 20, 7]]], np.uint8), (1, 1, 2), False).tolist()
    [[[15, 7]]]
    """
    shape = tuple(-(-n // s) for n, s in zip(block.shape, step, strict=True))
    coarse = np.zeros(shape, block.dtype)
    if block.any():
        (_modes if are_labels else _means)(np.ascontiguousarray(block), np.array(step), coarse)
    return coarse


@numba.njit(nogil=True, cache=True)
def _means(fine, step, coarse):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - compiled
    for z in range(coarse.shape[0]):
        for y in range(coarse.shape[1]):
            for x in range(coarse.shape[2]):
                total, count = 0, 0
                for k in range(z * step[0], min((z + 1) * step[0], fine.shape[0])):
                    for j in range(y * step[1], min((y + 1) * step[1], fine.shape[1])):
                        for i in range(x * step[2], min((x + 1) * step[2], fine.shape[2])):
                            total += fine[k, j, i]
                            count += 1
                coarse[z, y, x] = (total + count // 2) // count


@numba.njit(nogil=True, cache=True)
def _modes(fine, step, coarse):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - compiled
    seen = np.zeros(8, fine.dtype)
    for z in range(coarse.shape[0]):
        for y in range(coarse.shape[1]):
            for x in range(coarse.shape[2]):
                n = 0
                for k in range(z * step[0], min((z + 1) * step[0], fine.shape[0])):
                    for j in range(y * step[1], min((y + 1) * step[1], fine.shape[1])):
                        for i in range(x * step[2], min((x + 1) * step[2], fine.shape[2])):
                            seen[n] = fine[k, j, i]
                            n += 1
                coarse[z, y, x] = _most_frequent(seen, n)


@numba.njit(nogil=True, cache=True)
def _most_frequent(seen, n):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - compiled
    best, most = seen[0], 0
    for a in range(n):
        count = 0
        for b in range(n):
            count += seen[a] == seen[b]
        if count > most or (count == most and seen[a] != 0 and (best == 0 or seen[a] < best)):
            best, most = seen[a], count
    return best
