"""Where the six bivalents of a nucleus run: bead chains relaxed in the shell around the nucleolus."""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

SAMPLE_NM = 14.0
"""Distance between the samples of a centreline."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Shell:
    """The room chromosomes have, about the centre of the nucleus, in nm.

    ``outer_nm`` bounds the distance from the nucleus' centre, ``inner_nm`` that from ``inner_centre_zyx_nm`` (the
    nucleolus).
    """

    outer_nm: float
    inner_nm: float
    inner_centre_zyx_nm: FloatArray


@dataclass(frozen=True)
class ChainRules:
    """How chains of beads relax: bead distance, tube radius, crowding and number of steps."""

    bead_nm: float
    half_nm: float
    crowding: float
    steps: int


@dataclass(frozen=True)
class Centreline:
    """One synaptonemal complex as samples along its middle, `SAMPLE_NM` apart.

    ``points``, ``tangents``, ``across`` (from homolog 1 to homolog 2) and ``normals`` are float64 of shape (n, 3), axes
    (z, y, x), points in nm from the centre of the nucleus; ``length_nm`` is the arc length.
    """

    points: FloatArray
    tangents: FloatArray
    across: FloatArray
    normals: FloatArray
    length_nm: float


def _unit(vector: FloatArray) -> FloatArray:
    return np.asarray(vector / np.linalg.norm(vector, axis=-1, keepdims=True), dtype=np.float64)


def _spiral(length: float, start: float = 0.3) -> FloatArray:
    """Wind a spiral of about a length on the unit sphere, from near one pole to near the other: shape (n, 3)."""
    polar = np.linspace(start, np.pi - start, 20_000)
    turns = max(length / (2 * np.cos(start)), 1.0)
    azimuth = turns * (polar - start)
    return np.stack([np.cos(polar), np.sin(polar) * np.sin(azimuth), np.sin(polar) * np.cos(azimuth)], axis=1)


def _swirled(points: FloatArray, rng: np.random.Generator, swirls: int = 5) -> FloatArray:
    """Twist the sphere about random axes; nothing that was apart comes to cross."""
    for _ in range(swirls):
        axis = _unit(rng.normal(size=3))
        height = points @ axis
        angle = rng.normal() * 0.9 * np.exp((height - 1) / 0.35)
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        points = points * cos + np.cross(axis, points) * sin + np.outer(height, axis) * (1 - cos)
    return points


def _start(counts: list[int], shell: Shell, rules: ChainRules, rng: np.random.Generator) -> FloatArray:
    """Beads of all chains along one swirled curve that winds around the nucleolus, so that no two chains cross."""
    radius = (shell.inner_nm + shell.outer_nm) / 2
    gap = max(1, round(1.6 * rules.half_nm / rules.bead_nm))
    order = rng.permutation(len(counts))
    total = sum(counts) + gap * (len(counts) - 1)
    curve = _swirled(_spiral(total * rules.bead_nm / radius), rng)
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    stops = np.linspace(0.0, arc[-1], total)
    track = np.column_stack([np.interp(stops, arc, curve[:, axis]) for axis in range(3)]) * radius
    beads, first = [np.empty((0, 3))] * len(counts), 0
    for chain in order:
        piece = track[first : first + counts[chain]]
        beads[chain] = piece[:: rng.choice([-1, 1])]
        first += counts[chain] + gap
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    jitter = rng.normal(size=(sum(counts), 3)) * 5.0
    return np.asarray(np.concatenate(beads) @ rotation.T + jitter + shell.inner_centre_zyx_nm / 2)


@njit(cache=True, nogil=True)
def _close_pairs(x: FloatArray, chain: NDArray[np.int64], cutoff: float, apart: int) -> NDArray[np.int32]:
    """Pairs of beads nearer than a cutoff, leaving out neighbours along one chain."""
    n = len(x)
    found = np.empty((n * 200, 2), dtype=np.int32)
    count = 0
    for a in range(n):
        for b in range(a + 1, n):
            if chain[a] == chain[b] and b - a <= apart:
                continue
            dz = x[a, 0] - x[b, 0]
            if abs(dz) > cutoff:
                continue
            dy = x[a, 1] - x[b, 1]
            dx = x[a, 2] - x[b, 2]
            if dz * dz + dy * dy + dx * dx < cutoff * cutoff and count < len(found):
                found[count, 0] = a
                found[count, 1] = b
                count += 1
    return found[:count]


@njit(cache=True, nogil=True)
def _scale(rows: FloatArray, a: int, factor: float) -> None:
    """Multiply one row (written out, since slices of arrays take seconds to compile)."""
    for k in range(3):
        rows[a, k] *= factor


@njit(cache=True, nogil=True)
def _repel(x: FloatArray, pairs: NDArray[np.int32], dmin: float, force: FloatArray, count: FloatArray) -> None:
    """Add the repulsion between beads nearer than ``dmin``, damped where a bead has many partners (``count``)."""
    n = len(x)
    for a in range(n):
        count[a] = 0.0
    for p in range(len(pairs)):
        a = pairs[p, 0]
        b = pairs[p, 1]
        dz = x[a, 0] - x[b, 0]
        dy = x[a, 1] - x[b, 1]
        dx = x[a, 2] - x[b, 2]
        d2 = dz * dz + dy * dy + dx * dx
        if d2 >= dmin * dmin:
            continue
        d = np.sqrt(d2) + 1e-6
        f = (dmin - d) * 0.25 / d
        force[a, 0] += f * dz
        force[a, 1] += f * dy
        force[a, 2] += f * dx
        force[b, 0] -= f * dz
        force[b, 1] -= f * dy
        force[b, 2] -= f * dx
        count[a] += 1
        count[b] += 1
    for a in range(n):
        if count[a] > 1:
            _scale(force, a, count[a] ** -0.7)


@njit(cache=True, nogil=True)
def _stretch(x: FloatArray, chain: NDArray[np.int64], step: float, force: FloatArray) -> None:
    """Add the springs between successive beads."""
    for a in range(len(x) - 1):
        if chain[a] != chain[a + 1]:
            continue
        dz = x[a + 1, 0] - x[a, 0]
        dy = x[a + 1, 1] - x[a, 1]
        dx = x[a + 1, 2] - x[a, 2]
        length = np.sqrt(dz * dz + dy * dy + dx * dx) + 1e-6
        f = 0.4 * (length - step) / length
        force[a, 0] += f * dz
        force[a, 1] += f * dy
        force[a, 2] += f * dx
        force[a + 1, 0] -= f * dz
        force[a + 1, 1] -= f * dy
        force[a + 1, 2] -= f * dx


@njit(cache=True, nogil=True)
def _straighten(x: FloatArray, chain: NDArray[np.int64], stride: int, stiffness: float, force: FloatArray) -> None:
    """Add the bending stiffness at the scale of a stride; unlike a smoothing of places it does not shorten a chain."""
    for a in range(2 * stride, len(x) - 2 * stride):
        if chain[a - 2 * stride] != chain[a + 2 * stride]:
            continue
        for k in range(3):
            bend = (
                x[a - 2 * stride, k] - 4 * x[a - stride, k] + 6 * x[a, k] - 4 * x[a + stride, k] + x[a + 2 * stride, k]
            )
            force[a, k] -= stiffness * bend


@njit(cache=True, nogil=True)
def _confine(x: FloatArray, margin: FloatArray, shell: tuple[float, float], centre: FloatArray, half: float) -> None:
    """Push beads back into the shell between the nucleolus and the envelope."""
    for a in range(len(x)):
        outer = shell[0] - margin[a]
        r = np.sqrt(x[a, 0] ** 2 + x[a, 1] ** 2 + x[a, 2] ** 2)
        if r > outer:
            _scale(x, a, outer / r)
        inner = shell[1] + half
        wz = x[a, 0] - centre[0]
        wy = x[a, 1] - centre[1]
        wx = x[a, 2] - centre[2]
        r = np.sqrt(wz * wz + wy * wy + wx * wx) + 1e-9
        if r < inner:
            x[a, 0] = centre[0] + wz * inner / r
            x[a, 1] = centre[1] + wy * inner / r
            x[a, 2] = centre[2] + wx * inner / r


@njit(cache=True, nogil=True)
def _advance(x: FloatArray, force: FloatArray, limit: float) -> None:
    """Move beads along their force, at most ``limit`` a step."""
    for a in range(len(x)):
        size = np.sqrt(force[a, 0] ** 2 + force[a, 1] ** 2 + force[a, 2] ** 2)
        share = min(1.0, limit / (size + 1e-9))
        for k in range(3):
            x[a, k] += share * force[a, k]


@njit(cache=True, nogil=True)
def _pull_ends(x: FloatArray, chain: NDArray[np.int64], force: FloatArray) -> None:
    """Pull the first bead of every chain outwards, to the envelope."""
    for a in range(len(x)):
        if a == 0 or chain[a] != chain[a - 1]:
            r = np.sqrt(x[a, 0] ** 2 + x[a, 1] ** 2 + x[a, 2] ** 2) + 1e-9
            for k in range(3):
                force[a, k] += x[a, k] / r * 8.0


@njit(cache=True, nogil=True)
def _relax(
    x: FloatArray,
    chain: NDArray[np.int64],
    margin: FloatArray,
    shell: tuple[float, float],
    centre: FloatArray,
    rules: tuple[float, float, float, int],
) -> None:
    """Relax all the chains of a nucleus in place; the pair list is renewed every eight steps."""
    step, half, crowding, steps = rules
    full = 2 * half * (1 - crowding)
    apart = int(full * 2.2 / step)
    limit = 0.25 * step
    force = np.zeros(x.shape)
    count = np.empty(len(x))
    pairs = np.empty((0, 2), dtype=np.int32)
    for turn in range(steps):
        dmin = full * min(1.0, 0.3 + 0.8 * turn / (0.7 * steps))
        if turn % 8 == 0:
            pairs = _close_pairs(x, chain, dmin + 16 * limit, apart)
        for a in range(len(x)):
            _scale(force, a, 0.0)
        _repel(x, pairs, dmin, force, count)
        _stretch(x, chain, step, force)
        _straighten(x, chain, 1, 0.06, force)
        _straighten(x, chain, 4, 0.04, force)
        _pull_ends(x, chain, force)
        _advance(x, force, limit)
        _confine(x, margin, shell, centre, half)


def _margins(counts: list[int], half_nm: float) -> FloatArray:
    """How far inside the shell each bead must stay: the first few of a chain may reach the envelope."""
    margins = []
    for count in counts:
        along = np.arange(count, dtype=np.float64)
        margins.append(half_nm * np.clip(0.12 + along / 7.0, 0.0, 1.0))
    return np.concatenate(margins)


def relaxed_chains(
    lengths_nm: list[float], shell: Shell, rules: ChainRules, rng: np.random.Generator
) -> list[FloatArray]:
    """Lay one chain of beads per length into a shell so that they fill it without running through one another.

    Parameters
    ----------
    lengths_nm
        Length of each chain.
    shell
        The room between nucleolus and envelope.
    rules
        Bead distance, tube radius, crowding and number of steps.
    rng
        Source of the start configuration.

    Returns
    -------
    list of ndarray, float64, shape (beads, 3), axes (z, y, x)
        Positions in nm from the centre of the nucleus.
    """
    counts = [max(6, int(length / rules.bead_nm)) for length in lengths_nm]
    beads = _start(counts, shell, rules, rng)
    chain = np.repeat(np.arange(len(counts)), counts)
    _relax(
        beads,
        chain,
        _margins(counts, rules.half_nm),
        (shell.outer_nm, shell.inner_nm),
        shell.inner_centre_zyx_nm,
        (rules.bead_nm, rules.half_nm, rules.crowding, rules.steps),
    )
    return np.split(beads, np.cumsum(counts)[:-1])


def centreline(beads: FloatArray, twist_nm: float, rng: np.random.Generator) -> Centreline:
    """Smooth a chain of beads and give it a twisting frame.

    Parameters
    ----------
    beads
        float64, shape (n, 3), axes (z, y, x), nm.
    twist_nm
        Length over which the frame makes half a turn.
    rng
        Decides where the frame starts and which way it turns.
    """
    beads = gaussian_filter1d(beads, 2.5, axis=0, mode="nearest")
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(beads, axis=0), axis=1))])
    spline = CubicSpline(arc, beads)
    s = np.arange(0.0, arc[-1], SAMPLE_NM)
    points = np.asarray(spline(s))
    tangents = _unit(np.asarray(spline(s, 1)))
    carried = np.empty_like(tangents)
    normal = np.cross(tangents[0], rng.normal(size=3))
    for index, tangent in enumerate(tangents):
        normal = _unit(normal - normal.dot(tangent) * tangent)
        carried[index] = normal
    other = np.cross(tangents, carried)
    phase = (rng.uniform(0, 2 * np.pi) + s * (np.pi / twist_nm) * rng.choice([-1.0, 1.0]))[:, None]
    across = carried * np.cos(phase) + other * np.sin(phase)
    length = float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
    return Centreline(points, tangents, across, np.cross(tangents, across), length)
