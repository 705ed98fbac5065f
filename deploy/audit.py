"""Asks whether the pinned packages have known vulnerabilities: ``make audit``; `pip-audit` does the asking.

Exit status: 0, every package was asked about and none has any; 1, some have; 3, at least one could not be asked about,
as where no vulnerability service can be reached. `pip-audit` itself calls that a success.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NONE_KNOWN, SOME_KNOWN, NOT_ASKED = 0, 1, 3


def ask(program: Path, constraints: Path, service: str) -> tuple[list[dict[str, Any]] | None, str]:
    """Return what is said of each package, None if there was no answer, and what was said besides."""
    command = [str(program), "--requirement", str(constraints), "--no-deps", "--disable-pip", "--format", "json"]
    command += ["--progress-spinner", "off", "--vulnerability-service", service]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return None, done.stderr
    return found, done.stderr


def judged(packages: Sequence[dict[str, Any]]) -> tuple[int, list[str]]:
    """Return the exit status, and a line for each package that has a fault or was not asked about.

    >>> judged([{"name": "a", "version": "1", "vulns": []}])
    (0, [])
    >>> judged([{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "not found"}])
    (3, ['not asked about: b (not found)'])
    >>> judged([{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}, {"name": "b"}])
    (1, ['a 1 has CVE-1, mended in 2', 'not asked about: b (no reason given)'])
    """
    bad = [
        f"{each['name']} {each['version']} has {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'none'}"
        for each in packages
        for fault in each.get("vulns", ())
    ]
    skipped = [
        f"not asked about: {package['name']} ({package.get('skip_reason', 'no reason given')})"
        for package in packages
        if "vulns" not in package
    ]
    return (SOME_KNOWN if bad else NOT_ASKED if skipped else NONE_KNOWN), bad + skipped


def main(argv: Sequence[str] | None = None) -> int:
    """Ask, say what was found, return the exit status."""
    parser = argparse.ArgumentParser(description="Ask whether pinned packages have known vulnerabilities.")
    parser.add_argument("constraints", type=Path, help="file of pins")
    parser.add_argument("--program", type=Path, default=Path("pip-audit"), help="pip-audit (default: on the path)")
    parser.add_argument("--service", choices=("pypi", "osv"), default="pypi", help="whom it asks (default: pypi)")
    said = parser.parse_args(argv)
    packages, errors = ask(said.program, said.constraints, said.service)
    if not packages:
        last = errors.strip().splitlines()[-1:] or ["it said nothing"]
        sys.stderr.write(f"no audit: the vulnerability service {said.service!r} gave no answer ({last[0]})\n")
        return NOT_ASKED
    status, lines = judged(packages)
    sys.stderr.writelines(f"{line}\n" for line in lines)
    asked = sum("vulns" in package for package in packages)
    summary = {NONE_KNOWN: "no known vulnerability", SOME_KNOWN: "KNOWN VULNERABILITIES", NOT_ASKED: "AUDIT INCOMPLETE"}
    sys.stderr.write(f"{summary[status]}: {asked} of {len(packages)} packages were asked about\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
