"""Pieces of the synaptonemal complex as tracks: where each runs, where it ends and which way it points there.

The complex (SC) is a ribbon. Its voxels are cut across, into sections of equal geodesic distance from one tip; the
sections of a clean piece follow one another like beads. Where complexes touch or a piece branches, a section has
more than two neighbours: it is taken out, so that every arm becomes a piece of its own and whoever links pieces
decides which arms belong together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import cKDTree

from services.components.separation.field import ChromatinField

Points = NDArray[np.float64]

SECTION_NM = 56.0
"""Thickness of a section: about that of the ribbon."""
SPUR_NM = 130.0
"""A side branch shorter than this, a little more than the ribbon's width, is roughness."""
APART_NM = 130.0
"""Sections of one distance whose middles are nearer than this are one: the ribbon has holes narrower than itself."""
LOOK_BACK_NM = 240.0
"""How far back from its end a piece is looked at to tell which way it points."""
FAINT = 0.42
"""A piece whose cross-section is less than this share of the usual one is a film between chromosomes, and no SC."""
BESIDE_NM = 280.0
"""A piece that runs nearer than this to a longer one all along is a film, too: two axes are 400 nm apart."""
_LEAST_BESIDE_NM = 200.0
_BEND_NM = 160.0
_BEND_COSINE = 0.35


@dataclass(frozen=True, eq=False)
class Fragment:
    """One unbranched piece of the SC.

    Attributes
    ----------
    points
        float64 (n, 3): its middle line from end to end, (z, y, x) in nm from the first corner of the grid.
    voxels
        int64 (m,): its voxels, as flat indices of the grid.
    section_nm2
        Its cross-section: volume over length.
    """

    points: Points
    voxels: NDArray[np.int64]
    section_nm2: float

    @property
    def length_nm(self) -> float:
        """Length of the middle line."""
        return float(np.linalg.norm(np.diff(self.points, axis=0), axis=1).sum())

    def ends(self) -> tuple[End, End]:
        """Return the two ends, that of the first point first."""
        return _end(self.points), _end(self.points[::-1])


@dataclass(frozen=True, eq=False)
class End:
    """An end of a fragment.

    Attributes
    ----------
    point
        (z, y, x) nm.
    outward
        Unit vector that points away from the fragment.
    trust
        0 to 1: how far the direction can be believed; a piece no longer than wide points nowhere.
    """

    point: Points
    outward: Points
    trust: float


def _end(points: Points) -> End:
    """Return the end at the first point."""
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    near = arc <= LOOK_BACK_NM
    if np.count_nonzero(near) < 2:
        return End(points[0], np.zeros(3), 0.0)
    # The slope of the straight line through the last stretch, by least squares over its length.
    centred = arc[near] - arc[near].mean()
    slope = centred @ points[near] / (centred @ centred)
    size = float(np.linalg.norm(slope))
    trust = float(np.clip((arc[-1] - 60.0) / 160.0, 0.0, 1.0))
    return End(points[0], -slope / size if size else np.zeros(3), trust if size else 0.0)


def find_fragments(field: ChromatinField) -> tuple[Fragment, ...]:
    """Return the unbranched pieces of the SC that are as thick as one, in the order of their first voxels.

    Networks draw thin films of SC where two chromosomes touch; measured on predicted label planes of the phantom those
    have a cross-section of 500 to 2200 nm2, pieces of a true complex 3000 to 7000.

    Parameters
    ----------
    field
        Chromatin and SC of a nucleus.
    """
    voxels = np.flatnonzero(field.complex)
    if not voxels.size:
        return ()
    graph = _Graph(field, voxels)
    section, level = graph.sections()
    beads = _Beads(graph, section, level)
    found = [piece for path in beads.paths() for piece in _cut_at_bends(path, beads)]
    voxel_nm3 = float(np.prod(graph.step))
    fragments = [_fragment(beads.line(path), np.sort(voxels[beads.members(path)]), voxel_nm3) for path in found]
    return tuple(sorted(_alone(_solid(fragments)), key=lambda fragment: int(fragment.voxels[0])))


def _fragment(points: Points, voxels: NDArray[np.int64], voxel_nm3: float) -> Fragment:
    length_nm = float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
    # The line runs from the middle of the first section to that of the last.
    return Fragment(points, voxels, voxels.size * voxel_nm3 / (length_nm + SECTION_NM))


