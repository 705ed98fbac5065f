"""Links between the ends of fragments: which are possible, what each costs, and the way it takes through the gap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from services.components.separation.field import ChromatinField
from services.components.separation.fragments import End, Fragment, Points

REACH_NM = 1300.0
"""No gap is wider than this (domain.md, section 7)."""
TURN = 2.0
"""Weight of a turn at either end, per length (1.5 in domain.md, section 7; 2 links better on phantoms)."""
SHARP_NM = 600.0
"""What a turn costs even where there is no gap: two complexes that touch are told apart by it."""
OUTSIDE = 4.0
"""Weight of a way outside of chromatin, per length."""
FOREIGN_NM = 330.0
"""Nearer than this to another fragment a way runs through another chromosome: half the distance of two axes."""
FOREIGN = 4.0
"""Weight of a way through another chromosome, per length."""
DEAREST_NM = 4000.0
"""A link that costs more is not worth a thought."""
_SAMPLE_NM = 24.0
_NEIGHBOURS = 24
"""Points of middle lines looked at around a place: more than two fragments have within `FOREIGN_NM`."""


@dataclass(frozen=True, eq=False)
class Link:
    """A possible connection of two ends.

    Attributes
    ----------
    first, second
        Ends, ``2 * fragment`` for its first point and ``2 * fragment + 1`` for its last; first < second.
    cost_nm
        Length of the gap, made longer by everything that speaks against it.
    way
        float64 (n, 3): the middle line through the gap, (z, y, x) nm, from the first end to the second.
    """

    first: int
    second: int
    cost_nm: float
    way: Points

    @property
    def fragments(self) -> tuple[int, int]:
        """The fragments it connects."""
        return self.first // 2, self.second // 2


def possible_links(field: ChromatinField, fragments: tuple[Fragment, ...]) -> tuple[Link, ...]:
    """Return the links between ends of different fragments that are worth a thought, in the order of their ends.

    A link costs its length, times 1 + `TURN` (1 - cos) for the turn at either end as far as the end's direction can be
    trusted, times what its way runs through that is no chromatin or another chromosome's, and more for a turn as such.

    Parameters
    ----------
    field
        Chromatin and SC of a nucleus.
    fragments
        Its pieces of SC.
    """
    ends = [end for fragment in fragments for end in fragment.ends()]
    pairs = [pair for pair in _near_pairs(ends) if _turned(ends[pair[0]], ends[pair[1]])[0] <= DEAREST_NM]
    if not pairs:
        return ()
    ways = [hermite(ends[first], ends[second]) for first, second in pairs]
    outside = _shares(_outside(field, np.concatenate(ways)), ways)
    foreign = _shares(_foreign(fragments, ways, pairs), ways)
    links = []
    for k, (first, second) in enumerate(pairs):
        turned_nm, length_nm = _turned(ends[first], ends[second])
        cost_nm = turned_nm + length_nm * (OUTSIDE * outside[k] + FOREIGN * foreign[k])
        if cost_nm <= DEAREST_NM:
            links.append(Link(first, second, float(cost_nm), ways[k]))
    return tuple(links)


def _near_pairs(ends: list[End]) -> list[tuple[int, int]]:
    if len(ends) < 3:
        return []
    near = cKDTree(np.array([end.point for end in ends])).query_pairs(REACH_NM)
    return sorted((first, second) for first, second in near if first // 2 != second // 2)


def _turned(a: End, b: End) -> tuple[float, float]:
    """Return what a link costs for its length and its turns, and its length."""
    gap = b.point - a.point
    length_nm = float(np.linalg.norm(gap))
    straight = gap / max(length_nm, 1e-9)
    turns = a.trust * (1 - float(a.outward @ straight)) + b.trust * (1 + float(b.outward @ straight))
    # The turn from the one piece to the other, wherever the gap leads: it counts where there is no gap, too.
    together = min(a.trust, b.trust) * (1 + float(a.outward @ b.outward))
    return length_nm * (1 + TURN * turns) + SHARP_NM * together, length_nm


def _shares(flags: NDArray[np.bool_], ways: list[Points]) -> NDArray[np.float64]:
    """Return for each way the share of its points that are flagged."""
    sizes = np.array([len(way) for way in ways])
    return np.asarray(np.add.reduceat(flags, np.cumsum(sizes) - sizes, dtype=np.int64) / sizes)


def _outside(field: ChromatinField, points: Points) -> NDArray[np.bool_]:
    """Return which points lie outside of chromatin."""
    at = np.floor(points / np.array(field.step_zyx_nm)).astype(np.intp)
    z, y, x = np.clip(at, 0, np.array(field.classes.shape) - 1).T
    return np.asarray(field.classes[z, y, x] == 0)


def _foreign(fragments: tuple[Fragment, ...], ways: list[Points], pairs: list[tuple[int, int]]) -> NDArray[np.bool_]:
    """Return which points of the ways lie nearer to a third fragment than two chromosomes can be."""
    owner = np.repeat(np.arange(len(fragments)), [len(fragment.points) for fragment in fragments])
    tree = cKDTree(np.concatenate([fragment.points for fragment in fragments]))
    count = min(_NEIGHBOURS, owner.size)
    # A list of ranks gives an axis of ranks even where there is only one.
    found = tree.query(np.concatenate(ways), k=list(range(1, count + 1)), distance_upper_bound=FOREIGN_NM)
    distance, index = np.asarray(found[0]), np.asarray(found[1])
    sizes = [len(way) for way in ways]
    own = np.repeat(np.array(pairs) // 2, sizes, axis=0)
    whose = owner[np.minimum(index, owner.size - 1)]
    third = np.isfinite(distance) & (whose != own[:, :1]) & (whose != own[:, 1:])
    return np.asarray(third.any(axis=1))


def hermite(a: End, b: End) -> Points:
    """Return the cubic that leaves one end and arrives at the other in their directions, about 24 nm apart.

    >>> straight = hermite(End(np.zeros(3), np.array([0.0, 0.0, 1.0]), 1.0),
    ...                    End(np.array([0.0, 0.0, 48.0]), np.array([0.0, 0.0, -1.0]), 1.0))
    >>> straight[:, 2].tolist()
    [0.0, 24.0, 48.0]
    """
    gap = b.point - a.point
    size = float(np.linalg.norm(gap))
    straight = gap / max(size, 1e-9)
    leaving = size * (a.trust * a.outward + (1 - a.trust) * straight)
    arriving = size * (-b.trust * b.outward + (1 - b.trust) * straight)
    t = np.linspace(0.0, 1.0, max(2, round(size / _SAMPLE_NM) + 1))[:, None]
    t2, t3 = t * t, t * t * t
    way = (2 * t3 - 3 * t2 + 1) * a.point + (t3 - 2 * t2 + t) * leaving
    return np.asarray(way + (3 * t2 - 2 * t3) * b.point + (t3 - t2) * arriving)
