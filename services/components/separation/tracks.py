"""Fragments joined to tracks: the nearest ends first, or the cheapest of all ways to join them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.spatial import cKDTree

from services.components.separation.fragments import Fragment, Points
from services.components.separation.links import Link

IDLE = 93.0
"""What it costs to leave a fragment out, per um: pieces as thick as a complex are part of one."""
IDLE_ONCE = 0.67
"""And for being there at all."""
SHORT_NM = 1500.0
"""A fragment shorter than this is hardly a whole chromosome: the shortest has a complex of 2500 nm (domain.md, 1)."""
LONELY = 10.0
"""What it costs to be a track by itself, per um that is missing."""
CROSSING_NM = 200.0
"""Ways that come nearer than this to one another are not both right: two axes are twice as far apart."""
JOINT_NM = 250.0
"""Shorter ways may cross: they lead through a place where two complexes touch."""


class CoverError(ValueError):
    """The solver found no cover although there is one."""


@dataclass(frozen=True, eq=False)
class Cover:
    """A choice of links that joins fragments to tracks.

    Attributes
    ----------
    used
        Bool (fragments,): those that are part of a track.
    chosen
        Positions of the chosen links, ascending.
    cost
        Nats: of the links and of the fragments left out.
    """

    used: NDArray[np.bool_]
    chosen: tuple[int, ...]
    cost: float

    @property
    def tracks(self) -> int:
        """How many tracks there are."""
        return int(np.count_nonzero(self.used)) - len(self.chosen)


@dataclass(frozen=True, eq=False)
class Track:
    """Fragments in a row.

    Attributes
    ----------
    fragments
        Positions of the fragments, in order.
    links
        Positions of the links between them, in order.
    points
        float64 (n, 3): the middle line from end to end through fragments and gaps, (z, y, x) nm.
    """

    fragments: tuple[int, ...]
    links: tuple[int, ...]
    points: Points

    @property
    def length_nm(self) -> float:
        """Length of the middle line."""
        return float(np.linalg.norm(np.diff(self.points, axis=0), axis=1).sum())


def greedy_cover(fragments: Sequence[Fragment], links: Sequence[Link], expected: int | None) -> Cover:
    """Take the cheapest link that is still possible until there are as few tracks as expected (domain.md, section 7).

    Each end is used once and no ring is made. Without an expected number every possible link is taken.
    """
    group = list(range(len(fragments)))
    ends: set[int] = set()
    chosen: list[int] = []

    def root(a: int) -> int:
        while group[a] != a:
            a = group[a]
        return a

    for index in sorted(range(len(links)), key=lambda k: (links[k].cost, k)):
        link = links[index]
        if expected is not None and len(fragments) - len(chosen) <= expected:
            break
        a, b = (root(f) for f in link.fragments)
        if a == b or link.first in ends or link.second in ends:
            continue
        group[max(a, b)] = min(a, b)
        ends |= {link.first, link.second}
        chosen.append(index)
    used = np.ones(len(fragments), bool)
    return Cover(used, tuple(sorted(chosen)), sum(links[k].cost for k in chosen))


@dataclass(frozen=True, eq=False)
class CoverProblem:
    """The minimum-cost path cover of fragments by links; every fragment lies on one path, or is left out at a price.

    Solved as an integer program (HiGHS) to its optimum: each end is used once at most, and rings are forbidden one by
    one as they turn up, as subtours are for the travelling salesman (Dantzig, Fulkerson and Johnson 1954).
    """

    fragments: tuple[Fragment, ...]
    links: tuple[Link, ...]

    def solve(
        self,
        tracks: int | None,
        price: float = 0.0,
        without: Collection[int] = (),
        among: Collection[int] = (),
    ) -> Cover | None:
        """Return the cheapest cover, or None if there is none.

        Parameters
        ----------
        tracks
            How many tracks; None for whatever is cheapest at ``price`` a track.
        price
            What a track costs, where their number is free.
        without
            Links that may not be chosen.
        among
            Links that must be chosen.
        """
        n, m = len(self.fragments), len(self.links)
        if tracks is not None and not 0 < tracks <= n:
            return None
        cost = self._cost(price)
        low, high = np.zeros(cost.size), np.ones(cost.size)
        high[list(without)] = 0.0
        low[list(among)] = 1.0
        constraints = list(self._constraints)
        if tracks is not None:
            # A link saves a track, and so does a fragment left out.
            saved = np.concatenate([np.ones(m + n), np.zeros(n)])[None]
            constraints.append(LinearConstraint(saved, n - tracks, n - tracks))
        whole = np.concatenate([np.ones(m + n), np.zeros(n)])
        while True:
            answer = milp(cost, integrality=whole, bounds=Bounds(low, high), constraints=constraints)
            if answer.status == _INFEASIBLE:
                return None
            if answer.x is None:
                raise CoverError(f"the solver stopped without a cover: {answer.message}")
            taken = answer.x[: m + n] > 0.5
            chosen = tuple(int(k) for k in np.flatnonzero(taken[:m]))
            rings = rings_of(self.links, chosen)
            if not rings:
                saved_cost = price * int(taken.sum())
                return Cover(~taken[m:], chosen, float(cost @ answer.x) + saved_cost)
            constraints += [self._opened(ring) for ring in rings]

    def cheapest(self, tracks: int | None, price: float = 0.0) -> Cover:
        """Return the cheapest cover, with as few tracks more than asked for as there have to be.

        With a number given, fragments may be so far apart that no links join them to so few.
        """
        for more in range(len(self.fragments) + 1):
            found = self.solve(None if tracks is None else tracks + more, price)
            if found is not None:
                return found
        raise CoverError("no number of tracks covers the fragments")

    def _cost(self, price: float) -> NDArray[np.float64]:
        """Return the cost of each link, of each fragment left out and of each one alone; a track saved pays."""
        length = np.array([fragment.length_nm for fragment in self.fragments])
        return np.concatenate([
            np.array([link.cost for link in self.links]) - price,
            IDLE * length / 1000 + IDLE_ONCE - price,
            LONELY * np.maximum(SHORT_NM - length, 0.0) / 1000,
        ])  # fmt: skip

    @cached_property
    def _constraints(self) -> tuple[LinearConstraint, ...]:
        n, m = len(self.fragments), len(self.links)
        first = np.array([link.first for link in self.links], np.int64)
        second = np.array([link.second for link in self.links], np.int64)
        each, fragment = np.arange(m), np.arange(n)
        # An end has one link at most, and none where its fragment is left out.
        ends = _matrix([(first, each), (second, each), (2 * fragment, m + fragment), (2 * fragment + 1, m + fragment)])
        used_once = LinearConstraint(_shaped(ends, 2 * n, m + 2 * n), -np.inf, 1.0)
        # A fragment is linked, left out or alone.
        kinds = [(first // 2, each), (second // 2, each), (fragment, m + fragment), (fragment, m + n + fragment)]
        somewhere = LinearConstraint(_shaped(_matrix(kinds), n, m + 2 * n), 1.0, np.inf)
        crossing = crossings(self.links)
        if not crossing:
            return used_once, somewhere
        row = np.arange(len(crossing))
        a, b = np.array(crossing).T
        apart = _shaped(_matrix([(row, a), (row, b)]), len(crossing), m + 2 * n)
        return used_once, somewhere, LinearConstraint(apart, -np.inf, 1.0)

    def _opened(self, ring: frozenset[int]) -> LinearConstraint:
        """Return that the links among the fragments of a ring are fewer than those fragments."""
        row = np.zeros((1, len(self.links) + 2 * len(self.fragments)))
        row[0, [k for k, link in enumerate(self.links) if set(link.fragments) <= ring]] = 1.0
        return LinearConstraint(row, -np.inf, len(ring) - 1)


_INFEASIBLE = 2
Entries = tuple[NDArray[np.int64], NDArray[np.int64]]


def _matrix(entries: Sequence[Entries]) -> Entries:
    rows, columns = zip(*entries, strict=True)
    return np.concatenate(rows), np.concatenate(columns)


def _shaped(entries: Entries, rows: int, columns: int) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.ones(entries[0].size), entries), shape=(rows, columns))


def crossings(links: Sequence[Link]) -> list[tuple[int, int]]:
    """Return the pairs of links between four different fragments whose ways run into one another."""
    long = [k for k, link in enumerate(links) if np.linalg.norm(link.way[-1] - link.way[0]) >= JOINT_NM]
    if not long:
        return []
    owner = np.repeat(long, [len(links[k].way) for k in long])
    tree = cKDTree(np.concatenate([links[k].way for k in long]))
    near = tree.query_pairs(CROSSING_NM, output_type="ndarray")
    pairs = np.unique(np.sort(owner[near], axis=1), axis=0)
    return [(int(a), int(b)) for a, b in pairs if a != b and not set(links[a].fragments) & set(links[b].fragments)]


def rings_of(links: Sequence[Link], chosen: Sequence[int]) -> list[frozenset[int]]:
    """Return the fragments of each closed ring that the chosen links make."""
    beside: dict[int, list[int]] = {}
    for k in chosen:
        a, b = links[k].fragments
        beside.setdefault(a, []).append(b)
        beside.setdefault(b, []).append(a)
    rings, seen = [], set()
    for start in sorted(beside):
        group, waiting = {start}, [start]
        while waiting:
            fresh = set(beside[waiting.pop()]) - group
            group |= fresh
            waiting += sorted(fresh)
        if start not in seen and all(len(beside[f]) == 2 for f in group):
            rings.append(frozenset(group))
        seen |= group
    return rings


def tracks_of(fragments: Sequence[Fragment], links: Sequence[Link], cover: Cover) -> tuple[Track, ...]:
    """Return the tracks of a cover, in the order of their first fragments."""
    by_end = {end: k for k in cover.chosen for end in (links[k].first, links[k].second)}
    tracks, seen = [], set()
    for start in np.flatnonzero(cover.used):
        ends = [2 * int(start), 2 * int(start) + 1]
        free = next((end for end in ends if end not in by_end), None)
        if int(start) not in seen and free is not None:
            track = _walked(fragments, links, by_end, free)
            seen |= set(track.fragments)
            tracks.append(track)
    return tuple(sorted(tracks, key=lambda track: min(track.fragments)))


def _walked(fragments: Sequence[Fragment], links: Sequence[Link], by_end: dict[int, int], entry: int) -> Track:
    """Follow fragments and links from a free end to the other."""
    order: list[int] = []
    taken: list[int] = []
    lines: list[Points] = []
    while True:
        order.append(entry // 2)
        points = fragments[entry // 2].points
        lines.append(points if entry % 2 == 0 else points[::-1])
        leaving = entry ^ 1
        if leaving not in by_end:
            return Track(tuple(order), tuple(taken), np.concatenate(lines))
        link = links[by_end[leaving]]
        taken.append(by_end[leaving])
        way = link.way if link.first == leaving else link.way[::-1]
        lines.append(way[1:-1])
        entry = link.second if link.first == leaving else link.first
