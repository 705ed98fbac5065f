"""Small volumes in files of every kind that is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import numpy as np
import tensorstore
import zarr
from numpy.typing import NDArray

VOLUME = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)


def as_mrc(path: Path, volume: NDArray[np.generic], edge_nm: tuple[float, float, float] = (8.0, 4.0, 5.0)) -> Path:
    with mrcfile.new(path) as file:
        file.set_data(volume)
        z, y, x = edge_nm
        file.voxel_size = (x * 10, y * 10, z * 10)
    return path


def as_n5(path: Path, volume: NDArray[np.generic], name: str = "raw/s0") -> Path:
    store = tensorstore.open(
        {
            "driver": "n5",
            "kvstore": {"driver": "file", "path": f"{path / name}/"},
            "metadata": {
                "dimensions": list(reversed(volume.shape)),
                "blockSize": [4, 3, 2],
                "dataType": volume.dtype.name,
                "compression": {"type": "gzip"},
            },
        },
        create=True,
    ).result()
    store[...] = volume.T
    attributes = path / name / "attributes.json"
    stated = {"pixelResolution": {"dimensions": [5.0, 4.0, 8.0], "unit": "nm"}}
    attributes.write_text(json.dumps(json.loads(attributes.read_text()) | stated))
    return path / name


def as_hdf5(path: Path, volume: NDArray[np.generic]) -> Path:
    with h5py.File(path, "w") as file:
        file["raw"] = volume
        file["raw"].attrs["element_size_um"] = (0.008, 0.004, 0.005)
    return path


def as_ome_zarr(path: Path, volume: NDArray[np.generic], version: str = "0.5") -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=3 if version == "0.5" else 2)
    array = group.create_array("0", shape=volume.shape, dtype=volume.dtype, chunks=(2, 3, 4))
    array[...] = volume
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    scale = [{"type": "scale", "scale": [8.0, 4.0, 5.0]}]
    multiscales: Any = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}]
    group.attrs.update(
        {"ome": {"version": version, "multiscales": multiscales}} if version == "0.5" else {"multiscales": multiscales}
    )
    return path
