"""Middle lines of thin bodies, such as synaptonemal complexes, as trees: what SWC files and Neuroglancer show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, dijkstra, minimum_spanning_tree
from skimage.morphology import skeletonize

from services.exports.place import Placement
from services.exports.surfaces import Body

SPUR_NM = 150.0
MOST_VOXELS = 8_000_000
"""Most voxels of the box of a body that is traced; `surfaces.gather` averages a larger one to that size."""
_MOST_NODES = 100_000
_SMOOTHING_ROUNDS = 6
_HALF_NEIGHBOURS = [(0, 0, 1), (0, 1, -1), (0, 1, 0), (0, 1, 1)] + [(1, j, i) for j in (-1, 0, 1) for i in (-1, 0, 1)]

Points = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Skeleton:
    """A tree, or several; every node comes after its parent.

    Attributes
    ----------
    points_nm
        (n, 3) float64 nodes as (x, y, z), from the first corner of the acquisition's first voxel.
    radii_nm
        (n,) distance from each node to the surface of the body.
    parents
        (n,) int64 index of the node before; -1 for the first of a tree.
    """

    points_nm: Points
    radii_nm: NDArray[np.float64]
    parents: NDArray[np.int64]

    @property
    def length_nm(self) -> float:
        """Sum of the lengths of all edges."""
        child = np.flatnonzero(self.parents >= 0)
        return float(np.linalg.norm(self.points_nm[child] - self.points_nm[self.parents[child]], axis=1).sum())


def skeleton_of(body: Body, spur_nm: float = SPUR_NM) -> Skeleton:
    """Return the middle lines of a body: thinned to one voxel, made a tree, freed of spurs and smoothed.

    Thinning leaves the stairs of voxels, which add up to a fifth to a length; the nodes are therefore averaged with
    their neighbours a few times, the ends staying in place. Source: thinning of Lee, Kashyap and Chu 1994, as
    scikit-image has it. For measured lengths see the tables: this line is for the eye and for tracing tools.

    Parameters
    ----------
    body
        A thin body.
    spur_nm
        Branches that end and are shorter are left out; a body that is shorter altogether keeps its longest line.
    """
    mask = body.share >= 0.5 if (body.share >= 0.5).any() else body.share > 0
    padded = np.pad(mask, 1)
    distance = ndimage.distance_transform_edt(padded, sampling=body.placement.voxel_nm)
    nodes = np.argwhere(_thinned(padded))
    places = _places(nodes, body.placement)
    parents, order = _forest(nodes, places)
    keep = _without_spurs(places, parents, order, spur_nm)
    return _compact(_smoothed(places, parents, keep), distance[tuple(nodes.T)], parents, order[keep[order]])


def _thinned(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """One voxel wide lines; thinning deletes bodies an even number of voxels thick, which are shaved by one first."""
    thin = _lines(mask)
    pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
    lost = np.setdiff1d(np.arange(1, count + 1), pieces[thin])
    windows = ndimage.find_objects(pieces)
    for number in lost:
        window = windows[number - 1]
        thin[window] |= _line_of_lost(np.pad(pieces[window] == number, 1))[1:-1, 1:-1, 1:-1]
    return thin


def _line_of_lost(piece: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Line of a piece that thinning deletes: of the piece shaved on one side, else the longest way through it."""
    shaved = piece & np.roll(piece, 1, 0) & np.roll(piece, 1, 1) & np.roll(piece, 1, 2)
    thin = _lines(shaved) if shaved.any() else shaved
    if thin.any():
        return thin
    nodes = np.argwhere(piece)
    kept = nodes[_longest_way(nodes)] if len(nodes) <= _MOST_NODES else nodes[:1]
    thin[tuple(kept.T)] = True
    return thin


