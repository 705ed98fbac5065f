"""Neuroglancer precomputed volumes, meshes, skeletons and properties, and a state that shows them.

Volumes are written by TensorStore; meshes, skeletons and properties are a few bytes round an array each. Source: the
format's documentation in the Neuroglancer repository, `src/datasource/precomputed/*.md`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from services.exports.blocks import Read, Voxels, Window, blocks
from services.exports.place import Index, Placement
from services.exports.precomputed_parts import encode_mesh, encode_properties, encode_skeleton
from services.exports.pyramid import Level, coarsen, levels
from services.exports.reading import Image, Nucleus
from services.exports.selection import THIN_CLASS, bodies
from services.exports.skeletons import MOST_VOXELS as MOST_TRACED
from services.exports.skeletons import skeleton_of
from services.exports.surfaces import gather, surface_of

Tick = Callable[[int, int], None]

CHUNK = 64
_BLOCK: Index = (CHUNK, CHUNK, CHUNK)
_SKELETON_INFO: dict[str, object] = {
    "@type": "neuroglancer_skeletons",
    "transform": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0],
    "vertex_attributes": [{"id": "radius", "data_type": "float32", "num_components": 1}],
}


def write_layer(path: Path, nucleus: Nucleus, image: Image, tick: Tick) -> None:
    """Write one image of a nucleus as a precomputed volume, a label image with meshes, skeletons and properties.

    Voxel offsets are whole numbers in this format: `remainder_nm` is what they leave of the nucleus's place, and the
    state's transform adds it. A few empty voxels are put before the first, so that the offset is a whole number at
    every resolution. Vertices of meshes and skeletons lie in the volume's own nanometres.

    Parameters
    ----------
    path
        Folder to write.
    nucleus, image
        What to write.
    tick
        Told how many of how many steps are done.
    """
    wanted = bodies(image) if image.is_label else []
    steps = len(wanted) + 2
    tick(0, steps)
    _write_volume(path, nucleus.placement, image)
    tick(1, steps)
    if image.is_label:
        _write_parts(path, nucleus, image, lambda done: tick(done + 1, steps))
    tick(steps, steps)


def remainder_nm(placement: Placement) -> tuple[float, float, float]:
    """Return what whole voxel offsets leave of a place, (z, y, x), at most half a voxel each way.

    Examples
    --------
    >>> remainder_nm(Placement((16.0, 16.0, 16.0), (32.0, 36.0, -4.0)))
    (0.0, 4.0, -4.0)
    """
    z, y, x = (c - o * v for c, o, v in zip(placement.corner_nm, _offset(placement), placement.voxel_nm, strict=True))
    return z, y, x


def _offset(placement: Placement) -> Index:
    z, y, x = (round(c / v) for c, v in zip(placement.corner_nm, placement.voxel_nm, strict=True))
    return z, y, x


@dataclass(frozen=True, eq=False)
class _Padded:
    """An image with empty voxels before its first, and the whole-number offset at which it then begins."""

    image: Image
    before: Index
    offset: Index

    @property
    def shape(self) -> Index:
        z, y, x = (n + b for n, b in zip(self.image.shape, self.before, strict=True))
        return z, y, x

    def read(self, window: Window) -> Voxels:
        starts = [part.start - b for part, b in zip(window, self.before, strict=True)]
        stops = [min(part.stop - b, n) for part, b, n in zip(window, self.before, self.image.shape, strict=True)]
        z, y, x = (slice(max(a, 0), b) for a, b in zip(starts, stops, strict=True))
        return np.pad(self.image.read((z, y, x)), [(max(-a, 0), 0) for a in starts])


def _padded(image: Image, placement: Placement) -> _Padded:
    factors = list(levels(image.shape, placement.voxel_nm))[-1].factors
    offset = _offset(placement)
    z, y, x = (o % f for o, f in zip(offset, factors, strict=True))
    return _Padded(image, (z, y, x), (offset[0] - z, offset[1] - y, offset[2] - x))


def _write_volume(path: Path, placement: Placement, image: Image) -> None:
    """Write every resolution; each is made from the one before, read back from disk."""
    padded = _padded(image, placement)
    finer: Read = padded.read
    for level in levels(image.shape, placement.voxel_nm):
        shape = _coarse_shape(padded.shape, level.factors)
        array = _open_scale(path, placement.coarser(level.factors), padded, Level(shape, level.step, level.factors))
        if image.filled is None:
            continue
        for block in blocks(
            image.filled.moved(padded.before).coarser(level.factors), _BLOCK, are_whole=True, shape=shape
        ):
            z, y, x = (slice(b.start * s, b.stop * s) for b, s in zip(block.window, level.step, strict=True))
            voxels = finer((z, y, x))
            if level.step != (1, 1, 1):
                voxels = coarsen(voxels, level.step, image.is_label)
            if voxels.any():
                array[block.window[::-1]] = voxels.T.astype(array.dtype.numpy_dtype)
        finer = _reader(array, image.dtype)


def _coarse_shape(shape: Index, factors: Index) -> Index:
    z, y, x = (-(-n // f) for n, f in zip(shape, factors, strict=True))
    return z, y, x


def _open_scale(path: Path, coarse: Placement, padded: _Padded, level: Level) -> Any:  # noqa: ANN401 - untyped library
    """Create a resolution and return it as an array (x, y, z) that begins at 0."""
    import tensorstore as ts

    image = padded.image
    offset = [o // f for o, f in zip(padded.offset, level.factors, strict=True)]
    scale: dict[str, object] = {
        "size": level.shape[::-1],
        "resolution": coarse.voxel_nm[::-1],
        "voxel_offset": offset[::-1],
        "chunk_size": [CHUNK, CHUNK, CHUNK],
        "encoding": "compressed_segmentation" if image.is_label else "raw",
    }
    if image.is_label:
        scale["compressed_segmentation_block_size"] = [8, 8, 8]
    kind = (
        {"type": "segmentation", "data_type": "uint64"} if image.is_label else {"type": "image", "data_type": "uint8"}
    )
    context = {"data_copy_concurrency": {"limit": 1}, "file_io_sync": False, "cache_pool": {"total_bytes_limit": 0}}
    array = ts.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{path}/"},
            "multiscale_metadata": kind | {"num_channels": 1},
            "scale_metadata": scale,
            "context": context,
        },
        create=True,
        open=True,
    ).result()
    return array[ts.d["channel"][0]].translate_to[0, 0, 0]


def _reader(array: Any, dtype: np.dtype[np.unsignedinteger]) -> Read:  # noqa: ANN401 - untyped library
    def read(window: tuple[slice, slice, slice]) -> Voxels:
        within = tuple(slice(part.start, min(part.stop, n)) for part, n in zip(window[::-1], array.shape, strict=True))
        return np.ascontiguousarray(np.asarray(array[within].read().result()).T.astype(dtype))

    return read


def _write_parts(path: Path, nucleus: Nucleus, image: Image, tick: Callable[[int], None]) -> None:
    """Write meshes of all bodies, skeletons of the thin ones, and the table of properties."""
    for folder in ("mesh", "skeletons", "properties"):
        (path / folder).mkdir()
    back = np.array(remainder_nm(nucleus.placement))[::-1]
    for done, label in enumerate(bodies(image)):
        tick(done)
        box = image.extents[label.value].box
        surface = surface_of(gather(image.read, label.value, box, nucleus.placement))
        (path / "mesh" / f"{label.value}.mesh").write_bytes(encode_mesh(surface.points_nm - back, surface.faces))
        (path / "mesh" / f"{label.value}:0").write_text(json.dumps({"fragments": [f"{label.value}.mesh"]}))
        if THIN_CLASS in {label.class_name, label.name}:
            skeleton = skeleton_of(gather(image.read, label.value, box, nucleus.placement, MOST_TRACED))
            payload = encode_skeleton(skeleton.points_nm - back, skeleton.parents, skeleton.radii_nm)
            (path / "skeletons" / str(label.value)).write_bytes(payload)
    _write_json(path / "mesh" / "info", {"@type": "neuroglancer_legacy_mesh"})
    _write_json(path / "skeletons" / "info", _SKELETON_INFO)
    _write_json(path / "properties" / "info", encode_properties(image.labels))
    info = json.loads((path / "info").read_text())
    _write_json(path / "info", info | {"mesh": "mesh", "skeletons": "skeletons", "segment_properties": "properties"})


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True), encoding="utf-8")
