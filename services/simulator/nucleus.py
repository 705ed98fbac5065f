"""One nucleus of the phantom: the shape of its envelope and nucleolus, its bivalents, pores and P granules."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.simulator.anatomy import Anatomy
from services.simulator.chromosomes import SAMPLE_NM, Centreline, ChainRules, Shell, centreline, relaxed_chains
from services.simulator.randomness import Stream, generator

FloatArray = NDArray[np.float64]
WAVES = 6


@dataclass(frozen=True)
class WavyBody:
    """An ellipsoid with waves on its surface; all arrays float64, axes (z, y, x).

    Attributes
    ----------
    radius_nm
        Mean radius.
    inverse_axes
        Shape (3, 3): takes an offset from the centre to the unit ball's frame (rotation, then division by the half
        axes).
    waves, phases
        Shape (6, 3) and (6,): wave vectors in units of 1 / radius, and their phases.
    amplitude
        Relative amplitude of the waves.
    """

    radius_nm: float
    inverse_axes: FloatArray
    waves: FloatArray
    phases: FloatArray
    amplitude: float

    def _undulation(self, local: FloatArray) -> FloatArray:
        angles = local @ (self.waves.T / self.radius_nm) + self.phases
        return np.asarray(1 + self.amplitude * np.sin(angles).sum(axis=-1) / 2.4)

    def depth_nm(self, offsets_zyx_nm: FloatArray) -> FloatArray:
        """Approximate signed distance (negative inside) at offsets of shape (..., 3) from the centre."""
        local = offsets_zyx_nm @ self.inverse_axes.T
        return np.asarray(np.linalg.norm(local, axis=-1) - self.radius_nm * self._undulation(local))

    def surface_radius_nm(self, directions: FloatArray, depth_nm: float = 0.0) -> FloatArray:
        """Distance from the centre to where `depth_nm` has a value, along unit vectors of shape (n, 3)."""
        stretch = np.linalg.norm(directions @ self.inverse_axes.T, axis=1)
        radius = self.radius_nm / stretch
        for _ in range(12):
            local = (directions * radius[:, None]) @ self.inverse_axes.T
            radius = (self.radius_nm * self._undulation(local) + depth_nm) / stretch
        return np.asarray(radius)


def sphere_directions(count: int) -> FloatArray:
    """Spread unit vectors (z, y, x) evenly over the sphere: float64, shape (count, 3).

    Examples
    --------
    >>> bool(np.allclose(np.linalg.norm(sphere_directions(5), axis=1), 1))
    True
    """
    k = np.arange(count) + 0.5
    z = 1 - 2 * k / count
    turn = np.pi * (1 + np.sqrt(5.0)) * k
    across = np.sqrt(1 - z * z)
    return np.stack([z, across * np.sin(turn), across * np.cos(turn)], axis=1)


_DIRECTIONS = sphere_directions(6000)


def body_volume_nm3(body: WavyBody, depth_nm: float = 0.0) -> float:
    """Volume inside where `WavyBody.depth_nm` has a value, by quadrature over directions, without voxels."""
    return float((body.surface_radius_nm(_DIRECTIONS, depth_nm) ** 3).mean() * 4 / 3 * np.pi)


def lobe_area_nm2(anatomy: Anatomy) -> float:
    """Area of one homolog's chromatin in a cross-section: the lobe without what the complex takes."""
    u, v = np.meshgrid(np.arange(0.25, 500, 0.5), np.arange(0.25, 500, 0.5))
    lobe = ((u - anatomy.lobe_centre_nm) / anatomy.lobe_across_nm) ** 2 + (v / anatomy.lobe_along_nm) ** 2 <= 1
    ribbon = (u <= anatomy.sc_width_nm / 2) & (v <= anatomy.sc_thickness_nm / 2)
    return float((lobe & (u >= anatomy.lobe_cut_nm) & ~ribbon).sum() * 2 * 0.25)


def body_extent_nm(body: WavyBody) -> FloatArray:
    """Shape (2, 3): lowest and highest (z, y, x) of the surface, relative to the centre."""
    surface = _DIRECTIONS * body.surface_radius_nm(_DIRECTIONS)[:, None]
    return np.stack([surface.min(axis=0), surface.max(axis=0)])


