"""Pairs of slices: how one lies on another, and whether that can be believed."""

from __future__ import annotations

from dataclasses import dataclass

from services.imaging.registration.affine import Affine
from services.imaging.registration.features import Features, matched
from services.imaging.registration.planes import Grey, Pyramid
from services.imaging.registration.refinement import Fit, Model, refine

SURE_NCC = 0.55
"""Contrast of planes that agree so well was registered right, whatever was known before."""
LEAST_NCC = 0.12
"""Less than this is no agreement."""
_LEAST_OVERLAP = 0.25


@dataclass(frozen=True, slots=True)
class Link:
    """How a slice lies on an earlier one.

    Attributes
    ----------
    fixed_z, moving_z
        The earlier slice and the later one.
    to_fixed
        Map from the later slice to the earlier one: pixels of reduced planes, counted from their middles.
    ncc
        Correlation of their contrast under the map.
    by_features
        Whether features had to say where to look.
    """

    fixed_z: int
    moving_z: int
    to_fixed: Affine
    ncc: float
    by_features: bool = False


class Registrable:
    """A slice, ready to be registered.

    Parameters
    ----------
    plane_yx
        uint8, (y, x), reduced.

    Raises
    ------
    EmptyPlaneError
        If there is nothing in it.
    """

    def __init__(self, plane_yx: Grey) -> None:
        self.pyramid = Pyramid(plane_yx)
        self.features = Features(self.pyramid)


def register_pair(
    fixed: Registrable, moving: Registrable, model: Model, start: Affine | None = None
) -> tuple[Fit, bool] | None:
    """Find how one slice lies on another.

    Parameters
    ----------
    fixed, moving
        Slices of one shape.
    model
        What may differ between them.
    start
        Map from `moving` to `fixed` that is known to a pixel or two, and is only made finer; None: looked for where the
        slices lie as they are, and by features where that is not enough.

    Returns
    -------
    tuple of Fit and bool, or None
        The map, and whether features were needed for it; None where the two do not agree anywhere.
    """
    if start is not None:
        near = refine(fixed.pyramid, moving.pyramid, model, start, levels=0)
        return (near, False) if _believable(near, LEAST_NCC) else None
    fits = [refine(fixed.pyramid, moving.pyramid, model)]
    if not _believable(fits[0], SURE_NCC):
        coarse = matched(fixed.features, moving.features)
        if coarse is not None:
            seed = Affine(shift_y=coarse.shift_y, shift_x=coarse.shift_x) if model == "translation" else coarse
            fits.append(refine(fixed.pyramid, moving.pyramid, model, seed, levels=1))
    best = max(fits, key=lambda fit: fit.ncc if fit.overlap >= _LEAST_OVERLAP else -1.0)
    return (best, best is not fits[0]) if _believable(best, LEAST_NCC) else None


def _believable(fit: Fit, least_ncc: float) -> bool:
    return fit.ncc >= least_ncc and fit.overlap >= _LEAST_OVERLAP
