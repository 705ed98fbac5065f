"""Links between the ends of fragments: which are possible, what each costs, and the way it takes through the gap.

Costs are in nats: a link that costs one more has an e-th of the odds of being right. The weights are those of a
logistic regression, none of them below 0, over 6900 possible links, 495 of them right, of nine phantom nuclei (16 nm,
seeds 41 to 43 and 51 to 56) with 20 and 40 % of the complexes in gaps; what they are weights of is that of domain.md,
section 7, and the depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from services.components.separation.field import ChromatinField
from services.components.separation.flooding import distance_to
from services.components.separation.fragments import End, Fragment, Points

REACH_NM = 1300.0
"""No gap is wider than this (domain.md, section 7)."""
LIKELY = 4.16
"""Log-odds of a link that nothing speaks against; one that costs more is more likely wrong than right."""
TURN = 5.2
"""What the turn at an end costs, per 1 - cos."""
LENGTH = 0.33
"""What a gap costs per um."""
OUTSIDE = 6.4
"""What a way costs per um of it outside of chromatin."""
BARE = 9.1
"""And what the share of it costs by which more than half is outside: a gap in a complex is filled with chromatin."""
FOREIGN_NM = 330.0
"""Nearer than this to another fragment a way runs through another chromosome: half the distance of two axes."""
FOREIGN = 17.3
"""What a way costs per um of it through another chromosome."""
DEEP_TIMES = 2.0
DEEP = 11.0
"""What a way costs per um of it that lies `DEEP_TIMES` deeper in chromatin than the complex does.

The complex runs in a neck between the lobes of two homologs, at a depth of little more than its own thickness; a way
that is deeper leads through a lobe.
"""
DEAREST = LIKELY + 8.0
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
    cost
        Nats: how much speaks against it.
    way
        float64 (n, 3): the middle line through the gap, (z, y, x) nm, from the first end to the second.
    """

    first: int
    second: int
    cost: float
    way: Points

    @property
    def fragments(self) -> tuple[int, int]:
        """The fragments it connects."""
        return self.first // 2, self.second // 2


def possible_links(field: ChromatinField, fragments: tuple[Fragment, ...]) -> tuple[Link, ...]:
    """Return the links between ends of different fragments that are worth a thought, in the order of their ends.

    A link costs something for the turn at either end, as far as the end's direction can be trusted, for its length,
    and for what its way runs through: no chromatin, another chromosome's, or deeper chromatin than a complex lies in.

    Parameters
    ----------
    field
        Chromatin and SC of a nucleus.
    fragments
        Its pieces of SC.
    """
    ends = [end for fragment in fragments for end in fragment.ends()]
    pairs = [pair for pair in _near_pairs(ends) if _turned(ends[pair[0]], ends[pair[1]]) <= DEAREST]
    if not pairs:
        return ()
    ways = [hermite(ends[first], ends[second]) for first, second in pairs]
    costs = [_turned(ends[first], ends[second]) for first, second in pairs] + _passing(field, fragments, ways, pairs)
    return tuple(
        Link(first, second, float(cost), way)
        for (first, second), cost, way in zip(pairs, costs, ways, strict=True)
        if cost <= DEAREST
    )


def _passing(
    field: ChromatinField, fragments: tuple[Fragment, ...], ways: list[Points], pairs: list[tuple[int, int]]
) -> NDArray[np.float64]:
    """Return what ways cost for what they run through."""
    length_um = np.array([float(np.linalg.norm(way[-1] - way[0])) for way in ways]) / 1000
    depth = distance_to(~field.chromatin, field.step_zyx_nm)
    at = _voxels(field, np.concatenate(ways))
    outside = _shares(field.classes[at] == 0, ways)
    usual_nm = float(np.median(depth[field.complex])) if field.complex.any() else np.inf
    deep = _shares(depth[at] > DEEP_TIMES * usual_nm, ways)
    foreign = _shares(_foreign(fragments, ways, pairs), ways)
    passed = OUTSIDE * outside + FOREIGN * foreign + DEEP * deep
    return np.asarray(length_um * passed + BARE * np.maximum(outside - 0.5, 0.0))


def _near_pairs(ends: list[End]) -> list[tuple[int, int]]:
    if len(ends) < 3:
        return []
    near = cKDTree(np.array([end.point for end in ends])).query_pairs(REACH_NM)
    return sorted((first, second) for first, second in near if first // 2 != second // 2)


def _turned(a: End, b: End) -> float:
    """Return what a link costs for its length and its turns."""
    gap = b.point - a.point
    length_nm = float(np.linalg.norm(gap))
    straight = gap / max(length_nm, 1e-9)
    turns = a.trust * (1 - float(a.outward @ straight)) + b.trust * (1 + float(b.outward @ straight))
    return LENGTH * length_nm / 1000 + TURN * turns


def _shares(flags: NDArray[np.bool_], ways: list[Points]) -> NDArray[np.float64]:
    """Return for each way the share of its points that are flagged."""
    sizes = np.array([len(way) for way in ways])
    return np.asarray(np.add.reduceat(flags, np.cumsum(sizes) - sizes, dtype=np.int64) / sizes)


def _voxels(field: ChromatinField, points: Points) -> tuple[NDArray[np.intp], ...]:
    """Return the voxels of the grid that hold points, as an index."""
    at = np.floor(points / np.array(field.step_zyx_nm)).astype(np.intp)
    return tuple(np.clip(at, 0, np.array(field.classes.shape) - 1).T)


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
