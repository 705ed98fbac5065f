"""Data sets: planes of phantoms with their truth, and the patches that a network learns from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.contracts.model_card import AnySource, DataSource
from services.trainer.losses import IGNORED

Plane = NDArray[np.uint8]


class Truth(Protocol):
    """What is known of one slice."""

    @property
    def classes(self) -> Plane:
        """Tissue class of every pixel, uint8, (y, x)."""


class Specimen(Protocol):
    """A block whose slices and truth can be had in any order; the simulator's phantom is one."""

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""

    def slice(self, z: int) -> Plane:
        """Return the grey of a slice, uint8, (y, x)."""

    def truth(self, z: int) -> Truth:
        """Return the truth of a slice."""


Grow = Callable[[int, float, int], Specimen]
"""From a seed, a voxel size in nanometres and a number of whole nuclei to a specimen."""


class DataRequestError(ValueError):
    """A data set was asked for that a specimen cannot give."""


@dataclass(frozen=True, slots=True)
class PlaneRequest:
    """Which planes to take of each specimen.

    Attributes
    ----------
    voxel_size_nm
        Edge of a voxel.
    nuclei
        Whole nuclei per specimen.
    planes
        Places per specimen, spread evenly over its depth, caps included.
    first_slices
        Slices from which the normalisation is frozen.
    slab_planes
        Planes taken at each place, one after the other in z.
    middle_labelled
        Whether only the middle plane of a slab is labelled; the others are then its neighbours.
    """

    voxel_size_nm: float
    nuclei: int
    planes: int
    first_slices: int
    slab_planes: int = 1
    middle_labelled: bool = True


@dataclass(frozen=True, slots=True)
class PlaneSet:
    """Planes of one shape.

    Attributes
    ----------
    grey_zyx, classes_zyx
        uint8, (plane, y, x); class `IGNORED` is unlabelled.
    mean, sd
        Of grey: the normalisation.
    source
        Where they come from, for the card.
    runs
        Numbers of planes that are neighbours in z, in order; None: no plane is another's neighbour.
    """

    grey_zyx: Plane
    classes_zyx: Plane
    mean: float
    sd: float
    source: AnySource
    runs: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.runs is not None and sum(self.runs) != len(self.grey_zyx):
            raise DataRequestError(f"runs of {sum(self.runs)} planes do not make {len(self.grey_zyx)}")

    @property
    def labelled(self) -> NDArray[np.intp]:
        """Positions of planes on which something is labelled."""
        return np.flatnonzero((self.classes_zyx != IGNORED).any(axis=(1, 2)))

    def run_of(self, plane: int) -> tuple[int, int]:
        """Return first and last position of the run that holds a plane.

        >>> empty = np.zeros((5, 1, 1), np.uint8)
        >>> source = DataSource(seed=0, planes=5, sha256="0" * 64)
        >>> PlaneSet(empty, empty, 0.0, 1.0, source, (2, 3)).run_of(3)
        (2, 4)
        """
        if self.runs is None:
            return plane, plane
        ends = np.cumsum(self.runs)
        run = int(np.searchsorted(ends, plane, side="right"))
        return int(ends[run]) - self.runs[run], int(ends[run]) - 1

    def around(self, plane: int, before: int, after: int) -> NDArray[np.intp]:
        """Return the positions from so many before a plane to so many after; the run's ends are repeated."""
        first, last = self.run_of(plane)
        return np.clip(np.arange(plane - before, plane + after + 1), first, last)


def collect_planes(specimen: Specimen, seed: int, request: PlaneRequest) -> PlaneSet:
    """Take planes of a specimen.

    Raises
    ------
    DataRequestError
        If the specimen has fewer slices than planes or first slices are asked for.
    """
    depth = specimen.shape_zyx[0]
    if depth < max(request.planes, request.first_slices, request.slab_planes):
        raise DataRequestError(f"specimen {seed} has {depth} slices, {request} asks for more")
    first = np.stack([specimen.slice(z) for z in range(request.first_slices)]).astype(np.float64)
    slab = request.slab_planes
    middles = [int((k + 0.5) * depth / request.planes) for k in range(request.planes)]
    starts = [min(max(z - slab // 2, 0), depth - slab) for z in middles]
    chosen = [start + offset for start in starts for offset in range(slab)]
    # Slice and truth of one z are taken together: a specimen computes both from one section.
    pairs = [(specimen.slice(z), specimen.truth(z).classes) for z in chosen]
    grey, classes = (np.stack(column) for column in zip(*pairs, strict=True))
    if request.middle_labelled and slab > 1:
        kept = np.tile(np.arange(slab) == slab // 2, request.planes)
        classes[~kept] = IGNORED
    source = DataSource(seed=seed, planes=len(grey), sha256=_content_hash(grey, classes))
    return PlaneSet(grey, classes, float(first.mean()), float(first.std()), source, _runs(request))


def stored_planes(folder: Path, seed: int, request: PlaneRequest, grow: Grow) -> PlaneSet:
    """Return the planes of a seed, from the folder if they were collected before.

    The file's name holds a digest of the request, so that another request never finds it.
    """
    digest = hashlib.sha256(repr((seed, request)).encode()).hexdigest()[:12]
    path = folder / f"planes-{seed}-{digest}.npz"
    if not path.exists():
        planes = collect_planes(grow(seed, request.voxel_size_nm, request.nuclei), seed, request)
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npz")
        np.savez_compressed(
            partial, grey=planes.grey_zyx, classes=planes.classes_zyx, normalisation=np.array([planes.mean, planes.sd])
        )
        partial.rename(path)
        return planes
    with np.load(path, allow_pickle=False) as stored:
        grey, classes, (mean, sd) = stored["grey"], stored["classes"], stored["normalisation"]
    source = DataSource(seed=seed, planes=len(grey), sha256=_content_hash(grey, classes))
    return PlaneSet(grey, classes, float(mean), float(sd), source, _runs(request))


def _runs(request: PlaneRequest) -> tuple[int, ...] | None:
    return (request.slab_planes,) * request.planes if request.slab_planes > 1 else None


def _content_hash(grey: Plane, classes: Plane) -> str:
    return hashlib.sha256(grey.tobytes() + classes.tobytes()).hexdigest()
