"""Small nuclei whose chromosomes are known: rods of chromatin with a core of synaptonemal complex."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling import LabellingParameters, LabelTables, StreamingLabeller

Volume = NDArray[np.uint8]
VOXEL = (16.0, 16.0, 16.0)


def rod_tables(volume: Volume, *, finished: bool = True) -> LabelTables:
    """Return the run tables of a label volume, finished or as they stand; nothing is too small to be kept."""
    labeller = StreamingLabeller(LabellingParameters(canvas_shape_yx=(volume.shape[1], volume.shape[2])))
    for z, plane in enumerate(volume):
        labeller.add(z, plane)
    return labeller.finish() if finished else labeller.tables()


def rod(
    shape: tuple[int, int, int],
    first_nm: tuple[float, float, float],
    last_nm: tuple[float, float, float],
    radius_nm: float,
    voxel: tuple[float, float, float] = VOXEL,
) -> NDArray[np.bool_]:
    """Voxels within a radius of a straight line, without rounded ends."""
    grid = np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in shape), indexing="ij"), axis=-1) * np.array(voxel)
    a, b = np.array(first_nm), np.array(last_nm)
    along = (grid - a) @ (b - a) / ((b - a) @ (b - a))
    apart = np.linalg.norm(grid - (a + along[..., None] * (b - a)), axis=-1)
    inside: NDArray[np.bool_] = (apart <= radius_nm) & (along >= 0) & (along <= 1)
    return inside


def parallel_rods(
    count: int = 3, voxel: tuple[float, float, float] = VOXEL, gap_nm: tuple[float, float] | None = None
) -> tuple[Volume, Volume]:
    """Classes and truth of rods of chromatin side by side, 400 nm apart and touching, each with a core of SC.

    All cores miss what lies between `gap_nm` along the rods.
    """
    edges = np.array(voxel)
    size_nm = np.array([500.0, 400.0 * count + 100, 1700.0])
    depth, height, width = (int(n) for n in np.ceil(size_nm / edges))
    shape = (depth, height, width)
    classes, truth = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    x = (np.arange(shape[2]) + 0.5) * edges[2]
    for index in range(count):
        y_nm = 250.0 + 400 * index
        body = rod(shape, (250.0, y_nm, 100.0), (250.0, y_nm, 1600.0), 205.0, voxel)
        body &= np.abs((np.arange(shape[1]) + 0.5) * edges[1] - y_nm)[None, :, None] <= 200.0
        core = rod(shape, (250.0, y_nm, 120.0), (250.0, y_nm, 1580.0), 50.0, voxel)
        if gap_nm is not None:
            core &= ~((x >= gap_nm[0]) & (x < gap_nm[1]))
        classes[body], truth[body] = 2, index + 1
        classes[core] = 4
    return classes, truth
