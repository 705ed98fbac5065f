"""OME-Zarr 0.5 of one nucleus that grows in z: chunks and metadata as bytes, written slab by slab.

A volume is an image group: array `0` holds the grey crop stack, `labels/classes/0` a class, `labels/objects/0` an
object id and `labels/chromosomes/0` the number of a chromosome per voxel. Chunks are one slab deep, so that a slab,
once written, never changes while the volume grows; the number of planes stands in the metadata alone, which has one
writer.
Chunks are encoded here and not through zarr's own array machinery, which takes ten times as long for
the mostly empty slabs of a nucleus; the metadata names the same codecs and zarr reads them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import zarr
import zstandard
from numpy.typing import NDArray
from zarr.buffer.cpu import Buffer
from zarr.storage import MemoryStore

GREY = "0"
CLASSES = "labels/classes/0"
OBJECTS = "labels/objects/0"
CHROMOSOMES = "labels/chromosomes/0"
DTYPES: Mapping[str, np.dtype[np.unsignedinteger]] = {
    GREY: np.dtype(np.uint8),
    CLASSES: np.dtype(np.uint8),
    OBJECTS: np.dtype(np.uint32),
    CHROMOSOMES: np.dtype(np.uint8),
}
METADATA = "zarr.json"

Planes = NDArray[np.uint8] | NDArray[np.uint32]
Style = tuple[int, str, tuple[int, int, int, int]]

_ZSTD_LEVEL = 1
_AXES = ("z", "y", "x")


class VolumeLayoutError(ValueError):
    """A canvas, voxel size or chunk that no volume can have."""


class SlabError(ValueError):
    """Planes that do not fit the layout: wrong shape, dtype, array or first plane."""


@dataclass(frozen=True, slots=True)
class VolumeLayout:
    """What is fixed about a volume when its nucleus opens.

    Attributes
    ----------
    canvas_shape_yx
        Rows and columns of every plane.
    voxel_zyx_nm
        Edges of a voxel.
    origin_zyx_nm
        First corner of the first voxel, from the first corner of the acquisition's first voxel.
    slab_planes
        Planes in a slab, the depth of a chunk.
    chunk_yx
        Rows and columns of a chunk.
    """

    canvas_shape_yx: tuple[int, int]
    voxel_zyx_nm: tuple[float, float, float]
    origin_zyx_nm: tuple[float, float, float]
    slab_planes: int = 32
    chunk_yx: int = 256

    def __post_init__(self) -> None:
        if min(*self.canvas_shape_yx, self.slab_planes, self.chunk_yx) < 1:
            raise VolumeLayoutError("a canvas and a chunk have at least one voxel along every axis")
        if not all(math.isfinite(edge) and edge > 0 for edge in self.voxel_zyx_nm):
            raise VolumeLayoutError(f"voxel edges must be positive lengths, got {self.voxel_zyx_nm} nm")
        if not all(math.isfinite(place) for place in self.origin_zyx_nm):
            raise VolumeLayoutError(f"the origin must be finite, got {self.origin_zyx_nm} nm")


def encode_slab(layout: VolumeLayout, array_name: str, first_plane: int, planes: Planes) -> dict[str, bytes]:
    """Return the chunks of one slab, by key relative to the volume.

    Parameters
    ----------
    layout
        Layout of the volume.
    array_name
        `GREY`, `CLASSES`, `OBJECTS` or `CHROMOSOMES`.
    first_plane
        Index of the first plane in the volume, a multiple of `layout.slab_planes`.
    planes
        (z, y, x) of the array's dtype, at most a slab deep; the volume's last slab may be shallower.

    Returns
    -------
    dict
        Zarr chunks; those of zeros alone are left out, as zarr fills them in. Same planes, same bytes.

    Raises
    ------
    SlabError
        If the planes do not fit.

    Examples
    --------
    >>> layout = VolumeLayout((4, 6), (8.0, 4.0, 4.0), (0.0, 0.0, 0.0), slab_planes=2, chunk_yx=3)
    >>> planes = np.zeros((2, 4, 6), np.uint8)
    >>> planes[1, 0, 5] = 2
    >>> list(encode_slab(layout, CLASSES, 2, planes))
    ['labels/classes/0/c/1/0/1']
    """
    _check_slab(layout, array_name, first_plane, planes)
    compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
    chunk = np.zeros((layout.slab_planes, layout.chunk_yx, layout.chunk_yx), DTYPES[array_name].newbyteorder("<"))
    chunks = {}
    for key, rows, columns in _chunk_windows(layout, array_name, first_plane):
        part = planes[:, rows, columns]
        if part.any():
            chunk.fill(0)
            chunk[: part.shape[0], : part.shape[1], : part.shape[2]] = part
            chunks[key] = compressor.compress(chunk.data.cast("B"))
    return chunks


def decode_slab(
    layout: VolumeLayout, array_name: str, first_plane: int, count: int, chunks: Mapping[str, bytes]
) -> Planes:
    """Return `count` planes of a slab; the inverse of `encode_slab`.

    Parameters
    ----------
    layout, array_name, first_plane
        As in `encode_slab`.
    count
        Planes to return, at most a slab.
    chunks
        Bytes by key; a chunk that is not there is zeros. May fetch lazily.

    Raises
    ------
    SlabError
        If the slab cannot be in the volume, or a chunk is damaged.
    """
    planes = np.zeros((count, *layout.canvas_shape_yx), DTYPES.get(array_name, np.uint8))
    _check_slab(layout, array_name, first_plane, planes)
    shape = (layout.slab_planes, layout.chunk_yx, layout.chunk_yx)
    for key, rows, columns in _chunk_windows(layout, array_name, first_plane):
        payload = chunks.get(key)
        if payload is not None:
            window = planes[:, rows, columns]
            chunk = _decompress(key, payload, DTYPES[array_name], shape)
            window[...] = chunk[:count, : window.shape[1], : window.shape[2]]
    return planes


def _check_slab(layout: VolumeLayout, array_name: str, first_plane: int, planes: Planes) -> None:
    if array_name not in DTYPES:
        raise SlabError(f"no array is called {array_name!r}; arrays: {', '.join(DTYPES)}")
    if planes.ndim != 3 or planes.shape[1:] != layout.canvas_shape_yx or planes.dtype != DTYPES[array_name]:
        wanted = f"(z, {layout.canvas_shape_yx[0]}, {layout.canvas_shape_yx[1]}) {DTYPES[array_name]}"
        raise SlabError(f"{array_name}: need {wanted}, got {planes.shape} {planes.dtype}")
    if not 1 <= len(planes) <= layout.slab_planes:
        raise SlabError(f"a slab has 1 to {layout.slab_planes} planes, got {len(planes)}")
    if first_plane < 0 or first_plane % layout.slab_planes:
        raise SlabError(f"a slab starts at a multiple of {layout.slab_planes}, not at {first_plane}")


def _chunk_windows(layout: VolumeLayout, array_name: str, first_plane: int) -> Iterator[tuple[str, slice, slice]]:
    height, width = layout.canvas_shape_yx
    edge = layout.chunk_yx
    slab = first_plane // layout.slab_planes
    for row in range(0, height, edge):
        for column in range(0, width, edge):
            key = f"{array_name}/c/{slab}/{row // edge}/{column // edge}"
            yield key, slice(row, min(row + edge, height)), slice(column, min(column + edge, width))


def _decompress(
    key: str, payload: bytes, dtype: np.dtype[np.unsignedinteger], shape: tuple[int, int, int]
) -> NDArray[np.unsignedinteger]:
    size = math.prod(shape) * dtype.itemsize
    try:
        voxels = zstandard.ZstdDecompressor().decompress(payload, max_output_size=size)
    except zstandard.ZstdError as error:
        raise SlabError(f"{key} is damaged: {error}") from error
    if len(voxels) != size:
        raise SlabError(f"{key} is damaged: {len(voxels)} of {size} bytes")
    return np.frombuffer(voxels, dtype.newbyteorder("<")).reshape(shape)


def encode_metadata(
    layout: VolumeLayout, planes: int, styles: Iterable[Style], with_objects: bool, with_chromosomes: bool = False
) -> dict[str, bytes]:
    """Return every `zarr.json` of a volume that has `planes` planes, by key relative to the volume.

    Parameters
    ----------
    layout
        Layout of the volume.
    planes
        Planes of the volume that may be read.
    styles
        Id, name and colour (red, green, blue, opacity, 0 to 255) of every class.
    with_objects
        Whether `labels/objects` is there.
    with_chromosomes
        Whether `labels/chromosomes` is there.

    Raises
    ------
    SlabError
        If the number of planes is negative.

    Examples
    --------
    >>> layout = VolumeLayout((4, 6), (8.0, 4.0, 4.0), (0.0, 0.0, 0.0))
    >>> list(encode_metadata(layout, 7, [(1, "nucleoplasm", (9, 9, 9, 255))], with_objects=False))
    ['zarr.json', '0/zarr.json', 'labels/zarr.json', 'labels/classes/zarr.json', 'labels/classes/0/zarr.json']
    """
    if planes < 0:
        raise SlabError(f"a volume cannot have {planes} planes")
    there = (("classes", True), ("objects", with_objects), ("chromosomes", with_chromosomes))
    label_names = [name for name, is_there in there if is_there]
    documents = {
        METADATA: _group({"multiscales": _multiscales(layout, "grey")}),
        f"{GREY}/{METADATA}": _array(layout, GREY, planes),
        f"labels/{METADATA}": _group({"labels": label_names}),
    }
    for name in label_names:
        image_label: dict[str, object] = {"source": {"image": "../../"}}
        if name == "classes":
            image_label = _class_table(styles) | image_label
        place = {"multiscales": _multiscales(layout, name), "image-label": image_label}
        documents[f"labels/{name}/{METADATA}"] = _group(place)
        documents[f"labels/{name}/0/{METADATA}"] = _array(layout, f"labels/{name}/0", planes)
    return {key: json.dumps(document, indent=1).encode() for key, document in documents.items()}


def _group(ome: Mapping[str, object]) -> dict[str, object]:
    return {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5", **ome}}}


def _array(layout: VolumeLayout, array_name: str, planes: int) -> dict[str, object]:
    chunk_shape = [layout.slab_planes, layout.chunk_yx, layout.chunk_yx]
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [planes, *layout.canvas_shape_yx],
        "data_type": DTYPES[array_name].name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk_shape}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "zstd", "configuration": {"level": _ZSTD_LEVEL, "checksum": False}},
        ],
        "dimension_names": list(_AXES),
        "attributes": {},
    }


def _multiscales(layout: VolumeLayout, name: str) -> list[dict[str, object]]:
    transformations = [
        {"type": "scale", "scale": list(layout.voxel_zyx_nm)},
        {"type": "translation", "translation": list(layout.origin_zyx_nm)},
    ]
    return [
        {
            "name": name,
            "axes": [{"name": axis, "type": "space", "unit": "nanometer"} for axis in _AXES],
            "datasets": [{"path": "0", "coordinateTransformations": transformations}],
        }
    ]


def _class_table(styles: Iterable[Style]) -> dict[str, object]:
    table = list(styles)
    return {
        "colors": [{"label-value": label, "rgba": list(rgba)} for label, _, rgba in table],
        "properties": [{"label-value": label, "class": name} for label, name, _ in table],
    }


def open_volume(files: Mapping[str, bytes]) -> zarr.Group:
    """Open the volume that `files` hold, read through zarr itself.

    Parameters
    ----------
    files
        Bytes by key relative to the volume; copied into memory.
    """
    store = MemoryStore({key: Buffer.from_bytes(payload) for key, payload in files.items()}, read_only=True)
    return zarr.open_group(store, mode="r")
