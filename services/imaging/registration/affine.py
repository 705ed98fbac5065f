"""Affine maps of a plane, (y, x): composed, inverted, applied to points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


class SingularMapError(ValueError):
    """A map onto a line or a point has no inverse."""


@dataclass(frozen=True, slots=True)
class Affine:
    """A map of points of a plane: (y, x) goes to matrix times (y, x), plus shift.

    Attributes
    ----------
    yy, yx, xy, xx
        The matrix: the new y is ``yy * y + yx * x``, the new x is ``xy * y + xx * x``.
    shift_y, shift_x
        In the unit of the points.
    """

    yy: float = 1.0
    yx: float = 0.0
    xy: float = 0.0
    xx: float = 1.0
    shift_y: float = 0.0
    shift_x: float = 0.0

    @property
    def numbers(self) -> tuple[float, float, float, float, float, float]:
        """The six numbers, in the order of the attributes."""
        return (self.yy, self.yx, self.xy, self.xx, self.shift_y, self.shift_x)

    @property
    def distortion(self) -> float:
        """Greatest difference of an entry of the matrix from that of a mere shift."""
        return max(abs(self.yy - 1), abs(self.yx), abs(self.xy), abs(self.xx - 1))

    def after(self, first: Affine) -> Affine:
        """Return this map after another one.

        Examples
        --------
        >>> Affine(yy=2.0).after(Affine(shift_y=1.0, shift_x=3.0)).numbers
        (2.0, 0.0, 0.0, 1.0, 2.0, 3.0)
        """
        return Affine(
            self.yy * first.yy + self.yx * first.xy,
            self.yy * first.yx + self.yx * first.xx,
            self.xy * first.yy + self.xx * first.xy,
            self.xy * first.yx + self.xx * first.xx,
            self.yy * first.shift_y + self.yx * first.shift_x + self.shift_y,
            self.xy * first.shift_y + self.xx * first.shift_x + self.shift_x,
        )

    def inverse(self) -> Affine:
        """Return the map back.

        Raises
        ------
        SingularMapError
            If there is none.

        Examples
        --------
        >>> Affine(shift_y=2.0, shift_x=-1.0).inverse().numbers
        (1.0, 0.0, 0.0, 1.0, -2.0, 1.0)
        """
        det = self.yy * self.xx - self.yx * self.xy
        if det == 0 or not math.isfinite(det):
            raise SingularMapError(f"{self} has no inverse")
        yy, yx, xy, xx = self.xx / det, -self.yx / det, -self.xy / det, self.yy / det
        shift_y = -(yy * self.shift_y + yx * self.shift_x)
        shift_x = -(xy * self.shift_y + xx * self.shift_x)
        return Affine(yy, yx + 0.0, xy + 0.0, xx, shift_y, shift_x)

    def point(self, yx: tuple[float, float]) -> tuple[float, float]:
        """Return where one point goes.

        Examples
        --------
        >>> Affine(yx=0.5, shift_x=1.0).point((2.0, 4.0))
        (4.0, 5.0)
        """
        y, x = yx
        return (self.yy * y + self.yx * x + self.shift_y, self.xy * y + self.xx * x + self.shift_x)

    def points(self, points_yx: Points) -> Points:
        """Return where points go, float64 of shape (n, 2)."""
        y, x = points_yx[:, 0], points_yx[:, 1]
        return np.stack([self.yy * y + self.yx * x + self.shift_y, self.xy * y + self.xx * x + self.shift_x], axis=1)

    def about(self, point_yx: tuple[float, float]) -> Affine:
        """Return the same map of a plane whose origin is no longer `point_yx` but the corner it is counted from.

        Examples
        --------
        >>> Affine(yy=2.0, xx=2.0).about((3.0, 5.0)).point((3.0, 5.0))
        (3.0, 5.0)
        """
        y, x = point_yx
        there, back = Affine(shift_y=-y, shift_x=-x), Affine(shift_y=y, shift_x=x)
        return back.after(self.after(there))

    def magnified(self, factor: float) -> Affine:
        """Return the same map of a plane with pixels so many times smaller, whose corner pixels share a corner.

        Pixels are squares that lie edge to edge: the centre of reduced pixel p is at ``factor * p + (factor - 1) / 2``.

        Examples
        --------
        >>> Affine(shift_y=1.5).magnified(4).numbers
        (1.0, 0.0, 0.0, 1.0, 6.0, 0.0)
        """
        scaled = Affine(self.yy, self.yx, self.xy, self.xx, self.shift_y * factor, self.shift_x * factor)
        corner = (factor - 1) / 2
        return scaled.about((corner, corner)) if self.distortion else scaled


IDENTITY = Affine()
