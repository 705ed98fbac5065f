"""Where a nucleus that is being milled will end: its sections so far, and the sizes that nuclei have.

Every plane through an ellipsoid cuts an ellipse, and its area falls with the square of the distance from the middle
plane, however the ellipsoid lies: A(z) = A0 (1 - ((z - m) / h)^2). Sections so far are compared with that for every
half height h and middle m; A0 is integrated over in closed form. Real nuclei are no ellipsoids: what the areas miss is
taken for a smooth wave of unknown size plus noise, so that a nucleus which fits badly is forecast with less certainty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp, ndtr

from services.imaging.forecasting.sizes import NucleusSize, SizePrior

FloatArray = npt.NDArray[np.float64]

MOST_SECTIONS = 32
_HEIGHTS, _MIDDLES, _PASSES = 24, 48, 3
_POINTS, _BINS = 161, 120
_LEAST_WEIGHT = 1e-5
# Parts of the area of the largest section, and over how many radii each changes: a wave over the surface, and what
# slices that are slowly thicker or thinner than nominal do to the course of the areas (domain.md, section 2).
_WAVES = ((0.008, 0.3), (0.04, 0.8))
# Noise of an outline, and of one that the field's border cuts.
_NOISE, _CUT_NOISE = 0.002, 0.08
# How much larger or smaller than that it may all be, and how often.
_MISFITS = ((0.5, 0.3), (1.0, 0.4), (2.0, 0.2), (4.0, 0.1))
_POLE = 0.009  # of the half height: how far the pole lies from the ellipsoid's
_THICKNESS = 0.06  # of the way to go: how well the thickness of slices to come is known
_NOT_FOUND = 0.03  # of the largest area: how well the area of a section is known that is not found
_SEEN_AND_LOST = 0.02  # how often a section that is large enough is not found


class NoSectionsError(ValueError):
    """A forecast needs at least one section."""


@dataclass(frozen=True)
class Section:
    """A nucleus in one slice.

    Attributes
    ----------
    z_nm
        Depth.
    area_nm2
        Area; of the fitted circle where the field's border cuts the nucleus.
    is_cut
        Whether the border cuts it.
    """

    z_nm: float
    area_nm2: float
    is_cut: bool = False


@dataclass(frozen=True)
class Lost:
    """What is known since a nucleus was last found.

    Attributes
    ----------
    z_nm
        Last slice in which it was looked for and not found.
    least_area_nm2
        Smallest section that is found.
    """

    z_nm: float
    least_area_nm2: float


@dataclass(frozen=True)
class EndForecast:
    """Where a nucleus ends, as a probability distribution.

    Attributes
    ----------
    z_nm
        float64, (n,), rising: depths.
    probability
        float64, (n,): the chance that the nucleus has ended there, from 0 to 1.
    middle_z_nm
        Expected depth of its largest section.
    size
        Expected size.
    """

    z_nm: FloatArray
    probability: FloatArray
    middle_z_nm: float
    size: NucleusSize

    def by(self, z_nm: float) -> float:
        """Return the chance that the nucleus has ended at a depth."""
        return float(np.interp(z_nm, self.z_nm, self.probability, left=0.0, right=1.0))

    def quantile_nm(self, chance: float) -> float:
        """Return the depth by which the nucleus has ended with that chance."""
        index = int(np.searchsorted(self.probability, chance))
        if index == 0:
            return float(self.z_nm[0])
        if index == len(self.z_nm):
            return float(self.z_nm[-1])
        low, high = self.probability[index - 1 : index + 1]
        part = (chance - low) / (high - low)
        return float(self.z_nm[index - 1] + part * (self.z_nm[index] - self.z_nm[index - 1]))

    @property
    def mean_nm(self) -> float:
        """Expected depth of the end."""
        middles = (self.z_nm[1:] + self.z_nm[:-1]) / 2
        return float((np.diff(self.probability) * middles).sum())

    def section_radius_nm(self, z_nm: float) -> float:
        """Return the expected radius of a section."""
        inside = 1 - ((z_nm - self.middle_z_nm) / self.size.half_height_nm) ** 2
        return self.size.radius_nm * math.sqrt(max(0.0, inside))

    def volume_to_um3(self, z_nm: float) -> float:
        """Return the expected volume of the part before a depth."""
        part = min(1.0, max(-1.0, (z_nm - self.middle_z_nm) / self.size.half_height_nm))
        return self.size.volume_um3 * (2 + 3 * part - part**3) / 4


@dataclass(frozen=True)
class _Sections:
    """Sections as numbers, in units of the prior's radius from the last one.

    ``precision`` is what they weigh, ``reference`` the area that noise is a part of.
    """

    z: FloatArray
    area: FloatArray
    precision: FloatArray
    reference: float
    unit_nm: float
    last_nm: float

    @property
    def basis(self) -> FloatArray:
        """Shape (n, 3): 1, z, z^2."""
        return np.stack([np.ones_like(self.z), self.z, self.z**2], axis=1)


@dataclass(frozen=True)
class _Grid:
    """Every combination of half height and middle, with its weight and its expected largest area."""

    height: FloatArray
    middle: FloatArray
    area: FloatArray
    log_weight: FloatArray

    @property
    def weight(self) -> FloatArray:
        return np.exp(self.log_weight - logsumexp(self.log_weight))


def forecast_end(sections: Sequence[Section], prior: SizePrior, lost: Lost | None = None) -> EndForecast:
    """Forecast where a nucleus ends.

    Parameters
    ----------
    sections
        Of one nucleus, in any order; of many, a few that are spread evenly are used.
    prior
        Sizes that nuclei of this acquisition have.
    lost
        What is known where the last section lies some slices back.

    Returns
    -------
    EndForecast
        The nucleus has not ended at its last section.

    Raises
    ------
    NoSectionsError
        If there is none, or one has no area.

    Examples
    --------
    A sphere of 2 um radius about z = 0, seen to 0.5 um behind its middle:

    >>> zs = range(-1400, 501, 100)
    >>> sphere = [Section(z, math.pi * (2000.0**2 - z**2)) for z in zs]
    >>> end = forecast_end(sphere, SizePrior())
    >>> bool(end.quantile_nm(0.05) < 2000.0 < end.quantile_nm(0.95)), end.by(500.0), end.by(2800.0)
    (True, 0.0, 1.0)
    """
    seen = _sections(sections, prior)
    bounds = _bounds(seen, prior)
    for _ in range(_PASSES):
        grid, shares = _weighed(seen, prior, bounds, lost)
        bounds = _narrowed(grid, bounds, shares)
    return _forecast(grid, seen)


def _sections(sections: Sequence[Section], prior: SizePrior) -> _Sections:
    found = sorted(sections, key=lambda section: section.z_nm)
    if not found or any(not math.isfinite(section.area_nm2) or section.area_nm2 <= 0 for section in found):
        raise NoSectionsError("a forecast needs sections, each with an area above 0")
    chosen = np.unique(np.linspace(0, len(found) - 1, min(MOST_SECTIONS, len(found))).round().astype(int))
    found = [found[index] for index in chosen]
    unit, last = prior.radius_nm, found[-1].z_nm
    z = np.array([(section.z_nm - last) / unit for section in found])
    area = np.array([section.area_nm2 / (math.pi * unit**2) for section in found])
    noise = np.array([_CUT_NOISE if section.is_cut else _NOISE for section in found])
    apart = z[:, None] - z[None, :]
    wave = sum(size**2 * np.exp(-0.5 * (apart / length) ** 2) for size, length in _WAVES)
    # What the noise is a part of must not depend on what is to be found: a fit would shrink to explain it away.
    reference = max(float(area.max()), prior.aspect**2)
    return _Sections(z, area, np.linalg.inv(wave + np.diag(noise**2)), reference, unit, last)


_Bounds = tuple[float, float, float, float]


def _bounds(seen: _Sections, prior: SizePrior) -> _Bounds:
    """Least and greatest log half height, and the range of the middle as a share of where it may be."""
    # Both ends of what was seen lie inside the nucleus, or next to its poles.
    least = math.log(max(1e-3, (seen.z[-1] - seen.z[0]) / 2 * 1.0001))
    low = max(-4 * prior.spread, least)
    return low, max(4 * prior.spread, low + 2 * prior.spread), 0.0, 1.0


def _weighed(
    seen: _Sections, prior: SizePrior, bounds: _Bounds, lost: Lost | None
) -> tuple[_Grid, tuple[FloatArray, FloatArray]]:
    """Weigh every half height and middle; return them with the values they were taken from."""
    heights = np.linspace(bounds[0], bounds[1], _HEIGHTS)
    shares = bounds[2] + (bounds[3] - bounds[2]) * (np.arange(_MIDDLES) + 0.5) / _MIDDLES
    log_height, share = (values.ravel() for values in np.meshgrid(heights, shares, indexing="ij"))
    height = np.exp(log_height)
    room = np.maximum(seen.z[0] + 2 * height - seen.z[-1], 1e-9)
    middle = seen.z[-1] - height + share * room
    log_weight, area = _evidence(seen, prior, height, middle)
    log_weight = log_weight - 0.5 * (log_height / prior.spread) ** 2 + np.log(room)
    if lost is not None:
        log_weight = log_weight + _not_found(seen, lost, height, middle, area)
    return _Grid(height, middle, area, log_weight), (heights, shares)


def _evidence(seen: _Sections, prior: SizePrior, height: FloatArray, middle: FloatArray) -> tuple[FloatArray, ...]:
    """Log evidence of the areas for every half height and middle, and the area of the largest section they imply."""
    shape = np.stack([1 - (middle / height) ** 2, 2 * middle / height**2, -1 / height**2])
    basis, precision = seen.basis, seen.precision
    gg = np.einsum("ik,ij,jk->k", shape, basis.T @ precision @ basis, shape)
    ga = shape.T @ (basis.T @ precision @ seen.area)
    aa = float(seen.area @ precision @ seen.area)
    expected = (height * prior.aspect) ** 2
    sure = (2 * prior.aspect_spread * expected) ** -2
    terms, areas = [], []
    for misfit, chance in _MISFITS:
        scale = (misfit * seen.reference) ** -2
        total = scale * gg + sure
        area = (scale * ga + sure * expected) / total
        log = 0.5 * (area**2 * total - scale * aa - sure * expected**2) + 0.5 * np.log(sure / total)
        terms.append(math.log(chance) + log + 0.5 * len(seen.z) * math.log(scale))
        areas.append(area)
    log_terms = np.stack(terms)
    shares = np.exp(log_terms - logsumexp(log_terms, axis=0))
    return np.asarray(logsumexp(log_terms, axis=0)), np.asarray((shares * np.stack(areas)).sum(axis=0))


def _not_found(seen: _Sections, lost: Lost, height: FloatArray, middle: FloatArray, area: FloatArray) -> FloatArray:
    z = (lost.z_nm - seen.last_nm) / seen.unit_nm
    least = lost.least_area_nm2 / (math.pi * seen.unit_nm**2)
    there = area * (1 - ((z - middle) / height) ** 2)
    too_small = ndtr((least - there) / (_NOT_FOUND * area))
    return np.asarray(np.log(_SEEN_AND_LOST + (1 - _SEEN_AND_LOST) * too_small))


def _narrowed(grid: _Grid, bounds: _Bounds, values: tuple[FloatArray, FloatArray]) -> _Bounds:
    """Return the part of the grid that holds what weight there is."""
    weight = grid.weight.reshape(_HEIGHTS, _MIDDLES)
    heights, shares = values
    step_h, step_s = heights[1] - heights[0], shares[1] - shares[0]
    high = np.flatnonzero(weight.sum(axis=1) > _LEAST_WEIGHT)
    wide = np.flatnonzero(weight.sum(axis=0) > _LEAST_WEIGHT)
    return (
        max(bounds[0], float(heights[high[0]] - step_h)),
        min(bounds[1], float(heights[high[-1]] + step_h)),
        max(0.0, float(shares[wide[0]] - step_s)),
        min(1.0, float(shares[wide[-1]] + step_s)),
    )


def _forecast(grid: _Grid, seen: _Sections) -> EndForecast:
    weight = grid.weight
    ends, share = _binned(grid.middle + grid.height, weight)
    height = float(weight @ grid.height)
    spread = np.hypot(_POLE * height, _THICKNESS * np.maximum(ends - seen.z[-1], 0.0))
    low, high = max(0.0, float((ends - 5 * spread).min())), float((ends + 5 * spread).max())
    z = np.linspace(low, max(low + 1e-6, high), _POINTS)
    chance = ndtr((z[:, None] - ends[None, :]) / spread[None, :]) @ share
    # It was there in its last section.
    chance = np.clip((chance - chance[0]) / max(1e-12, 1 - chance[0]), 0.0, 1.0)
    chance[-1] = 1.0
    area = max(1e-12, float(weight @ grid.area))
    size = NucleusSize(height * seen.unit_nm, math.sqrt(area) * seen.unit_nm)
    middle_nm = float(weight @ grid.middle) * seen.unit_nm + seen.last_nm
    return EndForecast(z * seen.unit_nm + seen.last_nm, np.maximum.accumulate(chance), middle_nm, size)


def _binned(values: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the middles of bins that hold weight, and how much each holds."""
    kept = weight > _LEAST_WEIGHT * weight.max()
    values, weight = values[kept], weight[kept] / weight[kept].sum()
    share, edges = np.histogram(values, bins=_BINS, weights=weight)
    held = share > 0
    return ((edges[1:] + edges[:-1]) / 2)[held], share[held]
