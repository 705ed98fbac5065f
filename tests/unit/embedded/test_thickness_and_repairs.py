"""Runs measured by the depth of their slices, and over repaired ones: off by default, the same bytes however run."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from scipy.ndimage import gaussian_filter

from services.embedded.amending import prepare
from services.embedded.run import Parts
from services.imaging.quality.depths import PlaneDepths, plane_depths
from services.imaging.quality.kinds import SPOILING
from services.ingest.requests import FinishAcquisition, RequestBox
from services.runtime.segmenter.port import Normalisation, Plane, Segmented
from tests.support.grey_segmenter import GreySegmenter
from tests.support.toy_acquisition import FIELD, PLANES, VOXEL_NM, Runner, slice_name, toy_settings, toy_slice
from tests.unit.embedded.test_run import ProcessDiedError, deliver_in_any_order, dying, finished, watching

LOST_Z, LOST, BRIGHT_Z = 30, 2, 25
BOTH = {"slice_thickness": "measured", "repair": ("gain",)}


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the toy over tissue that changes with depth: two slices of it are lost before one, and one is bright."""
    folder = tmp_path_factory.mktemp("uneven") / "slices"
    folder.mkdir()
    noise = np.random.default_rng(4).standard_normal((PLANES + LOST, *FIELD), dtype=np.float32)
    tissue = gaussian_filter(noise, (3.0, 2.0, 2.0))
    tissue *= 12 / tissue.std()
    for z in range(PLANES):
        grey = toy_slice(z) + tissue[z + LOST * (z >= LOST_Z)] + 15 * (z == BRIGHT_Z)
        tifffile.imwrite(folder / slice_name(z), np.clip(grey, 0, 255).astype(np.uint8))
    return folder


def run_with(out: Path, slices: Path, **changes: object) -> Runner:
    runner = Runner(out, toy_settings(slices, **changes))
    runner.to_the_end()
    return runner


