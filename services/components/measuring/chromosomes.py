"""The chromosomes of a nucleus as they were separated, and what they touch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.components.measuring.complexes import Complex, touches_cut
from services.components.measuring.contact import Contact, contacts
from services.components.measuring.lattice import Box, bounding_box
from services.components.measuring.nucleus import MEMBRANE, NUCLEOLUS, Body
from services.components.measuring.painting import NucleusImage
from services.components.measuring.position import centroid_nm, radial_position
from services.components.measuring.rounding import position, significant
from services.components.measuring.surface import Faces, face_areas, sphericity
from services.components.measuring.volume import volume
from services.contracts.rows import ChromosomeRow, ContactRow


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """Surfaces of the chromosomes 1..count, of the nucleolus (count + 1) and of the envelope (count + 2)."""

    count: int
    faces: Faces
    contacts: tuple[Contact, ...]

    def name_of(self, label: int) -> str:
        """Return what a label is called in a table."""
        return {self.count + 1: "nucleolus", self.count + 2: "nuclear_membrane"}.get(label, str(label))


def neighbourhood(image: NucleusImage) -> Neighbourhood:
    """Return what touches what in a nucleus."""
    box = bounding_box(image.chromosomes > 0)
    if box is None:
        return Neighbourhood(0, Faces(np.zeros(3), np.zeros((3, 3))), ())
    labels: NDArray[Any] = image.chromosomes[box].copy()
    count = int(labels.max())
    free = labels == 0
    labels[free & (image.classes[box] == NUCLEOLUS)] = count + 1
    labels[free & (image.classes[box] == MEMBRANE)] = count + 2
    lattice = image.lattice.cropped(box, image.classes.shape[0])
    # Only the surfaces of chromosomes are wanted: those of nucleolus and envelope end at the box.
    faces = face_areas(labels, lattice)
    room = np.zeros((count + 3, count + 3))
    room[: len(faces.area_um2), : len(faces.area_um2)] = faces.contact_um2
    return Neighbourhood(count, Faces(faces.area_um2, room), contacts(labels, faces, lattice, count))


def chromosome_rows(
    image: NucleusImage, body: Body, around: Neighbourhood, complexes: tuple[Complex, ...], nucleus_id: str
) -> tuple[ChromosomeRow, ...]:
    """Return the rows of the chromosomes of a nucleus, by number."""
    thin = tuple(slice(factor // 2, None, factor) for factor in body.factors)
    inside = image.chromosomes[thin][tuple(slice(size) for size in body.solid.shape)]
    rows = []
    for number in range(1, around.count + 1):
        box = bounding_box(image.chromosomes == number)
        if box is None:
            continue
        here = inside == number
        radial = radial_position(here, body.depths_nm) if not image.clipped and here.any() else None
        mine = tuple(one for one in complexes if one.chromosome == number)
        rows.append(_row(image, box, (around, number), (mine, radial), nucleus_id))
    return tuple(rows)


def _row(
    image: NucleusImage,
    box: Box,
    place: tuple[Neighbourhood, int],
    found: tuple[tuple[Complex, ...], float | None],
    nucleus_id: str,
) -> ChromosomeRow:
    around, number = place
    mine, radial = found
    mask = image.chromosomes[box] == number
    lattice = image.lattice.cropped(box, image.classes.shape[0])
    size = volume(mask, lattice)
    first = np.array([part.start for part in box])
    is_cut = touches_cut(np.argwhere(mask) + first, image)
    area = float(around.faces.area_um2[number])
    shared = around.faces.contact_um2[number]
    others = np.delete(shared[1 : around.count + 1], number - 1)
    length = None if is_cut or not mine or any(one.is_cut for one in mine) else sum(o.track.length_um for o in mine)
    z, y, x = position(centroid_nm(mask, lattice))
    return ChromosomeRow(
        nucleus_id=nucleus_id,
        chromosome=number,
        complete=not is_cut,
        volume_um3=_number(size.um3),
        volume_low_um3=_number(size.eroded_um3),
        volume_high_um3=_number(size.dilated_um3),
        area_um2=None if is_cut else significant(area),
        sphericity=None if is_cut else significant(sphericity(size.um3, area)),
        sc_length_um=significant(length),
        sc_tracks=len(mine) or None,
        sc_um_per_um3=None if length is None else significant(length / size.um3),
        radial_position=significant(radial),
        contacts=int(np.count_nonzero(others)),
        contact_area_um2=_number(float(others.sum())),
        nucleolus_contact_um2=_number(float(shared[around.count + 1])),
        envelope_contact_um2=_number(float(shared[around.count + 2])),
        centroid_z_nm=z,
        centroid_y_nm=y,
        centroid_x_nm=x,
    )


def contact_rows(around: Neighbourhood, nucleus_id: str) -> tuple[ContactRow, ...]:
    """Return the rows of the contacts of a nucleus's chromosomes, by both partners."""
    rows = []
    for contact in around.contacts:
        z, y, x = position(contact.place_nm)
        rows.append(
            ContactRow(
                nucleus_id=nucleus_id,
                first=contact.first,
                second=around.name_of(contact.second),
                area_um2=_number(contact.area_um2),
                patches=contact.patches,
                z_nm=z,
                y_nm=y,
                x_nm=x,
            )
        )
    return tuple(rows)


def _number(value: float) -> float:
    return significant(value) or 0.0
