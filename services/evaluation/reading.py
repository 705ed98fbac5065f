"""Reads truth and results: arrays by their place in the acquisition, tables by nucleus."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tifffile
import zarr
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator
from zarr.errors import BaseZarrError

from services.contracts.classes import LabelClass
from services.evaluation.moved import PLACE_COLUMNS, MovedArray, Readable, SlicePlaces, places_of
from services.evaluation.windows import Grids
from services.imaging.geometry import Grid, nearest_indices

Labels = NDArray[np.unsignedinteger]


class EvaluationInputError(ValueError):
    """A folder is not the truth or the results that it should be."""


@dataclass(frozen=True)
class PlacedArray:
    """An array that knows where its voxels lie.

    Attributes
    ----------
    array
        (z, y, x) of unsigned integers.
    grids
        The voxels along z, y and x, in the acquisition.
    """

    array: zarr.Array[Any]
    grids: Grids

    def read(self, targets: Grids) -> Labels:
        """Return the label at the centre of every voxel of other grids; 0 outside of this array."""
        found = [nearest_indices(target, grid) for target, grid in zip(targets, self.grids, strict=True)]
        inside = [np.flatnonzero(indices >= 0) for indices in found]
        shape = tuple(len(indices) for indices in found)
        if not all(places.size for places in inside):
            return np.zeros(shape, self.array.dtype)
        known = [indices[places] for indices, places in zip(found, inside, strict=True)]
        block: Labels = np.asarray(self.array[tuple(slice(int(k[0]), int(k[-1]) + 1) for k in known)])
        if block.shape != tuple(len(k) for k in known):
            block = block[np.ix_(*(k - k[0] for k in known))]
        if block.shape == shape:
            return block
        labels = np.zeros(shape, block.dtype)
        labels[tuple(slice(int(places[0]), int(places[-1]) + 1) for places in inside)] = block
        return labels


class _Axis(BaseModel):
    name: str
    unit: str


class _Transformation(BaseModel):
    scale: tuple[float, float, float] | None = None
    translation: tuple[float, float, float] | None = None


class _Dataset(BaseModel):
    path: str
    transformations: Annotated[tuple[_Transformation, ...], Field(alias="coordinateTransformations")]

    @property
    def scale(self) -> tuple[float, float, float]:
        for transformation in self.transformations:
            if transformation.scale is not None:
                return transformation.scale
        raise ValueError("no scale")

    @property
    def translation(self) -> tuple[float, float, float]:
        found = [item.translation for item in self.transformations if item.translation is not None]
        return found[0] if found else (0.0, 0.0, 0.0)


class _Multiscale(BaseModel):
    axes: tuple[_Axis, _Axis, _Axis]
    datasets: Annotated[tuple[_Dataset, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _axes_are_z_y_x_in_nanometres(self) -> Self:
        if [axis.name for axis in self.axes] != ["z", "y", "x"] or {axis.unit for axis in self.axes} != {"nanometer"}:
            raise ValueError("axes are not z, y, x in nanometres")
        return self


class _Ome(BaseModel):
    multiscales: Annotated[tuple[_Multiscale, ...], Field(min_length=1)]


def open_placed(group: Path) -> PlacedArray:
    """Open the full-resolution array of an OME-Zarr group.

    Raises
    ------
    EvaluationInputError
        If there is no OME-Zarr image with axes z, y, x in nanometres and a scale.
    """
    try:
        opened = zarr.open_group(group, mode="r")
        dataset = _Ome.model_validate(opened.attrs["ome"]).multiscales[0].datasets[0]
        array, origin, scale = opened[dataset.path], dataset.translation, dataset.scale
    except (BaseZarrError, OSError, ValueError, KeyError) as error:
        raise EvaluationInputError(f"{group} is not an OME-Zarr image: {error}") from error
    if not isinstance(array, zarr.Array) or array.ndim != 3:
        raise EvaluationInputError(f"{group} is not an OME-Zarr image: {dataset.path} is no array (z, y, x)")
    z, y, x = (Grid(*place) for place in zip(origin, scale, array.shape, strict=True))
    return PlacedArray(array, (z, y, x))


class Truth:
    """The `truth` folder that a simulation leaves.

    Parameters
    ----------
    folder
        Holds the OME-Zarr images `classes`, `nuclei` (ids, envelope included), `bivalents` and
        `chromosomes` (ids within a nucleus), all of one grid.

    Raises
    ------
    EvaluationInputError
        If one of them is not there or lies elsewhere than the others.
    """

    def __init__(self, folder: Path) -> None:
        self.classes = open_placed(folder / "classes")
        self.nuclei = open_placed(folder / "nuclei")
        self.bivalents = open_placed(folder / "bivalents")
        self.chromosomes = open_placed(folder / "chromosomes")
        self.grids = self.classes.grids
        if any(image.grids != self.grids for image in (self.nuclei, self.bivalents, self.chromosomes)):
            raise EvaluationInputError(f"the images in {folder} do not lie on one grid")


@dataclass(frozen=True)
class PredictedNucleus:
    """One nucleus of a results folder.

    Attributes
    ----------
    nucleus_id
        Its name.
    folder
        Its OME-Zarr volume.
    chromosome_count, expected_chromosomes
        Chromosomes found and expected, None if nobody looked.
    rank_of
        Chromosome rank by object id, for objects of class chromosome.
    places
        Of the slices, if they were registered: what is read is read where it lay in them.
    """

    nucleus_id: str
    folder: Path
    chromosome_count: int | None
    expected_chromosomes: int | None
    rank_of: Mapping[int, int]
    places: SlicePlaces | None = None

    @cached_property
    def classes(self) -> Readable:
        """The label volume."""
        return self._open("classes")

    @cached_property
    def objects(self) -> Readable | None:
        """The objects, or None if there are none yet."""
        return self._open("objects") if self._group("objects").exists() else None

    @cached_property
    def chromosomes(self) -> Readable | None:
        """The chromosomes voxel by voxel, or None where results are older than that."""
        return self._open("chromosomes") if self._group("chromosomes").exists() else None

    def _group(self, image: str) -> Path:
        return self.folder / "labels" / image

    def _open(self, image: str) -> Readable:
        placed = open_placed(self._group(image))
        return placed if self.places is None else MovedArray(placed, self.places)

    def chromosome_numbers(self, grids: Grids) -> NDArray[np.int64]:
        """Return the number of the chromosome at every voxel of other grids, 0 where there is none.

        In results without `labels/chromosomes` it is the rank of the object.
        """
        if self.chromosomes is not None:
            return self.chromosomes.read(grids).astype(np.int64)
        if self.objects is None:
            return np.zeros(tuple(grid.count for grid in grids), np.int64)
        return self.ranks(self.objects.read(grids))

    def ranks(self, objects: Labels) -> NDArray[np.int64]:
        """Return the chromosome rank of every voxel of `objects`, 0 where it belongs to none."""
        ids = np.array(sorted(self.rank_of), np.int64)
        if not ids.size:
            return np.zeros(objects.shape, np.int64)
        ranks = np.array([self.rank_of[int(object_id)] for object_id in ids], np.int64)
        places = np.minimum(np.searchsorted(ids, objects), len(ids) - 1)
        return np.where(ids[places] == objects, ranks[places], 0)


def read_prediction(out: Path) -> list[PredictedNucleus]:
    """Return the nuclei of a results folder, in the order of their ids.

    Raises
    ------
    EvaluationInputError
        If it is no results folder, or does not say where its registered slices lie.
    """
    if not (out / "nuclei").is_dir() and not (out / "nuclei.parquet").is_file():
        raise EvaluationInputError(f"{out} holds no results: neither nuclei/ nor nuclei.parquet is there")
    rows = {row["nucleus_id"]: row for row in _rows(out / "nuclei.parquet")}
    ranks: dict[str, dict[int, int]] = {}
    for row in _rows(out / "objects.parquet"):
        if row["class"] == LabelClass.CHROMOSOME.label and row["chromosome"] is not None:
            ranks.setdefault(row["nucleus_id"], {})[row["object_id"]] = row["chromosome"]
    volumes = {volume.parent.name: volume for volume in (out / "nuclei").glob("*/volume.ome.zarr")}
    places = read_places(out)
    return [
        PredictedNucleus(
            nucleus_id=name,
            folder=volumes[name],
            chromosome_count=rows.get(name, {}).get("chromosome_count"),
            expected_chromosomes=rows.get(name, {}).get("expected_chromosomes"),
            rank_of=ranks.get(name, {}),
            places=places,
        )
        for name in sorted(volumes)
    ]


def read_places(out: Path) -> SlicePlaces | None:
    """Return where the slices of a run lie in its results, or None if it registered none.

    Raises
    ------
    EvaluationInputError
        If `transforms.parquet` is no such table, or `provenance.json` does not say how large voxels are.
    """
    path = out / "transforms.parquet"
    if not path.is_file():
        return None
    try:
        voxel_nm = json.loads((out / "provenance.json").read_text(encoding="utf-8"))["voxel_nm"]
        return places_of(pq.read_table(path, columns=list(PLACE_COLUMNS)).to_pylist(), voxel_nm)
    except (pa.ArrowException, OSError, ArithmeticError, ValueError, KeyError, TypeError) as error:
        raise EvaluationInputError(f"{path} and provenance.json do not say where slices lie: {error}") from error


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        with pq.ParquetFile(path) as table:
            for batch in table.iter_batches():
                yield from batch.to_pylist()


def label_images(folder: Path) -> dict[str, Path]:
    """Return the TIFF files of a folder by name."""
    return {path.name: path for path in sorted(folder.iterdir()) if path.suffix.lower() in {".tif", ".tiff"}}


def read_label_pairs(truth: Path, prediction: Path) -> Iterator[tuple[str, Labels, Labels]]:
    """Yield name, truth and prediction of the label images that two folders hold under the same names.

    Raises
    ------
    EvaluationInputError
        If the names differ, or an image is not of unsigned integers.
    """
    true_images, predicted_images = label_images(truth), label_images(prediction)
    if true_images.keys() != predicted_images.keys():
        unpaired = sorted(true_images.keys() ^ predicted_images.keys())
        raise EvaluationInputError(f"{len(unpaired)} images without a partner, such as {unpaired[0]}")
    for name, path in true_images.items():
        yield name, read_labels(path), read_labels(predicted_images[name])


def read_labels(path: Path) -> Labels:
    """Read a label image.

    Raises
    ------
    EvaluationInputError
        If it cannot be read or is not of unsigned integers.
    """
    try:
        labels: Labels = tifffile.imread(path)
    except (tifffile.TiffFileError, OSError, ValueError) as error:
        raise EvaluationInputError(f"{path} cannot be read: {error}") from error
    if not np.issubdtype(labels.dtype, np.unsignedinteger):
        raise EvaluationInputError(f"{path} holds {labels.dtype}, not labels")
    return labels
