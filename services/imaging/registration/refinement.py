"""Where one plane lies on another, to a fraction of a pixel: Gauss-Newton on contrast, from coarse to fine.

Inverse compositional alignment (Baker and Matthews 2004, Lucas-Kanade 20 years on, IJCV 56:221) at the points of
steepest contrast, reweighted by Tukey's biweight so that what moves otherwise than the field has no say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from services.imaging.registration.affine import IDENTITY, Affine
from services.imaging.registration.planes import Float, Level, Pyramid

Model = Literal["translation", "rigid", "affine"]
Vector = NDArray[np.float64]

_TUKEY = 4.685
_STEPS_COARSE, _STEPS_FINE = 12, 8
_STILL_PX = 0.01
_LEAST_POINTS = 200
_LARGEST_DISTORTION = 0.2
# Columns of the matrix, (yy, yx, xy, xx), that a model moves: rotation, or all four.
_ROTATION = np.array([[0.0], [-1.0], [1.0], [0.0]])
_STRETCH_PENALTY = 0.01


@dataclass(frozen=True, slots=True)
class Fit:
    """How a plane lies on another.

    Attributes
    ----------
    to_fixed
        Map from the moving plane to the fixed one, pixels, both counted from their middles.
    ncc
        Correlation of the contrast where both are, at the finest level that was compared.
    overlap
        Share of the points that both planes hold.
    """

    to_fixed: Affine
    ncc: float
    overlap: float


def refine(fixed: Pyramid, moving: Pyramid, model: Model, start: Affine = IDENTITY, levels: int | None = None) -> Fit:
    """Improve a map from plane to plane.

    Parameters
    ----------
    fixed, moving
        Planes of one shape.
    model
        What may differ between them: a shift; rotation too; an affine map, drawn towards a rotation.
    start
        What is known already: from `moving` to `fixed`, counted from their middles.
    levels
        How often the planes are halved to begin with; None: as often as they can be, for a start that may be far off.

    Returns
    -------
    Fit
        The map and how well the planes agree under it.
    """
    to_moving = start.inverse()
    first = fixed.depth if levels is None else min(levels, fixed.depth)
    for number in range(first, -1, -1):
        # A whole affine map is for the finest levels: on a coarse one there is too little to hold it.
        allowed: Model = model if number <= 1 else "translation"
        to_moving = _settled(fixed.level(number), moving.level(number), allowed, to_moving)
    ncc, overlap = agreement(fixed.level(0), moving.level(0), to_moving)
    return Fit(to_moving.inverse(), ncc, overlap)


def agreement(fixed: Level, moving: Level, to_moving: Affine) -> tuple[float, float]:
    """Return the correlation of two levels at the points of the first, and the share of them that both hold."""
    points = max(1, len(fixed.points[0]))
    seen, inside = _sampled(fixed, moving, to_moving)
    count = int(inside.sum())
    if count < _LEAST_POINTS:
        return 0.0, count / points
    here = fixed.at_points[0][inside]
    there = seen[inside].astype(np.float64)
    here -= here.mean()
    there -= there.mean()
    spread = math.sqrt(float((here * here).sum()) * float((there * there).sum()))
    return (float((here * there).sum()) / spread if spread > 0 else 0.0), count / points


def _settled(fixed: Level, moving: Level, model: Model, to_moving: Affine) -> Affine:
    """Take steps until they are small; a step into nowhere ends where it began."""
    if len(fixed.points[0]) < _LEAST_POINTS:
        return to_moving
    basis = _basis(fixed, model)
    began = to_moving
    for _ in range(_STEPS_FINE if fixed.scale == 1 else _STEPS_COARSE):
        seen, inside = _sampled(fixed, moving, to_moving)
        count = np.count_nonzero(inside)
        if count < _LEAST_POINTS:
            return began
        difference = seen - fixed.at_points[0]
        # Where all points are seen, as they mostly are, nothing is copied to leave some out.
        some = (basis, difference) if count == len(inside) else (basis[inside], difference[inside])
        step = _step(*some, model, fixed)
        if step is None:
            return began
        to_moving = to_moving.after(step.inverse())
        if to_moving.distortion > _LARGEST_DISTORTION:
            return began
        if _reach_px(step, fixed) < _STILL_PX * fixed.scale:
            break
    return to_moving


def _basis(level: Level, model: Model) -> Vector:
    """Return how the contrast at each point changes with each number of the model, shape (n, numbers)."""
    _, slope_y, slope_x = level.at_points
    shifts = np.stack([slope_y, slope_x], axis=1)
    if model == "translation":
        return shifts
    y, x = (places / _lever(level) for places in level.from_middle)
    matrix = np.stack([slope_y * y, slope_y * x, slope_x * y, slope_x * x], axis=1)
    if model == "rigid":
        turned = matrix[:, 2] - matrix[:, 1]
        return np.concatenate([shifts, turned[:, None]], axis=1)
    return np.concatenate([shifts, matrix], axis=1)


def _step(basis: Vector, difference: Vector, model: Model, level: Level) -> Affine | None:
    """Solve for the numbers that explain a difference best; None where nothing holds them."""
    # Every third point tells what is usual among them.
    centred = difference - _median(difference[::3])
    spread = _median(np.abs(centred[::3])) * 1.4826
    if spread == 0:
        return IDENTITY
    weights = np.maximum(1 - (centred / (_TUKEY * spread)) ** 2, 0) ** 2
    weighted = basis * weights[:, None]
    # Without BLAS, whose sums depend on how many threads there are.
    normal = np.einsum("ni,nj->ij", weighted, basis)
    right = np.einsum("ni,n->i", weighted, centred)
    if model == "affine":
        # Stretch and shear cost something; shift and rotation do not.
        stretch = np.eye(4)
        stretch[1:3, 1:3] = [[0.5, 0.5], [0.5, 0.5]]
        normal[2:, 2:] += _STRETCH_PENALTY * normal[0, 0] * stretch
    try:
        found = np.linalg.solve(normal, right)
    except np.linalg.LinAlgError:
        return None
    if not np.isfinite(found).all():
        return None
    return _map_of(found, model, level)


def _median(values: Vector) -> float:
    """Return the median, as numpy's does; that looks for NaN and for axes first, which takes as long again."""
    half = len(values) // 2
    if len(values) % 2:
        return float(np.partition(values, half)[half])
    ordered = np.partition(values, (half - 1, half))
    return float((ordered[half - 1] + ordered[half]) / 2)


