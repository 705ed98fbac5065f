"""Mosaics cut from real slices: how far wrong tiles are placed, against phase correlation; and how long one takes.

    python -m tests.benchmarks.bench_mosaics [--turns 10] [--data ../shared/data]

Tiles are cut at known whole pixels, up to `stray` off where they are said to lie, each with noise of 6 grey levels of
its own and up to 9 levels brighter or darker. Errors are of neighbours on each other, in pixels; a pair that a method
places by nothing counts as it is said to lie. Times are processor time, one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from skimage.registration import phase_cross_correlation

from services.imaging.mosaics.pasting import levels, pasted, steps
from services.imaging.mosaics.placing import Cell, Grid, Place, measured, neighbours, overlap_of, placed, regular
from tests.support.mosaic_tiles import cut, specimen

CELLS: tuple[Cell, ...] = ((0, 0), (0, 1), (1, 0), (1, 1))
Tiles = Mapping[Cell, NDArray[np.uint8]]
CASES = (
    ("fib25/sample1_raw_z000-099_unlabelled.tif", 50, (130, 130), (50, 50), 8),
    ("fib25/sample1_raw_z000-099_unlabelled.tif", 50, (130, 130), (50, 50), 12),
    ("fib25/sample2_raw_z000-149.tif", 75, (130, 130), (50, 50), 8),
    ("fib25/sample2_raw_z000-149.tif", 75, (130, 130), (50, 50), 12),
    ("epfl6/train_raw.tif", 13, (370, 490), (40, 40), 8),
    ("epfl6/train_raw.tif", 13, (370, 490), (70, 70), 12),
)


def ours(planes: Tiles, grid: Grid) -> dict[Cell, Place]:
    return placed(grid, measured(planes, grid))[0]


def by_phase_correlation(planes: Tiles, grid: Grid) -> dict[Cell, Place]:
    """Chain tiles by scikit-image's phase correlation of their overlaps."""
    places = {(0, 0): grid.places_yx[0, 0]}
    for first, second in neighbours(CELLS):
        shared = overlap_of(grid, first, second)
        if second not in places and shared is not None:
            shift, _, _ = phase_cross_correlation(planes[first][shared[0]], planes[second][shared[1]])  # type: ignore[no-untyped-call]
            step = np.subtract(grid.places_yx[second], grid.places_yx[first])
            y, x = np.add(places[first], step + shift).astype(int)
            places[second] = (int(y), int(x))
    return places


def errors(found: Mapping[Cell, Place], truth: Mapping[Cell, Place]) -> list[float]:
    """Return how far neighbours lie wrong on each other."""
    return [
        float(np.hypot(*(np.subtract(found[b], found[a]) - np.subtract(truth[b], truth[a]))))
        for a, b in neighbours(CELLS)
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    turns = arguments.turns
    cv2.setNumThreads(1)
    methods: dict[str, Callable[[Tiles, Grid], dict[Cell, Place]]] = {"ours": ours, "phase": by_phase_correlation}
    for name, z, tile, overlap, stray in CASES:
        image = tifffile.imread(arguments.data / name, key=z)
        grid = regular(dict.fromkeys(CELLS, tile), overlap)
        step = (tile[0] - overlap[0], tile[1] - overlap[1])
        found: dict[str, list[float]] = {method: [] for method in methods}
        before, after = list[float](), list[float]()
        for turn in range(turns):
            planes, truth = cut(image, turn, tile_yx=tile, step_yx=step, stray_px=stray, noise=6.0)
            for method, place in methods.items():
                found[method] += errors(place(planes, grid), truth)
            here = Grid(grid.shapes_yx, ours(planes, grid))
            seen = steps(planes, here)
            added = levels(here.places_yx, seen)
            before += [abs(one.levels) for one in seen]
            after += [abs(one.levels + added[one.first] - added[one.second]) for one in seen]
        told = "; ".join(f"{method} exact {np.mean(np.array(each) == 0):.3f}, largest {max(each):.1f} px"
                         for method, each in found.items())  # fmt: skip
        print(f"{name} overlap {overlap[0]}, stray {stray}: {told}; seams {max(before):.1f} -> {max(after):.2f} levels")
    planes, _ = cut(specimen(0, (4000, 5500)), tile_yx=(1950, 2700), step_yx=(1750, 2500), stray_px=10)
    grid = regular(dict.fromkeys(CELLS, (1950, 2700)), (200, 200))
    started = time.process_time()
    here = Grid(grid.shapes_yx, ours(planes, grid))
    middle = time.process_time()
    pasted(planes, here, levels(here.places_yx, steps(planes, here)), grid.shape_yx)
    print(f"{grid.shape_yx}: placed in {middle - started:.2f} s, pasted in {time.process_time() - middle:.2f} s")


if __name__ == "__main__":
    main()
