"""Cuts crops into windows that networks take, and lays the answers together; the same for every adapter.

Needs no torch: a client of a model server cuts as the server's networks would have been fed in process,
so that both give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from services.contracts.model_card import ModelSet
from services.imaging.tiling import Tile, stitch, tiles
from services.runtime.segmenter.port import Normalisation, Plane, Segmented

# A window of 768 px keeps the widest network's working set near 0.3 GB; a crop of 6.8 um at 16 nm has 425 px.
TILE_PX = 768


@dataclass(frozen=True, slots=True)
class Window:
    """What networks are fed with.

    Attributes
    ----------
    grey_yx
        uint8, (y, x).
    normalisation
        That of the acquisition.
    """

    grey_yx: Plane
    normalisation: Normalisation


class Cutter:
    """Cuts crops as the networks of a model set need them.

    Parameters
    ----------
    model_set
        Its cards tell the margin and the multiple of tiles.
    tile_px
        Longer edges are cut into overlapping tiles of this size.

    Raises
    ------
    TileSizeError
        If a tile has no core between its margins, or is not a multiple of the coarsest stride.
    """

    def __init__(self, model_set: ModelSet, tile_px: int = TILE_PX) -> None:
        self.multiple_px = max(card.architecture.shape_multiple_px for card in model_set.cards)
        context_px = max(card.architecture.context_px for card in model_set.cards)
        self._margin_px = -(-context_px // self.multiple_px) * self.multiple_px
        self._tile_px = tile_px
        tiles((tile_px, tile_px), tile_px, self._margin_px, self.multiple_px)

    def cut(self, crops: Sequence[Plane], normalisation: Normalisation) -> tuple[list[Window], list[tuple[Tile, ...]]]:
        """Return the windows of all crops in order, and the tiles of each crop."""
        plan = [self._tiles(crop) for crop in crops]
        windows = [
            Window(crop[tile.read_y, tile.read_x], normalisation)
            for crop, cut in zip(crops, plan, strict=True)
            for tile in cut
        ]
        return windows, plan

    def join(
        self, crops: Sequence[Plane], plan: Sequence[tuple[Tile, ...]], answers: Iterable[Segmented]
    ) -> list[Segmented]:
        """Lay the answers to the windows of `cut` together, one per crop."""
        coming = iter(answers)
        return [_joined(crop, [(tile, next(coming)) for tile in cut]) for crop, cut in zip(crops, plan, strict=True)]

    def _tiles(self, crop: Plane) -> tuple[Tile, ...]:
        rows, columns = crop.shape
        return tiles((rows, columns), self._tile_px, self._margin_px, self.multiple_px)


def padded(plane: Plane, coarsest_px: int, multiple_px: int) -> Plane:
    """Mirror the last rows and columns until both edges are multiples, and at least two of the coarsest stride.

    Parameters
    ----------
    plane
        uint8, (y, x).
    coarsest_px
        The coarsest stride of the networks.
    multiple_px
        What both edges are filled up to a multiple of; itself a multiple of `coarsest_px`.

    Examples
    --------
    >>> padded(np.array([[1, 2, 3]], np.uint8), 2, 2)
    array([[1, 2, 3, 3],
           [1, 2, 3, 3],
           [1, 2, 3, 3],
           [1, 2, 3, 3]], dtype=uint8)
    """
    widths = [(0, max(-size % multiple_px, 2 * coarsest_px - size)) for size in plane.shape]
    return np.ascontiguousarray(np.pad(plane, widths, mode="symmetric"))


def _joined(crop: Plane, pieces: list[tuple[Tile, Segmented]]) -> Segmented:
    rows, columns = crop.shape
    if len(pieces) == 1:
        return pieces[0][1]
    return Segmented(
        stitch((rows, columns), [(tile, piece.classes_yx) for tile, piece in pieces]),
        stitch((rows, columns), [(tile, piece.confidence_yx) for tile, piece in pieces]),
    )
