"""Voxel masks of bodies whose volume, area, length and twist are known by formula."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import ellipeinc, ellipkinc

Mask = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
Voxel = tuple[float, float, float]

# Middles never fall on voxels: a shape that sits on the lattice is too easy.
OFFSET_VOXELS = (0.3, 0.1, -0.2)


def sampled(inside: Callable[[FloatArray, FloatArray, FloatArray], Mask], half_nm: float, voxel: Voxel) -> Mask:
    """Return the voxels of a cube about the origin whose middles lie inside; z, y, x in nm, an empty margin around."""
    counts = [int(np.ceil(2 * half_nm / edge)) + 6 for edge in voxel]
    z, y, x = (
        (np.arange(n) - (n - 1) / 2 + offset) * edge
        for n, edge, offset in zip(counts, voxel, OFFSET_VOXELS, strict=True)
    )
    return inside(*np.meshgrid(z, y, x, indexing="ij"))


def tilted(z: FloatArray, y: FloatArray, angle: float) -> tuple[FloatArray, FloatArray]:
    return np.cos(angle) * z - np.sin(angle) * y, np.sin(angle) * z + np.cos(angle) * y


def ball(radius: float, voxel: Voxel) -> Mask:
    return sampled(lambda z, y, x: z**2 + y**2 + x**2 <= radius**2, radius, voxel)


def torus(large: float, small: float, voxel: Voxel) -> Mask:
    def inside(z: FloatArray, y: FloatArray, x: FloatArray) -> Mask:
        across, along = tilted(z, y, 0.5)
        return (np.hypot(along, x) - large) ** 2 + across**2 <= small**2

    return sampled(inside, large + small, voxel)


def ellipsoid(axes: tuple[float, float, float], voxel: Voxel) -> Mask:
    def inside(z: FloatArray, y: FloatArray, x: FloatArray) -> Mask:
        first, second = tilted(z, y, 0.6)
        return (first / axes[0]) ** 2 + (second / axes[1]) ** 2 + (x / axes[2]) ** 2 <= 1

    return sampled(inside, max(axes), voxel)


def ellipsoid_area(axes: tuple[float, float, float]) -> float:
    """Return the exact area of an ellipsoid of three different half axes, by Legendre's elliptic integrals."""
    a, b, c = sorted(axes, reverse=True)
    phi = np.arccos(c / a)
    m = a * a * (b * b - c * c) / (b * b * (a * a - c * c))
    waist = ellipeinc(phi, m) * np.sin(phi) ** 2 + ellipkinc(phi, m) * np.cos(phi) ** 2
    return float(2 * np.pi * c**2 + 2 * np.pi * a * b / np.sin(phi) * waist)


def rod(length: float, direction: tuple[float, float, float], half_turn: float = 0.0) -> tuple[FloatArray, FloatArray]:
    """Return points 2 nm apart along a line, and unit vectors across it that turn, right-handed in (x, y, z)."""
    along = np.array(direction) / np.linalg.norm(direction)
    s = np.linspace(-length / 2, length / 2, int(length / 2) + 1)
    first = np.cross(along, [0.3, 0.9, 0.1])
    first /= np.linalg.norm(first)
    # A cross product of (z, y, x) vectors points the other way than that of (x, y, z) vectors.
    second = -np.cross(along, first)
    phase = (s * np.pi / half_turn if half_turn else 0 * s)[:, None]
    return s[:, None] * along, first * np.cos(phase) + second * np.sin(phase)


def helix(radius: float, pitch: float, turns: float) -> tuple[FloatArray, FloatArray]:
    """Return points about 2 nm apart along a tilted helix, and unit vectors to its axis."""
    rise = pitch / (2 * np.pi)
    angle = np.linspace(0, 2 * np.pi * turns, int(2 * np.pi * turns * np.hypot(radius, rise) / 2))
    points = np.stack([rise * angle, radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    outwards = np.stack([0 * angle, np.sin(angle), np.cos(angle)], axis=1)
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    return points @ rotation.T, outwards @ rotation.T


def ribbon(
    line: tuple[FloatArray, FloatArray], width: float, thickness: FloatArray | float, voxel: Voxel
) -> tuple[Mask, tuple[float, float, float]]:
    """Return the mask of a ribbon about a line, with flat ends, and the first corner of the array in nm."""
    curve, across = line
    along = np.gradient(curve, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = across - (across * along).sum(axis=1, keepdims=True) * along
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    normal = np.cross(along, across)
    thick = np.broadcast_to(thickness, len(curve))
    low, high = curve.min(axis=0) - 2 * width, curve.max(axis=0) + 2 * width
    corner = [lo + offset * edge for lo, offset, edge in zip(low, OFFSET_VOXELS, voxel, strict=True)]
    axes = [np.arange(first, last, edge) + edge / 2 for first, last, edge in zip(corner, high, voxel, strict=True)]
    shape = [len(axis) for axis in axes]
    # Only voxels in a box about some point of the line can be within reach of it.
    reach = [int(np.ceil(width / edge)) + 1 for edge in voxel]
    around = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    centres = np.unique(((curve[::8] - corner) / voxel).astype(np.int64), axis=0)
    key = np.unique(np.concatenate([np.ravel_multi_index(tuple((c + around).T), shape) for c in centres]))
    places = np.stack([axis[index] for axis, index in zip(axes, np.unravel_index(key, shape), strict=True)], axis=1)
    distance, owners = cKDTree(curve).query(places, distance_upper_bound=width)
    near = np.flatnonzero(np.isfinite(distance))
    owner = np.asarray(owners)[near]
    offset = places[near] - curve[owner]
    u, v, s = ((offset * frame[owner]).sum(axis=1) for frame in (across, normal, along))
    mask = np.zeros(shape, bool)
    mask.ravel()[key[near[(np.abs(u) <= width / 2) & (np.abs(v) <= thick[owner] / 2) & (np.abs(s) <= 2)]]] = True
    z, y, x = (float(value) for value in corner)
    return mask, (z, y, x)
