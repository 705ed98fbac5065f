"""Which nuclei of a run are neighbours: the one quantity of a nucleus that needs the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

from services.contracts.rows import NucleusRow

NEIGHBOUR_UM = 1.0
"""Nuclei nearer to each other than this, surface to surface, are neighbours: they lie 4.9 um apart and are 4.1 um wide
(domain.md 1), so that those of the next ring are well outside."""
_DIGITS = 6


def with_neighbours(rows: Sequence[NucleusRow]) -> tuple[NucleusRow, ...]:
    """Return the rows with the number of neighbours and the distance to the nearest nucleus filled in.

    Nuclei count as balls of their volume about their centroids. Clipped nuclei count as neighbours, but have none
    themselves: some of theirs may lie outside the acquisition. Nuclei without a centroid take no part.
    """
    placed = [(row, place) for row in rows if (place := _place_um(row)) is not None]
    beside = dict.fromkeys((row.nucleus_id for row, _ in placed), 0)
    nearest = dict.fromkeys((row.nucleus_id for row, _ in placed), math.inf)
    for (one, place), (other, other_place) in combinations(placed, 2):
        apart = math.dist(place, other_place)
        for row in (one, other):
            beside[row.nucleus_id] += apart - _radius_um(one) - _radius_um(other) < NEIGHBOUR_UM
            nearest[row.nucleus_id] = min(nearest[row.nucleus_id], apart)
    return tuple(
        row.model_copy(
            update={
                "neighbours": beside[row.nucleus_id],
                "nearest_neighbour_um": _rounded(nearest[row.nucleus_id]),
            }
        )
        if row.nucleus_id in beside and not row.clipped
        else row
        for row in rows
    )


def _place_um(row: NucleusRow) -> tuple[float, float, float] | None:
    z, y, x = row.centroid_z_nm, row.centroid_y_nm, row.centroid_x_nm
    return None if z is None or y is None or x is None else (z / 1e3, y / 1e3, x / 1e3)


def _radius_um(row: NucleusRow) -> float:
    return float((3 * (row.volume_um3 or 0.0) / (4 * math.pi)) ** (1 / 3))


def _rounded(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
