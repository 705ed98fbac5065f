"""Compiled kernels that draw cytoplasm and nuclei at the pixel centres of one slice.

Every kernel takes the slice's `Frame`, so that truth is exact in the raw image however the stage moved. Greys are
averaged over a pixel by the share of it that each material covers.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from services.simulator.anatomy import Tissue
from services.simulator.canvas import Box, Canvas, Frame, covered, share
from services.simulator.randomness import Grid, sample

# Compiled code takes plain integers.
CYTOPLASM, RETICULUM, MITOCHONDRION = (
    int(Tissue.CYTOPLASM),
    int(Tissue.ENDOPLASMIC_RETICULUM),
    int(Tissue.MITOCHONDRION),
)
NUCLEOPLASM, NUCLEOLUS = int(Tissue.NUCLEOPLASM), int(Tissue.NUCLEOLUS)
MEMBRANE, SPACE, GRANULE = int(Tissue.MEMBRANE), int(Tissue.PERINUCLEAR_SPACE), int(Tissue.P_GRANULE)
_CLASS_NUCLEOPLASM, _CLASS_NUCLEOLUS, _CLASS_MEMBRANE = 1, 3, 5


class CytoplasmGreys(NamedTuple):
    """Mean greys of what lies between nuclei."""

    cytoplasm: float
    reticulum: float
    membrane: float


class CytoplasmFields(NamedTuple):
    """Cytoplasm in the plane of a slice.

    ``reticulum`` is the signed distance to the sheets of the reticulum, ``wall`` an upper bound of the distance to cell
    membranes. Closer to one than ``wall_margin`` it is reckoned from ``centres`` (n, 3) of the nuclei.
    """

    reticulum: Grid
    wall: Grid
    wall_margin: float
    centres: NDArray[np.float64]


class NucleusGreys(NamedTuple):
    """Mean greys of the parts that `paint_nucleus` draws."""

    nucleoplasm: float
    nucleolus: float
    vacuole: float
    membrane: float
    space: float
    pore: float
    granule: float


class NucleusFields(NamedTuple):
    """One nucleus in the plane of a slice.

    ``depth`` and ``nucleolus`` are signed distances (negative inside). ``granules`` (n, 5), ``pores`` (n, 3) and
    ``vacuoles`` (n, 4) are those near the plane, in specimen coordinates (z, y, x).
    """

    ident: int
    depth: Grid
    nucleolus: Grid
    half_envelope: float
    half_space: float
    granules: NDArray[np.float64]
    pores: NDArray[np.float64]
    vacuoles: NDArray[np.float64]


@njit(cache=True, nogil=True)
def _to_wall(place: tuple[float, float, float], centres: NDArray[np.float64]) -> float:
    """Distance of a place to the membrane between the two nearest cells, about halfway between their nuclei."""
    nearest = 1e9
    second = 1e9
    for k in range(len(centres)):
        dz = place[0] - centres[k, 0]
        dy = place[1] - centres[k, 1]
        dx = place[2] - centres[k, 2]
        distance = np.sqrt(dz * dz + dy * dy + dx * dx)
        second = min(second, max(nearest, distance))
        nearest = min(nearest, distance)
    return 0.55 * (second - nearest)


@njit(cache=True, nogil=True)
def paint_cytoplasm(canvas: Canvas, frame: Frame, fields: CytoplasmFields, greys: CytoplasmGreys) -> None:
    """Fill an empty canvas with cytoplasm, endoplasmic reticulum and the membranes between cells."""
    height, width = canvas.grey.shape
    for y in range(height):
        for x in range(width):
            py = frame.oy + frame.yy * y + frame.yx * x
            px = frame.ox + frame.row_nm[y] + frame.xy * y + frame.xx * x
            grey = greys.cytoplasm
            tissue = CYTOPLASM
            sheet = abs(sample(fields.reticulum, py, px)) - 22.0
            if sheet < frame.voxel:
                grey += (greys.reticulum - grey) * covered(sheet, frame.voxel)
                if sheet < 0.0:
                    tissue = RETICULUM
            if sample(fields.wall, py, px) < fields.wall_margin:
                wall = _to_wall((frame.z, py, px), fields.centres)
                grey += (greys.membrane - grey) * share(wall, frame.voxel, -7.0, 7.0)
                if wall < 7.0:
                    tissue = MEMBRANE
            canvas.tissue[y, x] = tissue
            canvas.grey[y, x] = grey


@njit(cache=True, nogil=True)
def _capsule_grey(along: float, depth: float, kind: int, greys: tuple[float, float, float], voxel: float) -> float:
    """Grey inside an organelle: rim, matrix and, for mitochondria, cristae along the axis."""
    grey = greys[1]
    if kind == MITOCHONDRION:
        phase = along / 85.0 - np.floor(along / 85.0)
        # Where a pixel holds most of a period, cristae are no longer seen one by one.
        seen = max(0.0, 1.0 - voxel / 60.0)
        grey += (greys[2] - grey) * (0.35 + seen * ((1.0 if phase < 0.35 else 0.0) - 0.35))
    return grey + (greys[0] - grey) * share(depth, voxel, -16.0, 0.0)


@njit(cache=True, nogil=True)
def paint_capsules(canvas: Canvas, frame: Frame, capsules: NDArray[np.float64], greys: NDArray[np.float64]) -> None:
    """Draw organelles: rounded cylinders in the cytoplasm.

    ``capsules`` float64 (n, 8): centre, half axis (z, y, x each), radius, tissue. ``greys`` float64 (256, 3): rim,
    inside and crista by tissue.
    """
    height, width = canvas.grey.shape
    for k in range(len(capsules)):
        cz, cy, cx, az, ay, ax, radius, tissue = capsules[k]
        kind = int(tissue)
        look = (greys[kind, 0], greys[kind, 1], greys[kind, 2])
        half = np.sqrt(az * az + ay * ay + ax * ax) + 1e-9
        reach_y = abs(ay) + radius
        reach_x = abs(ax) + radius
        y0 = max(0, int((cy - reach_y - frame.oy) / frame.yy) - 2)
        y1 = min(height, int((cy + reach_y - frame.oy) / frame.yy) + 3)
        for y in range(y0, y1):
            left = frame.ox + frame.row_nm[y] + frame.xy * y
            x0 = max(0, int((cx - reach_x - left) / frame.xx) - 2)
            x1 = min(width, int((cx + reach_x - left) / frame.xx) + 3)
            for x in range(x0, x1):
                dz = frame.z - cz
                dy = frame.oy + frame.yy * y + frame.yx * x - cy
                dx = left + frame.xx * x - cx
                along = (dz * az + dy * ay + dx * ax) / half
                inner = min(half, max(-half, along))
                ez = dz - inner * az / half
                ey = dy - inner * ay / half
                ex = dx - inner * ax / half
                depth = np.sqrt(ez * ez + ey * ey + ex * ex) - radius
                if depth >= frame.voxel / 2:
                    continue
                grey = _capsule_grey(along, depth, kind, look, frame.voxel)
                canvas.grey[y, x] += (grey - canvas.grey[y, x]) * covered(depth, frame.voxel)
                if depth < 0:
                    canvas.tissue[y, x] = kind


@njit(cache=True, nogil=True)
def _granule_depth(place: tuple[float, float, float], outside: float, granules: NDArray[np.float64]) -> float:
    """Signed distance to the nearest P granule of a place ``outside`` nm beyond the envelope."""
    depth = 1e9
    for k in range(len(granules)):
        dz = place[0] - granules[k, 0]
        dy = place[1] - granules[k, 1]
        dx = place[2] - granules[k, 2]
        beside = max(0.0, dz * dz + dy * dy + dx * dx - outside * outside) / (granules[k, 3] * granules[k, 3])
        if beside < 1.0:
            depth = min(depth, outside - granules[k, 4] * (1.0 - beside))
    return depth


@njit(cache=True, nogil=True)
def _near_any(place: tuple[float, float, float], spots: NDArray[np.float64], radius: float) -> bool:
    """Whether a place lies within a radius of any of the spots."""
    for k in range(len(spots)):
        dz = place[0] - spots[k, 0]
        dy = place[1] - spots[k, 1]
        dx = place[2] - spots[k, 2]
        if dz * dz + dy * dy + dx * dx < radius * radius:
            return True
    return False


@njit(cache=True, nogil=True)
def _inside_grey(
    place: tuple[float, float, float], inner: float, fields: NucleusFields, greys: NucleusGreys, voxel: float
) -> float:
    """Grey of nucleoplasm, nucleolus and its vacuoles."""
    core = greys.nucleolus
    for k in range(len(fields.vacuoles)):
        dz = place[0] - fields.vacuoles[k, 0]
        dy = place[1] - fields.vacuoles[k, 1]
        dx = place[2] - fields.vacuoles[k, 2]
        depth = np.sqrt(dz * dz + dy * dy + dx * dx) - fields.vacuoles[k, 3]
        core += (greys.vacuole - core) * covered(depth, max(voxel, 40.0))
    return greys.nucleoplasm + (core - greys.nucleoplasm) * covered(inner, voxel)


@njit(cache=True, nogil=True)
def _envelope_grey(
    shell: tuple[float, float, float], sides: tuple[float, float], pore: bool, greys: NucleusGreys, voxel: float
) -> float:
    """Grey across the envelope: ``shell`` is depth, half envelope, half space; ``sides`` the greys on both sides."""
    depth, envelope, space = shell
    inside = covered(depth + envelope, voxel)
    outside = 1.0 - covered(depth - envelope, voxel)
    within = share(depth, voxel, -space, space)
    membrane = max(0.0, 1.0 - inside - outside - within)
    if pore:
        return sides[0] * outside + sides[1] * inside + greys.pore * (within + membrane)
    return sides[0] * outside + sides[1] * inside + greys.space * within + greys.membrane * membrane


@njit(cache=True, nogil=True)
def _paint_granule(canvas: Canvas, pixel: tuple[int, int], depth: float, voxel: float, grey: float) -> None:
    """Draw a P granule whose surface is ``depth`` away into a pixel."""
    canvas.grey[pixel] += (grey - canvas.grey[pixel]) * covered(depth, voxel)
    if depth < 0.0:
        canvas.tissue[pixel] = GRANULE


@njit(cache=True, nogil=True)
def _mark_nucleus(canvas: Canvas, pixel: tuple[int, int], depth: float, inner: float, fields: NucleusFields) -> None:
    """Write the truth of a pixel inside the outer face of the envelope."""
    canvas.nuclei[pixel] = fields.ident
    if depth >= -fields.half_envelope:
        canvas.classes[pixel] = _CLASS_MEMBRANE
        canvas.tissue[pixel] = SPACE if abs(depth) < fields.half_space else MEMBRANE
    else:
        canvas.classes[pixel] = _CLASS_NUCLEOLUS if inner < 0.0 else _CLASS_NUCLEOPLASM
        canvas.tissue[pixel] = NUCLEOLUS if inner < 0.0 else NUCLEOPLASM


@njit(cache=True, nogil=True)
def paint_nucleus(canvas: Canvas, frame: Frame, box: Box, fields: NucleusFields, greys: NucleusGreys) -> None:
    """Draw envelope, nucleoplasm, nucleolus and P granules of one nucleus inside a box."""
    for y in range(box.y0, box.y1):
        for x in range(box.x0, box.x1):
            py = frame.oy + frame.yy * y + frame.yx * x
            px = frame.ox + frame.row_nm[y] + frame.xy * y + frame.xx * x
            depth = sample(fields.depth, py, px)
            beyond = depth - fields.half_envelope
            place = (frame.z, py, px)
            if -frame.voxel < beyond < 330.0 and len(fields.granules) > 0:
                granule = _granule_depth(place, max(beyond, 0.0), fields.granules)
                _paint_granule(canvas, (y, x), granule, frame.voxel, greys.granule)
            if beyond >= frame.voxel / 2:
                continue
            inner = sample(fields.nucleolus, py, px)
            grey = _inside_grey(place, inner, fields, greys, frame.voxel)
            if depth > -fields.half_envelope - frame.voxel:
                pore = _near_any(place, fields.pores, 50.0)
                shell = (depth, fields.half_envelope, fields.half_space)
                grey = _envelope_grey(shell, (canvas.grey[y, x], grey), pore, greys, frame.voxel)
            canvas.grey[y, x] = grey
            if beyond <= 0.0:
                _mark_nucleus(canvas, (y, x), depth, inner, fields)


@njit(cache=True, nogil=True)
def add_texture(canvas: Canvas, frame: Frame, grids: tuple[Grid, Grid], amplitude: NDArray[np.float32]) -> None:
    """Add coherent fine and coarse texture to the grey of a canvas, by tissue."""
    fine, coarse = grids
    height, width = canvas.grey.shape
    for y in range(height):
        for x in range(width):
            py = frame.oy + frame.yy * y + frame.yx * x
            px = frame.ox + frame.row_nm[y] + frame.xy * y + frame.xx * x
            texture = sample(fine, py, px) + sample(coarse, py, px)
            canvas.grey[y, x] += amplitude[canvas.tissue[y, x]] * texture
