"""`fibsem-nuclei export` and `figures` at the command line."""

from pathlib import Path

from typer.testing import CliRunner

from services.cli.app import app
from tests.support.results_builder import build_results


def called(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.replace("│", " ").split())


def test_help_has_examples() -> None:
    for verb in ("export", "figures"):
        code, text = called(verb, "--help")
        assert code == 0
        assert f"fibsem-nuclei {verb}" in text


def test_an_export_says_where_it_wrote(tmp_path: Path) -> None:
    out = build_results(tmp_path / "out")
    code, text = called("export", str(out), "--to", "csv", "--out", str(tmp_path / "tables"))
    assert code == 0
    assert "wrote 4" in text
    assert (tmp_path / "tables" / "nuclei.csv").exists()
    code, text = called("export", str(out), "--to", "csv", "--out", str(tmp_path / "tables"))
    assert "4 already there" in text


def test_an_unknown_format_is_refused_with_the_list(tmp_path: Path) -> None:
    code, text = called("export", str(build_results(tmp_path / "out")), "--to", "dicom")
    assert code == 2
    assert "ome-zarr-0.4" in text
