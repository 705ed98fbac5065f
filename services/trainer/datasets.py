"""Data sets: planes of phantoms with their truth, and the patches that a network learns from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.contracts.model_card import DataSource

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
        Planes per specimen, spread evenly over its depth, caps included.
    first_slices
        Slices from which the normalisation is frozen.
    """

    voxel_size_nm: float
    nuclei: int
    planes: int
    first_slices: int


@dataclass(frozen=True, slots=True)
class PlaneSet:
    """Planes of one specimen.

    Attributes
    ----------
    grey_zyx, classes_zyx
        uint8, (plane, y, x); planes are not neighbours in z.
    mean, sd
        Of the grey of the specimen's first slices: its normalisation.
    source
        Seed, number of planes and hash, for the card.
    """

    grey_zyx: Plane
    classes_zyx: Plane
    mean: float
    sd: float
    source: DataSource


def collect_planes(specimen: Specimen, seed: int, request: PlaneRequest) -> PlaneSet:
    """Take planes of a specimen.

    Raises
    ------
    DataRequestError
        If the specimen has fewer slices than planes or first slices are asked for.
    """
    depth = specimen.shape_zyx[0]
    if depth < max(request.planes, request.first_slices):
        raise DataRequestError(f"specimen {seed} has {depth} slices, {request} asks for more")
    first = np.stack([specimen.slice(z) for z in range(request.first_slices)]).astype(np.float64)
    chosen = [int((k + 0.5) * depth / request.planes) for k in range(request.planes)]
    # Slice and truth of one z are taken together: a specimen computes both from one section.
    pairs = [(specimen.slice(z), specimen.truth(z).classes) for z in chosen]
    grey, classes = (np.stack(column) for column in zip(*pairs, strict=True))
    content = hashlib.sha256(grey.tobytes() + classes.tobytes()).hexdigest()
    source = DataSource(seed=seed, planes=request.planes, sha256=content)
    return PlaneSet(grey, classes, float(first.mean()), float(first.std()), source)


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
    content = hashlib.sha256(grey.tobytes() + classes.tobytes()).hexdigest()
    return PlaneSet(grey, classes, float(mean), float(sd), DataSource(seed=seed, planes=len(grey), sha256=content))


@dataclass(frozen=True, slots=True)
class PatchRule:
    """How patches are drawn from planes.

    Attributes
    ----------
    patch_px
        Edge of a patch.
    batch_crops
        Patches per step.
    focus
        Tissue classes that a patch is centred about, drawn with equal chance; a class may be repeated.
    focus_share
        Share of patches that are centred about a focus class; the others lie anywhere.
    """

    patch_px: int
    batch_crops: int
    focus: tuple[int, ...]
    focus_share: float


@dataclass(frozen=True, slots=True)
class Patch:
    """A window of a plane with its truth and the normalisation of its specimen."""

    grey: NDArray[np.float32]
    classes: Plane
    mean: float
    sd: float


class PatchSource:
    """Draws patches, the same ones for the same seed and step.

    Parameters
    ----------
    planes
        Planes of all specimens to learn from.
    rule
        How to draw.

    Raises
    ------
    DataRequestError
        If there are no planes, or one is smaller than a patch.
    """

    def __init__(self, planes: Sequence[PlaneSet], rule: PatchRule) -> None:
        edges = [edge for plane_set in planes for edge in plane_set.grey_zyx.shape[1:]]
        if not edges or min(edges) < rule.patch_px:
            raise DataRequestError(
                f"patches of {rule.patch_px} px do not fit into planes of {min(edges, default=0)} px"
            )
        self._planes = tuple(planes)
        self._rule = rule
        self._pixels = {class_id: _pixels_of(planes, class_id) for class_id in sorted(set(rule.focus))}

    def batch(self, seed: int, step: int) -> list[Patch]:
        """Return the patches of a step, turned and mirrored at random."""
        rng = np.random.default_rng([seed, step])
        return [self._patch(rng) for _ in range(self._rule.batch_crops)]

    def _patch(self, rng: np.random.Generator) -> Patch:
        owner, plane, y, x = self._centre(rng)
        planes = self._planes[owner]
        size = self._rule.patch_px
        rows, columns = planes.grey_zyx.shape[1:]
        y0 = int(np.clip(y - rng.integers(size // 8, size - size // 8), 0, rows - size))
        x0 = int(np.clip(x - rng.integers(size // 8, size - size // 8), 0, columns - size))
        window = (plane, slice(y0, y0 + size), slice(x0, x0 + size))
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        grey = _turned(planes.grey_zyx[window], turns, mirrored=mirrored).astype(np.float32)
        return Patch(grey, _turned(planes.classes_zyx[window], turns, mirrored=mirrored), planes.mean, planes.sd)

    def _centre(self, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Return specimen, plane, row and column about which to cut."""
        if rng.random() < self._rule.focus_share:
            pixels = self._pixels[int(rng.choice(self._rule.focus))]
            if len(pixels):
                owner, plane, y, x = (int(value) for value in pixels[rng.integers(len(pixels))])
                return owner, plane, y, x
        owner = int(rng.integers(len(self._planes)))
        plane, y, x = (int(rng.integers(size)) for size in self._planes[owner].grey_zyx.shape)
        return owner, plane, y, x


def _pixels_of(planes: Sequence[PlaneSet], class_id: int) -> NDArray[np.int32]:
    """Every 16th pixel of a class, as rows of (specimen, plane, y, x)."""
    found = [
        np.insert(np.argwhere(plane_set.classes_zyx == class_id)[::16], 0, owner, axis=1)
        for owner, plane_set in enumerate(planes)
    ]
    return np.concatenate(found).astype(np.int32)


def _turned(plane: Plane, turns: int, *, mirrored: bool) -> Plane:
    turned = np.rot90(plane, turns)
    return np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)
