"""What each format makes of a nucleus: relative paths, and what writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from services.exports import precomputed_parts as parts
from services.exports.blocks import Box
from services.exports.meshes import encode, encode_scene, manuscript_colour
from services.exports.ome_zarr import NgffVersion, write_ome_zarr
from services.exports.precomputed import remainder_nm, write_layer
from services.exports.reading import Image, Nucleus
from services.exports.selection import CLASSES, NothingToExportError, Part, parts_of, thin_parts
from services.exports.server import SERVER
from services.exports.skeletons import MOST_VOXELS as MOST_TRACED
from services.exports.skeletons import Skeleton, joined, skeleton_of, to_swc
from services.exports.stacks import write_mrc, write_tiff
from services.exports.surfaces import MOST_VOXELS as MOST_MESHED
from services.exports.surfaces import Body, Surface, gather, surface_of
from services.exports.tables import write_columns, write_csv, write_parquet

Tick = Callable[[int, int], None]
Write = Callable[[Path, Tick], None]


@dataclass(frozen=True)
class Selection:
    """Which label image to write; None for all, or for what the format shows."""

    label: str | None = None


@dataclass(frozen=True)
class Product:
    """A file or folder to write: its path in the export folder, and what writes it to a path."""

    path: str
    write: Write


Products = Callable[[Nucleus, Selection], Iterator[Product]]


def ome_zarr_products(version: str) -> Products:
    """Return what writes a nucleus as one OME-Zarr."""

    def products(nucleus: Nucleus, selection: Selection) -> Iterator[Product]:
        images = nucleus.selected(selection.label)

        def write(path: Path, tick: Tick) -> None:
            write_ome_zarr(path, nucleus, images, NgffVersion(version), tick)

        yield Product(f"{nucleus.nucleus_id}.ome.zarr", write)

    return products


def image_products(kind: str) -> Products:
    """Return what writes each image of a nucleus as one stack, cut to the part that was imaged."""
    writer = {"mrc": write_mrc, "tiff": write_tiff}[kind]
    end = {"mrc": "mrc", "tiff": "tif"}[kind]

    def products(nucleus: Nucleus, selection: Selection) -> Iterator[Product]:
        for image in nucleus.selected(selection.label):

            def write(path: Path, tick: Tick, image: Image = image) -> None:
                writer(path, image, imaged_part(nucleus), nucleus.placement, tick)

            yield Product(f"{nucleus.nucleus_id}-{image.name}.{end}", write)

    return products


def imaged_part(nucleus: Nucleus) -> Box:
    """Return the part of the canvas that holds anything; the canvas is twice as wide as a crop.

    Raises
    ------
    NothingToExportError
        If it is empty.
    """
    box: Box | None = None
    for image in nucleus.images:
        if image.filled is not None:
            box = image.filled if box is None else box.joined(image.filled)
    if box is None:
        raise NothingToExportError(f"nucleus {nucleus.nucleus_id}: its volume is empty")
    return box


def mesh_products(file_type: str) -> Products:
    """Return what writes each body of a nucleus as a mesh; of GLB also all in one file, in the manuscript's colours."""

    def products(nucleus: Nucleus, selection: Selection) -> Iterator[Product]:
        carver = _Carver(nucleus)
        found = parts_of(nucleus, selection.label)
        for part in found:
            yield Product(
                f"{nucleus.nucleus_id}/{part.stem}.{file_type}", partial(_write_mesh, carver, part, file_type)
            )
        if file_type == "glb":
            yield Product(f"{nucleus.nucleus_id}.glb", partial(_write_scene, carver, found, manuscript=True))
            yield Product(f"{nucleus.nucleus_id}-distinct.glb", partial(_write_scene, carver, found, manuscript=False))

    return products


class _Carver:
    """Makes the surfaces of a nucleus's bodies, each once."""

    def __init__(self, nucleus: Nucleus) -> None:
        self.nucleus = nucleus
        self._made: dict[str, Surface] = {}

    def surface(self, part: Part) -> Surface:
        if part.stem not in self._made:
            self._made[part.stem] = surface_of(_body(self.nucleus, part))
        return self._made[part.stem]


def _write_mesh(carver: _Carver, part: Part, file_type: str, path: Path, tick: Tick) -> None:
    path.write_bytes(encode(carver.surface(part), part.stem, part.label.rgba, file_type))
    tick(1, 1)


