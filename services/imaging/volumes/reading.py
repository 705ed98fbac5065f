"""Reads volumes some planes at a time."""

from __future__ import annotations

import importlib
import json
import re
import struct
import zlib
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
_MRC_HEADER_BYTES = 1024
LARGEST_PLANE_PX = 2**28
"""A plane of more pixels is no slice; a damaged header may claim any number, and memory would be taken for it."""
# What the libraries raise at damage; an MRC that claims to be a stack of volumes of no planes divides by 0.
_DAMAGE = (
    ValueError, LookupError, TypeError, AttributeError, AssertionError, EOFError, ArithmeticError, RuntimeError,
    MemoryError, SystemError, struct.error, zlib.error,
)  # fmt: skip


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
    voxel_zyx_nm
        Edges of a voxel, where the volume states them in a unit; None elsewhere.
    """

    shape_zyx: tuple[int, int, int]
    dtype: np.dtype[Any]
    _array: _Array
    _place: VolumePath
    voxel_zyx_nm: tuple[float, float, float] | None = None

    def read(self, first_z: int, stop_z: int) -> NDArray[Any]:
        """Return the planes from ``first_z`` to ``stop_z``, shape (planes, y, x), of the stored type.

        Raises
        ------
        UnreadableVolumeError
            When a plane cannot be read.
        """
        leading = (0,) * (len(self._array.shape) - 3)
        with _damage_refused(self._place):
            return np.asarray(self._array[(*leading, slice(first_z, stop_z))])

    def stamp(self) -> tuple[int, int]:
        """Return bytes of all its files together and the latest time that one was written, ns: other if replaced.

        Raises
        ------
        OSError
            If the system cannot tell.
        """
        path = self._place.path if self._place.path.is_file() else self._place.path / self._place.inside
        files = [path] if path.is_file() else [other for other in path.rglob("*") if other.is_file()]
        stats = [file.stat() for file in files]
        return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


@contextmanager
def _damage_refused(place: VolumePath) -> Iterator[None]:
    """Let what a library says of damage come as one known refusal; what the system says of a disk comes as it is."""
    try:
        yield
    except UnreadableVolumeError:
        raise
    except OSError as error:
        # HDF5 speaks of damage so, without a number of the system's.
        if error.errno is not None:
            raise
        raise UnreadableVolumeError(f"{place}: cannot be read as {place.kind.value}: {error}") from error
    except _DAMAGE as error:
        said = str(error) or type(error).__name__
        raise UnreadableVolumeError(f"{place}: cannot be read as {place.kind.value}: {said}") from error


@contextmanager
def open_volume(text: str | Path, *, largest_plane_px: int = LARGEST_PLANE_PX) -> Iterator[PlaneSource]:
    """Open a volume for reading some planes at a time.

    Parameters
    ----------
    text
        A folder of single-page TIFFs (in the order of the numbers in their names), a multi-page TIFF, an ``.npy``, an
        OME-Zarr or Zarr (``volume.zarr`` or ``volume.zarr/labels/classes``), or an HDF5 dataset
        (``file.h5:/dataset``; the name may be left out where there is one), an N5 dataset (``folder.n5/dataset``), or
        an MRC volume.
    largest_plane_px
        A volume of larger planes is refused.

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
        with _damage_refused(place):
            array = _OPENERS[place.kind](place, open_files)
            shape = _three_axes(place, array.shape)
            if shape[1] * shape[2] > largest_plane_px:
                raise UnreadableVolumeError(f"{place}: a plane of {shape[1]} x {shape[2]} pixels is no slice")
            source = PlaneSource(shape, np.dtype(array.dtype), array, place, _voxel_nm(place, array))
        yield source


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


def _optional(place: VolumePath, library: str) -> Any:  # noqa: ANN401 - a module without types
    """Return a library of the optional part `export`."""
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise UnreadableVolumeError(f"{place}: needs {library}: pip install 'fibsem-nuclei[export]'") from error


def _open_mrc(place: VolumePath, open_files: ExitStack) -> _Array:
    mrcfile = _optional(place, "mrcfile")
    _check_mrc_lengths(place)
    opened = open_files.enter_context(mrcfile.mmap(place.path, mode="r"))
    return _Stated(opened.data, tuple(float(opened.voxel_size[axis]) / 10.0 for axis in "zyx"))


def _check_mrc_lengths(place: VolumePath) -> None:
    """Refuse a header that counts more than the file holds: the library takes memory for all that it counts."""
    with place.path.open("rb") as file:
        head = file.read(_MRC_HEADER_BYTES)
    if len(head) < _MRC_HEADER_BYTES:
        raise UnreadableVolumeError(f"{place}: cannot be read as MRC: the file ends after {len(head)} bytes")
    order = ">" if head[212] == 0x11 else "<"
    x, y, z = struct.unpack_from(f"{order}3i", head, 0)
    (extended,) = struct.unpack_from(f"{order}i", head, 92)
    size = place.path.stat().st_size
    # A voxel may take half a byte.
    if min(x, y, z) < 1 or extended < 0 or _MRC_HEADER_BYTES + extended + x * y * z // 2 > size:
        raise UnreadableVolumeError(
            f"{place}: cannot be read as MRC: its header counts {z} x {y} x {x} voxels behind {extended} more bytes of "
            f"header, the file has {size} bytes"
        )


