"""Quantities of a nucleus as a whole: its surface, its envelope, its nucleolus, its chromatin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label as label_parts

from services.components.measuring.lattice import NM_PER_UM, FloatArray, Lattice, picked
from services.components.measuring.position import centroid_nm, depth_nm, eccentricity
from services.components.measuring.surface import face_areas, sphericity
from services.components.measuring.volume import Volume, volume, volume_um3

NUCLEOPLASM, CHROMOSOME, NUCLEOLUS, SYNAPTONEMAL_COMPLEX, MEMBRANE = 1, 2, 3, 4, 5

BODY_NM = 32.0
"""Nuclei are smooth and 4 um wide: their surfaces are measured on planes thinned to about this edge."""


@dataclass(frozen=True, eq=False)
class Body:
    """A nucleus without holes, thinned to voxels of about 32 nm.

    Attributes
    ----------
    solid
        Bool, (z, y, x): the nucleus with its envelope; holes that removed specks left are filled.
    classes
        uint8, of the same shape.
    depths_nm
        float32, of the same shape: depth below the surface.
    factors
        How many voxels (z, y, x) of the full array make one of these.
    lattice
        Of these voxels.
    """

    solid: NDArray[np.bool_]
    classes: NDArray[np.uint8]
    depths_nm: NDArray[np.float32]
    factors: tuple[int, int, int]
    lattice: Lattice


@dataclass(frozen=True, slots=True)
class NucleusMeasures:
    """Quantities of one nucleus; None where a face of the acquisition cuts what they would measure.

    Attributes
    ----------
    volume
        Of everything inside and including the envelope, with its bounds.
    area_um2, sphericity
        Of its outer surface.
    nucleolus_fraction, chromatin_fraction
        Shares of the nucleus's volume; chromatin without the synaptonemal complex.
    nucleolus_eccentricity
        0 in the middle, 1 at the surface (see `position.eccentricity`); None without a nucleolus.
    nucleolus_sphericity
        Of all of the nucleolus; None without one.
    envelope_thickness_um
        Volume of the envelope over the mean of its outer and inner area; None where it is not closed.
    open_fraction
        Share of the surface inside the envelope that has no envelope outside it.
    leak_nm
        Where the largest such place is; None when there is none.
    """

    volume: Volume
    area_um2: float | None
    sphericity: float | None
    nucleolus_fraction: float | None
    chromatin_fraction: float | None
    nucleolus_eccentricity: float | None
    nucleolus_sphericity: float | None
    envelope_thickness_um: float | None
    open_fraction: float
    leak_nm: tuple[float, float, float] | None


LEAK_LIMIT = 0.02
"""Share of the surface that may lack its envelope before it counts as open: single voxels that a network misses."""


def body_of(classes: NDArray[np.uint8], lattice: Lattice) -> Body:
    """Return the solid body of a nucleus, from its classes (uint8, (z, y, x), 0 outside)."""
    factors = _factors(lattice, classes.shape, BODY_NM)
    window = tuple(picked(size, factor) for size, factor in zip(classes.shape, factors, strict=True))
    thin = classes[window]
    places = lattice.thinned(factors, classes.shape[0])
    solid = filled(thin > 0)
    return Body(solid, thin, depth_nm(solid, places), factors, places)


def filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask with every hole filled: what is empty and has no way (6 neighbours) out of the array.

    Examples
    --------
    >>> ring = np.ones((3, 3, 3), bool)
    >>> ring[1, 1, 1] = False
    >>> bool(filled(ring).all())
    True
    """
    empty, _ = label_parts(~np.pad(mask, 1))
    return np.asarray(empty != empty[0, 0, 0], bool)[1:-1, 1:-1, 1:-1]