def _map_of(found: Vector, model: Model, level: Level) -> Affine:
    """Return the step that numbers stand for, in pixels of the plane."""
    shift_y, shift_x = (float(value) * level.scale for value in found[:2])
    lever = _lever(level)
    if model == "translation":
        return Affine(shift_y=shift_y, shift_x=shift_x)
    if model == "rigid":
        angle = math.atan(float(found[2]) / lever)
        cos, sin = math.cos(angle), math.sin(angle)
        return Affine(cos, -sin, sin, cos, shift_y, shift_x)
    yy, yx, xy, xx = (float(value) / lever for value in found[2:])
    return Affine(1 + yy, yx, xy, 1 + xx, shift_y, shift_x)


def _sampled(fixed: Level, moving: Level, to_moving: Affine) -> tuple[Float, NDArray[np.bool_]]:
    """Return the moving level at the fixed one's points, and which of them lie within it."""
    y, x = fixed.from_middle
    scale = fixed.scale
    at_y = to_moving.yy * y + to_moving.yx * x + to_moving.shift_y / scale + moving.centre_yx[0]
    at_x = to_moving.xy * y + to_moving.xx * x + to_moving.shift_x / scale + moving.centre_yx[1]
    height, width = moving.contrast.shape
    inside = (at_y >= 1) & (at_y <= height - 2) & (at_x >= 1) & (at_x <= width - 2)
    where_x, where_y = (np.ascontiguousarray(at[None], dtype=np.float32) for at in (at_x, at_y))
    # OpenCV's maps hold at most 32,767 columns.
    seen = np.concatenate([
        cv2.remap(moving.contrast, where_x[:, first : first + 32_000], where_y[:, first : first + 32_000],
                  cv2.INTER_CUBIC)[0]
        for first in range(0, max(1, where_x.shape[1]), 32_000)
    ])  # fmt: skip
    return np.asarray(seen, np.float32), inside


def _lever(level: Level) -> float:
    """Half the diagonal: by this a number of the matrix becomes a shift at the corners."""
    return math.hypot(*level.centre_yx)


def _reach_px(step: Affine, level: Level) -> float:
    shift = math.hypot(step.shift_y, step.shift_x)
    return shift + step.distortion * _lever(level) * level.scale
