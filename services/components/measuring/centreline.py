"""The middle line of a thin body, such as a synaptonemal complex: found by geodesics, refined by centroids.

The farthest two voxels of the body, by the shortest way through it, are its ends; the shortest way between them is the
first line. Then every voxel goes to its nearest sample of the line, samples move to the centroids of what they own
(within the plane across the line), and the line is smoothed; a few rounds make it the line of centroids of the cross
sections, free of the stairs of the voxels. Ends are put where the volume beyond them, divided by the cross section
next to them, puts them. What the line does not cover (a branch, a second body that touches) is traced in turn.

Thinning (scikit-image, Lee 1994) with skan and TEASAR (kimimaro) count the stairs and stop at different depths from the
ends: docs/measuring.md has the errors of all three.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra

from services.components.measuring.lattice import NM_PER_UM, FloatArray, Lattice
from services.components.measuring.nearest import Points

_ROUNDS = 4
_SMOOTHING_WIDTHS = 0.4
_CURVATURE_WIDTHS = 1.2
_SHORTEST_WIDTHS = 3.0
_FORWARD = [(z, y, x) for z in (0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1) if (z, y, x) > (0, 0, 0)]


@dataclass(frozen=True, eq=False)
class Track:
    """The middle line of a thin body.

    Attributes
    ----------
    points_nm
        float64, shape (n, 3), axes (z, y, x): samples at nearly even distances, from end to end.
    indices
        int64, shape (m, 3): the voxels that belong to it, in the array that was given.
    voxels_nm
        float64, shape (m, 3): their middles.
    weights_nm3
        float64, shape (m,): volumes of these voxels.
    voxel_nm
        Edges (z, y, x) of the voxels, for the correction of second moments.
    scale_nm
        Root of the median cross section: a width for bodies of any form.
    branches
        Whether the body went on elsewhere: it branches, closes on itself, or is several that touch.
    """

    points_nm: FloatArray
    indices: NDArray[np.int64]
    voxels_nm: FloatArray
    weights_nm3: FloatArray
    voxel_nm: tuple[float, float, float]
    scale_nm: float
    branches: bool = False

    @property
    def length_um(self) -> float:
        """Arc length from end to end."""
        return float(np.linalg.norm(np.diff(self.points_nm, axis=0), axis=1).sum()) / NM_PER_UM

    @property
    def arc_nm(self) -> FloatArray:
        """Arc length from the first point to each, float64, shape (n,)."""
        return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(self.points_nm, axis=0), axis=1))])


@dataclass(frozen=True, slots=True)
class Curvature:
    """How a line bends: mean and greatest curvature in 1/um; the greatest is the 95th percentile along the line."""

    mean_per_um: float
    greatest_per_um: float


def tracks(mask: NDArray[np.bool_], lattice: Lattice, least_um: float = 0.2) -> tuple[Track, ...]:
    """Return the middle lines of the 26-connected bodies in a mask, the longest first.

    Parameters
    ----------
    mask
        Bool, (z, y, x): thin bodies, such as one class or one object of it.
    lattice
        Where its voxels lie.
    least_um
        Shorter lines are left out: they are thicker than they are long.
    """
    return tracks_of(np.argwhere(mask), lattice, mask.shape[0], least_um)


def tracks_of(indices: NDArray[np.int64], lattice: Lattice, planes: int, least_um: float = 0.2) -> tuple[Track, ...]:
    """Return the middle lines of the bodies that voxels form; as `tracks`, from indices in raster order."""
    if len(indices) == 0:
        return ()
    places = lattice.places_nm(indices, planes)
    weights = lattice.thickness_nm(planes)[indices[:, 0]] * lattice.pixel_nm2
    graph = _graph(indices, places)
    found = [
        track
        for body in _bodies(graph, np.arange(len(indices)))
        for track in _traced(graph, body, (indices, places, weights), lattice)
        if track.length_um >= least_um
    ]
    return tuple(sorted(found, key=lambda track: (-track.length_um, tuple(track.points_nm[0]))))


def curvature(track: Track) -> Curvature | None:
    """Return the curvature |dT/ds| of a line, smoothed over 1.2 widths of its body; None where it is too short.

    Notes
    -----
    A circle of radius R comes out at exp(-s**2 / (2 R**2)) of its curvature, s the smoothing: 2 % low for R = 500 nm
    and s = 100 nm.
    """
    sigma_nm = _CURVATURE_WIDTHS * track.scale_nm
    step_nm = track.length_um * NM_PER_UM / max(1, len(track.points_nm) - 1)
    rim = int(np.ceil(2 * sigma_nm / step_nm))
    if len(track.points_nm) < 2 * rim + 5:
        return None
    line = gaussian_filter1d(track.points_nm, sigma_nm / step_nm, axis=0, mode="nearest")
    velocity = np.gradient(line, axis=0)
    speed = np.linalg.norm(velocity, axis=1)
    bend = np.linalg.norm(np.gradient(velocity / speed[:, None], axis=0), axis=1) / speed
    inner = bend[rim:-rim] * NM_PER_UM
    return Curvature(float(inner.mean()), float(np.quantile(inner, 0.95)))


def _graph(indices: NDArray[np.int64], places: FloatArray) -> csr_array:
    """Return the 26-neighbour graph of voxels, in raster order, weighted by distance in nm."""
    low = indices.min(axis=0) - 1
    strides = np.array([1, 1, 1])
    extent = indices.max(axis=0) - low + 2
    strides[:2] = extent[1] * extent[2], extent[2]
    key = (indices - low) @ strides
    starts, ends = [], []
    for step in _FORWARD:
        wanted = key + np.array(step) @ strides
        at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        joined = np.flatnonzero(key[at] == wanted)
        starts.append(joined)
        ends.append(at[joined])
    start, end = np.concatenate(starts), np.concatenate(ends)
    length = np.linalg.norm(places[start] - places[end], axis=1)
    return csr_array((length, (start, end)), shape=(len(places),) * 2)


def _bodies(graph: csr_array, nodes: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield the nodes of each connected part of a part of the graph, in order of their first nodes."""
    count, part = connected_components(graph[nodes][:, nodes], directed=False)
    for index in range(count):
        yield nodes[part == index]