@dataclass(frozen=True)
class NucleusShape:
    """Envelope (its mid surface) and nucleolus of a nucleus, before it has a place."""

    body: WavyBody
    nucleolus: WavyBody
    nucleolus_offset_zyx_nm: FloatArray
    extent_nm: FloatArray


def surface_points(shape: NucleusShape, depth_nm: float) -> FloatArray:
    """Points (z, y, x) spread over a nucleus where its depth has a value, nm from the centre, float64, shape (n, 3)."""
    return np.asarray(_DIRECTIONS * shape.body.surface_radius_nm(_DIRECTIONS, depth_nm)[:, None])


@dataclass(frozen=True)
class Details:
    """Small things of a nucleus, nm from its centre, axes (z, y, x).

    ``granules`` float64 (n, 5): place on the envelope, half width, height. ``pores`` float64 (n, 3): places on the
    envelope. ``vacuoles`` float64 (n, 4): centre and radius, inside the nucleolus.
    """

    granules: FloatArray
    pores: FloatArray
    vacuoles: FloatArray


@dataclass(frozen=True)
class ChromosomeTable:
    """Samples of all bivalents of a nucleus, sorted by z, as the rasteriser wants them.

    ``geometry`` float32 (n, 13): point, tangent, across, normal (z, y, x each, nm from the centre), half thickness of
    the complex. ``identity`` int32 (n, 3): bivalent 1..6, arc length from the start (nm), end mark (-1 first sample,
    1 last, 0 between).
    ``knob`` bool (n,): the sample lies in a recombination knob.
    """

    geometry: NDArray[np.float32]
    identity: NDArray[np.int32]
    knob: NDArray[np.bool_]
    sc_lengths_nm: tuple[float, ...]


def _body(radius_nm: float, eccentricity: float, wave: tuple[float, float], rng: np.random.Generator) -> WavyBody:
    """Random body with unit-product half axes; ``wave`` is (amplitude, spread of the wave vectors)."""
    axes = 1 + eccentricity * rng.uniform(-1, 1, 3)
    axes /= axes.prod() ** (1 / 3)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return WavyBody(
        radius_nm=radius_nm,
        inverse_axes=rotation / axes[:, None],
        waves=rng.normal(size=(WAVES, 3)) * wave[1],
        phases=rng.uniform(0, 2 * np.pi, WAVES),
        amplitude=wave[0],
    )


def _spread(rng: np.random.Generator, mean: float, sd: float) -> float:
    """Draw a normal value, cut at 1.5 standard deviations."""
    return mean + sd * float(np.clip(rng.normal(), -1.5, 1.5))


def nucleus_shape(anatomy: Anatomy, seed: int, index: int) -> NucleusShape:
    """Shape of nucleus ``index``: it depends on the seed and the index, not on where the nucleus lies."""
    rng = generator(seed, Stream.NUCLEUS, index)
    radius = _spread(rng, anatomy.nucleus_radius_nm, anatomy.nucleus_radius_sd_nm)
    body = _body(radius, anatomy.eccentricity, (anatomy.bump, 2.5), rng)
    inner = _spread(rng, anatomy.nucleolus_radius_nm, anatomy.nucleolus_radius_sd_nm)
    nucleolus = _body(inner, 0.0, (0.06, 4.0), rng)
    direction = rng.normal(size=3)
    offset = direction / np.linalg.norm(direction) * anatomy.nucleolus_offset * (radius - inner)
    return NucleusShape(body, nucleolus, offset, body_extent_nm(body))


def nucleus_details(shape: NucleusShape, anatomy: Anatomy, seed: int, index: int) -> Details:
    """P granules, pores (most of them under granules) and vacuoles of the nucleolus."""
    rng = generator(seed, Stream.NUCLEUS, 1_000_000 + index)
    count = int(rng.integers(10, 16))
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    places = directions * (shape.body.surface_radius_nm(directions) + anatomy.envelope_nm / 2)[:, None]
    granules = np.column_stack([places, rng.uniform(150, 500, count), rng.uniform(100, 300, count)])
    under = np.repeat(directions, 18, axis=0) + rng.normal(size=(count * 18, 3)) * 0.10
    spread = np.concatenate([under, rng.normal(size=(150, 3))])
    spread /= np.linalg.norm(spread, axis=1, keepdims=True)
    pores = spread * shape.body.surface_radius_nm(spread)[:, None]
    vacuole_count = int(rng.integers(0, 3))
    inner = shape.nucleolus.radius_nm
    offsets = rng.uniform(-0.35, 0.35, (vacuole_count, 3)) * inner + shape.nucleolus_offset_zyx_nm
    vacuoles = np.column_stack([offsets, rng.uniform(0.12, 0.26, vacuole_count) * inner])
    return Details(granules, pores, vacuoles)


