"""A slice that came after its z was decided makes an amended version, and touches nothing else."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tifffile

from services.embedded.amending import NothingToAmendError, prepare, write_identities
from services.embedded.run import Parts
from services.runtime.segmenter.port import Normalisation, Plane, Segmented
from tests.support.grey_segmenter import GreySegmenter
from tests.support.moved_toy import moved_slice, stage_yx_px, write_moved_toy
from tests.support.toy_acquisition import VOXEL_NM, Runner, slice_name, toy_settings, toy_slice, write_toy

PLANES = 46
LATE = 24


class CountingSegmenter(GreySegmenter):
    """Counts the crops it is given."""

    crops = 0

    def segment(self, crops: Sequence[Plane], normalisation: Normalisation) -> list[Segmented]:
        self.crops += len(crops)
        return list(super().segment(crops, normalisation))


def runner(out: Path, folder: Path, **settings: object) -> Runner:
    return Runner(out, toy_settings(folder, **settings), parts=Parts(segmenter=CountingSegmenter(VOXEL_NM)))


def crops_of(run: Runner) -> int:
    assert isinstance(run.parts.segmenter, CountingSegmenter)
    return run.parts.segmenter.crops


def objects_of(out: Path) -> set[tuple[str, int]]:
    return {(row["nucleus_id"], row["object_id"]) for row in pq.read_table(out / "objects.parquet").to_pylist()}


@pytest.fixture
def amended(tmp_path: Path) -> tuple[Runner, Runner, Path]:
    """Return a run without one slice, its amended version with it, and the folder of slices."""
    folder = write_toy(tmp_path / "slices", PLANES)
    (folder / slice_name(LATE)).unlink()
    first = runner(tmp_path / "first", folder)
    first.to_the_end()
    tifffile.imwrite(folder / slice_name(LATE), toy_slice(LATE))
    second = runner(tmp_path / "second", folder)
    second.settings = prepare(first.out, second.out)
    second.to_the_end()
    write_identities(first.out, second.out)
    return first, second, folder


@pytest.mark.slow
def test_a_late_slice_gives_what_a_run_with_every_slice_gives(
    amended: tuple[Runner, Runner, Path], tmp_path: Path
) -> None:
    first, second, folder = amended
    earlier = first.manifest()
    complete = runner(tmp_path / "complete", folder)
    assert complete.to_the_end() == second.manifest() != earlier
    assert 0 < crops_of(second) <= 8 < crops_of(complete)


@pytest.mark.slow
def test_a_late_slice_of_a_registered_run_does_too_and_leaves_other_crops_alone(tmp_path: Path) -> None:
    registered = {"registration": "translation", "registration_trend": "zero"}
    folder = write_moved_toy(tmp_path / "slices")
    (folder / slice_name(LATE)).unlink()
    first = runner(tmp_path / "first", folder, **registered)
    first.to_the_end()
    tifffile.imwrite(folder / slice_name(LATE), moved_slice(LATE, stage_yx_px()))
    second = runner(tmp_path / "second", folder)
    second.settings = prepare(first.out, second.out)
    complete = runner(tmp_path / "complete", folder, **registered)
    assert second.to_the_end() == complete.to_the_end() != first.manifest()
    assert 0 < crops_of(second) <= 8 < crops_of(complete)


@pytest.mark.slow
def test_every_identity_of_both_versions_is_accounted_for(amended: tuple[Runner, Runner, Path]) -> None:
    first, second, _ = amended
    rows = list(csv.DictReader((second.out / "identities.csv").read_text().splitlines()))
    before = {(row["nucleus_before"], int(row["object_before"])) for row in rows if int(row["object_before"])}
    after = {(row["nucleus_after"], int(row["object_after"])) for row in rows if int(row["object_after"])}
    assert before == objects_of(first.out)
    assert after == objects_of(second.out)
    kept = [row for row in rows if row["nucleus_before"] and row["object_before"] == "0"]
    assert [(row["nucleus_before"], row["nucleus_after"]) for row in kept] == [
        (row["nucleus_before"], row["nucleus_before"]) for row in kept
    ]
    assert all(int(row["shared_voxels"]) > 0 for row in kept)


def test_a_run_that_is_not_finished_cannot_be_amended(tmp_path: Path) -> None:
    with pytest.raises(NothingToAmendError, match="finish it first"):
        prepare(tmp_path / "nothing", tmp_path / "second")
