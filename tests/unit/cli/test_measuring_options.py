"""How deep slices are taken to be, and which repairs are made: said in words, refused where they mean nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.app import app
from services.embedded.provenance import _said
from services.embedded.settings import RunSettings
from tests.support.toy_acquisition import write_toy

OLD = {"acquisition": "a", "slices": ["s"], "voxel_size": {"z_nm": 4, "y_nm": 4, "x_nm": 4}, "models": "m"}


@pytest.mark.parametrize(
    "said",
    [["--slice-thickness", "guessed"], ["--repair", "sharpen"], ["--repair", "gain,"], ["--repair", "gain,none"]],
)
def test_words_that_mean_nothing_are_refused(said: list[str], tmp_path: Path) -> None:
    slices = write_toy(tmp_path / "slices", planes=2)
    answer = CliRunner().invoke(app, ["run", str(slices), "--out", str(tmp_path / "out"), *said])
    assert answer.exit_code == 2
    assert not (tmp_path / "out" / ".state" / "run.json").exists()


def test_a_run_file_from_before_is_understood_and_says_nothing_of_them() -> None:
    settings = RunSettings.model_validate_json(json.dumps(OLD))
    assert (settings.slice_thickness, settings.repair) == ("nominal", ())
    assert not {"slice_thickness", "repair"} & _said(settings).keys()


def test_repairs_are_the_same_in_whatever_order_they_are_named() -> None:
    settings = [
        RunSettings.model_validate({**OLD, "repair": names}) for names in (["gain", "destripe"], ["destripe", "gain"])
    ]
    assert settings[0] == settings[1]