@pytest.fixture(scope="module")
def plain(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return run_with(tmp_path_factory.mktemp("plain"), slices)


@pytest.fixture(scope="module")
def changed(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return run_with(tmp_path_factory.mktemp("changed"), slices, **BOTH)


def table(runner: Runner, name: str) -> list[dict[str, str]]:
    with (runner.out / f"{name}.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def settings_told(runner: Runner) -> dict[str, object]:
    return dict(json.loads((runner.out / "provenance.json").read_text())["settings"])


def depths_of(runner: Runner) -> list[PlaneDepths]:
    files = sorted((runner.out / ".state" / "store" / "toy" / "nuclei").glob("*/depths/*"))
    return [PlaneDepths.from_bytes(path.read_bytes()) for path in files]


class CountingSegmenter(GreySegmenter):
    """Counts the crops it is given."""

    crops = 0

    def segment(self, crops: Sequence[Plane], normalisation: Normalisation) -> Sequence[Segmented]:
        CountingSegmenter.crops += len(crops)
        return super().segment(crops, normalisation)


def amended(before: Runner, out: Path, **changes: object) -> tuple[Runner, int]:
    """Amend a run; return it, and how many crops were segmented again."""
    CountingSegmenter.crops = 0
    settings = prepare(before.out, out, changes=changes)
    runner = Runner(out, settings, parts=Parts(segmenter=CountingSegmenter(VOXEL_NM)))
    runner.to_the_end()
    return runner, CountingSegmenter.crops


@pytest.fixture(scope="module")
def measured(plain: Runner, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    runner, crops = amended(plain, tmp_path_factory.mktemp("measured") / "out", slice_thickness="measured")
    assert crops == 0, "another thickness of slices is no reason to segment again"
    return runner


def test_where_nothing_is_asked_for_nothing_is_said(plain: Runner) -> None:
    assert not {"slice_thickness", "repair"} & settings_told(plain).keys()
    assert "repairs" not in table(plain, "slices")[0]
    assert depths_of(plain) == []


def test_depths_are_those_that_the_table_of_slices_tells(changed: Runner) -> None:
    measured = {
        int(row["z"]): (
            None if SPOILING & set(row["troubles"].split(",")) else float(row["thickness_nm"] or "nan") / VOXEL_NM
        )
        for row in table(changed, "slices")
    }
    found = depths_of(changed)
    assert len(found) == len(table(changed, "nuclei"))
    assert PLANES - 1 in [int(row["z_last"]) for row in table(changed, "nuclei")]
    for depths, row in zip(found, table(changed, "nuclei"), strict=True):
        last_z = int(row["z_last"])
        if last_z < PLANES - 1:
            continue
        # It closes when everything has come: no slice is known now that was not then.
        assert depths == plane_depths(measured, int(row["z_first"]), last_z, VOXEL_NM)
        assert np.ptp(np.diff(depths.depths_nm)) > 0.5 * VOXEL_NM


def test_an_objects_volume_is_that_of_its_planes(changed: Runner) -> None:
    for depths, nucleus in zip(depths_of(changed), table(changed, "nuclei"), strict=True):
        folder = changed.out / "nuclei" / nucleus["nucleus_id"] / "volume.ome.zarr" / "labels" / "objects" / "0"
        objects = np.asarray(zarr.open_array(str(folder), mode="r")[:])
        thickness = depths.thickness_nm()[: len(objects)]
        for row in table(changed, "objects"):
            if row["nucleus_id"] == nucleus["nucleus_id"]:
                per_plane = (objects == int(row["object_id"])).sum(axis=(1, 2))
                assert int(row["voxels"]) == per_plane.sum()
                assert float(row["volume_um3"]) == pytest.approx(float(per_plane @ thickness) * VOXEL_NM**2 / 1e9)


def test_voxels_and_places_are_those_of_the_label_volume(plain: Runner, measured: Runner) -> None:
    columns = ("voxels", "z0", "z1", "centroid_z_nm", "centroid_y_nm")
    for before, after in zip(table(plain, "objects"), table(measured, "objects"), strict=True):
        assert [after[name] for name in columns] == [before[name] for name in columns]


def test_what_was_repaired_stands_in_the_table_of_slices(changed: Runner) -> None:
    assert [int(row["z"]) for row in table(changed, "slices") if row["repairs"]] == [BRIGHT_Z]
    assert table(changed, "slices")[BRIGHT_Z]["repairs"] == "gain"
    assert settings_told(changed)["repair"] == ["gain"]
    # Its quality is told as it came.
    assert "brightness_step" in table(changed, "slices")[BRIGHT_Z]["troubles"]


def test_a_run_watched_in_any_order_gives_the_same_bytes(changed: Runner, slices: Path, tmp_path: Path) -> None:
    folder = tmp_path / "slices"
    folder.mkdir()
    runner = watching(tmp_path / "out", folder, gaps="wait", **BOTH)
    with closing(runner.start()) as run:
        deliver_in_any_order(runner, run, slices, folder, seed=7)
        RequestBox(run.store, runner.settings.acquisition).leave(FinishAcquisition())
        assert finished(runner, run) == changed.manifest()


def test_a_run_killed_again_and_again_gives_the_same_bytes(changed: Runner, slices: Path, tmp_path: Path) -> None:
    runner = Runner(tmp_path / "out", toy_settings(slices, **BOTH))
    for kill in range(8):
        parts = Parts(segmenter=GreySegmenter(VOXEL_NM), store=dying(17 * kill + 3, durable=kill % 2 == 0))
        try:
            Runner(runner.out, runner.settings, parts=parts).to_the_end()
        except ProcessDiedError:
            continue
    assert runner.to_the_end() == changed.manifest()


def test_another_thickness_gives_other_volumes(plain: Runner, measured: Runner) -> None:
    assert measured.manifest() != plain.manifest()
    volumes = [[float(row["volume_um3"]) for row in table(run, "nuclei")] for run in (plain, measured)]
    assert all(before != after for before, after in zip(*volumes, strict=True))


def test_another_repair_segments_again_what_it_changes_and_no_more(
    plain: Runner, changed: Runner, tmp_path: Path
) -> None:
    repaired, crops = amended(plain, tmp_path / "repaired", **BOTH)
    assert repaired.manifest() == changed.manifest()
    crossed = sum(int(row["z_first"]) <= BRIGHT_Z <= int(row["z_last"]) for row in table(changed, "nuclei"))
    assert 0 < crops <= crossed
