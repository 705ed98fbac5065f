"""Groups of objects that touch: separated when they close, compared with the whole when the nucleus does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.components.separation.field import CHROMOSOME, SYNAPTONEMAL_COMPLEX, Zyx
from services.components.separation.result import MOST, Separated
from services.contracts.rows import Fraction
from services.contracts.values import Value
from services.imaging.labelling import LabelTables, components_of, cut_out, first_voxels

MOVED_NM = 100.0
"""A chromosome told early whose middle lies no farther away in the end is still the same one: its half width."""
GREW = 0.05
"""And whose size differs by no more than this share."""
HARDLY = 0.05
"""A chromosome less sure than this is not told early."""
_DIGITS = 1


class GroupChromosome(Value):
    """One chromosome of a group.

    Attributes
    ----------
    number
        In the group while it is provisional, in the nucleus when that has closed.
    voxels
        Of the label volume.
    z_nm, y_nm, x_nm
        Its middle, nm from the first corner of the canvas (plane 0 of the acquisition).
    confidence
        As in the table of chromosomes.
    sc_path_nm
        Length of its synaptonemal complex, gaps drawn through; None where the method follows none.
    """

    number: int
    voxels: int
    z_nm: float
    y_nm: float
    x_nm: float
    confidence: Fraction | None = None
    sc_path_nm: float | None = None


class GroupRows(Value):
    """The chromosomes of a group of objects that touch, the artefact beside the message that tells of them."""

    nucleus_id: str
    group: str
    method: str
    chromosomes: tuple[GroupChromosome, ...]

    @property
    def confidence(self) -> float | None:
        """That of the least sure chromosome; None where there is no opinion on any."""
        return min((c.confidence for c in self.chromosomes if c.confidence is not None), default=None)


@dataclass(frozen=True, eq=False)
class Group:
    """Chromatin and synaptonemal complex (SC) that touch one another.

    Attributes
    ----------
    key
        Its first voxel in raster order, "z-y-x" of the canvas.
    objects
        Bool, shape (objects,): the objects of the tables that it is made of.
    voxels
        Their voxels.
    """

    key: str
    objects: NDArray[np.bool_]
    voxels: int

    def tables(self, tables: LabelTables) -> LabelTables:
        """Return the tables of this group alone; the same bytes from any tables in which it is closed."""
        return cut_out(tables, self.objects)


def groups_of(tables: LabelTables) -> Iterator[Group]:
    """Yield the groups that hold SC, by their first voxels.

    What has no complex is no chromosome by itself: it is a crumb, or is decided on when the nucleus closes.
    """
    label = components_of(tables, (CHROMOSOME, SYNAPTONEMAL_COMPLEX)).label_of_object
    with_complex = np.unique(label[tables.objects["class_id"] == SYNAPTONEMAL_COMPLEX])
    found = []
    for number in with_complex[with_complex > 0]:
        objects = label == number
        # Rows are in the order of identities, and an identity is the first voxel of its object.
        found.append((int(tables.objects["identity"][objects][0]), objects))
    for identity, objects in sorted(found, key=lambda group: group[0]):
        key = "-".join(str(part) for part in first_voxels(np.array([identity]))[0])
        yield Group(key, objects, int(tables.objects["voxels"][objects].sum()))


def chromosomes_by_group(separated: Separated, groups: Sequence[Group]) -> tuple[tuple[GroupChromosome, ...], ...]:
    """Return for each group the chromosomes that have a voxel in it, whole, by number.

    Parameters
    ----------
    separated
        A separation of the tables that the groups are of.
    groups
        Groups of objects.
    """
    tables = separated.field.tables
    member = np.zeros(tables.objects.size, np.uint32)
    for index, group in enumerate(groups, start=1):
        member[group.objects] = index
    seen = np.zeros((len(groups) + 1, MOST + 1), np.bool_)
    sums = np.zeros((MOST + 1, 4))
    for z, origin, plane in separated.planes():
        rows, columns = np.nonzero(plane)
        numbers = plane[rows, columns]
        seen[tables.paint_plane(z, member)[rows, columns], numbers] = True
        for axis, places in enumerate((None, z, rows + origin[0], columns + origin[1])):
            weights = np.broadcast_to(1.0 if places is None else places, numbers.shape)
            # Sums of whole numbers: exact, in any order.
            sums[:, axis] += np.bincount(numbers, weights, MOST + 1)
    placed = _placed(separated, sums)
    return tuple(tuple(placed[int(n)] for n in np.flatnonzero(present) if n in placed) for present in seen[1:])


def _placed(separated: Separated, sums: NDArray[np.float64]) -> Mapping[int, GroupChromosome]:
    voxel: Zyx = separated.field.voxel_zyx_nm
    found = {}
    for chromosome in separated.chromosomes:
        voxels = sums[chromosome.number, 0]
        middle = (sums[chromosome.number, 1:] / voxels + 0.5) * np.array(voxel)
        z_nm, y_nm, x_nm = (round(float(value), _DIGITS) for value in middle)
        found[chromosome.number] = GroupChromosome(
            number=chromosome.number,
            voxels=int(voxels),
            z_nm=z_nm,
            y_nm=y_nm,
            x_nm=x_nm,
            confidence=chromosome.confidence,
            sc_path_nm=chromosome.sc_length_nm,
        )
    return found


def worth_telling(chromosomes: Sequence[GroupChromosome]) -> bool:
    """Return whether any is likely a chromosome at all: networks see crumbs of chromatin with a dot of SC.

    >>> worth_telling([GroupChromosome(number=1, voxels=79, z_nm=0, y_nm=0, x_nm=0, confidence=0.0001)])
    False
    """
    return any(c.confidence is None or c.confidence >= HARDLY for c in chromosomes)


def stands(early: Sequence[GroupChromosome], final: Sequence[GroupChromosome]) -> bool:
    """Return whether the chromosomes told early are those found in the end: as many, of their sizes, at their places.

    >>> one = GroupChromosome(number=1, voxels=1000, z_nm=0, y_nm=0, x_nm=500)
    >>> stands([one], [one.model_copy(update={"number": 4, "voxels": 1030, "x_nm": 520})]), stands([one], [one, one])
    (True, False)
    """
    left = list(final)
    for chromosome in early:
        if not left:
            return False
        nearest = min(left, key=lambda other: (_apart_nm(chromosome, other), other.number))
        same_size = abs(nearest.voxels - chromosome.voxels) <= GREW * chromosome.voxels
        if not same_size or _apart_nm(chromosome, nearest) > MOVED_NM:
            return False
        left.remove(nearest)
    return not left


def _apart_nm(a: GroupChromosome, b: GroupChromosome) -> float:
    return float(np.linalg.norm([a.z_nm - b.z_nm, a.y_nm - b.y_nm, a.x_nm - b.x_nm]))
