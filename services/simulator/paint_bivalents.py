"""Compiled kernels that draw the bivalents of a nucleus: chromatin lobes beside a twisted synaptonemal complex.

Each pixel is given to the sample of a centreline whose lobes or complex it lies deepest in; what the second one is away
decides where chromosomes keep apart.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from services.simulator.anatomy import Tissue
from services.simulator.canvas import Canvas, View, covered, share
from services.simulator.randomness import Grid, sample

SLAB_NM = 16.0
"""Half thickness of the slab of tissue about a sample: more than half the samples' distance, so that bends leave no
gaps."""

# Compiled code takes plain integers.
CHROMATIN, COMPLEX = int(Tissue.CHROMATIN), int(Tissue.SYNAPTONEMAL_COMPLEX)
_CLASS_NUCLEOPLASM, _CLASS_CHROMOSOME, _CLASS_COMPLEX = 1, 2, 4
_OWN_STRETCH_NM = 900
"""Two samples of a bivalent nearer than this along it are one neighbourhood, which keeps no gap from itself."""


class BivalentSizes(NamedTuple):
    """Cross-section of a bivalent, in nm."""

    half_width: float
    lateral: float
    half_central: float
    lobe_centre: float
    lobe_across: float
    lobe_along: float
    lobe_cut: float
    reach: float
    roughness: float
    gap: float
    halo: float


class BivalentGreys(NamedTuple):
    """Mean greys of a bivalent's parts."""

    chromatin: float
    lateral: float
    central_region: float
    central_element: float
    knob: float


class BivalentLook(NamedTuple):
    """How bivalents look.

    Chromatin within ``sizes.gap`` of another chromosome is left out, unless the ``contacts`` noise exceeds
    ``threshold``.
    """

    sizes: BivalentSizes
    greys: BivalentGreys
    roughness: Grid
    contacts: Grid
    threshold: float


class Samples(NamedTuple):
    """Samples of the bivalents of a nucleus (see `ChromosomeTable`), its centre and its id.

    Only rows from ``first`` to before ``last`` reach the plane.
    """

    geometry: NDArray[np.float32]
    identity: NDArray[np.int32]
    knob: NDArray[np.bool_]
    z: float
    y: float
    x: float
    nucleus: int
    first: int
    last: int


class Nearest(NamedTuple):
    """Which sample of a centreline owns each pixel of a box.

    ``owner`` is the sample's row (-1: none), ``own`` its signed distance in nm, ``other`` that of the nearest stretch
    of chromosome that is not the owner's own neighbourhood.
    """

    owner: NDArray[np.int32]
    own: NDArray[np.float32]
    other: NDArray[np.float32]


@njit(cache=True, nogil=True, inline="always")
def _lobe_depth(u: float, v: float, beyond: float, sizes: BivalentSizes) -> float:
    """Signed distance, to first order, of the lobes: u across the complex, v along it, ``beyond`` past an end."""
    across = (abs(u) - sizes.lobe_centre) / sizes.lobe_across
    along = v / sizes.lobe_along
    past = beyond / sizes.lobe_across
    square = across * across + along * along + past * past
    slope = np.sqrt(
        (across / sizes.lobe_across) ** 2 + (along / sizes.lobe_along) ** 2 + (past / sizes.lobe_across) ** 2
    )
    depth = -sizes.lobe_across
    if square > 0.05:
        depth = max(depth, (square - np.sqrt(square)) / slope)
    return max(depth, sizes.lobe_cut - abs(u))


@njit(cache=True, nogil=True, inline="always")
def _complex_depth(u: float, v: float, beyond: float, half_width: float, half_thickness: float) -> float:
    """Signed distance to the synaptonemal complex, a twisted ribbon."""
    return max(abs(u) - half_width, abs(v) - half_thickness, beyond)


@njit(cache=True, nogil=True, inline="always")
def _claim(nearest: Nearest, pixel: tuple[int, int], index: int, depth: float, identity: NDArray[np.int32]) -> None:
    """Let a sample compete for a pixel."""
    j, i = pixel
    holder = nearest.owner[j, i]
    if holder < 0:
        nearest.owner[j, i] = index
        nearest.own[j, i] = depth
        return
    far = identity[holder, 0] != identity[index, 0] or abs(identity[holder, 1] - identity[index, 1]) > _OWN_STRETCH_NM
    if depth < nearest.own[j, i]:
        if far:
            nearest.other[j, i] = nearest.own[j, i]
        nearest.owner[j, i] = index
        nearest.own[j, i] = depth
    elif far and depth < nearest.other[j, i]:
        nearest.other[j, i] = depth


