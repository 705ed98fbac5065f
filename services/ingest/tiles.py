"""Reads the tiles of a mosaic, and says why a mosaic cannot be joined."""

from __future__ import annotations

import hashlib
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from services.imaging.formats.description import GreyPlane
from services.imaging.formats.faults import FormatError
from services.imaging.formats.metadata import SliceMetadata, read_metadata
from services.imaging.formats.opening import open_slice
from services.imaging.mosaics.placing import Cell, Grid, Place, check_no_hole, regular

_MOST_BYTES = 2**31
_SAME_PIXEL = 0.01


class PositionsNotStatedError(ValueError):
    """Neither the tiles nor the user say where tiles lie."""


class MosaicError(ValueError):
    """A mosaic cannot be joined.

    Attributes
    ----------
    reason
        Short name of the fact.
    name
        The tile that it is about; None for all of them.
    may_grow
        Whether a tile that is still being written can look like this.
    """

    def __init__(self, reason: str, detail: str, name: str | None = None, *, may_grow: bool = False) -> None:
        super().__init__(detail)
        self.reason = reason
        self.name = name
        self.may_grow = may_grow


class TileTooLargeError(FormatError):
    """A file that is no tile by its size alone."""

    reason: ClassVar[str] = "too_large"


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile, read: its grey, what it says about itself, and which bytes it was read from."""

    name: str
    plane: GreyPlane
    metadata: SliceMetadata
    sha256: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Layout:
    """What all mosaics of an acquisition have in common.

    Attributes
    ----------
    grid
        Shapes of the tiles and where they are said to lie.
    bits
        8 or 16.
    pixel_yx_nm
        Edges of a pixel in the specimen; None if the tiles do not say.
    machine
        Which instrument; empty if the tiles do not say.
    """

    grid: Grid
    bits: int
    pixel_yx_nm: tuple[float, float] | None
    machine: str


def read_tile(path: Path, channel: int | None) -> Tile:
    """Read one tile; its hash, its structure and its grey are those of the same bytes.

    Raises
    ------
    MosaicError
        If it cannot be used, or not yet.
    OSError
        If the system cannot read it.
    """
    stamp = path.stat()
    try:
        if stamp.st_size > _MOST_BYTES:
            raise TileTooLargeError(f"{stamp.st_size} bytes are no tile")
        payload = path.read_bytes()
        opened = open_slice(payload)
        metadata = read_metadata(opened)
        page = opened.description.pages[0]
        plane = opened.read(0, channel if page.choices > 1 else None)[: page.height_px - metadata.data_bar_px]
    except FormatError as fault:
        raise MosaicError(fault.reason, str(fault), path.name, may_grow=fault.may_grow) from fault
    return Tile(path.name, plane, metadata, hashlib.sha256(payload).hexdigest(), len(payload), stamp.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class MosaicLook:
    """What a mosaic is, without its pixels: as in `Layout`, and which first pixels its tiles state."""

    shapes: Mapping[Cell, Place]
    bits: int
    machine: str
    pixel_yx_nm: tuple[float, float] | None
    said: Mapping[Cell, Place | None]

    @property
    def kind(self) -> tuple[object, ...]:
        """What is the same for all mosaics of an acquisition."""
        return (tuple(self.shapes.items()), self.bits, self.machine)


def look_at(mosaic: Mapping[Cell, Tile]) -> MosaicLook:
    """Return what a mosaic is."""
    tiles = dict(sorted(mosaic.items()))
    first = next(iter(tiles.values()))
    return MosaicLook(
        {cell: (tile.plane.shape[0], tile.plane.shape[1]) for cell, tile in tiles.items()},
        8 * first.plane.dtype.itemsize,
        first.metadata.machine,
        _pixel_nm(first.metadata),
        {cell: _first_pixel(tile.metadata) for cell, tile in tiles.items()},
    )


def layout_of(looks: Sequence[MosaicLook], overlap_yx: Place | None) -> Layout:
    """Find what mosaics have in common, and where their tiles are said to lie.

    Parameters
    ----------
    looks
        At some whole ones, of the same cells.
    overlap_yx
        By how many pixels neighbours overlap; None: as the tiles say (first pixels of a `.dat` of version 9).

    Raises
    ------
    PositionsNotStatedError
        If neither says.
    TilesApartError
        If the tiles leave a hole.
    """
    kinds = Counter(look.kind for look in looks)
    # Of kinds that are equally frequent the first stands.
    kind = max(kinds, key=lambda one: kinds[one])
    alike = [look for look in looks if look.kind == kind]
    first, stated = alike[0], _stated([look.said for look in alike])
    if overlap_yx is not None:
        grid = regular(first.shapes, overlap_yx)
    elif stated is not None:
        grid = Grid(first.shapes, stated)
    else:
        raise PositionsNotStatedError(
            "the tiles do not say where they lie: give --overlap-px Y,X, the pixels that neighbours share"
        )
    check_no_hole(grid)
    return Layout(grid, first.bits, first.pixel_yx_nm, first.machine)


def _first_pixel(metadata: SliceMetadata) -> Place | None:
    said = metadata.telemetry
    if "first_y_px" not in said or "first_x_px" not in said:
        return None
    return int(said["first_y_px"]), int(said["first_x_px"])


def _stated(mosaics: Sequence[Mapping[Cell, Place | None]]) -> dict[Cell, Place] | None:
    """Return where tiles say they lie, the median of several mosaics; None if they do not, or two say the same."""
    found: dict[Cell, Place] = {}
    for cell in mosaics[0]:
        said = [place for mosaic in mosaics if (place := mosaic[cell]) is not None]
        if not said:
            return None
        found[cell] = (round(statistics.median(y for y, _ in said)), round(statistics.median(x for _, x in said)))
    if len(set(found.values())) < len(found):
        return None
    top, left = min(y for y, _ in found.values()), min(x for _, x in found.values())
    return {cell: (y - top, x - left) for cell, (y, x) in found.items()}


def _pixel_nm(metadata: SliceMetadata) -> tuple[float, float] | None:
    if metadata.voxel_y_nm is None or metadata.pixel_x_nm is None:
        return None
    return metadata.voxel_y_nm, metadata.pixel_x_nm


def check_of_layout(mosaic: Mapping[Cell, Tile], layout: Layout) -> None:
    """Refuse a mosaic that is not one of the acquisition's.

    Raises
    ------
    MosaicError
        The message has both values.
    """
    for cell, tile in sorted(mosaic.items()):
        shape, bits = tile.plane.shape, 8 * tile.plane.dtype.itemsize
        if (shape, bits) != (layout.grid.shapes_yx[cell], layout.bits):
            here, there = f"{shape[0]} x {shape[1]}, {bits} bit", layout.grid.shapes_yx[cell]
            detail = f"tile {cell} has {here}; the acquisition's has {there[0]} x {there[1]}, {layout.bits} bit"
            raise MosaicError("other_grid", detail, tile.name)
        if tile.metadata.machine != layout.machine:
            detail = f"it is from {tile.metadata.machine!r}, the acquisition from {layout.machine!r}"
            raise MosaicError("other_machine", detail, tile.name)
        pixel = _pixel_nm(tile.metadata)
        if (
            pixel
            and layout.pixel_yx_nm
            and any(abs(own / other - 1) > _SAME_PIXEL for own, other in zip(pixel, layout.pixel_yx_nm, strict=True))
        ):
            detail = f"it says pixels of {pixel} nm, the acquisition has {layout.pixel_yx_nm} nm"
            raise MosaicError("pixel_size_mismatch", detail, tile.name)


def z_of(mosaic: Mapping[Cell, Tile], named_z: int | None) -> int:
    """Return the z of a mosaic: that of the names, else the count of slices that all headers agree on.

    Raises
    ------
    MosaicError
        If nothing says it, or tiles say different ones.
    """
    if named_z is not None:
        return named_z
    said = {tile.metadata.z_index for tile in mosaic.values()}
    (z, *others) = sorted(said, key=lambda one: -1 if one is None else one)
    if others:
        raise MosaicError("slice_number_differs", f"its tiles say different slices: {sorted(map(str, said))}")
    if z is None or z < 0:
        raise MosaicError("name_without_z", "neither names nor headers say a z: give --tile-pattern with (?P<z>...)")
    return z
