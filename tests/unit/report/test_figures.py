"""Figures 7 to 10: every format, text as text, the same bytes every time, the scale bar as long as it says."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from services.report.content import ResultsFormatError
from services.report.figures import write_figures
from tests.support.results_builder import FakeNucleus, build_results

NAMES = ("fig7-8-classes", "fig9-membrane", "fig10-chromosomes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("figures")
    write_figures(build_results(root / "out"), root / "figures", dpi=72)
    return root / "figures"


def test_every_figure_comes_as_png_pdf_and_svg(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"n0001-{name}.{end}" for name in NAMES for end in ("png", "pdf", "svg")
    )


def test_lettering_is_text_that_an_editor_can_change(folder: Path) -> None:
    svg = (folder / "n0001-fig10-chromosomes.svg").read_text()
    for text in ("All chromosomes", "Chromosome 12", "\u00b5m"):
        assert text in svg


def test_figures_are_as_wide_as_two_columns(folder: Path) -> None:
    with Image.open(folder / "n0001-fig7-8-classes.png") as picture:
        assert picture.width == round(7.09 * 72)


def test_colours_are_the_manuscripts(folder: Path) -> None:
    with Image.open(folder / "n0001-fig7-8-classes.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    red, green, blue = np.moveaxis(pixels, -1, 0)
    assert ((red > 180) & (green > 130) & (blue < 100)).any()
    assert ((blue > 150) & (red < 110)).any()


def test_the_same_results_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    out = build_results(tmp_path / "out")
    for path in write_figures(out, tmp_path / "figures", dpi=72):
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_an_unknown_nucleus_is_refused(tmp_path: Path) -> None:
    out = build_results(tmp_path / "out", (FakeNucleus("n0001"),))
    with pytest.raises(ResultsFormatError, match="n0001"):
        write_figures(out, tmp_path / "figures", ("n0002",))
