"""Reads volumes some planes at a time."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from services.imaging.volumes.paths import VolumeKind, VolumePath

_TIFF_SUFFIXES = {".tif", ".tiff"}
_OPENING_FAULTS = (ValueError, KeyError, TypeError, IndexError, EOFError, struct.error)


class UnreadableVolumeError(ValueError):
    """A file or folder holds no volume, or not one that can be read as one; the message says what to do."""


class _Array(Protocol):
    """What memory maps, HDF5 datasets and Zarr arrays have in common."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, index: Any, /) -> Any: ...  # noqa: ANN401 - three libraries, three kinds of index


@dataclass(frozen=True, eq=False)
class PlaneSource:
    """An open volume.

    Attributes
    ----------
    shape_zyx
        Planes, rows, columns.
    dtype
        Type of the voxels as stored.
    """

    shape_zyx: tuple[int, int, int]
    dtype: np.dtype[Any]
    _array: _Array

    def read(self, first_z: int, stop_z: int) -> NDArray[Any]:
        """Return the planes from ``first_z`` to ``stop_z``, shape (planes, y, x), of the stored type.

        Raises
        ------
        UnreadableVolumeError
            When a plane cannot be read.
        """
        leading = (0,) * (len(self._array.shape) - 3)
        return np.asarray(self._array[(*leading, slice(first_z, stop_z))])


@contextmanager
def open_volume(text: str | Path) -> Iterator[PlaneSource]:
    """Open a volume for reading some planes at a time.

    Parameters
    ----------
    text
        A folder of single-page TIFFs (in the order of the numbers in their names), a multi-page TIFF, an ``.npy``, an
        OME-Zarr or Zarr (``volume.zarr`` or ``volume.zarr/labels/classes``), or an HDF5 dataset
        (``file.h5:/dataset``; the name may be left out where there is one).

    Raises
    ------
    UnknownVolumeError
        When the path names no kind of volume.
    UnreadableVolumeError
        When there is no volume of three axes.
    """
    place = VolumePath.of(str(text))
    if not place.path.exists():
        raise UnreadableVolumeError(f"{place.path}: there is no such file or folder")
    with ExitStack() as open_files:
        try:
            array = _OPENERS[place.kind](place, open_files)
        except UnreadableVolumeError:
            raise
        except _OPENING_FAULTS as error:
            raise UnreadableVolumeError(f"{place}: cannot be read as {place.kind.value}: {error}") from error
        yield PlaneSource(_three_axes(place, array.shape), np.dtype(array.dtype), array)


def _three_axes(place: VolumePath, shape: Sequence[int]) -> tuple[int, int, int]:
    """Return the last three axes; those before must have one element (time, channel)."""
    if len(shape) < 3 or any(length != 1 for length in shape[:-3]) or not all(shape):
        raise UnreadableVolumeError(
            f"{place}: a volume has the axes z, y, x and no other, nor an empty one. Got shape {tuple(shape)}"
        )
    z, y, x = (int(length) for length in shape[-3:])
    return z, y, x


def _open_npy(place: VolumePath, _open_files: ExitStack) -> _Array:
    array: _Array = np.load(place.path, mmap_mode="r", allow_pickle=False)
    return array


def _open_hdf5(place: VolumePath, open_files: ExitStack) -> _Array:
    file = open_files.enter_context(h5py.File(place.path, "r"))
    inside = place.inside or _the_only_one(place, _volumes_of_hdf5(file), ":/")
    found = file.get(inside)
    if not isinstance(found, h5py.Dataset):
        names = ", ".join(_volumes_of_hdf5(file)) or "none"
        raise UnreadableVolumeError(f"{place}: no such dataset; those of three axes or more: {names}")
    array: _Array = found
    return array


def _volumes_of_hdf5(file: h5py.File) -> list[str]:
    names: list[str] = []

    def look(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim >= 3:
            names.append(name)

    file.visititems(look)
    return sorted(names)


def _the_only_one(place: VolumePath, names: Sequence[str], separator: str) -> str:
    if len(names) != 1:
        choice = ", ".join(names) if names else "none has three axes"
        raise UnreadableVolumeError(f"{place}: say which array, as {place.path.name}{separator}NAME; arrays: {choice}")
    return names[0]


def _open_zarr(place: VolumePath, _open_files: ExitStack) -> _Array:
    try:
        node = zarr.open(place.path, mode="r", path=place.inside or None)
    except FileNotFoundError as error:
        raise UnreadableVolumeError(f"{place}: no Zarr array or group lies there") from error
    while isinstance(node, zarr.Group):
        multiscales = _multiscales(node)
        inside = multiscales[0]["datasets"][0]["path"] if multiscales else None
        node = node[inside or _the_only_one(place, sorted(name for name, _ in node.arrays()), "/")]
    array: _Array = node
    return array


def _multiscales(group: zarr.Group) -> list[dict[str, Any]]:
    """Return the multiscales of OME-Zarr 0.5 (under ``ome``) or 0.4; the first dataset is the finest."""
    attributes: dict[str, Any] = dict(group.attrs)
    found: list[dict[str, Any]] = attributes.get("ome", attributes).get("multiscales", [])
    return found


def _open_tiff(place: VolumePath, open_files: ExitStack) -> _Array:
    file = open_files.enter_context(tifffile.TiffFile(place.path))
    store = open_files.enter_context(file.series[0].aszarr(level=0))
    array = zarr.open(store, mode="r")
    if not isinstance(array, zarr.Array):
        raise UnreadableVolumeError(f"{place}: its first series is not one array")
    found: _Array = array
    return found


def _open_tiff_folder(place: VolumePath, _open_files: ExitStack) -> _Array:
    files = sorted((p for p in place.path.iterdir() if p.suffix.lower() in _TIFF_SUFFIXES), key=_by_numbers)
    if not files:
        raise UnreadableVolumeError(f"{place}: the folder holds no .tif or .tiff")
    first = tifffile.imread(files[0])
    if first.ndim != 2:
        raise UnreadableVolumeError(f"{files[0]}: a file of a folder holds one plane. Got shape {first.shape}")
    return _TiffFolder(files, (len(files), *first.shape), first.dtype)


def _by_numbers(path: Path) -> tuple[tuple[int, str], ...]:
    """Sort by the numbers in a name as numbers, so that 9 comes before 10.

    >>> sorted([Path("s10.tif"), Path("s9.tif")], key=_by_numbers)[0].name
    's9.tif'
    """
    parts = re.split(r"(\d+)", path.name)
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in parts)


@dataclass(frozen=True, eq=False)
class _TiffFolder:
    """The files of a folder as one array."""

    files: Sequence[Path]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[Any]:
        files = self.files[index[-1]]
        planes = np.empty((len(files), *self.shape[1:]), self.dtype)
        for plane, file in zip(planes, files, strict=True):
            found = tifffile.imread(file)
            if found.shape != plane.shape or found.dtype != self.dtype:
                raise UnreadableVolumeError(
                    f"{file}: {found.shape} {found.dtype}, but {self.files[0].name} is {plane.shape} {self.dtype}"
                )
            plane[...] = found
        return planes


_OPENERS = {
    VolumeKind.NPY: _open_npy,
    VolumeKind.HDF5: _open_hdf5,
    VolumeKind.ZARR: _open_zarr,
    VolumeKind.TIFF: _open_tiff,
    VolumeKind.TIFF_FOLDER: _open_tiff_folder,
}
