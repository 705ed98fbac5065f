"""What lies between nuclei: mitochondria, lipid, yolk, endoplasmic reticulum and the membranes between cells."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.simulator.anatomy import Greys, Tissue
from services.simulator.nucleus import Nucleus
from services.simulator.randomness import Grid, Stream, generator, lattice_key, lattice_noise

FloatArray = NDArray[np.float64]

LAYER_NM = 1500.0
"""Organelles are drawn layer by layer in z, so that any slice needs three layers only."""
_REACH_NM = 1400.0


@dataclass(frozen=True)
class _Kind:
    """How often an organelle occurs (per cubic micrometre) and how large it is."""

    tissue: Tissue
    per_um3: float
    half_length_nm: tuple[float, float]
    radius_nm: tuple[float, float]


_KINDS = (
    _Kind(Tissue.MITOCHONDRION, 0.45, (150.0, 900.0), (140.0, 260.0)),
    _Kind(Tissue.LIPID, 0.08, (0.0, 0.0), (120.0, 330.0)),
    _Kind(Tissue.YOLK, 0.04, (0.0, 0.0), (150.0, 350.0)),
)


def organelle_greys(greys: Greys) -> FloatArray:
    """Rim, inside and crista of each organelle: float64, shape (256, 3), indexed by tissue."""
    table = np.zeros((256, 3))
    table[Tissue.MITOCHONDRION] = (greys.membrane, greys.mitochondrion + 6, greys.crista)
    table[Tissue.LIPID] = (greys.lipid - 25, greys.lipid, greys.lipid)
    table[Tissue.YOLK] = (greys.yolk, greys.yolk, greys.yolk)
    return table


def _clear_of_nuclei(places: FloatArray, reach_nm: FloatArray, nuclei: tuple[Nucleus, ...]) -> NDArray[np.bool_]:
    """Which organelles overlap no nucleus."""
    clear = np.ones(len(places), dtype=bool)
    for nucleus in nuclei:
        clear &= nucleus.shape.body.depth_nm(places - nucleus.centre_zyx_nm) > reach_nm + 60
    return clear


def organelle_layer(seed: int, layer: int, size_yx_nm: tuple[float, float], nuclei: tuple[Nucleus, ...]) -> FloatArray:
    """Organelles whose centres lie in one layer of the specimen.

    Returns
    -------
    ndarray, float64, shape (n, 8)
        Centre, half axis (z, y, x each, nm), radius (nm), `Tissue`: what `paint_capsules` draws.
    """
    rng = generator(seed, Stream.CYTOPLASM, 1_000_000 + layer)
    low = np.array([layer * LAYER_NM, -_REACH_NM, -_REACH_NM])
    span = np.array([LAYER_NM, size_yx_nm[0] + 2 * _REACH_NM, size_yx_nm[1] + 2 * _REACH_NM])
    rows = []
    for kind in _KINDS:
        count = rng.poisson(kind.per_um3 * span.prod() * 1e-9)
        centre = low + rng.random((count, 3)) * span
        direction = rng.normal(size=(count, 3))
        half = (
            direction / np.linalg.norm(direction, axis=1, keepdims=True) * rng.uniform(*kind.half_length_nm, (count, 1))
        )
        radius = rng.uniform(*kind.radius_nm, count)
        clear = np.ones(count, dtype=bool)
        for share in (-1.0, -0.5, 0.0, 0.5, 1.0):
            clear &= _clear_of_nuclei(centre + share * half, radius, nuclei)
        rows.append(np.column_stack([centre, half, radius, np.full(count, float(kind.tissue))])[clear])
    return np.concatenate(rows)


def organelles_at(z_nm: float, layers: list[FloatArray]) -> FloatArray:
    """Those organelles of some layers that reach a plane."""
    every = np.concatenate(layers)
    return np.ascontiguousarray(every[np.abs(every[:, 0] - z_nm) < np.abs(every[:, 3]) + every[:, 6] + 20])


def reticulum_distance(seed: int, z_nm: float, nodes_yx_nm: tuple[FloatArray, FloatArray]) -> Grid:
    """Signed distance in nm to the sheets of the endoplasmic reticulum, on a grid of the specimen.

    The sheets are where one smooth noise crosses zero, as far as another noise lets them be.
    """
    ys, xs = nodes_yx_nm
    box = (ys[0], xs[0], ys[-1], xs[-1])
    wave = _at_nodes(lattice_noise(lattice_key(seed, Stream.CYTOPLASM, 1), 750.0, z_nm, box), ys, xs)
    patch = _at_nodes(lattice_noise(lattice_key(seed, Stream.CYTOPLASM, 2), 1400.0, z_nm, box), ys, xs)
    step = float(ys[1] - ys[0])
    slope = np.hypot(*np.gradient(wave, step)) + 4e-4
    absent = 600 * np.clip(0.55 - patch, 0, None)
    distance = wave / slope + np.where(wave < 0, -absent, absent)
    return Grid(np.clip(distance, -1e4, 1e4).astype(np.float32), float(ys[0]), float(xs[0]), 1.0 / step)


def _at_nodes(grid: Grid, ys: FloatArray, xs: FloatArray) -> NDArray[np.float32]:
    """Smoothly interpolated values of a coarse lattice at the nodes of a finer grid."""
    fy, fx = (ys - grid.y0) * grid.per_nm, (xs - grid.x0) * grid.per_nm
    j, i = fy.astype(int), fx.astype(int)
    wy, wx = (fy - j)[:, None], (fx - i)[None, :]
    wy, wx = wy * wy * (3 - 2 * wy), wx * wx * (3 - 2 * wx)
    v = grid.values
    top = v[np.ix_(j, i)] * (1 - wx) + v[np.ix_(j, i + 1)] * wx
    low = v[np.ix_(j + 1, i)] * (1 - wx) + v[np.ix_(j + 1, i + 1)] * wx
    return np.asarray(top * (1 - wy) + low * wy, dtype=np.float32)


def wall_distance(z_nm: float, centres_zyx_nm: FloatArray, nodes_yx_nm: tuple[FloatArray, FloatArray]) -> Grid:
    """Distance in nm to the membrane between the two nearest cells, about halfway between their nuclei."""
    ys, xs = nodes_yx_nm
    nearest = np.full((len(ys), len(xs)), 1e5)
    second = nearest.copy()
    for centre in centres_zyx_nm:
        beside = (ys[:, None] - centre[1]) ** 2 + (xs[None, :] - centre[2]) ** 2
        distance = np.sqrt(beside + (z_nm - centre[0]) ** 2)
        second = np.minimum(second, np.maximum(nearest, distance))
        nearest = np.minimum(nearest, distance)
    # Far from any nucleus lies the shared core of the gonad, which has no membranes.
    apart = 0.55 * (second - nearest) + 1e3 * np.clip(nearest - 3300, 0, None)
    return Grid(np.minimum(apart, 1e4).astype(np.float32), float(ys[0]), float(xs[0]), 1.0 / float(ys[1] - ys[0]))