def _traced(
    graph: csr_array,
    body: NDArray[np.int64],
    voxels: tuple[NDArray[np.int64], FloatArray, FloatArray],
    lattice: Lattice,
) -> Iterator[Track]:
    """Yield the line of a connected body, and those of what it leaves uncovered."""
    waiting = [(body, False)]
    while waiting:
        nodes, is_rest = waiting.pop(0)
        path = _longest_path(graph[nodes][:, nodes])
        if len(path) < 3:
            continue
        indices, places, weights = voxels[0][nodes], voxels[1][nodes], voxels[2][nodes]
        points, scale_nm = _refined(places[path], places, weights, lattice)
        distance_nm, _ = Points(points).nearest(places)
        covered = distance_nm <= 2.0 * scale_nm
        rests = _bodies(graph, nodes[~covered]) if not covered.all() else ()
        large = [rest for rest in rests if voxels[2][rest].sum() > _SHORTEST_WIDTHS * scale_nm**3]
        yield Track(
            points_nm=points,
            indices=indices[covered],
            voxels_nm=places[covered],
            weights_nm3=weights[covered],
            voxel_nm=lattice.voxel_zyx_nm,
            scale_nm=scale_nm,
            branches=is_rest or bool(large),
        )
        waiting.extend((rest, True) for rest in large)


def _longest_path(graph: csr_array) -> NDArray[np.int64]:
    """Return the nodes of the shortest way between the two ends that lie farthest apart."""
    first = int(np.argmax(dijkstra(graph, directed=False, indices=[0])))
    distance, before = dijkstra(graph, directed=False, indices=[first], return_predecessors=True)
    path = [int(np.argmax(distance))]
    while path[-1] != first:
        path.append(int(before[0, path[-1]]))
    return np.array(path[::-1], np.int64)


def _refined(path: FloatArray, places: FloatArray, weights: FloatArray, lattice: Lattice) -> tuple[FloatArray, float]:
    """Return the line of centroids near a path, and the root of its body's median cross section, nm."""
    step_nm = lattice.coarsest_nm
    line = resampled(gaussian_filter1d(path, 2.0, axis=0, mode="nearest"), step_nm)
    scale_nm = 0.0
    for _ in range(_ROUNDS):
        distance_nm, owner = Points(line).nearest(places)
        if scale_nm == 0.0:
            scale_nm = _cross_section_root(owner, weights, line, step_nm)
        near = distance_nm <= 1.5 * scale_nm
        line = _centred(line, owner[near], places[near], weights[near])
        sigma = max(1.0, _SMOOTHING_WIDTHS * scale_nm / step_nm)
        line = resampled(_smoothed(line, sigma), step_nm)
    if len(line) * step_nm >= _SHORTEST_WIDTHS * scale_nm:
        line = _with_ends(_with_ends(line, places, weights, scale_nm)[::-1], places, weights, scale_nm)[::-1]
    return resampled(line, step_nm), scale_nm


