"""Pixels that are not square, as foreshortening or rounded metadata leave them: the same nuclei at the same places."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from services.contracts.values import VoxelSize
from services.evaluation.reading import PredictedNucleus, read_prediction
from tests.support.toy_acquisition import FIELD, PLANES, VOXEL_NM, Runner, toy_settings, toy_slice, write_toy

Mask = npt.NDArray[np.bool_]


def write_oblong(folder: Path, rows: int) -> Path:
    """Write the toy as so many rows show it."""
    folder.mkdir(parents=True)
    for z in range(PLANES):
        plane = cv2.resize(toy_slice(z), (FIELD[1], rows), interpolation=cv2.INTER_LINEAR)
        tifffile.imwrite(folder / f"oblong.{z:04d}.tif", plane)
    return folder


def whole_nucleus(runner: Runner) -> PredictedNucleus:
    runner.to_the_end()
    return max(read_prediction(runner.out), key=lambda one: np.count_nonzero(one.classes.read(one.classes.grids)))


def dice(first: Mask, second: Mask) -> float:
    return 2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))


@pytest.fixture(scope="module")
def square(tmp_path_factory: pytest.TempPathFactory) -> PredictedNucleus:
    root = tmp_path_factory.mktemp("square")
    return whole_nucleus(Runner(root / "out", toy_settings(write_toy(root / "slices"))))


@pytest.mark.parametrize("rows", [72, 89, 112])
def test_nuclei_lie_where_square_pixels_put_them(square: PredictedNucleus, tmp_path: Path, rows: int) -> None:
    y_nm = VOXEL_NM * FIELD[0] / rows
    voxel = VoxelSize(z_nm=VOXEL_NM, y_nm=y_nm, x_nm=VOXEL_NM)
    settings = toy_settings(write_oblong(tmp_path / "slices", rows), voxel_size=voxel)
    oblong = whole_nucleus(Runner(tmp_path / "out", settings))
    expected = square.classes.read(square.classes.grids)
    found = oblong.classes.read(square.classes.grids)
    assert dice(found > 0, expected > 0) > 0.99
    # Chromosomes of a few pixels lose some to the resampling of noise.
    for label, least in ((1, 0.98), (2, 0.85), (3, 0.95)):
        assert dice(found == label, expected == label) > least


def test_pixel_sizes_that_differ_by_rounding_are_as_good_as_equal(square: PredictedNucleus, tmp_path: Path) -> None:
    voxel = VoxelSize(z_nm=VOXEL_NM, y_nm=VOXEL_NM * 1.0002, x_nm=VOXEL_NM)
    settings = toy_settings(write_oblong(tmp_path / "slices", FIELD[0]), voxel_size=voxel)
    found = whole_nucleus(Runner(tmp_path / "out", settings))
    expected = square.classes.read(square.classes.grids)
    assert np.mean(found.classes.read(square.classes.grids) != expected) < 1e-3
