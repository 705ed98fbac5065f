"""A results folder of one small nucleus, as a run leaves it, and what is known of it."""

from pathlib import Path

import pytest

from services.exports.reading import Nucleus, open_nucleus, open_results
from tests.support.results_builder import build_results


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return build_results(tmp_path / "out")


@pytest.fixture
def nucleus(out: Path) -> Nucleus:
    return open_nucleus(open_results(out), "n0001")
