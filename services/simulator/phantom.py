"""The phantom: a germ line that can be cut at any depth, with exact truth for every slice."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from services.simulator.anatomy import Anatomy, Greys
from services.simulator.artefacts import Artefacts
from services.simulator.canvas import Canvas
from services.simulator.exposure import Recorder, digitised, digitised_16bit
from services.simulator.faults import Faults, planned_faults
from services.simulator.layout import Arrangement, field_size_nm, laid_out
from services.simulator.nucleus import Nucleus, nucleus_chromosomes, nucleus_details
from services.simulator.section import Contacts, Cutter, Specimen
from services.simulator.spoiling import Spoilt, planned_spoiling
from services.simulator.stage import BEAM_NM, frame_of, stage_table

_ROUND_PX = 16
_DEPTH_SHARE = 0.3
"""Part of the signal that comes from one beam width below the surface."""
_DEPTH_SEEN_NM = 8.0
"""Up to this voxel size the signal from below differs visibly from the surface's."""


class SliceOutOfRangeError(ValueError):
    """A slice number that the phantom does not have."""


@dataclass(frozen=True)
class PhantomSpec:
    """What to simulate; two equal specs give equal bytes.

    Attributes
    ----------
    seed
        Seed of everything random.
    voxel_nm
        Size of a voxel along z, y and x.
    n_nuclei
        Nuclei that lie entirely inside the field, and inside the depth with caps of 700 nm if ``n_slices`` is None.
    shape_yx_px, n_slices
        Size of the field and of the stack; None for the smallest that holds the nuclei.
    layers
        Sheets of nuclei stacked along z.
    touching
        Whether neighbouring envelopes touch.
    neighbours
        Whether nuclei that the field's border cuts surround the whole ones.
    in_a_row
        Whether the whole ones lie side by side: a narrow field that shows little of their neighbours.
    contact_gap_nm, contact_fraction
        Chromosomes keep this gap, but for this share of places where they touch.
    artefacts
        Strength of every artefact.
    anatomy, greys
        Sizes and greys of everything.
    """

    seed: int
    voxel_nm: float = 16.0
    n_nuclei: int = 3
    shape_yx_px: tuple[int, int] | None = None
    n_slices: int | None = None
    layers: int = 1
    touching: bool = False
    neighbours: bool = True
    in_a_row: bool = False
    contact_gap_nm: float = 64.0
    contact_fraction: float = 0.25
    artefacts: Artefacts = field(default_factory=Artefacts)
    anatomy: Anatomy = field(default_factory=Anatomy)
    greys: Greys = field(default_factory=Greys)

    @property
    def arrangement(self) -> Arrangement:
        """How the nuclei of this spec are laid out."""
        spacing = 4900.0 * self.anatomy.nucleus_radius_nm / 2050.0
        if self.touching:
            return Arrangement(self.n_nuclei, self.layers, 0.85 * spacing, 0.0, self.neighbours, self.in_a_row)
        return Arrangement(self.n_nuclei, self.layers, spacing, 150.0, self.neighbours, self.in_a_row)

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Slices, rows and columns of the acquisition."""
        depth, height, width = field_size_nm(self.arrangement, self.anatomy)
        slices = self.n_slices if self.n_slices is not None else int(np.ceil(depth / self.voxel_nm))
        if self.shape_yx_px is not None:
            return slices, *self.shape_yx_px
        return slices, self._rounded(height), self._rounded(width)

    def _rounded(self, length_nm: float) -> int:
        return int(np.ceil(length_nm / self.voxel_nm / _ROUND_PX)) * _ROUND_PX


@dataclass(frozen=True)
class TruthPlane:
    """Truth of one slice, in the frame of its raw image; every array has shape (y, x).

    Attributes
    ----------
    classes
        uint8, ids of `services.contracts.classes.LabelClass`.
    nuclei
        uint16, id of the nucleus including its envelope, 0 outside.
    bivalents
        uint8, 1..6 for a homolog pair with its synaptonemal complex, 0 elsewhere.
    chromosomes
        uint8, 1..12 (``2 * bivalent - 2 + homolog``), 0 elsewhere; the synaptonemal complex belongs to none.
    tissue
        uint8, `Tissue`.
    """

    classes: NDArray[np.uint8]
    nuclei: NDArray[np.uint16]
    bivalents: NDArray[np.uint8]
    chromosomes: NDArray[np.uint8]
    tissue: NDArray[np.uint8]


class Phantom:
    """A simulated block of tissue: geometry is laid out once, then any slice can be had in any order.

    Parameters
    ----------
    spec
        What to simulate.
    spoilt
        Slices with a fault of their own; None draws them as the spec says.

    Attributes
    ----------
    spec
        As given.
    shape_zyx
        Slices, rows and columns.
    nuclei
        All nuclei, whole ones first; ids are 1, 2, ... in that order.
    stage
        Conditions of every slice.
    faults
        Slices that go wrong as a whole. A repeated slice shows the place of the one before it; the others are faults of
        files.
    spoilt
        Slices with a fault of their own.
    """

    def __init__(self, spec: PhantomSpec, spoilt: Spoilt | None = None) -> None:
        self.spec = spec
        self.shape_zyx = spec.shape_zyx
        size_nm = tuple(n * spec.voxel_nm for n in self.shape_zyx)
        self.nuclei = _grown_nuclei(spec, (size_nm[0], size_nm[1], size_nm[2]))
        contacts = Contacts(spec.contact_gap_nm, spec.contact_fraction)
        specimen = Specimen(spec.seed, spec.anatomy, spec.greys, contacts, (size_nm[1], size_nm[2]), self.nuclei)
        self._cutter = Cutter(specimen)
        self.faults: Faults = planned_faults(spec.seed, self.shape_zyx[0], spec.artefacts)
        n_slices, faults, artefacts = self.shape_zyx[0], self.faults, spec.artefacts
        taken = faults.missed | faults.repeated | faults.half_written | faults.blank
        self.spoilt = planned_spoiling(spec.seed, n_slices, artefacts, taken) if spoilt is None else spoilt
        self.stage = stage_table(spec.seed, n_slices, spec.voxel_nm, artefacts, faults.repeated, self.spoilt)
        self._recorder = Recorder(spec.seed, spec.voxel_nm, self.shape_zyx[1:], artefacts, self.spoilt)
        self._last: tuple[int, Canvas] | None = None

    def truth(self, z: int) -> TruthPlane:
        """Truth of slice ``z``."""
        canvas = self._section(z)
        return TruthPlane(canvas.classes, canvas.nuclei, canvas.bivalents, canvas.chromosomes, canvas.tissue)

    def slice(self, z: int) -> NDArray[np.uint8]:
        """Image of slice ``z``: uint8 grey, shape (y, x), with every artefact but the faults of files."""
        return digitised(self._recorded(self._imaged(z)))

    def slice_16bit(self, z: int) -> NDArray[np.uint16]:
        """Image of slice ``z`` in 16 bits: uint16 grey, shape (y, x), otherwise as `slice`."""
        return digitised_16bit(self._recorded(self._imaged(z)))

    def _imaged(self, z: int) -> int:
        """Slice whose image slice ``z`` shows: its own, or the one before it where the detector's memory froze."""
        return z - 1 if z > 0 and self.spoilt.at(z) == "frozen" else z

    def _recorded(self, z: int) -> NDArray[np.float32]:
        grey = self._section(z).grey
        pose = self.stage.pose(z)
        if self.spec.artefacts.blur > 0 and self.spec.voxel_nm <= _DEPTH_SEEN_NM:
            deeper = self._cut(z, pose.z_nm + BEAM_NM).grey
            grey = (1 - _DEPTH_SHARE) * grey + _DEPTH_SHARE * deeper
        return self._recorder.recorded(grey, pose, z)

    def _section(self, z: int) -> Canvas:
        if not 0 <= z < self.shape_zyx[0]:
            raise SliceOutOfRangeError(f"slice {z} is not one of the {self.shape_zyx[0]} slices of this phantom")
        if self._last is None or self._last[0] != z:
            self._last = (z, self._cut(z, self.stage.pose(z).z_nm))
        return self._last[1]

    def _cut(self, z: int, depth_nm: float) -> Canvas:
        shape = self.shape_zyx[1:]
        pose = replace(self.stage.pose(z), z_nm=depth_nm)
        return self._cutter.section(frame_of(pose, shape, self.spec.voxel_nm, self._recorder.row_shifts_nm(z)), shape)


def _grown_nuclei(spec: PhantomSpec, size_nm: tuple[float, float, float]) -> tuple[Nucleus, ...]:
    """Lay out the nuclei of a spec and grow what is inside them."""
    places = laid_out(spec.arrangement, spec.anatomy, spec.seed, size_nm)
    return tuple(
        Nucleus(
            ident=number,
            centre_zyx_nm=place.centre_zyx_nm,
            requested=place.requested,
            shape=place.shape,
            details=nucleus_details(place.shape, spec.anatomy, spec.seed, place.index),
            chromosomes=nucleus_chromosomes(place.shape, spec.anatomy, spec.seed, place.index),
        )
        for number, place in enumerate(places, start=1)
    )
