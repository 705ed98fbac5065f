"""Real data for the tests that read it: left out where it is absent, unless it is required."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option by which CI makes sure that these tests ran."""
    parser.addoption("--require-data", action="store_true", help="fail, instead of skipping, where real data is absent")


@pytest.fixture
def real_data(request: pytest.FixtureRequest) -> Path:
    """Return the folder of real electron-microscopy data beside the project."""
    if not DATA.is_dir():
        missing = f"the real data is not beside the project ({DATA})"
        if request.config.getoption("--require-data"):
            pytest.fail(missing)
        pytest.skip(missing)
    return DATA
