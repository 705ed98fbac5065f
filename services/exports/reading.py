"""A finished results folder: its nuclei, their images by what their OME-Zarr holds, and every table there is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import zarr
from numpy.typing import NDArray
from pyarrow import compute

from services.exports.blocks import Box, Extent, Voxels, Window, filled_part, label_extents
from services.exports.place import Index, Placement
from services.exports.styles import Cell, Label, chromosome_of_object, class_labels, describe, rows_by_label

GREY = "grey"
CHROMOSOMES = "chromosomes"
MANIFEST = "MANIFEST.sha256"
_VOLUME = "volume.ome.zarr"

ZarrArray = zarr.Array[Any]


class ResultsFormatError(ValueError):
    """A results folder, or a file of it, is not what a run leaves behind."""


class NotFinishedError(ValueError):
    """The run that writes this folder has not finished."""


class UnknownNucleusError(ValueError):
    """No nucleus of these results has that name."""


class UnknownLabelError(ValueError):
    """A nucleus has no label image of that name."""


@dataclass(frozen=True, eq=False)
class Image:
    """An image of a nucleus, or a label image, read in windows.

    Attributes
    ----------
    name
        `grey`, or the name of the label image.
    array
        The (z, y, x) array behind it.
    values
        Table from value of the array to value of the image, for a label image made of another; None as a rule.
    rows, given
        Rows of the tables by label, and what the volume itself says of its labels.
    """

    name: str
    array: ZarrArray
    values: NDArray[np.uint32] | None = None
    rows: Mapping[int, Mapping[str, Cell]] | None = None
    given: Mapping[int, Label] | None = None

    @property
    def is_label(self) -> bool:
        """Whether voxels are ids and not grey values."""
        return self.name != GREY

    @property
    def shape(self) -> Index:
        """Shape (z, y, x)."""
        z, y, x = self.array.shape
        return z, y, x

    @property
    def step(self) -> Index:
        """Edges of a block that is quickly read: a chunk."""
        z, y, x = self.array.chunks
        return z, y, x

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """Type of the voxels."""
        return np.dtype(self.array.dtype if self.values is None else self.values.dtype).newbyteorder("=")

    def read(self, window: Window) -> Voxels:
        """Return the voxels of a window, in the machine's byte order."""
        voxels: Voxels = np.asarray(self.array[window])
        if self.values is not None:
            voxels = self.values[np.minimum(voxels, len(self.values) - 1)]
        return voxels.astype(self.dtype, copy=False)

    @cached_property
    def extents(self) -> dict[int, Extent]:
        """Voxels and box of each label; reads the image once."""
        return label_extents(self.read, self.shape, self.step)

    @cached_property
    def filled(self) -> Box | None:
        """The box of what is not 0; reads the image once."""
        if not self.is_label:
            return filled_part(self.read, self.shape, self.step)
        box: Box | None = None
        for extent in self.extents.values():
            box = extent.box if box is None else box.joined(extent.box)
        return box

    @cached_property
    def labels(self) -> list[Label]:
        """The labels that occur, with names, colours and properties."""
        return describe(self.name, self.extents, self.rows or {}, self.given or {})


@dataclass(frozen=True, eq=False)
class Nucleus:
    """A nucleus with its images, grey first, and its rows of every table."""

    nucleus_id: str
    placement: Placement
    images: tuple[Image, ...]
    tables: Mapping[str, Sequence[Mapping[str, Cell]]]

    def image(self, name: str) -> Image | None:
        """Return the image of that name, None when there is none."""
        return next((image for image in self.images if image.name == name), None)

    def selected(self, label: str | None) -> tuple[Image, ...]:
        """Return every image, or the grey one and one label image.

        Raises
        ------
        UnknownLabelError
            If there is no such label image.
        """
        if label is None:
            return self.images
        return (*(image for image in self.images if not image.is_label), self.label(label))

    def label(self, name: str) -> Image:
        """Return the label image of that name.

        Raises
        ------
        UnknownLabelError
            If there is none.
        """
        found = [image for image in self.images if image.is_label and image.name == name]
        if not found:
            known = ", ".join(image.name for image in self.images if image.is_label) or "none"
            raise UnknownLabelError(f"nucleus {self.nucleus_id} has no label image {name!r}; label images: {known}")
        return found[0]


