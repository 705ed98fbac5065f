"""Annotated planes of public data: divided by distance in z, and written as a data set or as plain TIFF folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from services.contracts.values import VoxelSize
from services.imaging.resampling import resample_grey, resample_labels
from services.trainer.annotations.dataset import DatasetClass, Manifest, Origin, Pair, new_dataset
from services.trainer.splits import Sample, Split, leaks

Plane = NDArray[np.uint8]
UNLABELLED = 255


class StraddleError(ValueError):
    """Two planes that show nearly the same are in different parts, or one plane is in two."""


@dataclass(frozen=True, eq=False, slots=True)
class Picture:
    """An annotated plane.

    Attributes
    ----------
    name
        Of its file, without suffix.
    stack, z
        Where it was cut; planes of one stack are neighbours if their z are.
    grey_yx, labels_yx
        uint8, (y, x); label 255 is unlabelled.
    """

    name: str
    stack: str
    z: int
    grey_yx: Plane
    labels_yx: Plane


@dataclass(frozen=True, slots=True)
class Division:
    """Which planes of a stack are used for what.

    Attributes
    ----------
    training, validation, test
        Their z. Planes that are named nowhere are left out.
    distance_planes
        Planes at most so far apart are never in two parts.
    """

    training: frozenset[int]
    validation: frozenset[int]
    test: frozenset[int]
    distance_planes: int

    def split(self, pictures: Sequence[Picture]) -> Split:
        """Return the parts by name.

        Raises
        ------
        StraddleError
            If planes in different parts lie too near each other, or a plane is in two parts.
        """
        parts = {"training": self.training, "validation": self.validation, "test": self.test}
        twice = (self.training & self.validation) | (self.training & self.test) | (self.validation & self.test)
        if twice:
            raise StraddleError(f"planes in two parts: {sorted(twice)}")
        named = {part: tuple(sorted(p.name for p in pictures if p.z in zs)) for part, zs in parts.items()}
        used = self.training | self.validation | self.test
        split = Split(
            kind="z-block",
            seed=0,
            distance_planes=self.distance_planes,
            test_share=len(named["test"]) / len(pictures),
            validation_share=len(named["validation"]) / len(pictures),
            left_out=tuple(sorted(p.name for p in pictures if p.z not in used)),
            **named,
        )
        samples = [Sample(p.name, p.stack, p.z) for p in pictures]
        if near := leaks(split, samples, self.distance_planes):
            said = ", ".join(f"{leak.first} and {leak.second}" for leak in near[:3])
            raise StraddleError(f"within {self.distance_planes} planes of each other, in different parts: {said}")
        return split


@dataclass(frozen=True, slots=True)
class Edges:
    """Nanometres: planes lie `z_nm` apart, pixels of the pictures measure `from_nm`, those of the data set `to_nm`."""

    z_nm: float
    from_nm: float
    to_nm: float


def write_dataset(folder: Path, pictures: Sequence[Picture], classes: dict[str, int], edges: Edges) -> None:
    """Write an annotated data set at the voxel size that a network learns at.

    Parameters
    ----------
    folder
        Of the data set; one that is there is written again.
    pictures
        In any order.
    classes
        Id by name.
    edges
        Voxel sizes.
    """
    with new_dataset(folder, classes, replace=True) as draft:
        entries = [
            draft.add(_at(picture, edges), Origin(picture.name, picture.name, nucleus=picture.stack, z=picture.z))
            for picture in pictures
        ]
        known = sorted((class_id, name) for name, class_id in classes.items())
        draft.finish(
            Manifest(
                classes=tuple(DatasetClass(class_id=class_id, name=name) for class_id, name in known),
                voxel_size=VoxelSize(z_nm=edges.z_nm, y_nm=edges.to_nm, x_nm=edges.to_nm),
                images=tuple(sorted(entries, key=lambda entry: entry.name)),
            )
        )


def write_split(path: Path, split: Split) -> None:
    """Write a split as recipes read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(split.model_dump_json(indent=1) + "\n", encoding="utf-8")


def write_tiffs(folder: Path, files: Iterable[tuple[str, NDArray[np.uint8]]]) -> Path:
    """Write plain TIFFs, one page each or a page per plane, as anybody would give them to `predict` and `evaluate`."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = dict(files)
    for stale in folder.glob("*.tif"):
        if stale.stem not in wanted:
            stale.unlink()
    for name, pixels in wanted.items():
        tifffile.imwrite(folder / f"{name}.tif", pixels, photometric="minisblack", compression="zlib")
    return folder


def pieces(labels_yx: Plane, across: int) -> list[Plane]:
    """Cut a plane into `across` by `across` parts, row by row: units of the bootstrap where there are few planes.

    >>> [part.tolist() for part in pieces(np.arange(4, dtype=np.uint8).reshape(2, 2), 2)]
    [[[0]], [[1]], [[2]], [[3]]]
    """
    return [part for band in np.array_split(labels_yx, across, axis=0) for part in np.array_split(band, across, axis=1)]


def _at(picture: Picture, edges: Edges) -> Pair:
    pixel = (edges.from_nm, edges.from_nm)
    labels = np.asarray(resample_labels(picture.labels_yx, pixel, edges.to_nm), np.uint8)
    return Pair(picture.name, resample_grey(picture.grey_yx, pixel, edges.to_nm), labels)
