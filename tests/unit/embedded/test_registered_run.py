"""A run whose slices are registered: they lie where the stage stood, and bytes depend on nothing but slices."""

from __future__ import annotations

import csv
import random
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from services.embedded.amending import prepare
from services.embedded.run import Parts
from services.ingest.requests import FinishAcquisition, RequestBox
from services.runtime.segmenter.port import Normalisation, Plane, Segmented
from tests.support.grey_segmenter import GreySegmenter
from tests.support.moved_toy import stage_yx_px, write_moved_toy
from tests.support.toy_acquisition import VOXEL_NM, Runner, toy_settings
from tests.unit.embedded.test_run import ProcessDiedError, dying, finished, turns, watching

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


def test_a_registered_run_that_is_watched_in_any_order_gives_the_same_bytes(
    undisturbed: Runner, slices: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "slices"
    folder.mkdir()
    runner = watching(tmp_path / "out", folder, gaps="wait", **REGISTERED)
    names = sorted(path.name for path in slices.iterdir())
    rest = names[1:]
    random.Random(4).shuffle(rest)
    with closing(runner.start()) as run:
        for name in [names[0], *rest]:
            shutil.copy(slices / name, folder / name)
            turns(runner, run, 1)
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
