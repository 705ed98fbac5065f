"""Nuclei of the phantom as detection would see them, from their geometry alone: no slice is painted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.simulator.anatomy import Anatomy
from services.simulator.artefacts import Artefacts
from services.simulator.layout import Arrangement, Place, field_size_nm, laid_out
from services.simulator.stage import StageTable, stage_table

FloatArray = NDArray[np.float64]
LEAST_AREA_NM2 = 4.8e6
# Of the largest section: what the outlines that detection finds scatter by (measured on the demo's three nuclei).
OUTLINE_NOISE = 0.0013
_ANGLES, _BISECTIONS = 48, 20
_REACH = 1.6


@dataclass(frozen=True)
class SimulatedNucleus:
    """A nucleus and what is seen of it.

    Attributes
    ----------
    pole_first, pole_last
        Where it begins and ends, in slices.
    z
        int64, (n,): slices in which it is found.
    area_nm2
        float64, (n,).
    low_yx_nm, high_yx_nm
        float64, (n, 2): the box round its section in the field, in nm of the image.
    """

    pole_first: float
    pole_last: float
    z: NDArray[np.int64]
    area_nm2: FloatArray
    low_yx_nm: FloatArray
    high_yx_nm: FloatArray


@dataclass(frozen=True)
class SimulatedRun:
    """An acquisition: its nuclei in the order of their beginning, and how many slices of what size it has."""

    nuclei: tuple[SimulatedNucleus, ...]
    voxel_nm: float
    slices: int
    field_yx_nm: tuple[float, float]


def simulated_run(
    seed: int,
    *,
    whole: int = 6,
    layers: int = 2,
    voxel_nm: float = 16.0,
    artefacts: Artefacts | None = None,
    anatomy: Anatomy | None = None,
) -> SimulatedRun:
    """Lay out a phantom and cut its whole nuclei; slices are as thick as the simulated mill makes them."""
    anatomy = anatomy or Anatomy()
    arrangement = Arrangement(whole=whole, layers=layers, neighbours=False)
    size_nm = field_size_nm(arrangement, anatomy)
    slices = int(np.ceil(size_nm[0] / voxel_nm))
    stage = stage_table(seed, slices, voxel_nm, artefacts or Artefacts())
    rng = np.random.default_rng([seed, 7])
    places = laid_out(arrangement, anatomy, seed, size_nm)
    nuclei = [_seen(place, stage, rng) for place in places]
    nuclei.sort(key=lambda nucleus: nucleus.pole_first)
    return SimulatedRun(tuple(nuclei), voxel_nm, slices, (size_nm[1], size_nm[2]))


def _seen(place: Place, stage: StageTable, rng: np.random.Generator) -> SimulatedNucleus:
    centre = place.centre_zyx_nm
    poles = place.shape.extent_nm[:, 0] + centre[0]
    indices = np.arange(len(stage.z_nm))
    inside = np.flatnonzero((stage.z_nm > poles[0] + 100) & (stage.z_nm < poles[1] - 100))
    outline = _outlines(place, stage.z_nm[inside] - centre[0])
    y, x = outline[..., 0], outline[..., 1]
    area = 0.5 * np.abs((y * np.roll(x, -1, axis=1) - x * np.roll(y, -1, axis=1)).sum(axis=1))
    area = area + OUTLINE_NOISE * area.max() * rng.normal(size=len(area))
    seen = area >= LEAST_AREA_NM2
    # The field moves over the specimen: what lies still there moves the other way in the image.
    shift = np.stack([stage.dy_nm, stage.dx_nm], axis=1)[inside]
    low, high = outline.min(axis=1) + centre[1:] - shift, outline.max(axis=1) + centre[1:] - shift
    first, last = (float(np.interp(pole, stage.z_nm, indices)) for pole in poles)
    return SimulatedNucleus(first, last, inside[seen], area[seen], low[seen], high[seen])


def _outlines(place: Place, heights_nm: FloatArray) -> FloatArray:
    """Section at each height above the centre: float64, (heights, angles, 2), nm from the centre."""
    body = place.shape.body
    angle = np.linspace(0, 2 * np.pi, _ANGLES, endpoint=False)
    direction = np.stack([np.zeros(_ANGLES), np.sin(angle), np.cos(angle)], axis=1)
    low = np.zeros((len(heights_nm), _ANGLES))
    high = np.full_like(low, _REACH * body.radius_nm)
    up = np.zeros((len(heights_nm), 1, 3))
    up[:, 0, 0] = heights_nm
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        outside = body.depth_nm(up + middle[..., None] * direction) > 0
        low, high = np.where(outside, low, middle), np.where(outside, middle, high)
    return np.asarray((low[..., None] * direction)[..., 1:])
