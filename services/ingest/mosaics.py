"""One mosaic becomes one slice: its tiles are placed, levelled and pasted, and what was done is written down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.imaging.formats.description import GreyPlane
from services.imaging.mosaics.pasting import levels, pasted, steps, uncovered
from services.imaging.mosaics.placing import Cell, Grid, Seam, measured, placed
from services.ingest.names import shown
from services.ingest.tiles import Layout, Tile

Record = dict[str, Any]
COLUMNS = (
    "file", "mosaic", "row", "column", "state", "reason", "z", "slice", "size_bytes", "sha256", "y_px", "x_px",
    "placed_by", "ncc", "levels_added", "step_before", "step_after", "uncovered_px",
)  # fmt: skip
"""Of the table of tiles: what became of each, where it lies in its slice, and how its seams look."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A slice, (y, x), and what was done for it, for JSON."""

    plane: GreyPlane
    record: Record


def joined(tiles: Mapping[Cell, Tile], layout: Layout, *, level: bool) -> Joined:
    """Join the tiles of one mosaic.

    Parameters
    ----------
    tiles
        Those of the layout's grid, and no others.
    layout
        What all mosaics have in common.
    level
        Whether whole grey levels are added to each tile so that overlaps agree.
    """
    planes: dict[Cell, GreyPlane] = {cell: tile.plane for cell, tile in tiles.items()}
    seams = measured(planes, layout.grid)
    places, held = placed(layout.grid, seams)
    grid = Grid(layout.grid.shapes_yx, places)
    before = steps(planes, grid)
    added = levels(places, before) if level else dict.fromkeys(places, 0)
    whole = pasted(planes, grid, added, layout.grid.shape_yx)
    differences = {(step.first, step.second): step.levels for step in before}
    left = {pair: levels + added[pair[0]] - added[pair[1]] for pair, levels in differences.items()}
    record = {
        "uncovered_px": uncovered(grid, layout.grid.shape_yx),
        "tiles": [
            _identity(cell, tile)
            | {
                "y_px": places[cell][0],
                "x_px": places[cell][1],
                "placed_by": "overlap" if cell in held else "grid",
                "ncc": _best_ncc(cell, seams),
                "levels_added": added[cell],
                "step_before": _largest(cell, differences),
                "step_after": _largest(cell, left),
            }
            for cell, tile in sorted(tiles.items())
        ],
        "telemetry": dict(tiles[min(tiles)].metadata.telemetry),
    }
    return Joined(whole, record)


def _identity(cell: Cell, tile: Tile) -> Record:
    return {
        "file": shown(tile.name),
        "row": cell[0],
        "column": cell[1],
        "size_bytes": tile.size_bytes,
        "mtime_ns": tile.mtime_ns,
        "sha256": tile.sha256,
    }


def _best_ncc(cell: Cell, seams: Iterable[Seam]) -> float:
    return round(max((seam.ncc for seam in seams if cell in (seam.first, seam.second)), default=0.0), 4)


def _largest(cell: Cell, by_seam: Mapping[tuple[Cell, Cell], float]) -> float:
    return round(max((abs(difference) for seam, difference in by_seam.items() if cell in seam), default=0.0), 3)


def layout_to_json(layout: Layout) -> Record:
    """Return a layout as it is kept."""
    grid = layout.grid
    return {
        "tiles": [[*cell, *grid.shapes_yx[cell], *grid.places_yx[cell]] for cell in sorted(grid.places_yx)],
        "bits": layout.bits,
        "pixel_yx_nm": layout.pixel_yx_nm,
        "machine": layout.machine,
    }


def layout_from_json(kept: Mapping[str, Any]) -> Layout:
    """Return the layout that was kept."""
    shapes = {(row, column): (height, width) for row, column, height, width, _, _ in kept["tiles"]}
    places = {(row, column): (y, x) for row, column, _, _, y, x in kept["tiles"]}
    pixel = kept["pixel_yx_nm"]
    return Layout(Grid(shapes, places), kept["bits"], (pixel[0], pixel[1]) if pixel else None, kept["machine"])
