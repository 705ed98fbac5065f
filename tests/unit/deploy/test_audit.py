"""An audit that could not ask is no success, whatever pip-audit says of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "deploy" / "audit.py"

CLEAN = {"name": "clean", "version": "1.0", "vulns": []}
SKIPPED = {"name": "hidden", "skip_reason": "Dependency not found on PyPI and could not be audited: hidden (1.0)"}
FAULTY = {"name": "faulty", "version": "2.0", "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["2.1"], "aliases": []}]}


def audited(folder: Path, stdout: str, status: int = 0, stderr: str = "") -> subprocess.CompletedProcess[str]:
    """Audit with a program that says what pip-audit would."""
    program = folder / "pip-audit"
    (folder / "said").write_text(stdout)
    program.write_text(f"#!/bin/sh\ncat {folder}/said\necho '{stderr}' >&2\nexit {status}\n")
    program.chmod(0o755)
    command = [sys.executable, str(SCRIPT), str(folder / "constraints.txt"), "--program", str(program)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("packages", "status", "said"),
    [
        ([CLEAN], 0, "no known vulnerability: 1 of 1"),
        ([CLEAN, FAULTY], 1, "faulty 2.0 has PYSEC-2026-1, mended in 2.1"),
        ([CLEAN, SKIPPED], 3, "AUDIT INCOMPLETE: 1 of 2"),
        ([SKIPPED, SKIPPED], 3, "AUDIT INCOMPLETE: 0 of 2"),
        ([SKIPPED, FAULTY], 1, "KNOWN VULNERABILITIES"),
    ],
)
def test_the_exit_status_tells_safe_from_unsafe_from_unknown(
    packages: list[object], status: int, said: str, tmp_path: Path
) -> None:
    # pip-audit ends with 0 where it skipped everything, and with 1 where it found something.
    done = audited(tmp_path, json.dumps({"dependencies": packages, "fixes": []}), int(FAULTY in packages))
    assert done.returncode == status
    assert said in done.stderr


@pytest.mark.parametrize("stdout", ["", "No known vulnerabilities found\n", "{}", '{"dependencies": []}', "[1]"])
def test_no_answer_at_all_is_no_success(stdout: str, tmp_path: Path) -> None:
    done = audited(tmp_path, stdout, 0, "Failed to resolve api.osv.dev")
    assert done.returncode == 3
    assert "no audit" in done.stderr
    assert "Failed to resolve api.osv.dev" in done.stderr