@njit(cache=True, nogil=True, inline="always")
def _span(centre: float, half: float, tx: float, offset: float, slab: tuple[float, float]) -> tuple[float, float]:
    """Part of ``centre +- half`` in which ``tx * dx + offset`` lies in a slab."""
    low = -half
    high = half
    if abs(tx) > 1e-4:
        a = (slab[0] - offset) / tx
        b = (slab[1] - offset) / tx
        low = max(low, min(a, b))
        high = min(high, max(a, b))
    elif offset < slab[0] or offset > slab[1]:
        return 1.0, 0.0
    return centre + low, centre + high


@njit(cache=True, nogil=True)
def _half_extent(samples: Samples, sizes: BivalentSizes, k: int, axis: int) -> float:
    """Half the size, along z (0) or y (1), of the slab in which sample ``k`` may claim anything."""
    along = SLAB_NM if samples.identity[k, 2] == 0 else sizes.lobe_across
    across = sizes.lobe_centre + sizes.lobe_across + sizes.halo
    aside = sizes.lobe_along + sizes.halo
    row = samples.geometry[k]
    half: float = abs(row[3 + axis]) * along + abs(row[6 + axis]) * across + abs(row[9 + axis]) * aside + 1.0
    return half


@njit(cache=True, nogil=True, inline="always")
def _stamp_row(nearest: Nearest, view: View, samples: Samples, sizes: BivalentSizes, k: int, y: int) -> None:
    """Let sample ``k`` compete for the pixels of line ``y`` in its slab."""
    frame, box, geometry = view.frame, view.box, samples.geometry
    dz = frame.z - samples.z - geometry[k, 0]
    sy = geometry[k, 1] + samples.y
    sx = geometry[k, 2] + samples.x
    dy = frame.oy + frame.yy * y + frame.yx * 0.5 * (box.x0 + box.x1) - sy
    square = sizes.reach * sizes.reach - dz * dz - max(0.0, abs(dy) - frame.voxel) ** 2
    if square <= 0:
        return
    tz, ty, tx = geometry[k, 3], geometry[k, 4], geometry[k, 5]
    end = samples.identity[k, 2]
    slab = (-sizes.lobe_across if end < 0 else -SLAB_NM, sizes.lobe_across if end > 0 else SLAB_NM)
    left = frame.ox + frame.row_nm[y] + frame.xy * y
    low, high = _span(sx, np.sqrt(square), tx, dz * tz + dy * ty, slab)
    x0 = max(box.x0, int(np.ceil((low - left) / frame.xx)) - 1)
    x1 = min(box.x1, int(np.floor((high - left) / frame.xx)) + 2)
    for x in range(x0, x1):
        qy = frame.oy + frame.yy * y + frame.yx * x - sy
        qx = left + frame.xx * x - sx
        t = dz * tz + qy * ty + qx * tx
        if t < slab[0] or t > slab[1]:
            continue
        u = dz * geometry[k, 6] + qy * geometry[k, 7] + qx * geometry[k, 8]
        v = dz * geometry[k, 9] + qy * geometry[k, 10] + qx * geometry[k, 11]
        if abs(v) > sizes.lobe_along + sizes.halo or abs(u) > sizes.lobe_centre + sizes.lobe_across + sizes.halo:
            continue
        beyond = max(0.0, abs(t) - SLAB_NM)
        core = _complex_depth(u, v, beyond, sizes.half_width, geometry[k, 12])
        # The complex is never given away to chromatin of another bivalent.
        depth = core - 500.0 if core <= 0 else min(_lobe_depth(u, v, beyond, sizes), core)
        if depth < sizes.halo:
            _claim(nearest, (y - box.y0, x - box.x0), k, depth, samples.identity)


@njit(cache=True, nogil=True)
def stamp_samples(nearest: Nearest, view: View, samples: Samples, sizes: BivalentSizes) -> None:
    """Find for every pixel of a view the sample of a centreline that owns it.

    A sample reaches as far as the slab of tissue about its place, so that the work is proportional to the chromatin
    cut.
    """
    frame, geometry = view.frame, samples.geometry
    z = frame.z - samples.z
    for k in range(samples.first, samples.last):
        dz = z - geometry[k, 0]
        if abs(dz) > _half_extent(samples, sizes, k, 0):
            continue
        radius = np.sqrt(max(0.0, sizes.reach * sizes.reach - dz * dz))
        radius = min(radius, _half_extent(samples, sizes, k, 1))
        middle = geometry[k, 1] + samples.y - frame.oy
        y0 = max(view.box.y0, int((middle - radius) / frame.yy) - 2)
        y1 = min(view.box.y1, int((middle + radius) / frame.yy) + 3)
        for y in range(y0, y1):
            _stamp_row(nearest, view, samples, sizes, k, y)