@dataclass(frozen=True)
class Results:
    """A finished results folder.

    Attributes
    ----------
    out
        The folder.
    acquisition
        Name of the acquisition.
    nucleus_ids
        Ids of all nuclei, in the order of their table.
    """

    out: Path
    acquisition: str
    nucleus_ids: tuple[str, ...]

    def chosen(self, nucleus_ids: Sequence[str]) -> tuple[str, ...]:
        """Return the nuclei asked for, or all when none is, less those without a volume.

        Raises
        ------
        UnknownNucleusError
            If one asked for is not there, or has no volume.
        """
        for nucleus_id in nucleus_ids:
            if nucleus_id not in self.nucleus_ids:
                known = ", ".join(self.nucleus_ids[:12]) + (", ..." if len(self.nucleus_ids) > 12 else "")
                raise UnknownNucleusError(f"{self.out} has no nucleus {nucleus_id!r}; nuclei: {known or 'none'}")
            if not self.volume(nucleus_id).is_dir():
                raise UnknownNucleusError(f"nucleus {nucleus_id} has no volume in {self.out}: it was never segmented")
        wanted = [nucleus_id for nucleus_id in self.nucleus_ids if not nucleus_ids or nucleus_id in nucleus_ids]
        return tuple(nucleus_id for nucleus_id in wanted if self.volume(nucleus_id).is_dir())

    def volume(self, nucleus_id: str) -> Path:
        """Return where the volume of a nucleus lies."""
        return self.out / "nuclei" / nucleus_id / _VOLUME

    @property
    def manifest(self) -> bytes:
        """What the results are: hashes of all of them."""
        return (self.out / MANIFEST).read_bytes()


def open_results(out: Path) -> Results:
    """Open a results folder.

    Raises
    ------
    NotFinishedError
        If the run has not finished.
    ResultsFormatError
        If it is no results folder.
    """
    if not (out / MANIFEST).is_file():
        if (out / ".state").is_dir():
            raise NotFinishedError(
                f"{out} is not finished: it has no {MANIFEST} yet. "
                f"Wait for the run, or end it with `fibsem-nuclei finish {out}` and start it again"
            )
        raise ResultsFormatError(f"{out} is not the results folder of a run: it has no {MANIFEST}")
    nuclei = read_table(out, "nuclei")
    if nuclei is None or "nucleus_id" not in nuclei.column_names:
        raise ResultsFormatError(f"{out}: there is no table of nuclei, neither nuclei.parquet nor nuclei.csv")
    return Results(out, _acquisition(out), tuple(str(value) for value in nuclei["nucleus_id"].to_pylist()))


def table_names(out: Path) -> tuple[str, ...]:
    """Return the names of all tables of a results folder, sorted."""
    return tuple(sorted({path.stem for pattern in ("*.parquet", "*.csv") for path in out.glob(pattern)}))


def read_table(out: Path, name: str, nucleus_ids: Sequence[str] | None = None) -> pa.Table | None:
    """Return a table, from Parquet where there is one, else from CSV; None when there is neither.

    Parameters
    ----------
    out
        Results folder.
    name
        Name of the table, as of its file.
    nucleus_ids
        Nuclei whose rows to return; all when None. Tables that are not about nuclei come whole.

    Raises
    ------
    ResultsFormatError
        If the file is damaged.
    """
    parquet, comma = out / f"{name}.parquet", out / f"{name}.csv"
    try:
        if parquet.exists():
            table = pq.read_table(parquet)
        elif comma.exists():
            as_read = {"nucleus_id": pa.string(), "sha256": pa.string()}
            options = pyarrow.csv.ConvertOptions(column_types=as_read, strings_can_be_null=True)
            table = pyarrow.csv.read_csv(comma, convert_options=options)
        else:
            return None
    except (pa.ArrowException, OSError) as error:
        raise ResultsFormatError(f"{out / name}: not a table: {error}") from error
    if nucleus_ids is None or "nucleus_id" not in table.column_names:
        return table
    return table.filter(compute.is_in(table["nucleus_id"], value_set=pa.array(list(nucleus_ids), pa.string())))