def nucleus_measures(classes: NDArray[np.uint8], lattice: Lattice, body: Body, *, is_cut: bool) -> NucleusMeasures:
    """Return the quantities of a nucleus.

    Parameters
    ----------
    classes
        uint8, (z, y, x), with an empty margin of a voxel wherever the nucleus is not cut.
    lattice
        Where its voxels lie.
    body
        What `body_of` made of them.
    is_cut
        Whether a face of the acquisition cuts the nucleus: what is left has a volume, but no shape.
    """
    own = volume(classes > 0, lattice)
    open_fraction, leak_nm = _leaks(body)
    envelope = None
    area = None
    if not is_cut:
        area = _area(body.solid, body.lattice)
        if open_fraction <= LEAK_LIMIT:
            inner = _area(body.solid & (body.classes != MEMBRANE), body.lattice)
            envelope = volume_um3(classes == MEMBRANE, lattice) / ((area + inner) / 2) or None
    nucleolus = classes == NUCLEOLUS
    nucleolus_um3 = volume_um3(nucleolus, lattice)
    has_nucleolus = nucleolus_um3 > 0 and not is_cut
    return NucleusMeasures(
        volume=own,
        area_um2=area,
        sphericity=None if area is None else sphericity(own.um3, area),
        nucleolus_fraction=None if is_cut else nucleolus_um3 / own.um3,
        chromatin_fraction=None if is_cut else volume_um3(classes == CHROMOSOME, lattice) / own.um3,
        nucleolus_eccentricity=_nucleolus_eccentricity(body, own.um3, nucleolus_um3) if has_nucleolus else None,
        nucleolus_sphericity=_nucleolus_sphericity(nucleolus, lattice, nucleolus_um3) if has_nucleolus else None,
        envelope_thickness_um=envelope,
        open_fraction=open_fraction,
        leak_nm=leak_nm,
    )


def _area(mask: NDArray[np.bool_], lattice: Lattice) -> float:
    return float(face_areas(mask.view(np.uint8), lattice).area_um2[-1])


def _factors(lattice: Lattice, shape: tuple[int, ...], edge_nm: float) -> tuple[int, int, int]:
    z, y, x = (max(1, min(round(edge_nm / edge), size)) for edge, size in zip(lattice.voxel_zyx_nm, shape, strict=True))
    return z, y, x


def _nucleolus_eccentricity(body: Body, nucleus_um3: float, nucleolus_um3: float) -> float | None:
    nucleolus = body.classes == NUCLEOLUS
    if not nucleolus.any() or nucleolus_um3 >= nucleus_um3:
        return None
    offset: FloatArray = centroid_nm(nucleolus, body.lattice) - centroid_nm(body.solid, body.lattice)
    return eccentricity(float(np.linalg.norm(offset)) / NM_PER_UM, nucleus_um3, nucleolus_um3)


def _nucleolus_sphericity(nucleolus: NDArray[np.bool_], lattice: Lattice, nucleolus_um3: float) -> float:
    return sphericity(nucleolus_um3, float(face_areas(nucleolus.view(np.uint8), lattice).area_um2[-1]))


def _leaks(body: Body) -> tuple[float, tuple[float, float, float] | None]:
    """Share of the faces of what the envelope holds that lie bare, and the middle of the largest bare place."""
    held = body.solid & (body.classes != MEMBRANE)
    bare = np.zeros(held.shape, bool)
    bare_faces = all_faces = 0
    for axis in range(3):
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        for here, there in ((tuple(low), tuple(high)), (tuple(high), tuple(low))):
            all_faces += int(np.count_nonzero(held[here] & ~held[there]))
            faces = held[here] & ~body.solid[there]
            bare_faces += int(np.count_nonzero(faces))
            bare[here] |= faces
    if bare_faces == 0:
        return 0.0, None
    part, _ = label_parts(bare, structure=np.ones((3, 3, 3)))
    voxels = np.argwhere(part == 1 + int(np.argmax(np.bincount(part[bare])[1:])))
    z, y, x = body.lattice.places_nm(voxels, held.shape[0]).mean(axis=0).tolist()
    return bare_faces / all_faces, (z, y, x)