def _lines(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(skeletonize(mask) > 0)  # type: ignore[no-untyped-call]


def _longest_way(nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the nodes, by index, of the shortest way between the two voxels that are farthest apart in a body."""
    a, b = _neighbours(nodes)
    lengths = np.linalg.norm((nodes[a] - nodes[b]).astype(np.float64), axis=1)
    graph = coo_array((lengths, (a, b)), shape=(len(nodes), len(nodes))).tocsr()
    start = _far_end(graph, 0)
    away, before = dijkstra(graph, directed=False, indices=np.array([start]), return_predecessors=True)
    way = [int(np.argmax(away[0]))]
    while before[0, way[-1]] >= 0:
        way.append(int(before[0, way[-1]]))
    return np.array(way)


def _places(nodes: NDArray[np.int64], placement: Placement) -> Points:
    """Middles (x, y, z) of voxels of the padded mask."""
    first = np.array(placement.centre_nm((-1, -1, -1)))
    return np.ascontiguousarray((nodes * np.array(placement.voxel_nm) + first)[:, ::-1])


def _forest(nodes: NDArray[np.int64], places: Points) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Parent of each node in the shortest trees, rooted at an end of each, and an order with parents first."""
    a, b = _neighbours(nodes)
    lengths = np.linalg.norm(places[a] - places[b], axis=1)
    count = len(nodes)
    tree = minimum_spanning_tree(coo_array((lengths, (a, b)), shape=(count, count)).tocsr())
    tree = (tree + tree.T).tocsr()
    _, piece = connected_components(tree, directed=False)
    parents = np.full(count, -1, np.int64)
    order = []
    for number in range(piece.max() + 1):
        root = _far_end(tree, int(np.flatnonzero(piece == number)[0]))
        visited, before = breadth_first_order(tree, root, directed=False)
        parents[visited] = np.where(before[visited] < 0, -1, before[visited])
        order.append(visited)
    return parents, np.concatenate(order).astype(np.int64)


def _far_end(tree: csr_array, start: int) -> int:
    """Node farthest from another one along a tree, which is an end of its longest line."""
    away = dijkstra(tree, directed=False, indices=np.array([start]))[0]
    return int(np.argmax(np.where(np.isfinite(away), away, -1.0)))


def _neighbours(nodes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of nodes whose voxels share a face, an edge or a corner."""
    shape = nodes.max(axis=0) + 3  # a margin, so that no step leads round an edge to another row
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    keys = (nodes + 1) @ strides  # ascending, as `argwhere` lists voxels
    first, second = [], []
    for step in _HALF_NEIGHBOURS:
        wanted = keys + int(strides @ np.array(step))
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        hits = np.flatnonzero(keys[at] == wanted)
        first.append(hits)
        second.append(at[hits])
    return np.concatenate(first), np.concatenate(second)


def _without_spurs(
    places: Points, parents: NDArray[np.int64], order: NDArray[np.int64], spur_nm: float
) -> NDArray[np.bool_]:
    """Which nodes to keep: those on a branch that goes on for at least `spur_nm`, and the longest line of each tree."""
    step = np.zeros(len(parents))
    child = np.flatnonzero(parents >= 0)
    step[child] = np.linalg.norm(places[child] - places[parents[child]], axis=1)
    beyond = np.zeros(len(parents))  # longest way from a node to an end beyond it
    heir = np.full(len(parents), -1, np.int64)
    for node in order[::-1]:
        parent = parents[node]
        if parent >= 0 and (heir[parent] < 0 or beyond[node] + step[node] > beyond[parent]):
            beyond[parent], heir[parent] = beyond[node] + step[node], node
    keep = np.zeros(len(parents), bool)
    for node in order:
        parent = parents[node]
        if parent < 0:
            keep[node] = True
        elif keep[parent]:
            # A side branch is judged as a whole, from where it leaves to its far end.
            keep[node] = heir[parent] == node or beyond[node] + step[node] >= spur_nm
    return keep


def _smoothed(places: Points, parents: NDArray[np.int64], keep: NDArray[np.bool_]) -> Points:
    """Nodes averaged with their neighbours; ends, forks and what is not kept stay where they are."""
    child = np.flatnonzero(keep & (parents >= 0))
    degree = np.bincount(child, minlength=len(places)) + np.bincount(parents[child], minlength=len(places))
    inner = degree == 2
    smooth = places.copy()
    for _ in range(_SMOOTHING_ROUNDS):
        total = np.zeros_like(smooth)
        np.add.at(total, child, smooth[parents[child]])
        np.add.at(total, parents[child], smooth[child])
        smooth[inner] = 0.5 * smooth[inner] + 0.25 * total[inner]
    return smooth


def _compact(
    places: Points, radii: NDArray[np.float64], parents: NDArray[np.int64], order: NDArray[np.int64]
) -> Skeleton:
    """Return the kept nodes alone, renumbered in an order with parents first."""
    number = np.full(len(parents), -1, np.int64)
    number[order] = np.arange(len(order))
    old = parents[order]
    return Skeleton(places[order], radii[order], np.where(old < 0, -1, number[old]))


def joined(skeletons: list[Skeleton]) -> Skeleton:
    """Return several skeletons as one forest."""
    starts = np.cumsum([0, *(len(s.parents) for s in skeletons)])
    return Skeleton(
        np.concatenate([s.points_nm for s in skeletons]),
        np.concatenate([s.radii_nm for s in skeletons]),
        np.concatenate([np.where(s.parents < 0, -1, s.parents + a) for s, a in zip(skeletons, starts, strict=False)]),
    )


def to_swc(skeleton: Skeleton, title: str) -> bytes:
    """Return the SWC of a skeleton: positions and radii in micrometres, type 0 (undefined), one root per tree.

    Source: Cannon et al. 1998; the extended standard of neuroinformatics (SWC+).

    Examples
    --------
    >>> line = Skeleton(np.array([[0.0, 0, 0], [1000, 0, 0]]), np.array([50.0, 50.0]), np.array([-1, 0]))
    >>> print(to_swc(line, "a line").decode())
    # a line
    # units: micrometre; columns: n type x y z radius parent
    1 0 0.0000 0.0000 0.0000 0.0500 -1
    2 0 1.0000 0.0000 0.0000 0.0500 1
    <BLANKLINE>
    """
    lines = [f"# {title}", "# units: micrometre; columns: n type x y z radius parent"]
    nodes = zip(skeleton.points_nm / 1000.0, skeleton.radii_nm / 1000.0, skeleton.parents, strict=True)
    for number, ((x, y, z), radius, parent) in enumerate(nodes, start=1):
        lines.append(f"{number} 0 {x:.4f} {y:.4f} {z:.4f} {radius:.4f} {parent + 1 if parent >= 0 else -1}")
    return ("\n".join(lines) + "\n").encode()
