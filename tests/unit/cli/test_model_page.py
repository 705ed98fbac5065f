"""The page beside a published network shows the scores of its card, whatever the network sees of a stack."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.cli.model_page import write_pages
from services.trainer.runs import train
from tests.unit.trainer.test_runs import RECIPE, workplace

SEES = {
    "planes": ("", ""),
    "neighbours": (", input_planes = 3", ""),
    "blocks": (", dimensions = 3", "patch_planes = 4\n"),
}


@pytest.mark.parametrize(
    "sees",
    ["planes", pytest.param("neighbours", marks=pytest.mark.slow), pytest.param("blocks", marks=pytest.mark.slow)],
)
def test_the_page_has_the_scores_of_the_card(tmp_path: Path, sees: str) -> None:
    architecture, optimiser = SEES[sees]
    recipe = tmp_path / "recipe.toml"
    short = RECIPE.replace("steps = 80", f"{optimiser}steps = 20").replace("validate_every = 40", "validate_every = 10")
    recipe.write_text(short.replace("base_channels = 4", f"base_channels = 4{architecture}"))
    place = workplace(tmp_path, [])
    (model,) = train(recipe, place, threads=1)
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    (page,) = write_pages(recipe, place, [model])
    text = page.read_text()
    assert page == model / "report.html"
    assert f"<h1>{model.name}</h1>" in text
    assert "seed-4-plane-" in text
    assert text.count("<svg") == 2
    for score in json.loads(before["card.json"])["scores"]["classes"]:
        assert f"{score['f1']:.3f}" in text
    # Its card, and so its address, stays what it was; nothing else is left.
    assert {path.name: path.read_bytes() for path in model.iterdir() if path != page} == before
    assert not list(place.work.glob(".page-*"))
    write_pages(recipe, place, [model])
    assert page.read_text() == text
