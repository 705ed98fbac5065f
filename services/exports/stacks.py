"""One file for a whole image, written block by block: MRC for IMOD and ChimeraX, TIFF for Fiji."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from services.exports.blocks import Box, blocks, whole
from services.exports.place import Placement
from services.exports.reading import Image

Tick = Callable[[int, int], None]

CLASSIC_TIFF_BYTES = 4 * 1024**3 - 64 * 1024**2
_MRC_MODES: Mapping[str, int] = {"uint16": 6, "float32": 2}
_EXACT_FLOAT32 = 2**24
_ANGSTROM_PER_NM = 10.0
_NM_PER_UM = 1000.0


class StackRangeError(ValueError):
    """A label image holds ids that no voxel type of the format can tell apart."""


@dataclass
class _Statistics:
    """Least, greatest, mean and deviation of voxels seen so far."""

    least: float = np.inf
    most: float = -np.inf
    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, voxels: NDArray[np.generic]) -> None:
        values = voxels.astype(np.float64)
        self.least, self.most = min(self.least, float(values.min())), max(self.most, float(values.max()))
        self.count += values.size
        self.total += float(values.sum())
        self.squares += float((values**2).sum())

    @property
    def mean(self) -> float:
        return self.total / max(self.count, 1)

    @property
    def deviation(self) -> float:
        return float(max(self.squares / max(self.count, 1) - self.mean**2, 0.0) ** 0.5)


def write_mrc(path: Path, image: Image, box: Box, placement: Placement, tick: Tick) -> None:
    """Write a box of an image as MRC2014: mode 6 (uint16), or mode 2 (float32) for ids above 65 535.

    Voxel size and origin stand in the header in angstrom; the origin is the middle of the first voxel, where ChimeraX
    and IMOD put it. Source: Cheng et al. 2015, MRC2014.

    Raises
    ------
    StackRangeError
        If ids are too large to be told apart.
    """
    import mrcfile

    dtype = _stack_dtype(image, "uint16")
    cropped = placement.cropped(box.start)
    with mrcfile.new_mmap(path, box.shape, mrc_mode=_MRC_MODES[dtype.name], overwrite=True) as mrc:
        mrc.voxel_size = tuple(v * _ANGSTROM_PER_NM for v in placement.voxel_nm[::-1])
        z, y, x = (c * _ANGSTROM_PER_NM for c in cropped.centre_nm())
        mrc.header.origin = (x, y, z)
        mrc.set_volume()
        mrc.header.label[0] = b"fibsem-nuclei export"  # the library's own line tells the time
        start = int(mrc.header.nbytes + mrc.extended_header.nbytes)
    seen = _fill(path, start, dtype, image, box, tick)
    with mrcfile.mmap(path, mode="r+", permissive=True) as mrc:
        mrc.header.dmin, mrc.header.dmax = seen.least, seen.most
        mrc.header.dmean, mrc.header.rms = seen.mean, seen.deviation


def write_tiff(
    path: Path, image: Image, box: Box, placement: Placement, tick: Tick, classic_bytes: int = CLASSIC_TIFF_BYTES
) -> None:
    """Write a box of an image as an ImageJ hyperstack, or above 4 GB as BigTIFF with OME-XML.

    ImageJ reads spacing, unit and origin from the description: calibrated x is (pixel - xorigin) * pixel width, with
    pixel borders at whole numbers. BigTIFF, which ImageJ has no dialect for, opens in Fiji through Bio-Formats.

    Raises
    ------
    StackRangeError
        If ids are too large to be told apart.
    """
    dtype = _stack_dtype(image, "uint8")
    size = int(np.prod(box.shape)) * dtype.itemsize
    cropped = placement.cropped(box.start)
    if size < classic_bytes:
        created = _create_imagej(path, box, dtype, cropped)
    else:
        created = _create_big(path, box, dtype, cropped, image.name)
    start = int(created.offset)
    dtype = created.dtype
    del created
    _fill(path, start, dtype, image, box, tick)


def _create_imagej(path: Path, box: Box, dtype: np.dtype[np.generic], place: Placement) -> np.memmap:
    z_um, y_um, x_um = (v / _NM_PER_UM for v in place.voxel_nm)
    origin = [-corner / edge for corner, edge in zip(place.corner_nm, place.voxel_nm, strict=True)]
    metadata = {"axes": "ZYX", "spacing": z_um, "unit": "um"}
    metadata |= {f"{axis}origin": f"{value:.6f}" for axis, value in zip("zyx", origin, strict=True)}
    return tifffile.memmap(
        path, shape=box.shape, dtype=dtype, imagej=True, resolution=(1.0 / x_um, 1.0 / y_um), metadata=metadata
    )


def _create_big(path: Path, box: Box, dtype: np.dtype[np.generic], place: Placement, name: str) -> np.memmap:
    z_um, y_um, x_um = (v / _NM_PER_UM for v in place.voxel_nm)
    metadata: dict[str, object] = {"axes": "ZYX", "Name": name}
    for axis, edge_um in zip("ZYX", (z_um, y_um, x_um), strict=True):
        metadata |= {f"PhysicalSize{axis}": edge_um, f"PhysicalSize{axis}Unit": "um"}
    z, y, x = (value / _NM_PER_UM for value in place.centre_nm())
    depth = box.shape[0]
    planes = {"PositionX": [x] * depth, "PositionY": [y] * depth, "PositionZ": [z + z_um * k for k in range(depth)]}
    units = {f"Position{axis}Unit": ["um"] * depth for axis in "XYZ"}
    metadata["Plane"] = planes | units
    return tifffile.memmap(
        path,
        shape=box.shape,
        dtype=dtype,
        bigtiff=True,
        ome=True,
        resolution=(1e4 / x_um, 1e4 / y_um),
        resolutionunit="CENTIMETER",
        metadata=metadata,
    )


def _stack_dtype(image: Image, smallest: str) -> np.dtype[np.generic]:
    """Voxel type that holds the image exactly; the formats have no 32-bit integers."""
    most = max(image.extents, default=0) if image.is_label else np.iinfo(image.dtype).max
    for name, limit in (("uint8", 2**8), ("uint16", 2**16), ("float32", _EXACT_FLOAT32)):
        if most < limit and not (name == "uint8" and smallest != "uint8"):
            return np.dtype(name)
    raise StackRangeError(f"{image.name}: ids up to {most} do not fit; this format tells 16 777 215 ids apart")


def _fill(path: Path, start: int, dtype: np.dtype[np.generic], image: Image, box: Box, tick: Tick) -> _Statistics:
    """Write voxels into a file that has its full length already, in blocks of whole rows."""
    _, height, width = box.shape
    row_bytes = width * dtype.itemsize
    step = (image.step[0], image.step[1], width)
    parts = list(blocks(whole(box.shape), step))
    seen = _Statistics()
    with path.open("r+b") as stream:
        for done, part in enumerate(parts):
            tick(done, len(parts))
            z, y, x = (slice(a.start + b, a.stop + b) for a, b in zip(part.window, box.start, strict=True))
            for k, plane in enumerate(image.read((z, y, x))):
                seen.add(plane)
                if not plane.any():
                    continue  # the file is as long as it will be, and holds 0 where nothing was written
                stream.seek(start + ((part.start[0] + k) * height + part.start[1]) * row_bytes)
                stream.write(plane.astype(dtype).tobytes())
    return seen