def _write_scene(carver: _Carver, found: Sequence[Part], path: Path, tick: Tick, *, manuscript: bool) -> None:
    classes = carver.nucleus.image(CLASSES)
    by_name = {label.name: label for label in classes.labels} if classes else {}
    bodies = []
    for done, part in enumerate(found):
        tick(done, len(found))
        rgba = manuscript_colour(part, by_name)
        if not manuscript and part.image.name != CLASSES:
            rgba = part.label.rgba
        bodies.append((part.stem, carver.surface(part), rgba))
    path.write_bytes(encode_scene(bodies))
    tick(len(found), len(found))


def _body(nucleus: Nucleus, part: Part, limit: int = MOST_MESHED) -> Body:
    box = part.image.extents[part.label.value].box
    return gather(part.image.read, part.label.value, box, nucleus.placement, limit)


def skeleton_products(nucleus: Nucleus, selection: Selection) -> Iterator[Product]:
    """Yield the middle line of each thin body as one SWC, and all of them in one."""
    found = thin_parts(nucleus, selection.label)
    for part in found:
        yield Product(f"{nucleus.nucleus_id}/{part.stem}.swc", partial(_write_swc, nucleus, (part,)))
    yield Product(f"{nucleus.nucleus_id}.swc", partial(_write_swc, nucleus, found))


def _write_swc(nucleus: Nucleus, found: Sequence[Part], path: Path, tick: Tick) -> None:
    lines: list[Skeleton] = []
    for done, part in enumerate(found):
        tick(done, len(found))
        lines.append(skeleton_of(_body(nucleus, part, MOST_TRACED)))
    title = f"nucleus {nucleus.nucleus_id}: {', '.join(part.stem for part in found[:4])}"
    path.write_bytes(to_swc(joined(lines), title + (" and more" if len(found) > 4 else "")))
    tick(len(found), len(found))


def neuroglancer_products(nucleus: Nucleus, selection: Selection) -> Iterator[Product]:
    """Yield a layer for each image of a nucleus, a state that shows them, and a server for the folder."""
    images = nucleus.selected(selection.label)
    for image in images:

        def write(path: Path, tick: Tick, image: Image = image) -> None:
            write_layer(path, nucleus, image, tick)

        yield Product(f"{nucleus.nucleus_id}/{image.name}", write)
    yield Product(f"{nucleus.nucleus_id}/state.json", partial(_write_state, nucleus, images))
    yield Product(f"{nucleus.nucleus_id}/link.txt", partial(_write_link, nucleus, images))
    yield Product("serve.py", _write_server)


def _state(nucleus: Nucleus, images: Sequence[Image]) -> dict[str, object]:
    box = imaged_part(nucleus)
    middle = nucleus.placement.cropped(box.start).centre_nm(_half(box.shape))
    sources = {image.name: image.labels if image.is_label else None for image in images}
    root = f"http://localhost:{parts.PORT}/{nucleus.nucleus_id}"
    return parts.state(sources, root, nucleus.placement.voxel_nm, remainder_nm(nucleus.placement), middle)


def _half(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    return shape[0] // 2, shape[1] // 2, shape[2] // 2


def _write_state(nucleus: Nucleus, images: Sequence[Image], path: Path, _: Tick) -> None:
    path.write_text(json.dumps(_state(nucleus, images), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _write_link(nucleus: Nucleus, images: Sequence[Image], path: Path, _: Tick) -> None:
    path.write_text(parts.link(_state(nucleus, images)) + "\n", encoding="utf-8")


def _write_server(path: Path, _: Tick) -> None:
    path.write_text(SERVER, encoding="utf-8")


def table_products(format_name: str, tables: Sequence[tuple[str, Any]]) -> Iterator[Product]:
    """Yield each table, and one that says the unit of every column."""
    writer = {"csv": write_csv, "parquet": write_parquet}[format_name]
    for name, table in tables:

        def write(path: Path, _: Tick, table: Any = table) -> None:  # noqa: ANN401 - pyarrow is not typed
            writer(path, table)

        yield Product(f"{name}.{format_name}", write)
    yield Product("columns.csv", lambda path, _: write_columns(path, tables))
