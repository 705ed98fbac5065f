"""Compiled rays through smooth occupancy fields: first hits, ambient occlusion, soft shadows.

A field is a uint8 array (z, y, x): 255 deep inside the solid, 0 outside, and the surface where it crosses `SURFACE`.
Positions are voxel coordinates of the field, (z, y, x), integer at voxel centres. Nothing here knows about classes,
colours or files. Every kernel releases the interpreter lock, so that bands of a picture run on several threads, and
computes each pixel alone, so that the bands do not change the result.
"""

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

SURFACE = 127.5
FAR = 1e9
SUBSAMPLES = 2  # rays per pixel and axis
_STEP = 0.7
_BISECTIONS = 5
_TAN_AMBIENT = 0.577  # tangent of 30 degrees: six such cones cover the hemisphere
_TAN_SHADOW = 0.2
_SHARED_LIGHT_VOXELS = 2.0  # rays of one pixel that hit this near to each other share their soft light

Field = NDArray[np.uint8]
Point = tuple[float, float, float]
Floats = NDArray[np.float64]


class Solid(NamedTuple):
    """What is opaque.

    Parameters
    ----------
    field
        (z, y, x) uint8 field.
    clearance
        (z, y, x) uint8, one per cube of 2 voxels: how many cubes away the next matter is, along the worst axis.
    parts
        (z, y, x) uint8; 0 for nothing, otherwise the index of a part, which chooses its colour.
    pyramid
        The field and its means over cubes of 2, 4, 8 ... voxels.
    """

    field: Field
    clearance: Field
    parts: Field
    pyramid: tuple[Field, ...]


class Skin(NamedTuple):
    """The translucent surface of a filled body: its field, its clearance, and its strength 0..1 (0 leaves it out)."""

    field: Field
    clearance: Field
    strength: float


class View(NamedTuple):
    """An orthographic camera and a light, in voxels, axes (z, y, x).

    Parameters
    ----------
    corner
        Where the ray of the first pixel's first subsample starts.
    right, down
        Step from one subsample to the next along a row and along a column.
    ray, light
        Unit directions in which sight and light travel.
    depth
        Length of the rays.
    reach
        How far away matter still darkens a surface.
    """

    corner: Point
    right: Point
    down: Point
    ray: Point
    light: Point
    depth: float
    reach: float


@numba.njit(nogil=True, cache=True)
def sample(field: Field, z: float, y: float, x: float) -> float:
    """Return the trilinear value at (z, y, x); outside the array the field is 0.

    Examples
    --------
    >>> ramp = np.zeros((3, 3, 3), dtype=np.uint8)
    >>> ramp[1, 1, 1] = 100
    >>> sample(ramp, 1.0, 1.0, 1.25)
    75.0
    """
    k, j, i = math.floor(z), math.floor(y), math.floor(x)
    if k < 0 or j < 0 or i < 0 or k + 1 >= field.shape[0] or j + 1 >= field.shape[1] or i + 1 >= field.shape[2]:
        return 0.0  # fields carry a margin of 0, so nothing is lost at the faces
    fz, fy, fx = z - k, y - j, x - i
    a = field[k, j, i] + fx * (float(field[k, j, i + 1]) - field[k, j, i])
    b = field[k, j + 1, i] + fx * (float(field[k, j + 1, i + 1]) - field[k, j + 1, i])
    c = field[k + 1, j, i] + fx * (float(field[k + 1, j, i + 1]) - field[k + 1, j, i])
    d = field[k + 1, j + 1, i] + fx * (float(field[k + 1, j + 1, i + 1]) - field[k + 1, j + 1, i])
    front, back = a + fy * (b - a), c + fy * (d - c)
    return float(front + fz * (back - front))


@numba.njit(nogil=True, cache=True)
def _along(start: Point, ray: Point, t: float) -> Point:
    return start[0] + t * ray[0], start[1] + t * ray[1], start[2] + t * ray[2]


@numba.njit(nogil=True, cache=True)
def _dot(a: Point, b: Point) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@numba.njit(nogil=True, cache=True)
def _unit(a: Point) -> Point:
    length = math.sqrt(_dot(a, a)) + 1e-12
    return a[0] / length, a[1] / length, a[2] / length


@numba.njit(nogil=True, cache=True)
def _cross(a: Point, b: Point) -> Point:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@numba.njit(nogil=True, cache=True)
def _box_span(shape: tuple[int, int, int], origin: Point, ray: Point, span: tuple[float, float]) -> tuple[float, float]:
    """Part of a span in which a ray is within an array."""
    low, high = span
    for axis in range(3):
        slope = ray[axis] if abs(ray[axis]) > 1e-9 else 1e-9
        a, b = -origin[axis] / slope, (shape[axis] - 1.0 - origin[axis]) / slope
        low, high = max(low, min(a, b)), min(high, max(a, b))
    return low, high


