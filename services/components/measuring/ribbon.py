"""The cross section of a synaptonemal complex along its middle line: width, thickness, twist, swellings, sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from services.components.measuring.centreline import Track, tangents
from services.components.measuring.lattice import NM_PER_UM, FloatArray
from services.components.measuring.nearest import Points

LATERAL_ELEMENT_NM = 22.0
"""Width of a lateral element, 20 to 25 nm (domain.md 1, an engineering default: no source was found)."""
_WINDOW_NM = 40.0
_LEAST_FLATNESS = 1.2
_SWELLING_RATIO = 1.25
_SWELLING_NM = (80.0, 500.0)
_SWELLING_RIM_NM = 150.0
_SIDE_REACH_NM = 350.0
_SIDE_SLACK_NM = 40.0


@dataclass(frozen=True, eq=False)
class CrossSections:
    """The cross section of a body at every point of its middle line.

    Attributes
    ----------
    track
        The line.
    width_nm, thickness_nm
        float64, shape (n,): edges of the rectangle with the same second moments; NaN where there is no body.
    angle_rad
        float64, shape (n,): of the width, in a frame carried along the line without turning; unwrapped, modulo half
        turns.
    across
        float64, shape (n, 3): unit vectors along the width.
    """

    track: Track
    width_nm: FloatArray
    thickness_nm: FloatArray
    angle_rad: FloatArray
    across: FloatArray


@dataclass(frozen=True, slots=True)
class Twist:
    """Twist of a ribbon: arc length of a full turn, and turns in all, positive when right-handed in (x, y, z)."""

    pitch_um: float
    turns: float


@dataclass(frozen=True, slots=True)
class Swelling:
    """A stretch that is thicker than the rest: where, how long, and how many times the median thickness."""

    place_nm: tuple[float, float, float]
    length_nm: float
    ratio: float


def cross_sections(track: Track) -> CrossSections:
    """Return the cross sections of a track's body.

    The second moments of the voxels within 40 nm along the line, about their centroid in the plane across it, plus
    those of a voxel, are those of a rectangle: width = sqrt(12 * larger), thickness = sqrt(12 * smaller eigenvalue).
    The complex is a ribbon, 100 nm between axes and 40 to 80 nm thick (domain.md 1).
    """
    line = track.points_nm
    _, first, second = carried_frame(line)
    _, owner = Points(line).nearest(track.voxels_nm)
    offset = track.voxels_nm - line[owner]
    u, v = (offset * first[owner]).sum(axis=1), (offset * second[owner]).sum(axis=1)
    step_nm = track.length_um * NM_PER_UM / (len(line) - 1)
    half = max(1, round(_WINDOW_NM / step_nm))
    sums = [
        _windowed(np.bincount(owner, track.weights_nm3 * value, len(line)).astype(np.float64), half)
        for value in (np.ones_like(u), u, v, u * u, u * v, v * v)
    ]
    with np.errstate(invalid="ignore", divide="ignore"):
        _, mu, mv, uu, uv, vv = (total / sums[0] for total in sums)
    covariance = np.stack([uu - mu * mu, uv - mu * mv, uv - mu * mv, vv - mv * mv], axis=1).reshape(-1, 2, 2)
    covariance += _voxel_moments(track.voxel_nm, first, second)
    covariance[~np.isfinite(covariance).all(axis=(1, 2))] = np.eye(2)
    smaller, larger = np.linalg.eigvalsh(covariance).T
    angle = 0.5 * np.unwrap(np.arctan2(2 * covariance[:, 0, 1], covariance[:, 0, 0] - covariance[:, 1, 1]))
    empty = sums[0] <= 0
    width, thickness = np.sqrt(12 * larger), np.sqrt(12 * np.maximum(smaller, 0))
    width[empty], thickness[empty] = np.nan, np.nan
    across = np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second
    return CrossSections(track, width, thickness, angle, across)


def carried_frame(line: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return tangents and two unit vectors across a line that are carried along it without turning about it."""
    along = tangents(line)
    first = np.empty_like(along)
    vector = np.cross(along[0], np.eye(3)[np.argmin(np.abs(along[0]))])
    for index, tangent in enumerate(along):
        vector = vector - vector.dot(tangent) * tangent
        vector /= np.linalg.norm(vector)
        first[index] = vector
    return along, first, np.cross(along, first)


def _windowed(values: FloatArray, half: int) -> FloatArray:
    return np.asarray(np.convolve(values, np.ones(2 * half + 1), mode="same"), np.float64)