def _room(shape: NucleusShape, anatomy: Anatomy) -> Shell:
    """Shell for the chromosomes: the largest ball inside the envelope without the ball around the nucleolus."""
    surface = shape.body.surface_radius_nm(_DIRECTIONS)
    outer = float(surface.min()) - anatomy.envelope_nm / 2 - 20
    inner = float(shape.nucleolus.surface_radius_nm(_DIRECTIONS).max()) + 10
    return Shell(outer, min(inner, outer - 2.2 * anatomy.bivalent_half_nm), shape.nucleolus_offset_zyx_nm)


def _knob_mask(line: Centreline, rng: np.random.Generator) -> NDArray[np.bool_]:
    """One knob of 200 nm somewhere along a centreline, never at its ends."""
    count = len(line.points)
    centre = int(count * rng.uniform(0.15, 0.85))
    return np.abs(np.arange(count) - centre) * SAMPLE_NM <= 100


def _table(lines: list[Centreline], anatomy: Anatomy, rng: np.random.Generator) -> ChromosomeTable:
    """Put the samples of all centrelines into one table sorted by z."""
    geometry, identity, knobs = [], [], []
    for number, line in enumerate(lines, start=1):
        count = len(line.points)
        knob = _knob_mask(line, rng)
        along = np.arange(count)
        half = anatomy.sc_thickness_nm / 2 * np.where(knob, 1.4, 1.0)
        geometry.append(np.column_stack([line.points, line.tangents, line.across, line.normals, half]))
        ends = np.where(along == 0, -1, np.where(along == count - 1, 1, 0))
        identity.append(np.column_stack([np.full(count, number), (along * SAMPLE_NM).astype(int), ends]))
        knobs.append(knob)
    table = np.concatenate(geometry).astype(np.float32)
    order = np.argsort(table[:, 0], kind="stable")
    return ChromosomeTable(
        geometry=np.ascontiguousarray(table[order]),
        identity=np.ascontiguousarray(np.concatenate(identity)[order].astype(np.int32)),
        knob=np.ascontiguousarray(np.concatenate(knobs)[order]),
        sc_lengths_nm=tuple(line.length_nm for line in lines),
    )


def nucleus_chromosomes(shape: NucleusShape, anatomy: Anatomy, seed: int, index: int) -> ChromosomeTable:
    """Relax the bivalents of nucleus ``index`` (the expensive part of building a phantom)."""
    rng = generator(seed, Stream.NUCLEUS, 2_000_000 + index)
    # A small nucleus has no room for complexes of full length: its shell's area bounds them.
    room = min(1.0, (shape.body.radius_nm / anatomy.nucleus_radius_nm) ** 2)
    spread = anatomy.sc_length_sd * np.clip(rng.normal(size=len(anatomy.sc_lengths_nm)), -2, 2)
    lengths = [float(length) for length in room * np.array(anatomy.sc_lengths_nm) * (1 + spread)]
    rules = ChainRules(anatomy.bead_nm, anatomy.bivalent_half_nm, anatomy.crowding, anatomy.relaxation_steps)
    chains = relaxed_chains(lengths, _room(shape, anatomy), rules, rng)
    return _table([centreline(chain, anatomy.twist_nm, rng) for chain in chains], anatomy, rng)


@dataclass(frozen=True)
class Nucleus:
    """A nucleus with a place and an id.

    Attributes
    ----------
    ident
        Positive id, as in the truth planes.
    centre_zyx_nm
        Place of its centre in the specimen.
    requested
        True for the whole nuclei that were asked for, False for neighbours.
    shape, details, chromosomes
        Its parts, in nm from the centre.
    """

    ident: int
    centre_zyx_nm: FloatArray
    requested: bool
    shape: NucleusShape
    details: Details
    chromosomes: ChromosomeTable

    @property
    def box_nm(self) -> FloatArray:
        """Shape (2, 3): lowest and highest (z, y, x) of the middle of the envelope in the specimen."""
        return np.asarray(self.shape.extent_nm + self.centre_zyx_nm)
