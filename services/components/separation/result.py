"""What a separation says: a chromosome per voxel, a row per chromosome, and what looks wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from services.components.separation.field import (
    CHROMOSOME,
    SYNAPTONEMAL_COMPLEX,
    ChromatinField,
    Labels,
    chromatin_planes,
)

MOST = 255
"""A label is a byte."""


class TargetError(ValueError):
    """A number of chromosomes that cannot be asked for."""


@dataclass(frozen=True, slots=True)
class Target:
    """What to look for in a whole nucleus.

    Attributes
    ----------
    count
        How many.
    homologs
        Whether chromosomes are counted one by one: a bivalent is then divided between its two homologs, and the
        synaptonemal complex (SC) belongs to none. Otherwise a bivalent is one chromosome, its SC included.
    """

    count: int
    homologs: bool

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MOST:
            raise TargetError(f"a nucleus has 1 to {MOST} chromosomes, not {self.count}")

    @property
    def bodies(self) -> int:
        """How many bodies to find first: bivalents, and what has no partner."""
        return -(-self.count // 2) if self.homologs else self.count


class Doubt(StrEnum):
    """What may be wrong."""

    MERGE = "probable_merge"
    SPLIT = "probable_split"
    UNASSIGNED = "unassigned"
    COUNT = "count"
    CLIPPED = "clipped"


@dataclass(frozen=True, slots=True)
class Suspect:
    """Something to look at.

    Attributes
    ----------
    doubt
        What may be wrong.
    chromosomes
        Numbers of the chromosomes concerned.
    score
        0 to 1, 1 the most doubtful; suspects are ranked by it.
    reason
        In words.
    place_zyx_nm
        Where to look, nm from the first corner of the canvas (plane 0 of the acquisition); None for all of it.
    """

    doubt: Doubt
    chromosomes: tuple[int, ...]
    score: float
    reason: str
    place_zyx_nm: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Chromosome:
    """One chromosome.

    Attributes
    ----------
    number
        1, 2, ... by size.
    voxels
        Voxels of the label volume.
    confidence
        0 to 1: how sure its extent is, given the SC. None where the method has no opinion.
    sc_length_nm
        Length of its SC, gaps included; None where the method follows none.
    sc_found
        Share of that length in which the SC is there.
    bivalent
        The body it is a homolog of, 1 ..; for a bivalent its own number.
    provisional
        It touches the front of a nucleus that still grows.
    """

    number: int
    voxels: int
    confidence: float | None
    sc_length_nm: float | None
    sc_found: float | None
    bivalent: int
    provisional: bool


@dataclass(frozen=True, eq=False)
class Separated:
    """Chromosomes of a nucleus.

    Attributes
    ----------
    field
        Where they lie.
    labels
        uint8 (z, y, x) on the grid of the field: number of the chromosome, 0 for none.
    bodies
        uint8 (z, y, x): number of the bivalent, SC included. The same array as ``labels`` where homologs were not
        asked for.
    chromosomes
        By number.
    suspects
        The most doubtful first.
    forced
        Whether the number of chromosomes was made to be the expected one.
    sc_counts
        Whether voxels of the SC belong to chromosomes.
    """

    field: ChromatinField
    labels: Labels
    bodies: Labels
    chromosomes: tuple[Chromosome, ...]
    suspects: tuple[Suspect, ...]
    forced: bool
    sc_counts: bool

    def paint_plane(self, z: int) -> NDArray[np.uint32]:
        """Return the chromosome numbers of the window plane at z, uint32 (y, x).

        Raises
        ------
        AbsentPlaneError
            When the plane was skipped or has not come.
        """
        field = self.field
        window = field.tables.object_plane(z).window
        plane = field.paint_plane(z)
        return expanded_plane(field, self.labels, (z, window.y0, window.x0), plane, self.sc_counts).astype(np.uint32)

    def chromosome_of_object(self) -> NDArray[np.uint8]:
        """Return for each object of the tables the chromosome that holds most of its voxels, uint8, 0 for none.

        Of two that hold as many the smaller number is taken. An object of several chromosomes is told only by the one:
        `labels/chromosomes` has them voxel by voxel.
        """
        tables = self.field.tables
        found = np.zeros(tables.objects.size, np.uint8)
        wanted = np.flatnonzero(tables.kept & np.isin(tables.objects["class_id"], (CHROMOSOME, SYNAPTONEMAL_COMPLEX)))
        member = np.zeros(tables.objects.size, np.uint32)
        member[wanted] = np.arange(1, wanted.size + 1)
        counts = np.zeros((wanted.size + 1) * (MOST + 1), np.int64)
        for z, _, plane in self.planes():
            objects = tables.paint_plane(z, member)
            inside = (objects > 0) & (plane > 0)
            keys, voxels = np.unique(objects[inside].astype(np.int64) * (MOST + 1) + plane[inside], return_counts=True)
            counts[keys] += voxels
        by_member = counts.reshape(-1, MOST + 1)[1:]
        found[wanted] = by_member.argmax(axis=1)
        return found

    def planes(self) -> Iterator[tuple[int, tuple[int, int], Labels]]:
        """Yield z, origin (y, x) on the canvas and chromosome numbers, uint8 (y, x), of every present plane."""
        yield from expanded(self.field, self.labels, self.sc_counts)


def expanded(
    field: ChromatinField, labels: Labels, with_sc: bool = True
) -> Iterator[tuple[int, tuple[int, int], Labels]]:
    """Yield labels of the working grid in voxels of the tables: z, origin (y, x) on the canvas, uint8 (y, x)."""
    for z, (y0, x0), plane in chromatin_planes(field.tables):
        yield z, (y0, x0), expanded_plane(field, labels, (z, y0, x0), plane, with_sc)


def expanded_plane(
    field: ChromatinField, labels: Labels, origin_zyx: tuple[int, int, int], classes: Labels, with_sc: bool
) -> Labels:
    """Write into a plane of classes (2, 4, 0 elsewhere) the label of the working grid at each voxel; return it."""
    if not with_sc:
        classes[classes == SYNAPTONEMAL_COMPLEX] = 0
    rows, columns = np.nonzero(classes)
    if rows.size:
        at = [first - low for first, low in zip(origin_zyx, field.origin_zyx, strict=True)]
        at_y, at_x = (rows + at[1]) // field.strides_zyx[1], (columns + at[2]) // field.strides_zyx[2]
        classes[rows, columns] = labels[at[0] // field.strides_zyx[0], at_y, at_x]
    return classes


def sizes_of(field: ChromatinField, labels: Labels, with_sc: bool = True) -> NDArray[np.int64]:
    """Return, int64 (256,), how many voxels of the tables each label has."""
    sizes = np.zeros(MOST + 1, np.int64)
    if field.strides_zyx == (1, 1, 1):
        held = labels if with_sc else labels[field.classes != SYNAPTONEMAL_COMPLEX]
        sizes += np.bincount(held.ravel(), minlength=MOST + 1)
        sizes[0] = 0
        return sizes
    for _, _, plane in expanded(field, labels, with_sc):
        sizes += np.bincount(plane.ravel(), minlength=MOST + 1)
    sizes[0] = 0
    return sizes


def by_size(sizes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return, uint8 (256,), the number of each label: 1 for the largest, 0 for those without voxels.

    >>> by_size(np.array([0, 3, 9, 0, 9]))[:5].tolist()
    [0, 3, 1, 0, 2]
    """
    order = [label for label in np.argsort(-sizes, kind="stable") if label and sizes[label]]
    numbers = np.zeros(MOST + 1, np.uint8)
    numbers[order] = np.arange(1, len(order) + 1)
    return numbers