@numba.njit(nogil=True, cache=True)
def next_entry(field: Field, clearance: Field, origin: Point, ray: Point, span: tuple[float, float]) -> float:
    """Return the distance at which a ray next goes from outside to inside, or `FAR`.

    Parameters
    ----------
    field, clearance
        As in `Solid`.
    origin, ray
        Start and unit direction of the ray.
    span
        Distances between which to look.
    """
    t, end = _box_span(field.shape, origin, ray, span)
    outside = False
    previous = t
    while t < end:
        z, y, x = origin[0] + t * ray[0], origin[1] + t * ray[1], origin[2] + t * ray[2]
        cells = clearance[int(z) >> 1, int(y) >> 1, int(x) >> 1]
        inside = cells < 2 and sample(field, z, y, x) > SURFACE
        if inside and outside:
            return _bisect(field, origin, ray, previous, t)
        outside = not inside
        previous = t
        t += max(_STEP, 2.0 * cells - 3.0)  # no matter within that many voxels, see `fields.clearance`
    return FAR


@numba.njit(nogil=True, cache=True)
def _bisect(field: Field, origin: Point, ray: Point, low: float, high: float) -> float:
    """Distance of the surface between a point outside (`low`) and one inside (`high`)."""
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        p = _along(origin, ray, middle)
        if sample(field, p[0], p[1], p[2]) > SURFACE:
            high = middle
        else:
            low = middle
    return high


@numba.njit(nogil=True, cache=True)
def normal_at(field: Field, p: Point) -> Point:
    """Return the unit normal (z, y, x) that points out of the solid, from central differences."""
    z, y, x = p
    return _unit(
        (
            sample(field, z - 1.0, y, x) - sample(field, z + 1.0, y, x),
            sample(field, z, y - 1.0, x) - sample(field, z, y + 1.0, x),
            sample(field, z, y, x - 1.0) - sample(field, z, y, x + 1.0),
        )
    )


@numba.njit(nogil=True, cache=True)
def _blob(pyramid: tuple[Field, ...], width: float, p: Point) -> float:
    """Occupancy 0..1 of a blob `width` voxels wide, from the two nearest levels of a pyramid."""
    level = min(max(math.log2(width), 0.0), len(pyramid) - 1.0)
    lower = int(level)
    upper = min(lower + 1, len(pyramid) - 1)
    s = 0.5**lower
    value = sample(pyramid[lower], (p[0] + 0.5) * s - 0.5, (p[1] + 0.5) * s - 0.5, (p[2] + 0.5) * s - 0.5)
    s = 0.5**upper
    above = sample(pyramid[upper], (p[0] + 0.5) * s - 0.5, (p[1] + 0.5) * s - 0.5, (p[2] + 0.5) * s - 0.5)
    return (value + (level - lower) * (above - value)) / 255.0


@numba.njit(nogil=True, cache=True)
def cone_visibility(pyramid: tuple[Field, ...], start: Point, ray: Point, tangent: float, reach: float) -> float:
    """Return how much (0..1) of a cone from `start` along `ray` is free of matter up to `reach` voxels."""
    free = 1.0
    t = 1.5
    while t < reach and free > 0.02:
        width = max(2.0 * tangent * t, 1.0)
        blocked = _blob(pyramid, width, _along(start, ray, t))
        free *= 1.0 - min(1.0, 1.15 * blocked) * (1.0 - t / reach)
        t += width
    return free


@numba.njit(nogil=True, cache=True)
def open_sky(pyramid: tuple[Field, ...], start: Point, normal: Point, reach: float) -> float:
    """Return the open share (0..1) of the hemisphere over a surface point: one cone up, five around it."""
    side = _unit(_cross(normal, (0.0, 0.0, 1.0) if abs(normal[2]) < 0.9 else (0.0, 1.0, 0.0)))
    other = _cross(normal, side)
    total = 0.25 * cone_visibility(pyramid, start, normal, _TAN_AMBIENT, reach)
    for i in range(5):
        c, s = 0.866 * math.cos(0.4 * math.pi * i), 0.866 * math.sin(0.4 * math.pi * i)
        ray = (
            0.5 * normal[0] + c * side[0] + s * other[0],
            0.5 * normal[1] + c * side[1] + s * other[1],
            0.5 * normal[2] + c * side[2] + s * other[2],
        )
        total += 0.15 * cone_visibility(pyramid, start, ray, _TAN_AMBIENT, reach)
    return total


