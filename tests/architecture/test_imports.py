"""The import contracts hold, hold for every package, and would be noticed if they did not."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = ROOT / ".importlinter"
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the `services` package that lies in `folder` with the contracts that lie there."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1"}  # noqa: TID251 - handed on to a child
    return subprocess.run(
        [sys.executable, "-c", LINT], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_import_contracts_hold() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_is_ignored() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(CONTRACTS)
    options = {option for section in contracts.sections() for option in contracts.options(section)}
    assert not {option for option in options if "ignore" in option or option.startswith("unmatched")}
    assert not list(ROOT.glob("setup.cfg"))
    assert "[tool.importlinter" not in (ROOT / "pyproject.toml").read_text()


def packages() -> list[str]:
    """Return every package below `services`."""
    return sorted(path.name for path in (ROOT / "services").iterdir() if (path / "__init__.py").exists())


def skeleton(folder: Path, contents: Mapping[str, str]) -> Path:
    """Write a `services` package of the same packages, all empty but for some modules."""
    (folder / "services").mkdir()
    (folder / "services" / "__init__.py").touch()
    (folder / ".importlinter").write_text(CONTRACTS.read_text())
    for package in packages():
        (folder / "services" / package).mkdir()
        (folder / "services" / package / "__init__.py").touch()
    for module, text in contents.items():
        path = folder / "services" / module
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


FORBIDDEN = {
    "a service imports another": {"ingest/a.py": "import services.extract\n"},
    "the runtime imports a service": {"runtime/a.py": "import services.ingest\n"},
    "contracts import the runtime": {"contracts/a.py": "import services.runtime\n"},
    "imaging imports contracts": {"imaging/a.py": "import services.contracts\n"},
    "contracts import imaging": {"contracts/a.py": "import services.imaging\n"},
    "a service imports the command line": {"report/a.py": "import services.cli\n"},
    "the embedded system imports the command line": {"embedded/a.py": "import services.cli\n"},
    "imaging looks at a clock": {"imaging/a.py": "import time\n"},
    "imaging logs by way of another module": {
        "imaging/a.py": "import services.imaging.b\n",
        "imaging/b.py": "import structlog\n",
    },
    "a service talks to the broker itself": {"ingest/a.py": "import kafka\n"},
    "a service measures past the port": {"inference/a.py": "import prometheus_client\n"},
    "a new package takes no place": {"bypass/__init__.py": "\n"},
}


def test_an_empty_skeleton_passes(tmp_path: Path) -> None:
    done = lint(skeleton(tmp_path, {}))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("what", FORBIDDEN)
def test_an_import_that_points_the_wrong_way_is_found(tmp_path: Path, what: str) -> None:
    done = lint(skeleton(tmp_path, FORBIDDEN[what]))
    assert done.returncode == 1, done.stdout + done.stderr
