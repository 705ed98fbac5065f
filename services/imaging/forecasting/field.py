"""Whether a nucleus will leave the field before it ends, and the shift of the field that would keep it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from services.imaging.forecasting.ends import EndForecast

FloatArray = npt.NDArray[np.float64]
FieldSide = Literal["y_min", "y_max", "x_min", "x_max"]
FIELD_SIDES: tuple[FieldSide, ...] = ("y_min", "y_max", "x_min", "x_max")

CLEARANCE_NM = 200.0
"""What should be left between a nucleus and the border."""
LIKELY = 0.2
"""Chance from which leaving the field is worth a warning."""
_RECENT_NM = 1000.0
_LEAN = 0.4  # nm along the slice per nm of depth: what leaning nuclei and drifting stages do
_TURN = 0.05  # how far that may change
_LEAST_JITTER_NM = 8.0
_SURE = 1.2816  # 90 % of a normal distribution, one-sided
_DEPTHS = 25


class NoPlacesError(ValueError):
    """A forecast needs at least one place."""


@dataclass(frozen=True)
class Place:
    """Where a nucleus lies in one slice, in nm of the raw image.

    Attributes
    ----------
    z_nm
        Depth.
    low_yx_nm, high_yx_nm
        The box round its section.
    """

    z_nm: float
    low_yx_nm: tuple[float, float]
    high_yx_nm: tuple[float, float]


@dataclass(frozen=True)
class SideForecast:
    """A nucleus and one border of the field.

    Attributes
    ----------
    side
        Which.
    chance
        That the border cuts the nucleus before it ends.
    z_nm
        Where it reaches the border, as things go; None where it does not.
    room_nm
        How far the border could come nearer and the nucleus still be kept whole, with 90 % and the clearance; below 0,
        how far the field must move towards it.
    """

    side: FieldSide
    chance: float
    z_nm: float | None
    room_nm: float


@dataclass(frozen=True)
class FieldShift:
    """How to move the field.

    Attributes
    ----------
    y_nm, x_nm
        Towards greater rows and columns; 0 where nothing is to be gained.
    keeps
        Nuclei that would leave and are kept by it.
    loses
        Nuclei that cannot be kept: the field would lose another one, which has as good a claim, at the opposite side.
    """

    y_nm: float
    x_nm: float
    keeps: tuple[str, ...]
    loses: tuple[str, ...]


def forecast_field(
    places: Sequence[Place], end: EndForecast, field_yx_nm: tuple[float, float]
) -> tuple[SideForecast, ...]:
    """Forecast whether a nucleus leaves the field, for each of its four sides.

    The middle goes on along the line of its last 1000 nm, with what the line leaves unexplained; the section grows and
    shrinks as the forecast ellipsoid says.

    Parameters
    ----------
    places
        Of one nucleus in the raw slices, in any order.
    end
        Where it ends.
    field_yx_nm
        Height and width of a slice.

    Raises
    ------
    NoPlacesError
        If there is none.
    """
    if not places:
        raise NoPlacesError("a nucleus that was seen nowhere leads nowhere")
    found = sorted(places, key=lambda place: place.z_nm)
    last_nm = found[-1].z_nm
    found = [place for place in found if place.z_nm >= last_nm - _RECENT_NM]
    z = np.linspace(last_nm, max(last_nm + 1.0, end.quantile_nm(0.95)), _DEPTHS)
    there = 1 - np.array([end.by(float(depth)) for depth in z])
    radius = max(1.0, end.section_radius_nm(last_nm))
    growth = np.array([end.section_radius_nm(float(depth)) for depth in z]) / radius
    sides: list[SideForecast] = []
    for axis, (low_side, high_side) in enumerate((("y_min", "y_max"), ("x_min", "x_max"))):
        middle, spread = _course(found, axis, z - last_nm)
        half = (found[-1].high_yx_nm[axis] - found[-1].low_yx_nm[axis]) / 2 * growth
        low, high = middle - half, field_yx_nm[axis] - middle - half
        sides.append(_side(low_side, low, spread, there, z))  # type: ignore[arg-type]
        sides.append(_side(high_side, high, spread, there, z))  # type: ignore[arg-type]
    return tuple(sides)


def _course(places: Sequence[Place], axis: int, ahead_nm: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Forecast the middle at depths ahead of the last place, and its standard deviation."""
    back = np.array([place.z_nm - places[-1].z_nm for place in places])
    middle = np.array([(place.low_yx_nm[axis] + place.high_yx_nm[axis]) / 2 for place in places])
    if len(places) < 3:
        return np.full_like(ahead_nm, middle[-1]), np.hypot(_LEAST_JITTER_NM, _LEAN * ahead_nm)
    basis = np.stack([np.ones_like(back), back], axis=1)
    line = np.linalg.lstsq(basis, middle, rcond=None)[0]
    left = middle - basis @ line
    jitter = max(_LEAST_JITTER_NM, math.sqrt(float(left @ left) / max(1, len(back) - 2)))
    precision = basis.T @ basis / jitter**2 + np.diag([0.0, _LEAN**-2])
    covariance = np.linalg.inv(precision)
    line = covariance @ (basis.T @ middle / jitter**2)
    ahead = np.stack([np.ones_like(ahead_nm), ahead_nm], axis=1)
    variance = np.einsum("ij,jk,ik->i", ahead, covariance, ahead) + jitter**2 + (_TURN * ahead_nm) ** 2
    return np.asarray(ahead @ line), np.asarray(np.sqrt(variance))