@numba.njit(nogil=True, cache=True)
def part_at(parts: Field, p: Point, weights: Floats) -> int:
    """Return the part that weighs most within two voxels of a point, 0 when there is none.

    Parameters
    ----------
    parts
        (z, y, x) uint8; 0 for nothing, otherwise the index of a part.
    p
        The point.
    weights
        (256,) float64 to work in; comes back as zeros.
    """
    best, most = 0, 0.0
    k0, j0, i0 = round(p[0]), round(p[1]), round(p[2])
    decay_x = (
        math.exp(-0.9 * (i0 - 2 - p[2]) ** 2),
        math.exp(-0.9 * (i0 - 1 - p[2]) ** 2),
        math.exp(-0.9 * (i0 - p[2]) ** 2),
        math.exp(-0.9 * (i0 + 1 - p[2]) ** 2),
        math.exp(-0.9 * (i0 + 2 - p[2]) ** 2),
    )
    for k in range(max(k0 - 2, 0), min(k0 + 3, parts.shape[0])):
        for j in range(max(j0 - 2, 0), min(j0 + 3, parts.shape[1])):
            decay = math.exp(-0.9 * ((k - p[0]) ** 2 + (j - p[1]) ** 2))
            for i in range(max(i0 - 2, 0), min(i0 + 3, parts.shape[2])):
                part = parts[k, j, i]
                if part:
                    weights[part] += decay * decay_x[i - i0 + 2]
                    if weights[part] > most:
                        best, most = int(part), weights[part]
    weights[:] = 0.0
    return best


@numba.njit(nogil=True, cache=True)
def _shade(view: View, normal: Point, sky: float, lit: float) -> tuple[float, float]:
    """Diffuse and specular light at a point, both about 0..1; image y grows downwards, so the sky is at -y."""
    facing = max(0.0, -_dot(normal, view.light))
    to_view = max(0.0, -_dot(normal, view.ray))
    half = _unit((-view.light[0] - view.ray[0], -view.light[1] - view.ray[1], -view.light[2] - view.ray[2]))
    shine = max(0.0, _dot(normal, half)) ** 40
    above = 0.5 - 0.5 * normal[1]
    return 0.95 * facing * lit + (0.34 + 0.30 * above + 0.10 * to_view) * sky**1.35, 0.16 * shine * lit


@numba.njit(nogil=True, cache=True)
def _veil(skin: Skin, view: View, origin: Point, end: float) -> tuple[float, float]:
    """Brightness, times opacity, and opacity of the skin in front of `end`; a skin seen edge-on is more opaque."""
    t = next_entry(skin.field, skin.clearance, origin, view.ray, (0.0, end))
    if t >= end:
        return 0.0, 0.0
    normal = normal_at(skin.field, _along(origin, view.ray, t))
    opacity = skin.strength * (0.10 + 0.65 * (1.0 - abs(_dot(normal, view.ray))) ** 2.5)
    return opacity * (0.55 + 0.5 * max(0.0, -_dot(normal, view.light))), opacity


@numba.njit(nogil=True, cache=True)
def trace_rows(solid: Solid, skin: Skin, view: View, palette: Floats, rows: tuple[int, int], out: Floats) -> None:
    """Trace the pixel rows `rows[0]:rows[1]` of a picture into `out`.

    Parameters
    ----------
    solid, skin, view
        What is seen, and from where.
    palette
        (parts + 1, 3) float64 linear RGB; row 0 is the colour of the skin.
    rows
        First and last-but-one row to trace.
    out
        (rows, columns, 4) float64 of the whole picture; becomes linear RGBA, colours multiplied by alpha.
    """
    weights = np.zeros(256)
    share = 1.0 / (SUBSAMPLES * SUBSAMPLES)
    for row in range(rows[0], rows[1]):
        for column in range(out.shape[1]):
            last_t, sky, lit = -FAR, 1.0, 1.0
            for sub in range(SUBSAMPLES * SUBSAMPLES):
                start = _along(view.corner, view.down, row * SUBSAMPLES + sub // SUBSAMPLES)
                origin = _along(start, view.right, column * SUBSAMPLES + sub % SUBSAMPLES)
                t = next_entry(solid.field, solid.clearance, origin, view.ray, (0.0, view.depth))
                bright, veil = _veil(skin, view, origin, min(t, view.depth)) if skin.strength > 0.0 else (0.0, 0.0)
                pixel = out[row, column]
                for channel in range(3):
                    pixel[channel] += share * palette[0, channel] * bright
                pixel[3] += share * veil
                if t >= FAR:
                    continue
                hit = _along(origin, view.ray, t)
                normal = normal_at(solid.field, hit)
                if abs(t - last_t) > _SHARED_LIGHT_VOXELS:
                    above = _along(hit, normal, 0.7)
                    sky = open_sky(solid.pyramid, above, normal, view.reach)
                    to_light = (-view.light[0], -view.light[1], -view.light[2])
                    lit = cone_visibility(solid.pyramid, above, to_light, _TAN_SHADOW, 3.0 * view.reach)
                    last_t = t
                diffuse, shine = _shade(view, normal, sky, lit)
                part = part_at(solid.parts, hit, weights)
                for channel in range(3):
                    pixel[channel] += share * (1.0 - veil) * (palette[part, channel] * diffuse + shine)
                pixel[3] += share * (1.0 - veil)
