"""A run whose slices are registered: they lie where the stage stood, and bytes depend on nothing but slices."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import tifffile

from services.embedded.amending import NothingToAmendError, prepare
from services.embedded.run import Parts
from services.embedded.settings import RUN_FILE
from services.evaluation.reading import PredictedNucleus, read_prediction
from services.ingest.requests import FinishAcquisition, RequestBox
from services.runtime.segmenter.port import Normalisation, Plane, Segmented
from tests.support.grey_segmenter import GreySegmenter
from tests.support.moved_toy import moved_slice, stage_yx_px, write_moved_toy
from tests.support.toy_acquisition import VOXEL_NM, Runner, slice_name, toy_settings
from tests.unit.embedded.test_run import ProcessDiedError, deliver_in_any_order, dying, finished, watching

REGISTERED = {"registration": "translation", "registration_trend": "zero"}


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_moved_toy(tmp_path_factory.mktemp("moved") / "slices")


@pytest.fixture(scope="module")
def undisturbed(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    runner = Runner(tmp_path_factory.mktemp("undisturbed"), toy_settings(slices, **REGISTERED))
    runner.to_the_end()
    return runner


def places(out: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    with (out / "transforms.csv").open(newline="") as table:
        return np.array([(float(row["shift_y_px"]), float(row["shift_x_px"])) for row in csv.DictReader(table)])


def test_slices_lie_where_the_stage_stood(undisturbed: Runner) -> None:
    off = places(undisturbed.out) - stage_yx_px()
    assert np.sqrt(((off - off.mean(axis=0)) ** 2).sum(axis=1).mean()) < 1.0
    assert np.sqrt((np.diff(off, axis=0) ** 2).sum(axis=1).mean()) < 0.5


def largest_nucleus(out: Path) -> PredictedNucleus:
    return max(read_prediction(out), key=lambda nucleus: np.count_nonzero(nucleus.classes.read(nucleus.classes.grids)))


def test_results_are_read_where_they_lay_in_the_slices(undisturbed: Runner, slices: Path, tmp_path: Path) -> None:
    steady = Runner(tmp_path / "steady", toy_settings(slices))
    steady.to_the_end()
    unmoved, moved = largest_nucleus(steady.out), largest_nucleus(undisturbed.out)
    labels, found = (nucleus.classes.read(unmoved.classes.grids) for nucleus in (unmoved, moved))
    assert np.count_nonzero(labels) > 10_000
    # Cleaning in z sees neighbours that lie on one another, or do not.
    assert np.count_nonzero(labels != found) < 0.02 * np.count_nonzero(labels)


def test_a_registered_run_that_is_watched_in_any_order_gives_the_same_bytes(
    undisturbed: Runner, slices: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "slices"
    folder.mkdir()
    runner = watching(tmp_path / "out", folder, gaps="wait", **REGISTERED)
    with closing(runner.start()) as run:
        deliver_in_any_order(runner, run, slices, folder, seed=4)
        RequestBox(run.store, runner.settings.acquisition).leave(FinishAcquisition())
        assert finished(runner, run) == undisturbed.manifest()


def test_a_registered_run_killed_again_and_again_gives_the_same_bytes(
    undisturbed: Runner, slices: Path, tmp_path: Path
) -> None:
    runner = Runner(tmp_path / "out", toy_settings(slices, **REGISTERED))
    for kill in range(8):
        parts = Parts(segmenter=GreySegmenter(VOXEL_NM), store=dying(17 * kill + 3, durable=kill % 2 == 0))
        try:
            Runner(runner.out, runner.settings, parts=parts).to_the_end()
        except ProcessDiedError:
            continue
    assert runner.to_the_end() == undisturbed.manifest()


class CountingSegmenter(GreySegmenter):
    """Counts the crops it is given."""

    crops = 0

    def segment(self, crops: Sequence[Plane], normalisation: Normalisation) -> Sequence[Segmented]:
        CountingSegmenter.crops += len(crops)
        return super().segment(crops, normalisation)


def test_another_rule_makes_another_version_without_segmenting_again(undisturbed: Runner, tmp_path: Path) -> None:
    settings = prepare(undisturbed.out, tmp_path / "kept", changes={"registration_trend": "kept"})
    CountingSegmenter.crops = 0
    amended = Runner(tmp_path / "kept", settings, parts=Parts(segmenter=CountingSegmenter(VOXEL_NM)))
    assert amended.to_the_end() != undisturbed.manifest()
    assert CountingSegmenter.crops == 0
    assert not np.allclose(places(amended.out), places(undisturbed.out))


def straightness_px(out: Path) -> float:
    """Return how unsteady slices lie after registration, rms of steps from slice to slice, in pixels."""
    return float(np.sqrt((np.diff(places(out) - stage_yx_px(), axis=0) ** 2).sum(axis=1).mean()))


def refining(before: Path, after: Path, **changes: str) -> Runner:
    """Return a run of a version whose slices are placed by all of them at once."""
    settings = prepare(before, after, changes=changes, refine=True)
    return Runner(after, settings, parts=Parts(segmenter=CountingSegmenter(VOXEL_NM)))


@pytest.fixture(scope="module")
def refined(undisturbed: Runner, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    CountingSegmenter.crops = 0
    runner = refining(undisturbed.out, tmp_path_factory.mktemp("versions") / "refined")
    runner.to_the_end()
    return runner


def test_refined_places_make_another_version_without_segmenting_again(undisturbed: Runner, refined: Runner) -> None:
    assert CountingSegmenter.crops == 0
    assert refined.manifest() != undisturbed.manifest()
    assert straightness_px(refined.out) <= straightness_px(undisturbed.out)
    off = places(refined.out) - stage_yx_px()
    assert np.sqrt(((off - off.mean(axis=0)) ** 2).sum(axis=1).mean()) < 1.0
    said = json.loads((refined.out / "provenance.json").read_text())["settings"]
    assert said["registration_solution"]
    assert "registration_solution" not in json.loads((undisturbed.out / "provenance.json").read_text())["settings"]


def test_refined_first_places_are_those_of_the_earlier_version(undisturbed: Runner, refined: Runner) -> None:
    def first(out: Path) -> list[tuple[str, str]]:
        with (out / "transforms.csv").open(newline="") as table:
            return [(row["first_shift_y_px"], row["first_shift_x_px"]) for row in csv.DictReader(table)]

    assert first(refined.out) == first(undisturbed.out)


def test_a_refined_version_made_again_or_killed_meanwhile_has_the_same_bytes(
    undisturbed: Runner, refined: Runner, tmp_path: Path
) -> None:
    assert refining(undisturbed.out, refined.out).to_the_end() == refined.manifest()
    for kill in range(4):
        again = refining(undisturbed.out, tmp_path / "again")
        parts = Parts(segmenter=GreySegmenter(VOXEL_NM), store=dying(23 * kill + 3, durable=kill % 2 == 0))
        try:
            Runner(again.out, again.settings, parts=parts).to_the_end()
        except ProcessDiedError:
            continue
    assert refining(undisturbed.out, tmp_path / "again").to_the_end() == refined.manifest()


def test_a_slice_that_was_replaced_since_lies_beside_the_one_before_it(
    refined: Runner, slices: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "slices"
    shutil.copytree(slices, folder)
    # The stage stood elsewhere when this slice was taken again.
    stage = stage_yx_px()
    stage[20] += (3, -4)
    tifffile.imwrite(folder / slice_name(20), moved_slice(20, stage))
    settings = prepare(refined.out, tmp_path / "late").model_copy(update={"slices": (folder,)})
    late = Runner(tmp_path / "late", settings)
    (late.out / RUN_FILE).unlink()
    late.to_the_end()
    before, after = places(refined.out), places(late.out)
    others = np.arange(len(before)) != 20
    assert np.array_equal(after[others], before[others])
    assert after[20] - before[20] == pytest.approx((3, -4), abs=0.5)


def test_a_run_without_registration_is_not_refined(slices: Path, tmp_path: Path) -> None:
    runner = Runner(tmp_path / "plain", toy_settings(slices, last_z=5))
    runner.to_the_end()
    with pytest.raises(NothingToAmendError, match="without registration"):
        prepare(runner.out, tmp_path / "refined", refine=True)
    with pytest.raises(NothingToAmendError, match="amend it with --registration first"):
        prepare(runner.out, tmp_path / "refined", changes=REGISTERED, refine=True)
    assert not (tmp_path / "refined").exists()


def test_a_slice_that_agrees_with_none_before_it_is_counted(slices: Path, tmp_path: Path) -> None:
    folder = tmp_path / "slices"
    shutil.copytree(slices, folder)
    other = np.random.default_rng(3).integers(100, 200, moved_slice(0, stage_yx_px()).shape)
    tifffile.imwrite(folder / slice_name(6), other.astype(np.uint8))
    runner = Runner(tmp_path / "out", toy_settings(folder, last_z=11, **REGISTERED))
    with closing(runner.start()) as run:
        runner.complete(run)
        assert 'fibsem_slices_unlinked_total{acquisition="toy"} 1.0' in run.metrics.render().decode()
    with (runner.out / "transforms.csv").open(newline="") as table:
        assert [row["z"] for row in csv.DictReader(table) if row["linked"].lower() == "false"] == ["6"]
