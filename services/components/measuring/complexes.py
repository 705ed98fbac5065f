"""The synaptonemal complexes of a nucleus: one row for each unbroken piece."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.components.measuring.centreline import Track, curvature, tracks, tracks_of
from services.components.measuring.lattice import NM_PER_UM, Box, FloatArray, Lattice, bounding_box
from services.components.measuring.nearest import Points
from services.components.measuring.nucleus import CHROMOSOME, MEMBRANE, SYNAPTONEMAL_COMPLEX
from services.components.measuring.painting import NucleusImage
from services.components.measuring.position import inner_surface_nm
from services.components.measuring.ribbon import (
    CrossSections,
    Swelling,
    axis_distance_um,
    cross_sections,
    homolog_distance_um,
    median_width_um,
    swellings,
    twist,
)
from services.components.measuring.rounding import position, significant
from services.contracts.rows import TrackRow

_CHROMATIN_REACH_NM = 400.0


@dataclass(frozen=True, eq=False)
class Complex:
    """A synaptonemal complex.

    Attributes
    ----------
    track
        Its middle line and voxels, in a box cut out of the image.
    chromosome, object_id
        What it belongs to; None where it belongs to none.
    is_cut
        Whether a face of the acquisition cuts it.
    lattice, planes
        Of that box: where its voxels lie, and how many planes it has.
    swellings
        Candidates of knobs on it.
    """

    track: Track
    chromosome: int | None
    object_id: int | None
    is_cut: bool
    lattice: Lattice
    planes: int
    swellings: tuple[Swelling, ...]

    @property
    def middle_nm(self) -> FloatArray:
        """The middle of its line."""
        return np.asarray(self.track.points_nm[len(self.track.points_nm) // 2], np.float64)


def complexes_of(image: NucleusImage) -> tuple[Complex, ...]:
    """Return the complexes of a nucleus, the longest first; those of different chromosomes are traced apart."""
    mask = image.classes == SYNAPTONEMAL_COMPLEX
    box = bounding_box(mask)
    if box is None:
        return ()
    lattice = image.lattice.cropped(box, mask.shape[0])
    owner = np.where(mask[box], image.chromosomes[box], 0)
    found: list[Complex] = []
    for chromosome in np.unique(owner[mask[box]]):
        pieces = tracks(mask[box] & (owner == chromosome), lattice)
        found.extend(_complex(track, int(chromosome), image, box) for track in pieces)
    return tuple(sorted(found, key=lambda one: (-one.track.length_um, tuple(one.middle_nm))))


def _complex(track: Track, chromosome: int, image: NucleusImage, box: Box) -> Complex:
    first = [part.start for part in box]
    indices = track.indices + first
    middle = len(track.points_nm) // 2
    _, nearest = Points(track.voxels_nm).nearest(track.points_nm[middle : middle + 1])
    return Complex(
        track=track,
        chromosome=chromosome or None,
        object_id=int(image.objects[tuple(indices[nearest[0]])]) or None,
        is_cut=touches_cut(indices, image),
        lattice=image.lattice.cropped(box, image.classes.shape[0]),
        planes=box[0].stop - box[0].start,
        swellings=swellings(cross_sections(track)),
    )


def touches_cut(indices: NDArray[np.int64], image: NucleusImage) -> bool:
    """Return whether any of some voxels lies at a face where the acquisition cuts the nucleus."""
    for axis, side in image.cut:
        # The outermost layer is the margin.
        edge = image.classes.shape[axis] - 2 if side else 1
        if np.any(indices[:, axis] >= edge if side else indices[:, axis] <= edge):
            return True
    return False


def track_rows(image: NucleusImage, complexes: tuple[Complex, ...], nucleus_id: str) -> tuple[TrackRow, ...]:
    """Return the rows of the complexes of a nucleus."""
    surface_nm = inner_surface_nm(image.classes, image.lattice, MEMBRANE) if complexes else np.empty((0, 3))
    tree = Points(surface_nm) if len(surface_nm) else None
    return tuple(_row(image, one, tree, nucleus_id, rank) for rank, one in enumerate(complexes, start=1))


def _row(image: NucleusImage, one: Complex, envelope: Points | None, nucleus_id: str, rank: int) -> TrackRow:
    sections = cross_sections(one.track)
    width_um, thickness_um = median_width_um(sections)
    bend, turn = curvature(one.track), twist(sections)
    low_um, high_um = _length_bounds_um(one)
    z, y, x = position(one.middle_nm)
    return TrackRow(
        nucleus_id=nucleus_id,
        track=rank,
        chromosome=one.chromosome,
        object_id=one.object_id,
        complete=not one.is_cut,
        branches=one.track.branches,
        length_um=None if one.is_cut else significant(one.track.length_um),
        length_low_um=None if one.is_cut else significant(low_um),
        length_high_um=None if one.is_cut else significant(high_um),
        width_um=significant(width_um),
        thickness_um=significant(thickness_um),
        axis_distance_um=significant(axis_distance_um(sections)),
        homolog_distance_um=significant(_homolog_distance_um(image, one, sections)),
        curvature_mean_per_um=None if bend is None else significant(bend.mean_per_um),
        curvature_greatest_per_um=None if bend is None else significant(bend.greatest_per_um),
        twist_pitch_um=None if turn is None else significant(turn.pitch_um),
        twist_turns=None if turn is None else significant(turn.turns),
        swellings=len(one.swellings),
        **_ends(one, envelope),
        middle_z_nm=z,
        middle_y_nm=y,
        middle_x_nm=x,
    )


def _ends(one: Complex, envelope: Points | None) -> dict[str, float | None]:
    """Return the distances of both ends to the envelope, None where the acquisition cuts the complex."""
    if envelope is None or one.is_cut:
        return {"near_end_envelope_um": None, "far_end_envelope_um": None}
    near, far = np.sort(envelope.nearest(one.track.points_nm[[0, -1]])[0] / NM_PER_UM)
    return {"near_end_envelope_um": significant(near), "far_end_envelope_um": significant(far)}


def _length_bounds_um(one: Complex) -> tuple[float, float]:
    """Return the length of the complex eroded and dilated by one voxel; pieces that erosion leaves add up."""
    indices = one.track.indices
    low = indices.min(axis=0) - 2
    shape = indices.max(axis=0) - low + 3
    key = np.ravel_multi_index(tuple((indices - low).T), shape)
    steps = [sign * int(np.prod(shape[axis + 1 :])) for axis in range(3) for sign in (-1, 1)]
    smaller = key[np.logical_and.reduce([np.isin(key + step, key, assume_unique=True) for step in steps])]
    larger = np.unique(np.concatenate([key, *(key + step for step in steps)]))
    lattice = one.lattice.window((int(low[0]), int(low[1]), int(low[2])), int(shape[0]), one.planes)
    lengths = []
    for keys in (smaller, larger):
        voxels = np.stack(np.unravel_index(keys, shape), axis=1)
        lengths.append(sum(piece.length_um for piece in tracks_of(voxels, lattice, int(shape[0]))))
    return lengths[0], lengths[1]


def _homolog_distance_um(image: NucleusImage, one: Complex, sections: CrossSections) -> float | None:
    """Return the distance of the homologs' chromatin: of its own chromosome, or all nearby where that is unknown."""
    box = _box_around(one.track.points_nm, image)
    chromatin = image.classes[box] == CHROMOSOME
    if one.chromosome is not None:
        chromatin &= image.chromosomes[box] == one.chromosome
    if not chromatin.any():
        return None
    lattice = image.lattice.cropped(box, image.classes.shape[0])
    # Every second voxel along each axis tells centroids as well, in an eighth of the time.
    some = 2 * np.argwhere(chromatin[::2, ::2, ::2])
    return homolog_distance_um(sections, lattice.places_nm(some, chromatin.shape[0]))


def _box_around(points_nm: FloatArray, image: NucleusImage) -> Box:
    """Return the part of an image within 400 nm of the box of some points."""
    planes = image.classes.shape[0]
    low_nm, high_nm = points_nm.min(axis=0) - _CHROMATIN_REACH_NM, points_nm.max(axis=0) + _CHROMATIN_REACH_NM
    z = np.searchsorted(image.lattice.depths_nm(planes), [low_nm[0], high_nm[0]])
    y, x = (
        [
            max(0, int((edge_nm - image.lattice.origin_zyx_nm[axis]) / image.lattice.voxel_zyx_nm[axis]))
            for edge_nm in (low_nm[axis], high_nm[axis])
        ]
        for axis in (1, 2)
    )
    return slice(int(z[0]), int(z[1])), slice(*y), slice(*x)
