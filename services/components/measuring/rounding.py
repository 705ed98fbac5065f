"""How measured numbers are rounded before they become rows."""

from __future__ import annotations

import math

from services.components.measuring.lattice import FloatArray

DIGITS = 6
"""Significant digits of a measured number: a library may sum in another order, and no measurement is better."""


def significant(value: float | None) -> float | None:
    """Return a number with six significant digits; None for None and for what is no finite number.

    Examples
    --------
    >>> significant(0.123456789), significant(float("inf"))
    (0.123457, None)
    """
    return float(f"{value:.{DIGITS}g}") if value is not None and math.isfinite(value) else None


def position(place_nm: FloatArray | tuple[float, float, float]) -> tuple[float, float, float]:
    """Return a place (z, y, x) to a tenth of a nanometre."""
    z, y, x = (round(float(value), 1) for value in place_nm)
    return z, y, x