def open_nucleus(results: Results, nucleus_id: str) -> Nucleus:
    """Open a nucleus; nothing of its arrays is read yet.

    Raises
    ------
    ResultsFormatError
        If its OME-Zarr is not one.
    """
    path = results.volume(nucleus_id)
    tables = _tables(results.out, nucleus_id)
    try:
        group = zarr.open_group(path, mode="r")
        placement = _placement(cast("dict[str, Any]", group.attrs["ome"]))
    except (FileNotFoundError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ResultsFormatError(f"{path}: not an OME-Zarr with a scale: {error!r}") from error
    grey = _array(group, "0")
    images = [Image(GREY, grey)] if grey is not None else []
    for name in _label_names(group):
        array = _array(group, f"labels/{name}/0")
        if array is not None:
            given = _given(group, name)
            images.append(Image(name, array, rows=rows_by_label(name, tables), given=given))
    images += _chromosomes(images, tables)
    if not images:
        raise ResultsFormatError(f"{path}: it holds no array (z, y, x)")
    return Nucleus(nucleus_id, placement, tuple(images), tables)


def _chromosomes(images: Sequence[Image], tables: Mapping[str, Sequence[Mapping[str, Cell]]]) -> list[Image]:
    """Make the label image of chromosomes from that of objects, where the volume has none of its own."""
    by_name = {image.name: image for image in images}
    chromosomes = chromosome_of_object(tables.get("objects", ()))
    if CHROMOSOMES in by_name or "objects" not in by_name or not chromosomes:
        return []
    values = np.zeros(max(chromosomes) + 2, np.uint32)  # the last entry stands for every id beyond the table
    values[list(chromosomes)] = list(chromosomes.values())
    return [Image(CHROMOSOMES, by_name["objects"].array, values, rows_by_label(CHROMOSOMES, tables))]


def _tables(out: Path, nucleus_id: str) -> dict[str, list[dict[str, Cell]]]:
    found = {}
    for name in table_names(out):
        if name == "ledger":
            continue
        table = read_table(out, name, (nucleus_id,))
        if table is not None and "nucleus_id" in table.column_names:
            found[name] = table.to_pylist()
    return found


def _array(group: zarr.Group, name: str) -> ZarrArray | None:
    member = group.get(name)
    if not isinstance(member, zarr.Array) or member.ndim != 3:
        return None
    if np.dtype(member.dtype).kind != "u":
        raise ResultsFormatError(f"{name}: voxels are {member.dtype}, expected unsigned integers")
    return member


def _label_names(group: zarr.Group) -> list[str]:
    labels = group.get("labels")
    if not isinstance(labels, zarr.Group):
        return []
    named = cast("dict[str, Any]", labels.attrs.get("ome") or {}).get("labels")
    return [str(name) for name in named] if named else sorted(labels.group_keys())


def _placement(ome: Mapping[str, Any]) -> Placement:
    transforms = {t["type"]: t for t in ome["multiscales"][0]["datasets"][0]["coordinateTransformations"]}
    z, y, x = (float(edge) for edge in transforms["scale"]["scale"])
    corner = transforms.get("translation", {}).get("translation", (0.0, 0.0, 0.0))
    return Placement((z, y, x), (float(corner[0]), float(corner[1]), float(corner[2])))


def _given(group: zarr.Group, name: str) -> dict[int, Label]:
    """Labels that the volume itself names or colours."""
    ome = cast("dict[str, Any]", group[f"labels/{name}"].attrs.get("ome") or {})
    about = ome.get("image-label") or {}
    colours = {int(entry["label-value"]): entry.get("rgba") for entry in about.get("colors") or ()}
    found = class_labels() if name == "classes" else {}
    for entry in about.get("properties") or ():
        value = int(entry["label-value"])
        rgba = colours.get(value)
        title = str(entry.get("class") or entry.get("name") or f"{name} {value}")
        if rgba is not None and value:
            red, green, blue, opacity = (int(part) for part in rgba)
            found[value] = Label(value, title, (red, green, blue, opacity), {})
    return found


def _acquisition(out: Path) -> str:
    try:
        named = json.loads((out / "provenance.json").read_text(encoding="utf-8")).get("acquisition")
    except (OSError, ValueError, AttributeError):
        named = None
    return named if isinstance(named, str) and named else out.resolve().name
