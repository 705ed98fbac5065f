"""Writes label volumes plane by plane; a volume that was not written to its end is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from services.imaging.volumes.paths import UnknownVolumeError, VolumeKind, VolumePath

_CHUNK = (32, 256, 256)
_LABELS = "labels"
_BIG_TIFF_BYTES = 2**31

Planes = Iterator[NDArray[Any]]


class VolumeExistsError(ValueError):
    """A volume would be written over something that is there."""


def write_volume(
    text: str | Path, shape_zyx: tuple[int, int, int], dtype: np.dtype[Any], slabs: Iterator[NDArray[Any]]
) -> None:
    """Write a volume that comes some planes at a time.

    Parameters
    ----------
    text
        Where to: ``.tif`` (multi-page), ``.npy``, ``.zarr`` (OME-Zarr 0.5), ``file.h5:/dataset`` (default dataset
        ``labels``), or a name without a suffix (a folder of TIFFs). Nothing may lie there; in an HDF5 file that exists
        a new dataset is made. Until it is complete, a volume has ``.partial`` in its name.
    shape_zyx
        Planes, rows, columns.
    dtype
        Type of the voxels.
    slabs
        The planes in z order, as arrays of shape (planes, y, x) and of that type.

    Raises
    ------
    UnknownVolumeError
        When the path names no kind of volume.
    VolumeExistsError
        When something lies there.
    """
    place = check_free(text)
    place.path.parent.mkdir(parents=True, exist_ok=True)
    partial = place.path.with_name(f"{place.path.stem}.partial{place.path.suffix}")
    in_place = place.kind is VolumeKind.HDF5 and place.path.exists()
    if place.kind is VolumeKind.HDF5 and not in_place:
        partial.unlink(missing_ok=True)
    target = VolumePath(place.path if in_place else partial, place.kind, place.inside)
    _WRITERS[place.kind](target, shape_zyx, dtype, slabs)
    if not in_place:
        partial.rename(place.path)


def check_free(text: str | Path) -> VolumePath:
    """Return where a volume is to be written.

    Raises
    ------
    UnknownVolumeError
        When the path names no kind of volume.
    VolumeExistsError
        When something lies there.
    """
    place = VolumePath.of(str(text))
    if place.kind not in _WRITERS:
        raise UnknownVolumeError(f"{text}: {place.kind.value} is read and not written; `export` writes it from results")
    if place.kind is VolumeKind.HDF5:
        place = VolumePath(place.path, place.kind, place.inside or _LABELS)
        if not place.path.exists():
            return place
        with h5py.File(place.path, "r") as file:
            taken = place.inside in file
    else:
        taken = place.path.exists()
    if taken:
        raise VolumeExistsError(f"{place} is there: remove it, or write to another name")
    return place


def _write_npy(place: VolumePath, shape: tuple[int, int, int], dtype: np.dtype[Any], slabs: Planes) -> None:
    array = np.lib.format.open_memmap(place.path, mode="w+", dtype=dtype, shape=shape)
    for z, slab in _with_z(slabs):
        array[z : z + len(slab)] = slab
    array.flush()


def _write_hdf5(place: VolumePath, shape: tuple[int, int, int], dtype: np.dtype[Any], slabs: Planes) -> None:
    chunk = tuple(min(edge, length) for edge, length in zip(_CHUNK, shape, strict=True))
    partial = f"{place.inside}.partial"
    with h5py.File(place.path, "a") as file:
        if partial in file:
            del file[partial]
        array = file.create_dataset(partial, shape, dtype, chunks=chunk, compression="gzip", compression_opts=1)
        for z, slab in _with_z(slabs):
            array[z : z + len(slab)] = slab
        file.move(partial, place.inside)


def _write_zarr(place: VolumePath, shape: tuple[int, int, int], dtype: np.dtype[Any], slabs: Planes) -> None:
    axes = [{"name": axis, "type": "space"} for axis in "zyx"]
    scale = {"type": "scale", "scale": [1.0, 1.0, 1.0]}
    dataset = {"path": "0", "coordinateTransformations": [scale]}
    multiscales = [{"name": _LABELS, "axes": axes, "datasets": [dataset]}]
    ome: dict[str, Any] = {"version": "0.5", "multiscales": multiscales, "image-label": {}}
    group = zarr.open_group(place.path, mode="w", path=place.inside or None, attributes={"ome": ome})
    chunk = tuple(min(edge, length) for edge, length in zip(_CHUNK, shape, strict=True))
    array = group.create_array("0", shape=shape, dtype=dtype, chunks=chunk, dimension_names=list("zyx"))
    for z, slab in _with_z(slabs):
        array[z : z + len(slab)] = slab


def _write_tiff(place: VolumePath, shape: tuple[int, int, int], dtype: np.dtype[Any], slabs: Planes) -> None:
    big = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize >= _BIG_TIFF_BYTES
    with tifffile.TiffWriter(place.path, bigtiff=big) as file:
        planes = (plane for slab in slabs for plane in slab)
        file.write(
            planes,
            shape=shape,
            dtype=dtype,
            photometric="minisblack",
            compression="zlib",
            compressionargs={"level": 1},
            metadata={"axes": "ZYX"},
        )


def _write_tiff_folder(place: VolumePath, shape: tuple[int, int, int], dtype: np.dtype[Any], slabs: Planes) -> None:
    place.path.mkdir(exist_ok=True)
    for stale in place.path.glob("z*.tif"):
        stale.unlink()
    digits = max(4, len(str(shape[0] - 1)))
    for first_z, slab in _with_z(slabs):
        for z, plane in enumerate(slab, first_z):
            tifffile.imwrite(
                place.path / f"z{z:0{digits}d}.tif",
                plane.astype(dtype, copy=False),
                compression="zlib",
                compressionargs={"level": 1},
            )


def _with_z(slabs: Planes) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield slabs with the z of their first plane."""
    z = 0
    for slab in slabs:
        yield z, slab
        z += len(slab)


_WRITERS = {
    VolumeKind.NPY: _write_npy,
    VolumeKind.HDF5: _write_hdf5,
    VolumeKind.ZARR: _write_zarr,
    VolumeKind.TIFF: _write_tiff,
    VolumeKind.TIFF_FOLDER: _write_tiff_folder,
}
