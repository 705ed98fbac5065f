"""Tiles of mosaics: cut from a known image at known places, each with its own noise and brightness."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from services.imaging.formats.dat_writing import dat_bytes
from services.imaging.mosaics.placing import Cell, Place

Plane = NDArray[np.uint8]
TILE_YX, OVERLAP_YX = (120, 150), (40, 50)
STEP_YX = (TILE_YX[0] - OVERLAP_YX[0], TILE_YX[1] - OVERLAP_YX[1])
MARGIN_PX = 12


def specimen(seed: int = 0, shape_yx: Place = (260, 320)) -> Plane:
    """Return texture of several sizes."""
    drawn = np.zeros(shape_yx)
    for number, size in enumerate((1.5, 4.0, 9.0)):
        layer = cv2.GaussianBlur(np.random.default_rng([seed, number]).normal(0, 1, shape_yx), (0, 0), size)
        drawn += layer / layer.std()
    return np.clip(128 + 22 * drawn, 20, 235).astype(np.uint8)


def cut(
    image: NDArray[np.generic],
    seed: int = 0,
    *,
    grid: tuple[int, int] = (2, 2),
    tile_yx: Place = TILE_YX,
    step_yx: Place = STEP_YX,
    stray_px: int = 6,
    levels: int = 9,
    noise: float = 4.0,
) -> tuple[dict[Cell, Plane], dict[Cell, Place]]:
    """Return tiles and where they were cut: up to `stray_px` off a regular grid, up to `levels` brighter or darker."""
    random = np.random.default_rng([seed, 77])
    planes, places = {}, {}
    for cell in np.ndindex(grid):
        off = random.integers(-stray_px, stray_px, 2, endpoint=True)
        y, x = (int(MARGIN_PX + cell[axis] * step_yx[axis] + off[axis]) for axis in (0, 1))
        grey = image[y : y + tile_yx[0], x : x + tile_yx[1]].astype(np.float64)
        assert grey.shape == tile_yx, "the image is too small for such tiles"
        grey += random.normal(0, noise, tile_yx) + random.integers(-levels, levels, endpoint=True)
        key = (int(cell[0]), int(cell[1]))
        planes[key], places[key] = np.clip(np.rint(grey), 0, 255).astype(np.uint8), (y, x)
    return planes, places


def tile_file(number: int, cell: Cell, minute: int | None = None) -> str:
    """Return the name of a tile of slice `number`, as Janelia's microscopes write it."""
    minute = number if minute is None else minute
    return f"Merlin-6281_19-08-09_12{minute:02d}26_0-{cell[0]}-{cell[1]}.dat"


def tile_bytes(
    plane: Plane, number: int, cell: Cell, step_yx: Place | None = STEP_YX, **fields: int | float | str
) -> bytes:
    """Return a `.dat` of version 9 that says which slice it is of, and where the grid has it unless it is not to."""
    said: dict[str, int | float | str] = {"PixelSize": 8.0, "FIBSliceNum": number, "MachineID": "Jeiss6"}
    if step_yx is not None:
        said |= {"FirstY": cell[0] * step_yx[0] - 500, "FirstX": cell[1] * step_yx[1] - 700}
    return dat_bytes(plane[None], said | fields)
