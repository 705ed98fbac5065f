"""Finished stacks of any kind as slices: one TIFF a plane, so that one way leads from slices to results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from services.imaging.volumes.reading import PlaneSource

_RECORD = "source.json"


class UnslicedTypeError(ValueError):
    """Voxels are of a type that slices cannot have."""


class OtherVolumeError(ValueError):
    """The folder holds slices of another volume."""


def as_grey(planes: NDArray[Any]) -> NDArray[np.uint8 | np.uint16]:
    """Return voxels as unsigned grey in their own depth; signed ones are moved up so that the lowest is 0.

    Raises
    ------
    UnslicedTypeError
        If they are neither of 8 nor of 16 bits nor bool.

    Examples
    --------
    >>> as_grey(np.array([-128, 0, 127], np.int8)).tolist(), as_grey(np.array([-1], ">i2")).tolist()
    ([0, 128, 255], [32767])
    """
    kind = planes.dtype.newbyteorder("=")
    if kind in {np.dtype(np.uint8), np.dtype(np.uint16)}:
        return planes.astype(kind, copy=False)
    if kind == np.dtype(np.bool_):
        return planes.astype(np.uint8) * np.uint8(255)
    if kind == np.dtype(np.int8):
        return planes.astype(np.int8, copy=False).view(np.uint8) ^ np.uint8(0x80)
    if kind == np.dtype(np.int16):
        return np.ascontiguousarray(planes.astype(np.int16, copy=False)).view(np.uint16) ^ np.uint16(0x8000)
    raise UnslicedTypeError(f"voxels are {planes.dtype}: slices have 8 or 16 bits; convert the volume first")


def unpack(source: PlaneSource, name: str, folder: Path, told: Callable[[int], None] = lambda _planes: None) -> None:
    """Write the planes of a volume as `volume_z000000.tif` and so on; planes that are there are left alone.

    Parameters
    ----------
    source
        The open volume.
    name
        Which volume it is, for the record beside the slices.
    folder
        Where the slices go; made if it is not there.
    told
        Is told how many planes were done with.

    Raises
    ------
    OtherVolumeError
        If the folder holds slices of another volume, or of another shape or type of it, or if its files were replaced
        or written to since.
    UnslicedTypeError
        If slices cannot have voxels of that type.
    """
    as_grey(np.zeros(0, source.dtype))
    folder.mkdir(parents=True, exist_ok=True)
    size_bytes, mtime_ns = source.stamp()
    record = {
        "volume": name,
        "shape_zyx": list(source.shape_zyx),
        "dtype": source.dtype.str,
        "size_bytes": size_bytes,
        "mtime_ns": mtime_ns,
    }
    kept = folder / _RECORD
    # Records of earlier releases lack size and time.
    if kept.exists() and record | json.loads(kept.read_text()) != record:
        raise OtherVolumeError(
            f"{folder} holds slices of another volume, or of this one before it was written to "
            f"({kept.read_text().strip()}): choose another --out"
        )
    kept.write_text(json.dumps(record) + "\n")
    resolution: dict[str, Any] = {}
    if source.voxel_zyx_nm is not None:
        _, y_nm, x_nm = source.voxel_zyx_nm
        resolution = {"resolution": (1e7 / x_nm, 1e7 / y_nm), "resolutionunit": "CENTIMETER"}
    for z in range(source.shape_zyx[0]):
        path = folder / f"volume_z{z:06d}.tif"
        if not path.exists():
            # Under this name ingest leaves it alone, and so does a second start.
            partial = path.with_name(f".{path.name}.part")
            plane = np.ascontiguousarray(as_grey(source.read(z, z + 1))[0])
            tifffile.imwrite(partial, plane, photometric="minisblack", compression="zstd", metadata=None, **resolution)
            partial.replace(path)
        told(1)
