"""Quality of slices from the first pixel to the tables: judged in order, told as events, marked on what they cross."""

from __future__ import annotations

import csv
import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import tifffile

from services.embedded.run import EmbeddedRun
from tests.support.toy_acquisition import Runner, slice_name, toy_settings, toy_slice, write_toy

PLANES, BRIGHT, MISSING = 30, 20, 12


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an acquisition with one bright slice and one that is missing."""
    folder = write_toy(tmp_path_factory.mktemp("toy") / "slices", PLANES)
    (folder / slice_name(MISSING)).unlink()
    brighter = np.clip(toy_slice(BRIGHT).astype(int) + 30, 0, 255).astype(np.uint8)
    tifffile.imwrite(folder / slice_name(BRIGHT), brighter)
    return folder


@pytest.fixture(scope="module")
def undisturbed(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    runner = Runner(tmp_path_factory.mktemp("undisturbed"), toy_settings(slices))
    runner.to_the_end()
    return runner


def table(runner: Runner, name: str) -> list[dict[str, str]]:
    with (runner.out / f"{name}.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_every_slice_has_a_row_the_missing_one_too(undisturbed: Runner) -> None:
    rows = table(undisturbed, "slices")
    assert [int(row["z"]) for row in rows] == list(range(PLANES))
    assert rows[MISSING]["absent"] == "MISSING"
    assert rows[MISSING]["reliable"] == "false"
    assert rows[MISSING - 1]["reliable"] == "true"
    assert float(rows[5]["mean_grey"]) == pytest.approx(toy_slice(5).mean(), abs=0.01)


def test_the_bright_slice_is_flagged_and_told(undisturbed: Runner) -> None:
    assert "brightness_step" in table(undisturbed, "slices")[BRIGHT]["troubles"].split(",")
    events = [json.loads(line) for line in (undisturbed.out / "events.jsonl").read_text().splitlines()]
    told = {event["z"]: event for event in events if event["event"] == "slice_trouble"}
    assert "brightness_step" in [trouble["trouble"] for trouble in told[BRIGHT]["troubles"]]
    assert MISSING not in told


def test_a_slice_without_any_grey_calls_like_one_without_structure(tmp_path: Path) -> None:
    folder = tmp_path / "slices"
    folder.mkdir()
    for z in range(12, 22):
        tifffile.imwrite(folder / slice_name(z), toy_slice(z) if z != 18 else np.full_like(toy_slice(z), 128))
    runner = Runner(tmp_path / "out", toy_settings(folder))
    with closing(runner.start()) as run:
        runner.complete(run)
        assert 'fibsem_slices_troubled_total{acquisition="toy",reason="blank"} 1.0' in run.metrics.render().decode()
    events = [json.loads(line) for line in (runner.out / "events.jsonl").read_text().splitlines()]
    told = [event for event in events if event["event"] == "slice_trouble" and "absent" in event]
    assert [(event["z"], event["absent"]) for event in told] == [(18, "BLANK")]


def test_nuclei_and_objects_say_how_many_such_slices_they_span(undisturbed: Runner) -> None:
    unreliable = {int(row["z"]) for row in table(undisturbed, "slices") if row["reliable"] == "false"}
    assert {MISSING, BRIGHT} <= unreliable
    for nucleus in table(undisturbed, "nuclei"):
        spanned = unreliable & set(range(int(nucleus["z_first"]), int(nucleus["z_last"]) + 1))
        assert int(nucleus["unreliable_slices"]) == len(spanned)
    objects = table(undisturbed, "objects")
    assert any(int(row["unreliable_slices"]) > 0 for row in objects)
    for row in objects:
        assert int(row["unreliable_slices"]) == len(unreliable & set(range(int(row["z0"]), int(row["z1"]))))


@pytest.mark.parametrize("turns_between_kills", [3, 7])
def test_a_run_killed_again_and_again_judges_the_same(
    undisturbed: Runner, slices: Path, tmp_path: Path, turns_between_kills: int
) -> None:
    runner = Runner(tmp_path / "out", toy_settings(slices))
    for _ in range(8):
        run: EmbeddedRun = runner.start()
        try:
            for _ in range(turns_between_kills):
                if not run.complete:
                    run.turn()
        finally:
            run.close()
    runner.to_the_end()
    assert runner.manifest() == undisturbed.manifest()