def _voxel_moments(voxel_nm: tuple[float, float, float], first: FloatArray, second: FloatArray) -> FloatArray:
    """Second moments of one voxel in the plane across: what the middles of voxels leave out of a body's."""
    own = np.square(voxel_nm) / 12
    return np.stack(
        [
            np.stack([(first * own * first).sum(axis=1), (first * own * second).sum(axis=1)], axis=1),
            np.stack([(first * own * second).sum(axis=1), (second * own * second).sum(axis=1)], axis=1),
        ],
        axis=1,
    )


def median_width_um(sections: CrossSections) -> tuple[float, float]:
    """Return the medians of width and thickness along a track."""
    return (
        float(np.nanmedian(sections.width_nm)) / NM_PER_UM,
        float(np.nanmedian(sections.thickness_nm)) / NM_PER_UM,
    )


def twist(sections: CrossSections) -> Twist | None:
    """Return the twist of a ribbon: the slope of its angle along the line, by least squares.

    None where it is not flat enough (width below 1.2 thicknesses for half of it) or too short (0.5 um) to tell.
    """
    flat = sections.width_nm > _LEAST_FLATNESS * sections.thickness_nm
    arc_um = sections.track.arc_nm / NM_PER_UM
    if flat.mean() < 0.5 or arc_um[-1] < 0.5:
        return None
    slope, _ = np.polyfit(arc_um[flat], sections.angle_rad[flat], 1)
    # Cross products of (z, y, x) have the other hand than those of (x, y, z).
    turns = -float(slope) * float(arc_um[-1]) / (2 * np.pi)
    return Twist(float("inf") if slope == 0 else float(2 * np.pi / abs(slope)), turns)


def swellings(sections: CrossSections) -> tuple[Swelling, ...]:
    """Return the stretches of a track thicker than 1.25 times its median, 80 to 500 nm long and not at its ends.

    Recombination knobs displace chromatin for 200 nm, about six in a nucleus and never at ends (Goldstein & Slaton
    1982). They are known by their darkness too, which labels do not hold: these are candidates.
    """
    step_nm = sections.track.length_um * NM_PER_UM / (len(sections.thickness_nm) - 1)
    profile = np.nan_to_num(sections.thickness_nm)
    ratio = gaussian_filter1d(profile, _WINDOW_NM / 2 / step_nm, mode="nearest") / np.nanmedian(sections.thickness_nm)
    arc_nm = sections.track.arc_nm
    thick = (ratio > _SWELLING_RATIO) & (arc_nm > _SWELLING_RIM_NM) & (arc_nm < arc_nm[-1] - _SWELLING_RIM_NM)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], thick, [False]]).astype(np.int8)))
    found = []
    for start, stop in edges.reshape(-1, 2):
        length_nm = float((stop - start) * step_nm)
        if _SWELLING_NM[0] <= length_nm <= _SWELLING_NM[1]:
            z, y, x = sections.track.points_nm[(start + stop) // 2].tolist()
            found.append(Swelling((z, y, x), length_nm, float(ratio[start:stop].max())))
    return tuple(found)


def axis_distance_um(sections: CrossSections) -> float:
    """Return the distance between the middles of the two lateral elements: the width less one lateral element.

    Labels hold the complex as one class; its lateral elements are taken as 22 nm wide.
    """
    return (float(np.nanmedian(sections.width_nm)) - LATERAL_ELEMENT_NM) / NM_PER_UM


def homolog_distance_um(sections: CrossSections, chromatin_nm: FloatArray) -> float | None:
    """Return the distance between the chromatin of the two homologs, across the complex.

    At every point of the line the chromatin within 350 nm is parted by the plane that holds the line and is normal to
    the ribbon's width; the distance is that between the centroids of the two parts along the width, the median over the
    line. None where one side is bare along more than half of it.

    Parameters
    ----------
    sections
        Of the complex.
    chromatin_nm
        float64, shape (m, 3): middles of the voxels of its own chromatin.
    """
    line = sections.track.points_nm
    distance_nm, owner = Points(line).nearest(chromatin_nm, _SIDE_REACH_NM)
    near = np.isfinite(distance_nm)
    offset, owner = chromatin_nm[near] - line[owner[near]], owner[near]
    # Beyond the ends of the line the nearest sample is an end, and the offset runs along the line.
    beside = np.abs((offset * tangents(line)[owner]).sum(axis=1)) <= _SIDE_SLACK_NM
    u, owner = (offset * sections.across[owner]).sum(axis=1)[beside], owner[beside]
    middle = []
    for side in (u > 0, u < 0):
        count = np.bincount(owner[side], minlength=len(line))
        with np.errstate(invalid="ignore", divide="ignore"):
            middle.append(np.bincount(owner[side], weights=u[side], minlength=len(line)) / count)
    apart = middle[0] - middle[1]
    if np.isfinite(apart).mean() < 0.5:
        return None
    return float(np.nanmedian(apart)) / NM_PER_UM