def _cross_section_root(owner: NDArray[np.int64], weights: FloatArray, line: FloatArray, step_nm: float) -> float:
    share = np.bincount(owner, weights=weights, minlength=len(line))
    inner = share[1:-1] if len(share) > 4 else share
    return float(np.sqrt(max(np.median(inner) / step_nm, step_nm**2)))


def _centred(line: FloatArray, owner: NDArray[np.int64], places: FloatArray, weights: FloatArray) -> FloatArray:
    """Move samples to the centroids of what they and their neighbours own, across the line but not along it."""
    total = _with_neighbours(np.bincount(owner, weights=weights, minlength=len(line)).astype(np.float64))
    moments = (np.bincount(owner, weights=weights * places[:, axis], minlength=len(line)) for axis in range(3))
    moment = np.stack([_with_neighbours(along.astype(np.float64)) for along in moments], axis=1)
    used = total > 0
    shift = np.zeros_like(line)
    shift[used] = moment[used] / total[used, None] - line[used]
    along = tangents(line)
    shift -= (shift * along).sum(axis=1, keepdims=True) * along
    return np.asarray(line + shift, np.float64)


def _with_neighbours(values: FloatArray) -> FloatArray:
    """Return half of each value and a quarter of those beside it, as many as there were, however few."""
    return np.convolve(values, np.array([0.25, 0.5, 0.25]), mode="full")[1:-1]


def _smoothed(line: FloatArray, sigma: float) -> FloatArray:
    """Smooth a line without pulling in its ends: it is continued point-symmetrically beyond them."""
    if len(line) < 4:
        return line
    reach = min(len(line) - 1, int(4 * sigma) + 1)
    before = 2 * line[0] - line[reach:0:-1]
    after = 2 * line[-1] - line[-2 : -reach - 2 : -1]
    smooth = gaussian_filter1d(np.concatenate([before, line, after]), sigma, axis=0, mode="nearest")
    return np.asarray(smooth[reach : reach + len(line)], np.float64)


def _with_ends(line: FloatArray, places: FloatArray, weights: FloatArray, scale_nm: float) -> FloatArray:
    """Put the last end of a line where the volume behind its last stretch says it is.

    The stretch before, two widths long, gives the cross section; what lies beyond, its volume over that cross section
    long, gives the end: right for a flat end of any tilt, and for a round one that of equal volume.
    """
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    stretch_nm = min(2.0 * scale_nm, arc[-1] / 3)
    cut = int(np.searchsorted(arc, arc[-1] - stretch_nm))
    before = int(np.searchsorted(arc, arc[cut] - stretch_nm))
    if cut - before < 1 or cut >= len(line):
        return line
    direction = line[cut] - line[before]
    direction /= np.linalg.norm(direction)
    near = np.linalg.norm(places - line[cut], axis=1) <= 3.0 * scale_nm + stretch_nm
    _, owner = Points(line).nearest(places[near])
    share = np.bincount(owner, weights=weights[near], minlength=len(line))
    # The plane through the sample at the cut halves what that sample owns.
    beyond = share[cut + 1 :].sum() + share[cut] / 2
    inside = share[before + 1 : cut].sum() + (share[before] + share[cut]) / 2
    if inside <= 0:
        return line
    wanted = arc[cut] + beyond / inside * (arc[cut] - arc[before])
    if wanted <= arc[-1]:
        kept = line[arc < wanted]
        last = [np.interp(wanted, arc, line[:, axis]) for axis in range(3)]
        return np.concatenate([kept, [last]])
    tip = line[-1] - line[max(0, len(line) - 4)]
    return np.concatenate([line, [line[-1] + tip / np.linalg.norm(tip) * (wanted - arc[-1])]])


def resampled(line: FloatArray, step_nm: float) -> FloatArray:
    """Return points at even distances of about a step along a polyline, its ends included.

    Examples
    --------
    >>> resampled(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 4.0]]), 2.0).tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 4.0]]
    """
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    stops = np.linspace(0.0, arc[-1], max(2, round(arc[-1] / step_nm) + 1))
    return np.stack([np.interp(stops, arc, line[:, axis]) for axis in range(3)], axis=1)


def tangents(line: FloatArray) -> FloatArray:
    """Return unit tangents along a polyline, float64, of its shape.

    Examples
    --------
    >>> tangents(np.array([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 4.0, 0.0]])).tolist()
    [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    """
    along = np.gradient(line, axis=0)
    return np.asarray(along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-12), np.float64)
