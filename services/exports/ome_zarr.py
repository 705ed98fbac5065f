"""OME-Zarr pyramids with labels: version 0.4 on Zarr 2 and version 0.5 on Zarr 3.

Sources: NGFF specification 0.4 and 0.5 (multiscales, labels, image-label). A translation gives the middle of the first
voxel, as readers place it (RFC-5 says so outright; napari and ome-zarr-py always did), so that levels lie upon each
other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import zarr
from numcodecs import Blosc
from zarr.codecs import BloscCodec

from services.exports.blocks import Read, Voxels, blocks
from services.exports.place import Index, Placement
from services.exports.pyramid import Level, coarsen, levels
from services.exports.reading import Image, Nucleus
from services.exports.styles import Label

Tick = Callable[[int, int], None]

CHUNK: Index = (64, 128, 128)
_AXES = "zyx"


class NgffVersion(StrEnum):
    """Version of the OME-Zarr specification."""

    V04 = "0.4"
    V05 = "0.5"

    @property
    def zarr_format(self) -> int:
        """Version of Zarr that it stands on."""
        return 2 if self is NgffVersion.V04 else 3


@dataclass(frozen=True)
class _Pyramid:
    """A group with its levels, and how its arrays are made."""

    group: zarr.Group
    version: NgffVersion
    levels: tuple[Level, ...]


def write_ome_zarr(path: Path, nucleus: Nucleus, images: Sequence[Image], version: NgffVersion, tick: Tick) -> None:
    """Write the images of a nucleus as one OME-Zarr: grey as the image, the rest as its labels.

    Parameters
    ----------
    path
        Folder to write.
    nucleus
        Where it lies.
    images
        Grey first, then label images.
    version
        Version to write.
    tick
        Told how many of how many steps are done.
    """
    root = zarr.create_group(path, zarr_format=version.zarr_format)  # type: ignore[arg-type]
    plan = tuple(levels(images[0].shape, nucleus.placement.voxel_nm))
    names = [image.name for image in images if image.is_label]
    if names:
        _set(root.create_group("labels"), version, {"labels": names})
    for done, image in enumerate(images):
        tick(done, len(images))
        group = root.create_group(f"labels/{image.name}") if image.is_label else root
        _write_levels(_Pyramid(group, version, plan), image)
        multiscales = _multiscales(image.name, nucleus.placement, plan, version, image.is_label)
        metadata: dict[str, object] = {"multiscales": multiscales}
        if image.is_label:
            metadata["image-label"] = _image_label(image.labels, version)
        _set(group, version, metadata)
    tick(len(images), len(images))


def _write_levels(pyramid: _Pyramid, image: Image) -> None:
    finer: Read = image.read
    for number, level in enumerate(pyramid.levels):
        array = _create(pyramid, str(number), level, image)
        if image.filled is None:
            continue
        for block in blocks(image.filled.coarser(level.factors), CHUNK, are_whole=True, shape=level.shape):
            z, y, x = (slice(b.start * s, b.stop * s) for b, s in zip(block.window, level.step, strict=True))
            voxels = finer((z, y, x))
            if level.step != (1, 1, 1):
                voxels = coarsen(voxels, level.step, image.is_label)
            if voxels.any():
                array[block.window] = voxels
        finer = _reader(array)


def _reader(array: Any) -> Read:  # noqa: ANN401 - zarr's arrays are typed loosely
    def read(window: tuple[slice, slice, slice]) -> Voxels:
        voxels: Voxels = array[window]
        return voxels

    return read


def _create(pyramid: _Pyramid, name: str, level: Level, image: Image) -> Any:  # noqa: ANN401 - see `_reader`
    """Create the array of a level; Zarr 2 gets the codec that old readers know."""
    is_v2 = pyramid.version is NgffVersion.V04
    compressor = _blosc_v2() if is_v2 else BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle")
    separator = {"name": "v2" if is_v2 else "default", "separator": "/"}
    chunks = tuple(min(c, n) for c, n in zip(CHUNK, level.shape, strict=True))
    return pyramid.group.create_array(
        name,
        shape=level.shape,
        chunks=chunks,
        dtype=image.dtype,
        fill_value=0,
        compressors=[compressor],
        chunk_key_encoding=separator,  # type: ignore[arg-type]
        dimension_names=None if is_v2 else list(_AXES),
    )


def _blosc_v2() -> Any:  # noqa: ANN401 - numcodecs is not typed
    return Blosc(cname="lz4", clevel=5, shuffle=Blosc.BITSHUFFLE)


def _set(group: zarr.Group, version: NgffVersion, metadata: Mapping[str, object]) -> None:
    """Write metadata where the version has them: at the top in 0.4, below `ome` in 0.5."""
    if version is NgffVersion.V04:
        group.attrs.update(metadata)  # type: ignore[arg-type]
    else:
        group.attrs.update({"ome": {"version": str(version), **metadata}})  # type: ignore[dict-item]


def _multiscales(
    name: str, placement: Placement, plan: Sequence[Level], version: NgffVersion, are_labels: bool
) -> list[dict[str, object]]:
    datasets = []
    for number, level in enumerate(plan):
        coarse = placement.coarser(level.factors)
        scale = {"type": "scale", "scale": list(coarse.voxel_nm)}
        translation = {"type": "translation", "translation": list(coarse.centre_nm())}
        datasets.append({"path": str(number), "coordinateTransformations": [scale, translation]})
    return [
        ({"version": str(version)} if version is NgffVersion.V04 else {})
        | {
            "name": name,
            "axes": [{"name": axis, "type": "space", "unit": "nanometer"} for axis in _AXES],
            "datasets": datasets,
            "type": "mode of 2x2x2" if are_labels else "mean of 2x2x2",
        }
    ]


def _image_label(labels: Sequence[Label], version: NgffVersion) -> dict[str, object]:
    return ({"version": str(version)} if version is NgffVersion.V04 else {}) | {
        "colors": [{"label-value": label.value, "rgba": list(label.rgba)} for label in labels],
        "properties": [{"label-value": label.value, "name": label.name} | dict(label.properties) for label in labels],
        "source": {"image": "../../"},
    }