@njit(cache=True, nogil=True)
def _complex_grey(u: float, knob: bool, sizes: BivalentSizes, greys: BivalentGreys, voxel: float) -> float:
    """Grey across the tripartite complex: lateral elements, central region, central element."""
    side = abs(u)
    central = share(side, voxel, -sizes.half_central, sizes.half_central)
    lateral = share(side, voxel, sizes.half_width - sizes.lateral, 1e9)
    grey = greys.central_region * (1 - central - lateral) + greys.central_element * central + greys.lateral * lateral
    return 0.25 * grey + 0.75 * greys.knob if knob else grey


@njit(cache=True, nogil=True)
def _mark_bivalent(
    canvas: Canvas, pixel: tuple[int, int], bivalent: int, homolog: int, depths: tuple[float, float]
) -> None:
    """Write the truth of a pixel; ``depths`` are those of the complex and of the lobe."""
    if depths[0] <= 0.0:
        canvas.classes[pixel] = _CLASS_COMPLEX
        canvas.tissue[pixel] = COMPLEX
        canvas.bivalents[pixel] = bivalent
    elif depths[1] <= 0.0:
        canvas.classes[pixel] = _CLASS_CHROMOSOME
        canvas.tissue[pixel] = CHROMATIN
        canvas.bivalents[pixel] = bivalent
        canvas.chromosomes[pixel] = 2 * bivalent - 2 + homolog


@njit(cache=True, nogil=True)
def paint_bivalents(canvas: Canvas, view: View, samples: Samples, nearest: Nearest, look: BivalentLook) -> None:
    """Draw chromatin and synaptonemal complexes where the nucleus of the samples has nucleoplasm."""
    frame, box, geometry, sizes = view.frame, view.box, samples.geometry, look.sizes
    for y in range(box.y0, box.y1):
        for x in range(box.x0, box.x1):
            j, i = y - box.y0, x - box.x0
            k = nearest.owner[j, i]
            if k < 0 or canvas.nuclei[y, x] != samples.nucleus or canvas.classes[y, x] != _CLASS_NUCLEOPLASM:
                continue
            py = frame.oy + frame.yy * y + frame.yx * x
            px = frame.ox + frame.row_nm[y] + frame.xy * y + frame.xx * x
            dz = frame.z - samples.z - geometry[k, 0]
            dy = py - samples.y - geometry[k, 1]
            dx = px - samples.x - geometry[k, 2]
            t = dz * geometry[k, 3] + dy * geometry[k, 4] + dx * geometry[k, 5]
            u = dz * geometry[k, 6] + dy * geometry[k, 7] + dx * geometry[k, 8]
            v = dz * geometry[k, 9] + dy * geometry[k, 10] + dx * geometry[k, 11]
            beyond = max(0.0, abs(t) - SLAB_NM)
            core = _complex_depth(u, v, beyond, sizes.half_width, geometry[k, 12])
            lobe = _lobe_depth(u, v, beyond, sizes)
            lobe -= min(1.0, max(-1.0, 0.6 * sample(look.roughness, py, px))) * sizes.roughness
            room = nearest.other[j, i] - nearest.own[j, i] - sizes.gap
            if room < 0.0 and sample(look.contacts, py, px) < look.threshold:
                lobe = max(lobe, -0.5 * room)
            grey = canvas.grey[y, x]
            grey += (look.greys.chromatin - grey) * covered(lobe, frame.voxel)
            inside = covered(abs(u) - sizes.half_width, frame.voxel) * covered(abs(v) - geometry[k, 12], frame.voxel)
            if beyond < frame.voxel / 2:
                ribbon = _complex_grey(u, samples.knob[k], sizes, look.greys, frame.voxel)
                grey += (ribbon - grey) * inside
            canvas.grey[y, x] = grey
            _mark_bivalent(canvas, (y, x), samples.identity[k, 0], 1 if u < 0 else 2, (core, lobe))
