"""Arrays gone through block by block: what is filled, and where each label lies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.exports.place import Index

Voxels = NDArray[np.unsignedinteger]
Window = tuple[slice, slice, slice]
Read = Callable[[Window], Voxels]

_MOST_IDS = 50_000_000


class LabelRangeError(ValueError):
    """A label image holds ids too large to keep a table of."""


@dataclass(frozen=True, slots=True)
class Box:
    """First (z, y, x) voxel of a box and the one after its last."""

    start: Index
    stop: Index

    @property
    def shape(self) -> Index:
        """Edges in voxels."""
        z, y, x = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    @property
    def window(self) -> Window:
        """The box as slices."""
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    def coarser(self, factors: Index) -> Box:
        """Return the box in an array whose voxels are `factors` times as large.

        Examples
        --------
        >>> Box((3, 4, 5), (4, 5, 6)).coarser((2, 2, 1))
        Box(start=(1, 2, 5), stop=(2, 3, 6))
        """
        starts = [a // f for a, f in zip(self.start, factors, strict=True)]
        stops = [-(-b // f) for b, f in zip(self.stop, factors, strict=True)]
        return Box((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2]))

    def moved(self, by: Index) -> Box:
        """Return the box `by` voxels farther along each axis.

        Examples
        --------
        >>> Box((0, 0, 0), (1, 2, 3)).moved((5, 0, 1))
        Box(start=(5, 0, 1), stop=(6, 2, 4))
        """
        starts = [a + b for a, b in zip(self.start, by, strict=True)]
        stops = [a + b for a, b in zip(self.stop, by, strict=True)]
        return Box((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2]))

    def joined(self, other: Box) -> Box:
        """Return the smallest box that holds both.

        Examples
        --------
        >>> Box((0, 4, 2), (1, 5, 3)).joined(Box((2, 0, 2), (3, 1, 9)))
        Box(start=(0, 0, 2), stop=(3, 5, 9))
        """
        starts = [min(pair) for pair in zip(self.start, other.start, strict=True)]
        stops = [max(pair) for pair in zip(self.stop, other.stop, strict=True)]
        return Box((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2]))


@dataclass(frozen=True, slots=True)
class Extent:
    """Number of voxels of a label and the box that holds them."""

    voxels: int
    box: Box


def whole(shape: Index) -> Box:
    """Return the box of a whole array."""
    return Box((0, 0, 0), shape)


def blocks(box: Box, step: Index, are_whole: bool = False, shape: Index | None = None) -> Iterator[Box]:
    """Yield the blocks of a grid of `step` voxels that overlap a box, in order of z, y, x.

    Parameters
    ----------
    box
        What to go through.
    step
        Edges of a block; the grid begins at (0, 0, 0).
    are_whole
        Whether blocks at the border of the box are whole; else they are clipped to it.
    shape
        The array to which whole blocks are clipped.

    Examples
    --------
    >>> [block.start for block in blocks(Box((0, 3, 0), (2, 9, 4)), (2, 4, 4))]
    [(0, 3, 0), (0, 4, 0), (0, 8, 0)]
    >>> [block.stop for block in blocks(Box((0, 3, 0), (2, 5, 4)), (2, 4, 4), are_whole=True, shape=(2, 6, 4))]
    [(2, 4, 4), (2, 6, 4)]
    """
    if are_whole:
        ends = shape or box.stop
        starts = [a // s * s for a, s in zip(box.start, step, strict=True)]
        stops = [min(n, -(-b // s) * s) for n, b, s in zip(ends, box.stop, step, strict=True)]
        box = Box((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2]))
    spans = [_spans(a, b, s) for a, b, s in zip(box.start, box.stop, step, strict=True)]
    for z0, z1 in spans[0]:
        for y0, y1 in spans[1]:
            for x0, x1 in spans[2]:
                yield Box((z0, y0, x0), (z1, y1, x1))


def _spans(start: int, stop: int, step: int) -> list[tuple[int, int]]:
    return [(max(start, i), min(stop, i + step)) for i in range(start // step * step, stop, step)]


def filled_box(mask: NDArray[np.generic]) -> Box | None:
    """Return the box of what is not 0, None when there is nothing.

    Examples
    --------
    >>> filled_box(np.array([[[0, 0], [0, 3]]]))
    Box(start=(0, 1, 1), stop=(1, 2, 2))
    """
    filled = mask != 0
    spans = [np.flatnonzero(filled.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not spans[0].size:
        return None
    z, y, x = spans
    return Box((int(z[0]), int(y[0]), int(x[0])), (int(z[-1]) + 1, int(y[-1]) + 1, int(x[-1]) + 1))


def filled_part(read: Read, shape: Index, step: Index) -> Box | None:
    """Return the box of what is not 0 in an array that is read block by block."""
    found: Box | None = None
    for block in blocks(whole(shape), step):
        part = filled_box(read(block.window))
        if part is not None:
            part = part.moved(block.start)
            found = part if found is None else found.joined(part)
    return found


def label_extents(read: Read, shape: Index, step: Index) -> dict[int, Extent]:
    """Return voxels and box of every label but 0, by ascending id, of an array that is read block by block.

    Parameters
    ----------
    read
        Returns the unsigned integer labels (z, y, x) in a window.
    shape
        Shape (z, y, x) of the array.
    step
        Blocks to read in; those of the chunks are fastest.

    Raises
    ------
    LabelRangeError
        If an id is above 50 million.

    Examples
    --------
    >>> labels = np.zeros((2, 2, 4), np.uint32)
    >>> labels[:, 1, 1:3] = 7
    >>> label_extents(lambda window: labels[window], labels.shape, (1, 2, 2))
    {7: Extent(voxels=4, box=Box(start=(0, 1, 1), stop=(2, 2, 3)))}
    """
    found: dict[int, Extent] = {}
    for block in blocks(whole(shape), step):
        labels = read(block.window)
        part = filled_box(labels)
        if part is None:
            continue
        for label, extent in _extents(labels[part.window]):
            box = extent.box.moved(part.start).moved(block.start)
            known = found.get(label)
            found[label] = Extent(extent.voxels, box) if known is None else _added(known, extent.voxels, box)
    return dict(sorted(found.items()))


def _extents(labels: Voxels) -> Iterator[tuple[int, Extent]]:
    most = int(labels.max())
    if most > _MOST_IDS:
        raise LabelRangeError(f"a label image may hold ids up to {_MOST_IDS}, found {most}")
    signed = labels.astype(np.int32)
    counts = np.bincount(signed.ravel())
    for label, window in enumerate(ndimage.find_objects(signed), start=1):
        if window is not None:
            z, y, x = window
            yield label, Extent(int(counts[label]), Box((z.start, y.start, x.start), (z.stop, y.stop, x.stop)))


def _added(known: Extent, voxels: int, box: Box) -> Extent:
    return Extent(known.voxels + voxels, known.box.joined(box))
