"""A bivalent divided between its homologs: by the side of the synaptonemal complex on which chromatin lies.

The complex (SC) is a ribbon whose two edges are the axes of the homologs. Its cross-section is wider from axis to axis
than it is thick, which gives at every place of the track the direction from one homolog to the other, but for its sign;
along the track the direction turns slowly (domain.md, section 1), which gives the sign.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from services.components.separation.field import SYNAPTONEMAL_COMPLEX, ChromatinField, Labels
from services.components.separation.fragments import Fragment, Points
from services.components.separation.tracks import Track

SAMPLE_NM = 40.0
_SMOOTH_NM = 120.0
_WINDOW_NM = 90.0
_STEADY_NM = 260.0


def sides(
    field: ChromatinField, fragments: Sequence[Fragment], track: Track, body: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return, bool, on which side of the SC's middle the voxels of a bivalent lie.

    Parameters
    ----------
    field
        Chromatin and SC.
    fragments
        All pieces of the SC.
    track
        The bivalent's.
    body
        int64 (n,): flat indices of the voxels to tell apart.
    """
    line = resampled(track.points)
    voxels = np.concatenate([fragments[index].voxels for index in track.fragments])
    across = _across(line, _places(field, voxels))
    places = _places(field, body)
    nearest = np.asarray(cKDTree(line).query(places)[1])
    side: NDArray[np.bool_] = np.einsum("ij,ij->i", places - line[nearest], across[nearest]) > 0
    return side


def split_bodies(
    field: ChromatinField, fragments: Sequence[Fragment], tracks: dict[int, Track], labels: Labels
) -> Labels:
    """Return twice the label of each body, less one on the first side of its SC; the SC belongs to none.

    Parameters
    ----------
    field, fragments
        As in `sides`.
    tracks
        Tracks of the bodies to divide; the others keep one label, ``2 * body``.
    labels
        uint8 (z, y, x): bodies, up to 127.
    """
    found: Labels = np.where(field.classes == SYNAPTONEMAL_COMPLEX, 0, labels) * np.uint8(2)
    flat = found.reshape(-1)
    voxels = np.flatnonzero(flat)
    order = voxels[np.argsort(flat[voxels], kind="stable")]
    starts = np.searchsorted(flat[order], 2 * np.arange(1, 129))
    for body, track in sorted(tracks.items()):
        mine = order[starts[body - 1] : starts[body]]
        if mine.size:
            flat[mine] -= sides(field, fragments, track, mine).astype(np.uint8)
    return found


def resampled(points: Points) -> Points:
    """Return a smooth line with points `SAMPLE_NM` apart, float64 (n, 3)."""
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    keep = np.concatenate([[True], np.diff(arc) > 0])
    stops = np.linspace(0.0, arc[-1], max(2, round(arc[-1] / SAMPLE_NM) + 1))
    line = np.stack([np.interp(stops, arc[keep], points[keep, axis]) for axis in range(3)], axis=1)
    return np.asarray(gaussian_filter1d(line, _SMOOTH_NM / SAMPLE_NM, axis=0, mode="nearest"))


def _places(field: ChromatinField, voxels: NDArray[np.int64]) -> Points:
    index = np.stack(np.unravel_index(voxels, field.classes.shape), axis=1)
    return np.asarray((index + 0.5) * np.array(field.step_zyx_nm))


def _across(line: Points, complex_nm: Points) -> Points:
    """Return the unit vector from one homolog to the other at every point of a line, of one sign along it."""
    tangent = np.gradient(line, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    first, second = _carried(tangent)
    turn = _doubled_angle(line, (first, second), complex_nm)
    angle = _steady(turn)[:, None]
    return np.asarray(np.cos(angle) * first + np.sin(angle) * second)


def _carried(tangent: Points) -> tuple[Points, Points]:
    """Return two unit vectors across the line that turn as little as they can along it (Bishop 1975)."""
    first = np.empty_like(tangent)
    normal = np.cross(tangent[0], np.eye(3)[np.argmin(np.abs(tangent[0]))])
    for index, along in enumerate(tangent):
        normal = normal - (normal @ along) * along
        normal /= max(float(np.linalg.norm(normal)), 1e-9)
        first[index] = normal
    return first, np.cross(tangent, first)


def _doubled_angle(line: Points, frame: tuple[Points, Points], complex_nm: Points) -> NDArray[np.complex128]:
    """Return the direction in which the SC is wide, in the frame: complex, twice its angle; size by how clear it is."""
    apart, nearest = (np.asarray(found) for found in cKDTree(line).query(complex_nm))
    near = apart < _WINDOW_NM
    offset = (complex_nm - line[nearest])[near]
    at = nearest[near]
    u = np.einsum("ij,ij->i", offset, frame[0][at])
    v = np.einsum("ij,ij->i", offset, frame[1][at])
    count = np.maximum(np.bincount(at, minlength=len(line)), 1)
    mean_u, mean_v = (np.bincount(at, w, len(line)) / count for w in (u, v))
    u, v = u - mean_u[at], v - mean_v[at]
    # The second moments of the section as one complex number: twice the angle of its long axis.
    real, imaginary = (np.bincount(at, w, len(line)) for w in (u * u - v * v, 2 * u * v))
    return np.asarray(real + 1j * imaginary)


def _steady(turn: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Return the angle along the line from twice the angle, through gaps, by the rate at which it turns."""
    step = turn[1:] * np.conj(turn[:-1])
    total = step.sum()
    rate = float(np.angle(total)) if abs(total) > 0 else 0.0
    carrier = np.exp(1j * rate * np.arange(turn.size))
    calm = turn * np.conj(carrier)
    sigma = _STEADY_NM / SAMPLE_NM
    smooth = gaussian_filter1d(calm.real, sigma) + 1j * gaussian_filter1d(calm.imag, sigma)
    return np.asarray((np.unwrap(np.angle(smooth)) + rate * np.arange(turn.size)) / 2)
