"""How large nuclei are: what is known before an acquisition, and what its complete nuclei teach."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace


class SizeValueError(ValueError):
    """A size, or the spread of sizes, that no nucleus can have."""


@dataclass(frozen=True)
class SizePrior:
    """Belief about the nuclei of an acquisition; radii are log-normal.

    Attributes
    ----------
    radius_nm
        Median of half the height of a nucleus along z.
    spread
        Standard deviation of its logarithm.
    aspect
        Median of the radius of the largest section, in units of half the height.
    aspect_spread
        Standard deviation of the logarithm of that.
    """

    radius_nm: float = 2050.0
    spread: float = 0.10
    aspect: float = 1.0
    aspect_spread: float = 0.08

    def __post_init__(self) -> None:
        for name in ("radius_nm", "spread", "aspect", "aspect_spread"):
            value = getattr(self, name)
            if not math.isfinite(value) or value <= 0:
                raise SizeValueError(f"{name} of a prior must be above 0, not {value}")


GERM_LINE = SizePrior()
"""Germ-line nuclei in resin, 4.1 um across (domain.md, section 1); the spread also covers what light microscopy saw."""

ANYTHING = SizePrior(radius_nm=3500.0, spread=0.45, aspect_spread=0.30)
"""Nuclei of cells nothing is known about, flat ones too."""


@dataclass(frozen=True)
class NucleusSize:
    """Size of a nucleus whose both ends were seen.

    Attributes
    ----------
    half_height_nm
        Half its length along z.
    radius_nm
        Radius of a circle of the area of its largest section.
    """

    half_height_nm: float
    radius_nm: float

    @property
    def volume_um3(self) -> float:
        """Volume of the ellipsoid.

        Examples
        --------
        >>> round(NucleusSize(2000.0, 2000.0).volume_um3, 2)
        33.51
        """
        return 4 / 3 * math.pi * self.half_height_nm * self.radius_nm**2 / 1e9


_PRIOR_NUCLEI = 2.0
_PRIOR_FREEDOM = 4.0


def learned(prior: SizePrior, complete: Sequence[NucleusSize]) -> SizePrior:
    """Return the belief about the next nucleus after some were seen whole.

    The mean of the logarithms is weighed with two nuclei of the prior's size, their variance with four of its spread
    (conjugate updates of a normal distribution, Gelman et al., Bayesian Data Analysis, section 3.3), and the spread
    returned is that of the next nucleus, the uncertainty of the mean included.

    Examples
    --------
    >>> seen = [NucleusSize(1800.0, 1800.0)] * 8
    >>> after = learned(GERM_LINE, seen)
    >>> round(after.radius_nm), round(after.spread, 3)
    (1847, 0.078)
    >>> learned(GERM_LINE, ()) == GERM_LINE
    True
    """
    if not complete:
        return prior
    radius, spread = _updated(prior.radius_nm, prior.spread, [size.half_height_nm for size in complete])
    ratios = [size.radius_nm / size.half_height_nm for size in complete]
    aspect, aspect_spread = _updated(prior.aspect, prior.aspect_spread, ratios)
    return replace(prior, radius_nm=radius, spread=spread, aspect=aspect, aspect_spread=aspect_spread)


def _updated(median: float, spread: float, seen: Sequence[float]) -> tuple[float, float]:
    """Median and spread of the next value, after `seen`."""
    if any(not math.isfinite(value) or value <= 0 for value in seen):
        raise SizeValueError("a nucleus that was seen has a size above 0")
    logs = sorted(math.log(value) for value in seen)
    count, mean = len(logs), math.fsum(logs) / len(logs)
    weight = _PRIOR_NUCLEI + count
    middle = (_PRIOR_NUCLEI * math.log(median) + count * mean) / weight
    squares = math.fsum((value - mean) ** 2 for value in logs)
    between = _PRIOR_NUCLEI * count / weight * (mean - math.log(median)) ** 2
    variance = (_PRIOR_FREEDOM * spread**2 + squares + between) / (_PRIOR_FREEDOM + count)
    return math.exp(middle), math.sqrt(variance * (1 + 1 / weight))
