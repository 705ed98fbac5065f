"""One section through the specimen: truth planes and noiseless grey at the pixels of a slice."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from services.simulator.anatomy import Anatomy, Greys, texture_amplitudes
from services.simulator.canvas import Canvas, Frame, View
from services.simulator.cytoplasm import (
    LAYER_NM,
    organelle_greys,
    organelle_layer,
    organelles_at,
    reticulum_distance,
    wall_distance,
)
from services.simulator.nucleus import Nucleus
from services.simulator.nucleus_plane import BESIDE_NM, Nodes, NucleusPlane, share_contact_faces
from services.simulator.paint_bivalents import (
    BivalentGreys,
    BivalentLook,
    BivalentSizes,
    Nearest,
    Samples,
    paint_bivalents,
    stamp_samples,
)
from services.simulator.paint_tissue import (
    CytoplasmFields,
    CytoplasmGreys,
    NucleusGreys,
    add_texture,
    paint_capsules,
    paint_cytoplasm,
    paint_nucleus,
)
from services.simulator.randomness import Grid, Stream, lattice_key, lattice_noise

FloatArray = NDArray[np.float64]

GRID_NM = 64.0
"""Smooth distances are evaluated on a grid this fine and interpolated; nothing they describe bends within it."""
_CONTACT_NM = 500.0
_ROUGHNESS_NM = 32.0
_WALL_MARGIN_NM = 100.0
_TEXTURES = ((20.0, 1.1), (48.0, 0.8))
"""Lattice constants (nm) and weights of the grey texture."""
_INTERPOLATED_SD = 0.68
"""Standard deviation that bilinear interpolation leaves of a lattice of unit variance."""


@dataclass(frozen=True)
class Contacts:
    """How chromosomes touch.

    Chromatin keeps ``gap_nm`` from other chromosomes, but for a share ``fraction`` of the places (in patches of half a
    micrometre).
    """

    gap_nm: float
    fraction: float


@dataclass(frozen=True)
class Specimen:
    """All that can be cut: nuclei, what is between them, and the seed of every texture."""

    seed: int
    anatomy: Anatomy
    greys: Greys
    contacts: Contacts
    size_yx_nm: tuple[float, float]
    nuclei: tuple[Nucleus, ...]


class Cutter:
    """Cuts sections out of a specimen, in any order; keeps a few layers of organelles at hand.

    Parameters
    ----------
    specimen
        What is cut.
    """

    def __init__(self, specimen: Specimen) -> None:
        self._specimen = specimen
        self._layers: dict[int, FloatArray] = {}
        self._organelle_greys = organelle_greys(specimen.greys)
        self._nucleus_greys = _nucleus_greys(specimen.greys)
        self._bivalent_greys = _bivalent_greys(specimen.greys)
        self._threshold = _contact_threshold(specimen.contacts.fraction)
        self._amplitudes = texture_amplitudes()

    def section(self, frame: Frame, shape_yx_px: tuple[int, int]) -> Canvas:
        """Cut at the sample positions of a frame: truth and noiseless grey."""
        specimen = self._specimen
        canvas = _blank_canvas(shape_yx_px)
        nodes = _nodes(frame, shape_yx_px)
        self._paint_cytoplasm(canvas, frame, nodes)
        planes = [NucleusPlane(nucleus, frame, nodes, shape_yx_px) for nucleus in self._nuclei_at(frame.z)]
        planes = [plane for plane in planes if plane.visible]
        share_contact_faces(planes, specimen.anatomy.envelope_nm / 2)
        look = self._look(frame, nodes)
        for plane in planes:
            paint_nucleus(canvas, frame, plane.box, plane.fields(specimen.anatomy), self._nucleus_greys)
            _paint_bivalents(canvas, View(frame, plane.box), plane.nucleus, look)
        add_texture(canvas, frame, _texture_grids(specimen.seed, frame, nodes), self._amplitudes)
        return canvas

    def _nuclei_at(self, z_nm: float) -> list[Nucleus]:
        nuclei = self._specimen.nuclei
        return [n for n in nuclei if n.box_nm[0, 0] - BESIDE_NM < z_nm < n.box_nm[1, 0] + BESIDE_NM]

    def _paint_cytoplasm(self, canvas: Canvas, frame: Frame, nodes: Nodes) -> None:
        specimen = self._specimen
        near = [n.centre_zyx_nm for n in specimen.nuclei if abs(n.centre_zyx_nm[0] - frame.z) < 6000]
        centres = np.array(near).reshape(-1, 3)
        fields = CytoplasmFields(
            reticulum=reticulum_distance(specimen.seed, frame.z, nodes),
            wall=wall_distance(frame.z, centres, nodes),
            wall_margin=_WALL_MARGIN_NM + frame.voxel,
            centres=centres,
        )
        greys = specimen.greys
        looks = CytoplasmGreys(greys.cytoplasm, greys.endoplasmic_reticulum, greys.membrane)
        paint_cytoplasm(canvas, frame, fields, looks)
        paint_capsules(canvas, frame, organelles_at(frame.z, self._layers_about(frame.z)), self._organelle_greys)

    def _layers_about(self, z_nm: float) -> list[FloatArray]:
        middle = int(np.floor(z_nm / LAYER_NM))
        wanted = range(middle - 1, middle + 2)
        self._layers = {k: layer for k, layer in self._layers.items() if k in wanted}
        for k in wanted:
            if k not in self._layers:
                specimen = self._specimen
                self._layers[k] = organelle_layer(specimen.seed, k, specimen.size_yx_nm, specimen.nuclei)
        return [self._layers[k] for k in wanted]

    def _look(self, frame: Frame, nodes: Nodes) -> BivalentLook:
        specimen = self._specimen
        box_nm = _box_nm(nodes)
        return BivalentLook(
            sizes=_bivalent_sizes(specimen.anatomy, specimen.contacts, frame.voxel),
            greys=self._bivalent_greys,
            roughness=lattice_noise(lattice_key(specimen.seed, Stream.ROUGHNESS), _ROUGHNESS_NM, frame.z, box_nm),
            contacts=lattice_noise(lattice_key(specimen.seed, Stream.CONTACTS), _CONTACT_NM, frame.z, box_nm),
            threshold=self._threshold,
        )


def _paint_bivalents(canvas: Canvas, view: View, nucleus: Nucleus, look: BivalentLook) -> None:
    box, table = view.box, nucleus.chromosomes
    shape = (box.y1 - box.y0, box.x1 - box.x0)
    nearest = Nearest(
        owner=np.full(shape, -1, dtype=np.int32),
        own=np.full(shape, 1e6, dtype=np.float32),
        other=np.full(shape, 1e6, dtype=np.float32),
    )
    z, y, x = (float(value) for value in nucleus.centre_zyx_nm)
    reach = look.sizes.reach
    first, last = np.searchsorted(table.geometry[:, 0], [view.frame.z - z - reach, view.frame.z - z + reach])
    samples = Samples(table.geometry, table.identity, table.knob, z, y, x, nucleus.ident, int(first), int(last))
    stamp_samples(nearest, view, samples, look.sizes)
    paint_bivalents(canvas, view, samples, nearest, look)


def _blank_canvas(shape: tuple[int, int]) -> Canvas:
    return Canvas(
        classes=np.zeros(shape, dtype=np.uint8),
        nuclei=np.zeros(shape, dtype=np.uint16),
        bivalents=np.zeros(shape, dtype=np.uint8),
        chromosomes=np.zeros(shape, dtype=np.uint8),
        tissue=np.zeros(shape, dtype=np.uint8),
        grey=np.zeros(shape, dtype=np.float32),
    )


def _nodes(frame: Frame, shape_yx_px: tuple[int, int]) -> Nodes:
    """Nodes (y, x) of a grid of the specimen that covers a slice, aligned to multiples of the step."""
    height, width = shape_yx_px
    ys = [frame.oy + frame.yy * y + frame.yx * x for y in (0, height) for x in (0, width)]
    xs = [frame.ox + frame.xy * y + frame.xx * x for y in (0, height) for x in (0, width)]
    rows = (min(0.0, float(frame.row_nm.min())), max(0.0, float(frame.row_nm.max())))
    first_y, first_x = np.floor(min(ys) / GRID_NM) - 1, np.floor((min(xs) + rows[0]) / GRID_NM) - 1
    last_y, last_x = np.ceil(max(ys) / GRID_NM) + 1, np.ceil((max(xs) + rows[1]) / GRID_NM) + 1
    return np.arange(first_y, last_y + 1) * GRID_NM, np.arange(first_x, last_x + 1) * GRID_NM


def _box_nm(nodes: Nodes) -> tuple[float, float, float, float]:
    return float(nodes[0][0]), float(nodes[1][0]), float(nodes[0][-1]), float(nodes[1][-1])


def _texture_grids(seed: int, frame: Frame, nodes: Nodes) -> tuple[Grid, Grid]:
    """Fine and coarse texture; what is finer than a pixel is averaged away."""
    grids = []
    for index, (cell_nm, weight) in enumerate(_TEXTURES):
        cell = max(cell_nm, frame.voxel)
        grid = lattice_noise(lattice_key(seed, Stream.TEXTURE, index), cell, frame.z, _box_nm(nodes))
        grids.append(grid._replace(values=grid.values * np.float32(weight * (cell_nm / cell) ** 1.5)))
    return grids[0], grids[1]


def _contact_threshold(fraction: float) -> float:
    """Value that the contact noise exceeds in a share of the places."""
    if fraction <= 0:
        return 1e9
    if fraction >= 1:
        return -1e9
    return _INTERPOLATED_SD * NormalDist().inv_cdf(1 - fraction)


def _bivalent_sizes(anatomy: Anatomy, contacts: Contacts, voxel_nm: float) -> BivalentSizes:
    return BivalentSizes(
        half_width=anatomy.sc_width_nm / 2,
        lateral=anatomy.lateral_element_nm,
        half_central=anatomy.central_element_nm / 2,
        lobe_centre=anatomy.lobe_centre_nm,
        lobe_across=anatomy.lobe_across_nm,
        lobe_along=anatomy.lobe_along_nm,
        lobe_cut=anatomy.lobe_cut_nm,
        reach=anatomy.reach_nm + contacts.gap_nm,
        roughness=anatomy.lobe_roughness * anatomy.lobe_across_nm,
        gap=contacts.gap_nm,
        halo=max(contacts.gap_nm, 2.0 * voxel_nm),
    )


def _bivalent_greys(greys: Greys) -> BivalentGreys:
    return BivalentGreys(
        chromatin=greys.chromatin,
        lateral=greys.lateral_element,
        central_region=greys.central_region,
        central_element=greys.central_element,
        knob=greys.knob,
    )


def _nucleus_greys(greys: Greys) -> NucleusGreys:
    return NucleusGreys(
        nucleoplasm=greys.nucleoplasm,
        nucleolus=greys.nucleolus,
        vacuole=greys.vacuole,
        membrane=greys.membrane,
        space=greys.perinuclear_space,
        pore=greys.pore,
        granule=greys.p_granule,
    )