def _side(side: FieldSide, margin: FloatArray, spread: FloatArray, there: FloatArray, z: FloatArray) -> SideForecast:
    chance = ndtr(-margin / spread) * there
    reached = np.flatnonzero((margin < 0) & (there > 0.5))
    counted = there > 0.05
    room = (margin - _SURE * spread - CLEARANCE_NM)[counted] if counted.any() else margin[:1]
    return SideForecast(side, float(chance.max()), float(z[reached[0]]) if len(reached) else None, float(room.min()))


def shift_that_keeps(forecasts: Mapping[str, Sequence[SideForecast]]) -> FieldShift:
    """Return how far the field must move so that no nucleus leaves it, where it can.

    Parameters
    ----------
    forecasts
        By nucleus: those that are whole so far.

    Examples
    --------
    >>> near = SideForecast("x_max", 0.9, 4000.0, -350.0)
    >>> far = SideForecast("x_min", 0.0, None, 900.0)
    >>> shift_that_keeps({"n0001": (near,), "n0002": (far,)})
    FieldShift(y_nm=0.0, x_nm=350.0, keeps=('n0001',), loses=())
    """
    shifts: dict[str, float] = {}
    keeps: set[str] = set()
    loses: set[str] = set()
    for axis in ("y", "x"):
        needs = {sign: _needs(forecasts, f"{axis}_{name}") for name, sign in (("min", -1), ("max", 1))}
        room = {sign: _room(forecasts, f"{axis}_{name}") for name, sign in (("min", -1), ("max", 1))}
        shifts[axis] = 0.0
        for sign, wanted in needs.items():
            for nucleus_id, need in sorted(wanted.items(), key=lambda item: item[1]):
                # The field can move as far as what lies at the other side allows.
                if needs[-sign] or need > room[-sign]:
                    loses.add(nucleus_id)
                else:
                    keeps.add(nucleus_id)
                    shifts[axis] = sign * need
    return FieldShift(shifts["y"], shifts["x"], tuple(sorted(keeps - loses)), tuple(sorted(loses)))


def _needs(forecasts: Mapping[str, Sequence[SideForecast]], side: str) -> dict[str, float]:
    return {
        nucleus_id: -found.room_nm
        for nucleus_id, sides in forecasts.items()
        for found in sides
        if found.side == side and found.chance >= LIKELY and found.room_nm < 0
    }


def _room(forecasts: Mapping[str, Sequence[SideForecast]], side: str) -> float:
    return min((found.room_nm for sides in forecasts.values() for found in sides if found.side == side), default=1e9)