def _solid(fragments: list[Fragment]) -> list[Fragment]:
    """Return the fragments without those that are faint beside the usual one, the median by volume."""
    if not fragments:
        return []
    sections = np.array([fragment.section_nm2 for fragment in fragments])
    order = np.argsort(sections, kind="stable")
    volume = np.cumsum([fragments[k].voxels.size for k in order])
    usual = sections[order[np.searchsorted(volume, volume[-1] / 2)]]
    return [fragment for fragment in fragments if fragment.section_nm2 >= FAINT * usual]


class _Graph:
    """The voxels of the SC and which of them touch (26), with the distances between them."""

    def __init__(self, field: ChromatinField, voxels: NDArray[np.int64]) -> None:
        self.step = np.array(field.step_zyx_nm)
        shape = field.classes.shape
        self.places = np.stack(np.unravel_index(voxels, shape), axis=1) * self.step
        first, second, length = [], [], []
        for offset in _half_neighbourhood():
            flat = (offset[0] * shape[1] + offset[1]) * shape[2] + offset[2]
            at = np.minimum(np.searchsorted(voxels, voxels + flat), voxels.size - 1)
            touching = np.flatnonzero(voxels[at] == voxels + flat)
            first.append(touching)
            second.append(at[touching])
            length.append(np.full(touching.size, np.linalg.norm(np.array(offset) * self.step)))
        self.first, self.second = np.concatenate(first), np.concatenate(second)
        self.matrix = sparse.csr_matrix(
            (np.concatenate(length), (self.first, self.second)), shape=(voxels.size, voxels.size)
        )
        self.component = connected_components(self.matrix, directed=False)[1]

    def sections(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return the section of each voxel, int32, and the level (distance in sections) of each section."""
        tips = np.unique(self.component, return_index=True)[1]
        for _ in range(3):
            distance = dijkstra(self.matrix, directed=False, indices=tips, min_only=True)
            tips = self._farthest(distance)
        level = (distance / SECTION_NM).astype(np.int64)
        same = level[self.first] == level[self.second]
        inside = sparse.csr_matrix(
            (np.ones(np.count_nonzero(same), np.uint8), (self.first[same], self.second[same])),
            shape=self.matrix.shape,
        )
        count, section = connected_components(inside, directed=False)
        level_of = np.zeros(count, np.int64)
        level_of[section] = level
        return self._joined(section, level_of)

    def _farthest(self, distance: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return for each component its voxel farthest away, the first of equals."""
        order = np.lexsort((np.arange(distance.size), -distance, self.component))
        starts = np.unique(self.component[order], return_index=True)[1]
        return np.asarray(order[starts])

    def _joined(
        self, section: NDArray[np.int32], level: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Take sections of one component and level as one where their middles are near one another."""
        middles = means(self.places, section, level.size)
        component = np.zeros(level.size, np.int64)
        component[section] = self.component
        order = np.lexsort((level, component))
        pairs = []
        for group in np.split(order, np.flatnonzero(np.diff(component[order]) | np.diff(level[order])) + 1):
            for k, a in enumerate(group):
                pairs += [(a, b) for b in group[k + 1 :] if np.linalg.norm(middles[a] - middles[b]) < APART_NM]
        if not pairs:
            return section, level
        first, second = np.array(pairs).T
        near = sparse.csr_matrix((np.ones(len(pairs), np.uint8), (first, second)), shape=(level.size,) * 2)
        count, joined = connected_components(near, directed=False)
        joined_level = np.zeros(count, np.int64)
        joined_level[joined] = level
        return joined[section], joined_level


class _Beads:
    """Sections as the beads of a graph, from which the unbranched paths are read."""

    def __init__(self, graph: _Graph, section: NDArray[np.int32], level: NDArray[np.int64]) -> None:
        count = level.size
        self.middles = means(graph.places, section, count) + graph.step / 2
        self._section = section
        self._order = np.argsort(section, kind="stable")
        self._starts = np.searchsorted(section[self._order], np.arange(count + 1))
        a, b = section[graph.first], section[graph.second]
        self._beside: list[set[int]] = [set() for _ in range(count)]
        for one, other in {(int(min(p)), int(max(p))) for p in zip(a[a != b], b[a != b], strict=True)}:
            self._beside[one].add(other)
            self._beside[other].add(one)
        self._alive = [True] * count
        self._prune()

    def line(self, path: list[int]) -> Points:
        """Return the middle line of a path, smoothed over three beads."""
        points = self.middles[path]
        if len(points) < 4:
            return points
        smooth = points.copy()
        smooth[1:-1] = (points[:-2] + 2 * points[1:-1] + points[2:]) / 4
        return smooth

    def members(self, path: list[int]) -> NDArray[np.intp]:
        """Return the positions of the voxels of the beads of a path."""
        return np.concatenate([self._order[self._starts[bead] : self._starts[bead + 1]] for bead in path])

    def paths(self) -> Iterator[list[int]]:
        """Yield the paths that are left when beads with more than two neighbours are taken out, each once."""
        degree = [len(beside) for beside in self._beside]
        joints = {bead for bead, count in enumerate(degree) if self._alive[bead] and count > 2}
        left = [bead for bead, alive in enumerate(self._alive) if alive and bead not in joints]
        seen: set[int] = set()
        ends = [bead for bead in left if len(self._beside[bead] - joints) < 2]
        # A ring has no end: it is opened at its first bead.
        for start in [*ends, *left]:
            if start not in seen:
                path = self._walk(start, joints | seen)
                seen.update(path)
                yield path

    def _walk(self, start: int, barred: set[int]) -> list[int]:
        path, taken = [start], set(barred)
        while True:
            taken.add(path[-1])
            onward = sorted(self._beside[path[-1]] - taken)
            if not onward:
                return path
            path.append(onward[0])

    def _prune(self) -> None:
        """Take away side branches shorter than `SPUR_NM`, the shortest first, until there is none."""
        while spurs := sorted(self._spurs()):
            for bead in spurs[0][1]:
                self._alive[bead] = False
                for other in self._beside[bead]:
                    self._beside[other].discard(bead)
                self._beside[bead] = set()

    def _spurs(self) -> Iterator[tuple[float, list[int]]]:
        for tip, beside in enumerate(self._beside):
            if self._alive[tip] and len(beside) == 1:
                branch, length_nm = self._branch(tip)
                if branch and length_nm < SPUR_NM:
                    yield length_nm, branch

    def _branch(self, tip: int) -> tuple[list[int], float]:
        """Return the beads from a tip to before the first joint, and their distance to it; no bead without a joint."""
        branch, length_nm, before = [tip], 0.0, -1
        while True:
            onward = sorted(self._beside[branch[-1]] - {before})
            if len(onward) != 1:
                return [], 0.0
            length_nm += float(np.linalg.norm(self.middles[onward[0]] - self.middles[branch[-1]]))
            if len(self._beside[onward[0]]) > 2:
                return branch, length_nm
            before = branch[-1]
            branch.append(onward[0])
            if length_nm >= SPUR_NM or onward[0] == tip:
                return [], 0.0


def _cut_at_bends(path: list[int], beads: _Beads) -> list[list[int]]:
    """Cut a path where it turns sharply: no complex is so stiff, but two that touch end to end look like one."""
    points = beads.line(path)
    reach = max(2, round(_BEND_NM / SECTION_NM))
    if len(path) < 2 * reach + 3:
        return [path]
    before = points[reach:-reach] - points[: -2 * reach]
    after = points[2 * reach :] - points[reach:-reach]
    size = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    cosine = (before * after).sum(axis=1) / np.maximum(size, 1e-9)
    cuts, last = [], -reach
    for index in np.flatnonzero(cosine < _BEND_COSINE):
        lowest = cosine[max(0, index - reach) : index + reach + 1].min()
        if cosine[index] == lowest and index - last >= reach:
            cuts.append(int(index) + reach)
            last = int(index)
    return [path[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(path)], strict=True)]


def _alone(fragments: list[Fragment]) -> list[Fragment]:
    """Return the fragments without those that accompany a longer one over their whole length.

    A piece that goes on where another ends leaves its neighbourhood; pieces too short to do so are kept.
    """
    kept = []
    for fragment in fragments:
        longer = [other.points for other in fragments if other.length_nm > fragment.length_nm]
        if longer and fragment.length_nm > _LEAST_BESIDE_NM:
            beside = cKDTree(np.concatenate(longer)).query(fragment.points)[0]
            if np.max(beside) < BESIDE_NM:
                continue
        kept.append(fragment)
    return kept


def means(places: Points, group: NDArray[np.integer], count: int) -> Points:
    """Return the mean place of every group, float64 (count, 3)."""
    sizes = np.bincount(group, minlength=count)[:, None]
    sums = np.stack([np.bincount(group, places[:, axis], count) for axis in range(3)], axis=1)
    return np.asarray(sums / sizes)


def _half_neighbourhood() -> list[tuple[int, int, int]]:
    steps = (-1, 0, 1)
    return [(z, y, x) for z in steps for y in steps for x in steps if (z, y, x) > (0, 0, 0)]
