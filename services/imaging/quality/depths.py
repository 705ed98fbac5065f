"""Depths of planes, from the thickness of slices as judging measured it.

Thickness is measured slice by slice from decorrelation, against what was usual for the last slices (`judging`). So it
shows what changes from slice to slice, and nothing of what changes over many: the mean over some dozens of slices stays
nominal by construction. As much as half of what it shows is noise: it counts in full only where no noise explains it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.imaging.quality.judging import LONGEST_GAP, WARM_UP

CERTAIN_DEVIATIONS = 2.5
"""A thickness farther from the median of the run, in robust standard deviations of logarithms, is taken as it is."""
NOISE_SHARE = 0.4
"""The power of others, about which errors were least on phantoms of 16 nm whose slices vary by 15 % and slowly by 10 %
(tests/benchmarks/bench_thickness_repairs.py has others)."""
_THINNEST = 0.05
_DIGITS = 3


class DepthsFormatError(ValueError):
    """Bytes that are no depths of planes."""


class PlaneNotMeasuredError(ValueError):
    """A plane that the depths do not reach."""


@dataclass(frozen=True, slots=True)
class PlaneDepths:
    """Depths of successive planes.

    Attributes
    ----------
    first_z
        Index of the first.
    voxel_z_nm
        Nominal thickness.
    depths_nm
        Depth of the middle of each plane, increasing; that of the first is where its index puts it.

    Examples
    --------
    >>> depths = PlaneDepths(10, 4.0, (42.0, 46.0, 54.0))
    >>> depths.at(12), depths.thickness_nm().tolist(), depths.nominal_nm(50.0)
    (54.0, [4.0, 6.0, 8.0], 48.0)
    """

    first_z: int
    voxel_z_nm: float
    depths_nm: tuple[float, ...]

    @property
    def last_z(self) -> int:
        """Index of the last plane."""
        return self.first_z + len(self.depths_nm) - 1

    def at(self, z: int) -> float:
        """Return the depth of a plane.

        Raises
        ------
        PlaneNotMeasuredError
            If it is not one of them.
        """
        if not 0 <= z - self.first_z < len(self.depths_nm):
            raise PlaneNotMeasuredError(f"plane {z} is not one of {len(self.depths_nm)} from {self.first_z} on")
        return self.depths_nm[z - self.first_z]

    def thickness_nm(self) -> NDArray[np.float64]:
        """Return how much of the depth each plane stands for: from half-way to its neighbours, float64."""
        depths = np.array(self.depths_nm, np.float64)
        if len(depths) < 2:
            return np.full(len(depths), self.voxel_z_nm)
        between = (depths[1:] + depths[:-1]) / 2
        first, last = 2 * depths[0] - between[0], 2 * depths[-1] - between[-1]
        return np.diff(np.concatenate([[first], between, [last]]))

    def nominal_nm(self, depth_nm: float) -> float:
        """Return where a depth lies if all slices are as thick as they should be: what the planes' indices say."""
        nominal = (self.first_z + 0.5 + np.arange(len(self.depths_nm))) * self.voxel_z_nm
        low, high = self.depths_nm[0], self.depths_nm[-1]
        beyond = min(depth_nm - low, 0.0) + max(depth_nm - high, 0.0)
        return float(np.interp(depth_nm, self.depths_nm, nominal)) + beyond

    def to_bytes(self) -> bytes:
        """Return them as JSON; equal ones give equal bytes."""
        content = {"first_z": self.first_z, "voxel_z_nm": self.voxel_z_nm, "depths_nm": list(self.depths_nm)}
        return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def from_bytes(cls, payload: bytes) -> PlaneDepths:
        """Read what `to_bytes` wrote.

        Raises
        ------
        DepthsFormatError
            If the bytes are something else.
        """
        try:
            content: dict[str, Any] = json.loads(payload)
            depths = tuple(float(depth) for depth in content["depths_nm"])
            found = cls(int(content["first_z"]), float(content["voxel_z_nm"]), depths)
        except (ValueError, KeyError, TypeError) as error:
            raise DepthsFormatError(f"no depths of planes: {error}") from error
        if not depths or not np.all(np.isfinite(depths)) or np.any(np.diff(depths) <= 0):
            raise DepthsFormatError("depths of planes must increase")
        return found


def plane_depths(measured: Mapping[int, float | None], first_z: int, last_z: int, voxel_z_nm: float) -> PlaneDepths:
    """Return the depths of planes from the thickness of the slices of a run.

    Parameters
    ----------
    measured
        Thickness of every slice so far, by z, in units of the nominal one, on average since the last slice fit to
        compare with; NaN where nothing could be compared, None for a slice that is absent or whose image is spoilt.
    first_z, last_z
        The planes, inclusive.
    voxel_z_nm
        Nominal thickness.

    Notes
    -----
    The median of the run so far is taken for the nominal thickness. A slice that is absent or spoilt is as thick as the
    next good one says, which was compared over it. Slices of unknown thickness are nominal, and none is thinner than a
    twentieth of that, so that depths increase.

    Examples
    --------
    >>> told = dict.fromkeys(range(20), 1.0) | {12: 2.0}
    >>> plane_depths(told, 10, 13, 4.0).depths_nm
    (42.0, 46.0, 54.0, 58.0)
    """
    usual = _usual(measured)
    steps = [voxel_z_nm * _ratio(measured, z, usual) for z in range(first_z + 1, last_z + 1)]
    depths = (first_z + 0.5) * voxel_z_nm + np.cumsum([0.0, *steps])
    return PlaneDepths(first_z, voxel_z_nm, tuple(round(float(depth), _DIGITS) for depth in depths))


def _usual(measured: Mapping[int, float | None]) -> tuple[float, float] | None:
    """Return median and robust standard deviation of the logarithms of the run; None where too few are known."""
    logs = [
        math.log(max(value, _THINNEST)) for value in measured.values() if value is not None and not math.isnan(value)
    ]
    if len(logs) < WARM_UP:
        return None
    middle = float(np.median(logs))
    return middle, 1.4826 * float(np.median(np.abs(np.array(logs) - middle)))


def _ratio(measured: Mapping[int, float | None], z: int, usual: tuple[float, float] | None) -> float:
    """Return the thickness of a slice in units of the nominal one."""
    known = next((at for at in range(z, z + LONGEST_GAP) if measured.get(at) is not None), None)
    value = math.nan if known is None else measured[known]
    if usual is None or value is None or math.isnan(value):
        return 1.0
    middle, spread = usual
    deviation = math.log(max(value, _THINNEST)) - middle
    share = 1.0 if abs(deviation) > CERTAIN_DEVIATIONS * spread else NOISE_SHARE
    return max(_THINNEST, math.exp(share * deviation))
