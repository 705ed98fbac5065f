"""Scores stand beside their goals, as JSON and as a table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.science.results import Result, Score, markdown, write
from tests.benchmarks.science.scoring import ahead, dice, jaccard, macro, scored

NETWORK = {
    "folder": "m", "parameters": 2_143_000, "seed": 7, "steps": 400, "patches": 1600, "wall_s": 90.0,
    "processor_s": 150.0,
}  # fmt: skip
RESULT = Result(
    "Toy",
    "Training z 1; test z 9.",
    [
        Score("Dice", 0.94, 0.9, 0.96, "Dice .911", 0.93),
        Score("other", 0.5),
        Score("short", 0.9299, None, None, "", 0.93),
    ],
    {"net": NETWORK},
    "2 cores",
    12.0,
    ["A remark."],
)


def test_the_table_says_whether_a_goal_is_met() -> None:
    rows = [line for line in markdown(RESULT).splitlines() if line.startswith("| ")]
    assert "| Dice | 0.9400 | 0.900 to 0.960 | Dice .911 | >= 0.93 | yes |" in rows
    assert "| other | 0.5000 |  |  |  |  |" in rows
    assert "| short | 0.9299 |  |  | >= 0.93 | no |" in rows
    assert "| net | 2.143 M | 7 | 400 | 1600 | 1.5 | 2.5 |" in rows


def test_the_page_names_machine_and_time() -> None:
    assert "- 12 minutes on the clock in all, on 2 cores." in markdown(RESULT)


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    table: list[int] = []
    for line in markdown(RESULT).splitlines():
        if line.startswith("|"):
            table.append(line.count("|"))
        else:
            assert len(set(table)) <= 1
            table = []


def test_json_holds_what_the_table_holds(tmp_path: Path) -> None:
    write(RESULT, tmp_path)
    read = json.loads((tmp_path / "result.json").read_text())
    assert [score["met"] for score in read["scores"]] == [True, None, False]
    assert read["networks"]["net"]["seed"] == 7
    assert read["machine"] == "2 cores"
    assert (tmp_path / "result.md").read_text() == markdown(RESULT)


def test_a_result_is_written_again_over_an_older_one(tmp_path: Path) -> None:
    write(RESULT, tmp_path)
    write(replace(RESULT, minutes=30.0), tmp_path)
    assert json.loads((tmp_path / "result.json").read_text())["minutes"] == 30.0


def counts(hits: int, missed: int, invented: int) -> list[list[int]]:
    return [[100, invented], [missed, hits]]


def test_dice_and_jaccard_are_of_all_images_together() -> None:
    images = np.array([counts(8, 2, 0), counts(30, 0, 10)])
    assert scored(images, dice(1))[0] == pytest.approx(2 * 38 / (2 * 38 + 2 + 10))
    assert scored(images, jaccard(1))[0] == pytest.approx(38 / 50)


def test_macro_is_the_mean_over_classes_that_occur() -> None:
    image = np.array([[[10, 0, 0], [0, 5, 5], [0, 0, 0]]])
    # F1 of classes 0, 1 and 2: 1, 2 * 5 / 15, 0.
    assert scored(image, macro)[0] == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_one_image_has_no_interval() -> None:
    assert scored(np.array([counts(8, 2, 0)]), dice(1))[1:] == (None, None)
    assert ahead(np.array([counts(8, 2, 0)]), np.array([counts(8, 2, 0)]), dice(1))[1:] == (None, None)


def test_an_interval_holds_its_value_and_widens_as_images_differ() -> None:
    alike = np.array([counts(90, 10, 10)] * 12)
    apart = np.array([counts(70 + 20 * (k % 2) * 2, 30 - 10 * (k % 2), 10) for k in range(12)])
    for images in (alike, apart):
        value, low, high = scored(images, dice(1))
        assert low is not None
        assert high is not None
        assert low - 1e-12 <= value <= high + 1e-12
    low_alike, high_alike = scored(alike, dice(1))[1:]
    low_apart, high_apart = scored(apart, dice(1))[1:]
    assert (high_alike or 0) - (low_alike or 0) < (high_apart or 0) - (low_apart or 0)


def test_differences_are_of_the_same_images() -> None:
    """Images that are hard for both do not widen the interval of a difference that is the same on all."""
    ours = np.array([counts(50 + 4 * k, 50 - 4 * k, 10) for k in range(12)])
    value, low, high = ahead(ours, ours, dice(1))
    assert (value, low, high) == (0.0, 0.0, 0.0)
