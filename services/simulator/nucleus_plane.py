"""One nucleus in the plane of a slice: signed distances on a grid of the specimen, for the kernels to interpolate."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from services.simulator.anatomy import Anatomy
from services.simulator.canvas import Box, Frame
from services.simulator.nucleus import Nucleus, WavyBody
from services.simulator.paint_tissue import NucleusFields
from services.simulator.randomness import Grid

FloatArray = NDArray[np.float64]
Nodes = tuple[FloatArray, FloatArray]

BESIDE_NM = 340.0
"""How far beyond its envelope a nucleus has something of its own: P granules."""


class NucleusPlane:
    """A nucleus in the plane of a frame.

    Parameters
    ----------
    nucleus
        The nucleus.
    frame
        Sample positions of the slice.
    nodes
        Coordinates (y, x) of the slice's grid in the specimen, nm.
    shape_yx_px
        Size of the slice.

    Attributes
    ----------
    nucleus
        As given.
    box
        Pixels that can see it.
    window
        Its part of the grid.
    visible
        Whether there is any such pixel; the others need not be asked for anything.
    depth
        Signed distance to the middle of its envelope at the nodes of the window, nm.
    """

    def __init__(self, nucleus: Nucleus, frame: Frame, nodes: Nodes, shape_yx_px: tuple[int, int]) -> None:
        self.nucleus = nucleus
        self._z_nm = frame.z
        low, high = nucleus.box_nm[0] - BESIDE_NM, nucleus.box_nm[1] + BESIDE_NM
        self.box = _pixel_box(frame, (low[1], low[2], high[1], high[2]), shape_yx_px)
        # Pixels of the box may lie a little outside it, as far as the frame is turned or its lines are shifted.
        slack = 2 * max(_slack_nm(frame, shape_yx_px)) + 2 * frame.voxel
        self.window = (
            _covering(nodes[0], low[1] - slack, high[1] + slack),
            _covering(nodes[1], low[2] - slack, high[2] + slack),
        )
        self._ys, self._xs = nodes[0][self.window[0]], nodes[1][self.window[1]]
        self.visible = self.box.y0 < self.box.y1 and self.box.x0 < self.box.x1
        shape, centre = nucleus.shape, nucleus.centre_zyx_nm
        if self.visible:
            self.depth = self._distances(shape.body, centre)
            self.visible = bool(self.depth.min() < BESIDE_NM)
        if self.visible:
            self._inner = self._distances(shape.nucleolus, centre + shape.nucleolus_offset_zyx_nm)

    def _distances(self, body: WavyBody, centre: FloatArray) -> FloatArray:
        out = np.empty((len(self._ys), len(self._xs)))
        waves = body.waves / body.radius_nm
        rim = (body.radius_nm, body.amplitude / 2.4)
        z_nm = self._z_nm - float(centre[0])
        _fill_depth(
            out, (z_nm, self._ys - centre[1], self._xs - centre[2]), body.inverse_axes, (waves, body.phases), rim
        )
        return out

    def fields(self, anatomy: Anatomy) -> NucleusFields:
        """Gather what `paint_nucleus` needs."""
        details, centre = self.nucleus.details, self.nucleus.centre_zyx_nm
        return NucleusFields(
            ident=self.nucleus.ident,
            depth=self._grid(self.depth),
            nucleolus=self._grid(self._inner),
            half_envelope=anatomy.envelope_nm / 2,
            half_space=anatomy.perinuclear_space_nm / 2,
            granules=_near_plane(details.granules, centre, self._z_nm, details.granules[:, 3] + BESIDE_NM),
            pores=_near_plane(details.pores, centre, self._z_nm, np.full(len(details.pores), 60.0)),
            vacuoles=_near_plane(details.vacuoles, centre, self._z_nm, details.vacuoles[:, 3] + 50),
        )

    def _grid(self, values: FloatArray) -> Grid:
        per_nm = 1.0 / float(self._ys[1] - self._ys[0])
        return Grid(values.astype(np.float32), float(self._ys[0]), float(self._xs[0]), per_nm)


@njit(cache=True, nogil=True)
def _fill_depth(
    out: FloatArray,
    offsets: tuple[float, FloatArray, FloatArray],
    axes: FloatArray,
    waves: tuple[FloatArray, FloatArray],
    rim: tuple[float, float],
) -> None:
    """Do `WavyBody.depth_nm` in one plane: ``rim`` is (radius, amplitude), ``waves`` (vectors per nm, phases)."""
    z, ys, xs = offsets
    vectors, phases = waves
    for j in range(len(ys)):
        for i in range(len(xs)):
            a = axes[0, 0] * z + axes[0, 1] * ys[j] + axes[0, 2] * xs[i]
            b = axes[1, 0] * z + axes[1, 1] * ys[j] + axes[1, 2] * xs[i]
            c = axes[2, 0] * z + axes[2, 1] * ys[j] + axes[2, 2] * xs[i]
            depth = np.sqrt(a * a + b * b + c * c) - rim[0]
            # Waves matter near the surface only; they are the expensive part.
            if abs(depth) < 0.4 * rim[0]:
                swell = 0.0
                for k in range(len(phases)):
                    swell += np.sin(vectors[k, 0] * a + vectors[k, 1] * b + vectors[k, 2] * c + phases[k])
                depth -= rim[0] * rim[1] * swell
            out[j, i] = depth


def share_contact_faces(planes: list[NucleusPlane], half_envelope_nm: float) -> None:
    """Flatten nuclei that press against one another, so that their envelopes meet halfway."""
    if len(planes) < 2:
        return
    shape = (max(plane.window[0].stop for plane in planes), max(plane.window[1].stop for plane in planes))
    least, second = np.full(shape, 1e6), np.full(shape, 1e6)
    for plane in planes:
        second[plane.window] = np.minimum(second[plane.window], np.maximum(least[plane.window], plane.depth))
        least[plane.window] = np.minimum(least[plane.window], plane.depth)
    for plane in planes:
        other = np.where(least[plane.window] == plane.depth, second[plane.window], least[plane.window])
        plane.depth = np.maximum(plane.depth, (plane.depth - other) / 2 + half_envelope_nm)


def _covering(nodes: FloatArray, low: float, high: float) -> slice:
    """Nodes that cover an interval, as far as there are any; at least two."""
    first = min(max(0, int(np.searchsorted(nodes, low)) - 1), len(nodes) - 2)
    return slice(first, min(max(first + 2, int(np.searchsorted(nodes, high)) + 1), len(nodes)))


def _near_plane(rows: FloatArray, centre: FloatArray, z_nm: float, reach_nm: FloatArray) -> FloatArray:
    """Rows whose place (first three columns, relative to a centre) lies near a plane, in specimen coordinates."""
    placed: FloatArray = rows[np.abs(rows[:, 0] + centre[0] - z_nm) < reach_nm].copy()
    placed[:, :3] += centre
    return placed


def _slack_nm(frame: Frame, shape_yx_px: tuple[int, int]) -> tuple[float, float]:
    """How far (y, x) rows and columns of a frame run off a straight line, in nm."""
    height, width = shape_yx_px
    return abs(frame.yx) * width + frame.voxel, abs(frame.xy) * height + frame.voxel + float(np.abs(frame.row_nm).max())


def _pixel_box(frame: Frame, box_nm: tuple[float, float, float, float], shape_yx_px: tuple[int, int]) -> Box:
    """Pixels that can see a box (y0, x0, y1, x1) of the specimen."""
    height, width = shape_yx_px
    slack_y, slack_x = _slack_nm(frame, shape_yx_px)
    y0 = int(np.floor((box_nm[0] - slack_y - frame.oy) / frame.yy))
    x0 = int(np.floor((box_nm[1] - slack_x - frame.ox) / frame.xx))
    y1 = int(np.ceil((box_nm[2] + slack_y - frame.oy) / frame.yy)) + 1
    x1 = int(np.ceil((box_nm[3] + slack_x - frame.ox) / frame.xx)) + 1
    return Box(max(0, y0), max(0, x0), min(height, y1), min(width, x1))
