"""The command line: help with examples, errors that say what to do, and nothing that happens by accident."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.app import app
from services.cli.console import failure
from services.cli.options import voxel_size, voxel_size_in_name
from services.embedded.settings import STATE, OtherRunError, settle
from services.ingest.requests import DeclareMissing, Request, RequestBox
from services.runtime.errors import TransientError
from services.runtime.store.directory import DirectoryStore
from tests.support.toy_acquisition import toy_settings

VERBS = ("demo", "simulate", "run", "finish", "evaluate", "train", "predict", "status", "ledger", "reconcile")


def requests_of(out: Path) -> list[Request]:
    with closing(DirectoryStore(out / STATE / "store")) as store:
        waiting = list(RequestBox(store, "toy").waiting(()))
    return [request for _, request in waiting if not isinstance(request, Exception)]


def called(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    code, text = called(verb, "--help")
    assert code == 0
    assert f"fibsem-nuclei {verb}" in text.replace("\n", " ")


def test_an_unknown_option_is_refused() -> None:
    code, text = called("run", "--speed", "11")
    assert code == 2
    assert "--speed" in text


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    code, text = called("run", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out"))
    assert code == 2
    assert "does not exist" in " ".join(text.replace("│", " ").split())


def test_a_voxel_size_is_never_assumed(tmp_path: Path) -> None:
    (tmp_path / "slices").mkdir()
    (tmp_path / "slices" / "slice_0001.tif").touch()
    code, text = called("run", str(tmp_path / "slices"), "--out", str(tmp_path / "out"))
    assert code == 2
    assert "--voxel-nm" in text


@pytest.mark.parametrize("text", ["", "4,4", "4,4,4,4", "a,b,c", "0,4,4", "-4", "nan", "4,4,inf"])
def test_a_voxel_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="Z,Y,X"):
        voxel_size(text)


def test_names_state_voxel_sizes_as_x_by_y_by_z() -> None:
    found = voxel_size_in_name("phantom_s7_16x8x4nm.0012.tif")
    assert found is not None
    assert found.zyx_nm == (4.0, 8.0, 16.0)
    assert voxel_size_in_name("slice_0012.tif") is None


def test_status_of_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["status", str(tmp_path)])
    assert "holds no run" in str(result.exception)


def test_finish_leaves_a_request_for_the_run(tmp_path: Path) -> None:
    settle(tmp_path, toy_settings(tmp_path), joined=True)
    code, _ = called("finish", str(tmp_path))
    assert code == 0
    (request,) = requests_of(tmp_path)
    assert request.kind == "finish"


def test_declaring_slices_missing_records_who_and_why(tmp_path: Path) -> None:
    settle(tmp_path, toy_settings(tmp_path), joined=True)
    code, _ = called("declare-missing", str(tmp_path), "4", "6", "--reason", "beam lost")
    assert code == 0
    (request,) = requests_of(tmp_path)
    assert isinstance(request, DeclareMissing)
    assert (request.z_first, request.z_last, request.reason) == (4, 6, "beam lost")


def test_the_shipped_networks_are_listed_with_their_classes() -> None:
    code, text = called("models", "show", "complex", "--json")
    assert code == 0
    assert json.loads(text)["classes"]["chromosome"] == 2


def test_known_failures_are_one_line_and_bugs_are_not() -> None:
    assert failure(OtherRunError("choose another --out"))
    assert failure(TransientError("disk", "no space left on device"))
    assert not failure(KeyError("x"))
    assert not failure(ZeroDivisionError())
