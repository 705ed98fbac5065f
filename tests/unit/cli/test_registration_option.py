"""How slices are laid on one another is said in one word or three."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.app import app
from services.embedded.amending import NothingToAmendError
from services.embedded.settings import RunSettings, settle
from tests.support.toy_acquisition import toy_settings, write_toy


@pytest.mark.parametrize("said", ["spline", "rigid,kept,x", "rigid,kept,4,5", "affine,mostly", "translation,zero,-1"])
def test_a_registration_that_is_none_is_refused(said: str, tmp_path: Path) -> None:
    slices = write_toy(tmp_path / "slices", planes=2)
    answer = CliRunner().invoke(app, ["run", str(slices), "--out", str(tmp_path / "out"), "--registration", said])
    assert answer.exit_code == 2
    assert not (tmp_path / "out" / ".state" / "run.json").exists()


def test_a_run_file_from_before_registration_was_there_is_understood() -> None:
    old = {"acquisition": "a", "slices": ["s"], "voxel_size": {"z_nm": 4, "y_nm": 4, "x_nm": 4}, "models": "m"}
    settings = RunSettings.model_validate_json(json.dumps(old))
    assert settings.registration == "none"


def test_amend_refines_only_what_was_registered(tmp_path: Path) -> None:
    before, after = tmp_path / "out", tmp_path / "refined"
    (tmp_path / "slices").mkdir()
    settle(before, toy_settings(tmp_path / "slices"), joined=True)
    (before / "MANIFEST.sha256").write_text("")
    answer = CliRunner().invoke(app, ["amend", str(before), "--out", str(after), "--refine"])
    assert isinstance(answer.exception, NothingToAmendError)
    assert "without registration" in str(answer.exception)
    assert not after.exists()