def _open_n5(place: VolumePath, _open_files: ExitStack) -> _Array:
    tensorstore = _optional(place, "tensorstore")
    folder = place.path / place.inside
    attributes = folder / "attributes.json"
    if not attributes.is_file() or "dimensions" not in json.loads(attributes.read_text()):
        found = sorted(
            other.parent.relative_to(place.path).as_posix()
            for other in place.path.rglob("attributes.json")
            if '"dimensions"' in other.read_text()
        )
        raise UnreadableVolumeError(f"{place}: say which array, as {place.path.name}/NAME; arrays: {', '.join(found)}")
    kvstore = {"driver": "file", "path": f"{folder}/"}
    store = tensorstore.open({"driver": "n5", "kvstore": kvstore}, read=True, open=True).result()
    return _ReversedAxes(store, _n5_voxel_nm(json.loads(attributes.read_text())))


def _n5_voxel_nm(attributes: dict[str, Any]) -> tuple[float, ...]:
    """Return the edges that writers of N5 leave as `pixelResolution`, in the order x, y, z, as z, y, x."""
    stated = attributes.get("pixelResolution") or {}
    if not isinstance(stated, dict):
        return ()
    factor = {"nm": 1.0, "um": 1000.0, "µm": 1000.0}.get(stated.get("unit", ""), 0.0)
    return tuple(factor * float(edge) for edge in reversed(stated.get("dimensions", ())))


@dataclass(frozen=True, eq=False)
class _Stated:
    """An array, and the edges of its voxels, (z, y, x) in nm; no edges or zeros mean that none are stated."""

    array: _Array
    voxel_nm: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    def __getitem__(self, index: Any, /) -> NDArray[Any]:  # noqa: ANN401
        return np.asarray(self.array[index])


@dataclass(frozen=True, eq=False)
class _ReversedAxes:
    """An N5 dataset, whose axes run x, y, z."""

    store: Any
    voxel_nm: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(length) for length in reversed(self.store.shape))

    @property
    def dtype(self) -> np.dtype[Any]:
        found: np.dtype[Any] = np.dtype(self.store.dtype.numpy_dtype)
        return found

    def __getitem__(self, index: tuple[Any, ...], /) -> NDArray[Any]:
        padded = (*index, *(slice(None),) * (len(self.store.shape) - len(index)))
        return np.asarray(self.store[tuple(reversed(padded))].read().result()).T


def _voxel_nm(place: VolumePath, array: _Array) -> tuple[float, float, float] | None:
    """Return the edges of a voxel where they are stated."""
    found: Sequence[float] = ()
    if isinstance(array, _Stated | _ReversedAxes):
        found = array.voxel_nm
    elif isinstance(array, h5py.Dataset):
        found = [float(edge) * 1000.0 for edge in np.ravel(array.attrs.get("element_size_um", ()))]
    elif place.kind is VolumeKind.ZARR:
        found = _ome_voxel_nm(place)
    if len(found) < 3 or any(not 0 < edge < 1e6 for edge in found[-3:]):
        return None
    z, y, x = (round(float(edge), 6) for edge in found[-3:])
    return z, y, x


def _ome_voxel_nm(place: VolumePath) -> Sequence[float]:
    """Return the scale of the finest level of an OME-Zarr, if its axes have a unit."""
    try:
        node = zarr.open(place.path, mode="r", path=place.inside or None)
        if not isinstance(node, zarr.Group):
            return ()
        first = _multiscales(node)[0]
        factors = [_UNITS_NM.get(axis.get("unit", ""), 0.0) for axis in first["axes"]]
        (scale,) = (step["scale"] for step in first["datasets"][0]["coordinateTransformations"] if "scale" in step)
        return [factor * float(edge) for factor, edge in zip(factors, scale, strict=True)]
    except _DAMAGE:
        return ()


_UNITS_NM = {"nanometer": 1.0, "micrometer": 1000.0, "angstrom": 0.1, "millimeter": 1e6, "meter": 1e9}
_OPENERS = {
    VolumeKind.NPY: _open_npy,
    VolumeKind.HDF5: _open_hdf5,
    VolumeKind.MRC: _open_mrc,
    VolumeKind.N5: _open_n5,
    VolumeKind.ZARR: _open_zarr,
    VolumeKind.TIFF: _open_tiff,
    VolumeKind.TIFF_FOLDER: _open_tiff_folder,
}
