"""The verbs `annotations import | check | split | show` as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from services.cli.app import app
from services.trainer.annotations.findings import AnnotationsRefusedError

MAP = '[values]\n0 = "nucleoplasm"\n1 = "chromosome"\n'


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["annotations", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result.stdout


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Ten images, 40 planes apart, with masks and a class map."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(10):
        rng = np.random.default_rng(number)
        mask = np.zeros((40, 48), np.uint8)
        mask[5 + number : 20 + number, 8:30] = 1
        grey = np.clip(200 - 60 * mask + rng.normal(0, 12, mask.shape), 0, 255).astype(np.uint8)
        tifffile.imwrite(tmp_path / "images" / f"n1_z{40 * number:04d}.tif", grey)
        tifffile.imwrite(tmp_path / "masks" / f"n1_z{40 * number:04d}_mask.tif", mask)
    (tmp_path / "map.toml").write_text(MAP)
    return tmp_path


def imported(inputs: Path, *options: object) -> str:
    given = ("--masks", inputs / "masks", "--map", inputs / "map.toml", "--out", inputs / "set", "--voxel-nm", "4")
    return run("import", inputs / "images", *given, *options)


def test_an_import_prints_classes_and_warnings_and_draws_the_page(inputs: Path) -> None:
    said = imported(inputs)
    assert "chromosome" in said
    assert "10 images, 0 with warnings, 0 files left out" in said
    assert (inputs / "set" / "report.html").read_text().count("<article") == 10


def test_json_is_all_that_is_printed_when_it_is_asked_for(inputs: Path) -> None:
    assert len(json.loads(imported(inputs, "--json", "--no-report"))["images"]) == 10
    assert not (inputs / "set" / "report.html").exists()
    assert json.loads(run("show", inputs / "set", "--json"))["voxel_size"] == {"z_nm": 4, "y_nm": 4, "x_nm": 4}
    made = json.loads(run("split", inputs / "set", "--out", inputs / "split.json", "--json"))
    assert made["kind"] == "z-block"
    assert made["leaks"] == []
    checked = json.loads(run("check", inputs / "set", "--split", inputs / "split.json", "--json"))
    assert checked == {"findings": [], "leaks": []}


def test_without_a_map_the_values_are_listed_and_nothing_is_written(inputs: Path) -> None:
    said = run("import", inputs / "images", "--masks", inputs / "masks", status=2)
    assert '1 = "?"' in said
    assert not (inputs / "set").exists()


def test_a_faulty_file_stops_the_import_and_names_itself(inputs: Path) -> None:
    tifffile.imwrite(inputs / "masks" / "n1_z0080_mask.tif", np.full((40, 48), 5, np.uint8))
    with pytest.raises(AnnotationsRefusedError, match=r"n1_z0080_mask\.tif"):
        imported(inputs)
    assert "1 files left out" in imported(inputs, "--skip-bad")


def test_changed_files_make_check_fail(inputs: Path) -> None:
    imported(inputs, "--no-report")
    tifffile.imwrite(inputs / "set" / "images" / "n1_z0000.tif", np.zeros((40, 48), np.uint8))
    assert "hash_mismatch n1_z0000" in run("check", inputs / "set", status=1)


def test_a_leaking_split_makes_check_fail_and_an_honest_one_passes(inputs: Path) -> None:
    imported(inputs, "--no-report")
    run("split", inputs / "set", "--out", inputs / "image.json", "--by", "image")
    said = run("check", inputs / "set", "--split", inputs / "image.json", "--distance-nm", "200", status=1)
    assert "leak: " in said
    run("split", inputs / "set", "--out", inputs / "place.json", "--distance-nm", "200")
    assert "0 leaks" in run("check", inputs / "set", "--split", inputs / "place.json", "--distance-nm", "200")


def test_show_names_the_part_of_each_image(inputs: Path) -> None:
    imported(inputs, "--no-report")
    run("split", inputs / "set", "--out", inputs / "split.json")
    run("show", inputs / "set", "--out", inputs / "page.html", "--split", inputs / "split.json")
    page = (inputs / "page.html").read_text()
    parts = [page.count(f'<span class="part">{part}</span>') for part in ("training", "validation", "test")]
    assert parts == [8, 1, 1]


@pytest.mark.parametrize("verb", ["import", "check", "split", "show"])
def test_every_verb_has_examples(verb: str) -> None:
    assert f"fibsem-nuclei annotations {verb}" in " ".join(run(verb, "--help").split())
