"""Results of registered runs are scored where they lay in the slices: the truth is exact there."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.evaluation import evaluate
from services.evaluation.moved import MovedArray, SlicePlaces
from services.evaluation.reading import EvaluationInputError, read_places
from services.evaluation.windows import Grids
from services.imaging.geometry import Grid, nearest_indices
from services.imaging.registration.affine import Affine
from tests.unit.evaluation.test_scoring import SHAPE, VOXEL, Prediction, Scene, window

Volume = NDArray[np.uint16]


@dataclass(frozen=True)
class Held:
    """Labels in memory."""

    labels: Volume
    grids: Grids

    def read(self, targets: Grids) -> Volume:
        z, y, x = (nearest_indices(target, grid) for target, grid in zip(targets, self.grids, strict=True))
        found = self.labels[np.ix_(z, y, x)]
        found[(z < 0)[:, None, None] | (y < 0)[:, None] | (x < 0)] = 0
        return found


def voxel_grids(shape: tuple[int, int, int], first: tuple[int, int, int] = (0, 0, 0)) -> Grids:
    z, y, x = (Grid(f * edge, edge, n) for f, edge, n in zip(first, VOXEL, shape, strict=True))
    return z, y, x


@given(
    st.integers(0, 2**32 - 1),
    st.floats(-0.06, 0.06),
    st.floats(-9.0, 9.0),
    st.sampled_from([(0, 0, 0), (1, 3, -2)]),
)
def test_every_voxel_is_looked_up_at_its_own_place(
    seed: int, turn: float, shift: float, first: tuple[int, int, int]
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(1, 999, (4, 9, 11)).astype(np.uint16)
    z_edge, y_edge, x_edge = VOXEL
    places = {
        z: Affine(math.cos(turn * z), -math.sin(turn * z), math.sin(turn * z), math.cos(turn * z), shift * z, -3.0 * z)
        for z in (0, 1, 3, 4)
    }
    moved = MovedArray(Held(labels, voxel_grids(labels.shape, first)), SlicePlaces(places, z_edge))
    found = moved.read(voxel_grids((6, 20, 22), (0, -4, -5)))
    for z, row, column in np.ndindex(found.shape):
        nearest = max(known for known in places if known <= z)
        y, x = places[nearest].point(((row - 4 + 0.5) * y_edge, (column - 5 + 0.5) * x_edge))
        at = (z - first[0], math.floor(y / y_edge) - first[1], math.floor(x / x_edge) - first[2])
        inside = all(0 <= i < n for i, n in zip(at, labels.shape, strict=True))
        assert found[z, row, column] == (labels[at] if inside else 0)


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=4, max_size=4))
def test_the_box_in_the_slices_holds_every_voxel_once(shifts: list[tuple[int, int]]) -> None:
    labels = np.arange(1, 4 * 5 * 6 + 1, dtype=np.uint16).reshape(4, 5, 6)
    places = {z: Affine(shift_y=y * VOXEL[1], shift_x=x * VOXEL[2]) for z, (y, x) in enumerate(shifts)}
    moved = MovedArray(Held(labels, voxel_grids(labels.shape)), SlicePlaces(places, VOXEL[0]))
    found = moved.read(moved.grids)
    assert np.array_equal(np.sort(found[found > 0]), labels.ravel())


STAGE = {z: (2 * z % 5 - 1, (3 * z) % 7 - 2) for z in range(SHAPE[0])}


def write_transforms(out: Path, shifts: Mapping[int, tuple[float, float]], voxel_nm: object = VOXEL) -> None:
    names = ("yy", "yx", "xy", "xx", "shift_y_px", "shift_x_px")
    rows = [{"z": z, **dict(zip(names, (1.0, 0.0, 0.0, 1.0, y, x), strict=True))} for z, (y, x) in shifts.items()]
    pq.write_table(pa.Table.from_pylist(rows), out / "transforms.parquet")
    (out / "provenance.json").write_text(json.dumps({"voxel_nm": voxel_nm}))


def add_moved(scene: Scene, prediction: Prediction, ident: int) -> None:
    """Put a nucleus as registration would: every slice moved by where the stage stood."""
    shape, margin = (8, 32, 48), 9
    first = (1, -margin, -margin)
    classes = window(scene, ident, first, shape)[0]
    for plane, z in zip(classes, range(1, 9), strict=True):
        plane[:] = np.roll(plane, STAGE[z], axis=(0, 1))
    prediction.add(f"n{ident}", first, classes)


@pytest.fixture
def scene() -> Scene:
    scene = Scene()
    scene.add_nucleus(1, z=2, y=3, x=2)
    scene.add_nucleus(2, z=1, y=3, x=10)
    return scene


@pytest.fixture
def prediction(tmp_path: Path) -> Prediction:
    (tmp_path / "out").mkdir()
    return Prediction(tmp_path / "out")


def test_a_registered_run_is_scored_where_its_slices_were(tmp_path: Path, scene: Scene, prediction: Prediction) -> None:
    for ident in (1, 2):
        add_moved(scene, prediction, ident)
    truth, out = scene.write(tmp_path / "truth"), prediction.write()
    unmoved = evaluate(truth, out).as_json()
    write_transforms(out, STAGE)
    scores = evaluate(truth, out).as_json()
    assert scores["nuclei"] == {"truth": 2, "found": 2, "missed": 0, "split": 0, "merged": 0}
    assert scores["f1_macro"] == 1.0
    assert unmoved["f1_macro"] < 0.9  # type: ignore[operator]


def test_a_run_that_registered_nothing_has_no_places(tmp_path: Path) -> None:
    assert read_places(tmp_path) is None


@pytest.mark.parametrize("voxel_nm", [None, [8.0, 4.0], [8.0, 0.0, 4.0]])
def test_places_without_a_pixel_size_are_refused(
    tmp_path: Path, scene: Scene, prediction: Prediction, voxel_nm: object
) -> None:
    add_moved(scene, prediction, 1)
    truth, out = scene.write(tmp_path / "truth"), prediction.write()
    write_transforms(out, STAGE, voxel_nm)
    with pytest.raises(EvaluationInputError, match="do not say where slices lie"):
        evaluate(truth, out)


def test_a_table_without_the_numbers_of_a_place_is_refused(
    tmp_path: Path, scene: Scene, prediction: Prediction
) -> None:
    add_moved(scene, prediction, 1)
    truth, out = scene.write(tmp_path / "truth"), prediction.write()
    write_transforms(out, STAGE)
    pq.write_table(pa.Table.from_pylist([{"z": 0, "yy": 1.0}]), out / "transforms.parquet")
    with pytest.raises(EvaluationInputError, match="do not say where slices lie"):
        evaluate(truth, out)
