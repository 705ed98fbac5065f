"""Overlapping tiles for images that are too large to be segmented at once.

Each tile is read with a margin and only its core is kept. A network of limited context computes, at a core
pixel, the same sum over the same neighbourhood as on the whole image, provided that the margin is at
least the context and that tiles start at multiples of the network's coarsest stride. Labels are decided
per pixel, so cores laid side by side are the whole answer: blending would mix two equal values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class TileSizeError(ValueError):
    """A tile leaves no core, or is not a multiple of the network's coarsest stride."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A window to read and the part of it to keep.

    Attributes
    ----------
    read_y, read_x
        Rows and columns of the image to segment, half-open, in pixels.
    keep_y, keep_x
        Rows and columns of the image whose result this tile gives, half-open, in pixels.
    """

    read_y: slice
    read_x: slice
    keep_y: slice
    keep_x: slice

    @property
    def core(self) -> tuple[slice, slice]:
        """The kept part in coordinates of the window that was read."""
        return (
            slice(self.keep_y.start - self.read_y.start, self.keep_y.stop - self.read_y.start),
            slice(self.keep_x.start - self.read_x.start, self.keep_x.stop - self.read_x.start),
        )


def tiles(shape_yx: tuple[int, int], tile_px: int, margin_px: int, multiple_px: int) -> tuple[Tile, ...]:
    """Cover an image with overlapping tiles whose cores partition it.

    Parameters
    ----------
    shape_yx
        Rows and columns of the image.
    tile_px
        Edge of the window that is read; a shorter image is read as it is.
    margin_px
        Pixels dropped at each inner edge of a tile.
    multiple_px
        Tiles start at multiples of this.

    Returns
    -------
    tuple of Tile
        Row by row.

    Raises
    ------
    TileSizeError
        If `tile_px` is not a multiple of `multiple_px`, or leaves no core between two margins.

    Examples
    --------
    >>> [(t.read_x.start, t.read_x.stop, t.keep_x.start, t.keep_x.stop) for t in tiles((8, 20), 12, 2, 4)]
    [(0, 12, 0, 10), (8, 20, 10, 20)]
    """
    if tile_px % multiple_px or tile_px - 2 * margin_px < multiple_px:
        raise TileSizeError(
            f"a tile of {tile_px} px must be a multiple of {multiple_px} px and exceed two margins of {margin_px} px"
        )
    rows, columns = (_intervals(size, tile_px, margin_px, multiple_px) for size in shape_yx)
    return tuple(Tile(read_y, read_x, keep_y, keep_x) for read_y, keep_y in rows for read_x, keep_x in columns)


def stitch(shape_yx: tuple[int, int], pieces: list[tuple[Tile, NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Lay the cores of segmented tiles side by side.

    Parameters
    ----------
    shape_yx
        Rows and columns of the whole image.
    pieces
        Tiles that partition it, each with the uint8 plane of its read window.

    Returns
    -------
    numpy.ndarray
        uint8, (y, x).

    Examples
    --------
    >>> two = tiles((1, 4), 4, 1, 1)
    >>> stitch((1, 4), [(tile, np.array([[5, 6, 7, 8]], np.uint8)) for tile in two])
    array([[5, 6, 7, 8]], dtype=uint8)
    """
    whole = np.zeros(shape_yx, np.uint8)
    for tile, plane in pieces:
        whole[tile.keep_y, tile.keep_x] = plane[tile.core]
    return whole


def _intervals(size: int, tile_px: int, margin_px: int, multiple_px: int) -> list[tuple[slice, slice]]:
    """Read and keep intervals along one axis."""
    step = (tile_px - 2 * margin_px) // multiple_px * multiple_px
    starts = [0]
    while starts[-1] + tile_px < size:
        starts.append(starts[-1] + step)
    kept_from = [0, *(start + margin_px for start in starts[1:])]
    kept_to = [*kept_from[1:], size]
    return [
        (slice(start, min(start + tile_px, size)), slice(first, last))
        for start, first, last in zip(starts, kept_from, kept_to, strict=True)
    ]
