"""The rows of the failure matrix, as tests record them, and as a table: `python -m tests.system.matrix FOLDER`.

Tests write rows, one JSON per line, into the folder that `FIBSEM_TEST_MATRIX` names, one file per test; a later run of
a test replaces its file. Without the variable nothing is written.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class MatrixSettings(BaseSettings):
    """Where rows are written."""

    model_config = SettingsConfigDict(env_prefix="FIBSEM_TEST_", extra="ignore")

    matrix: Path | None = Field(default=None, description="folder for the rows of the failure matrix")


class Row(BaseModel):
    """One fault.

    Attributes
    ----------
    injected
        What was done to the system.
    checked
        The invariants that were looked at, or the alert by its name.
    seconds
        From the end of the fault (a death; the server's return) to what `until` says; None where nothing is timed.
    until
        What ended the measurement.
    result, test
        What became of the test that injected it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    injected: str
    checked: str
    seconds: float | None = None
    until: str = ""
    result: Literal["passed", "failed"] = "failed"
    test: str = ""


@dataclass(slots=True)
class Rows:
    """Takes the rows of one test."""

    taken: list[Row] = field(default_factory=list)

    def add(self, injected: str, checked: str, seconds: float | None = None, until: str = "next progress") -> None:
        """Take a row."""
        told = until if seconds is not None else ""
        self.taken.append(Row(injected=injected, checked=checked, seconds=seconds, until=told))

    def write(self, test: str, *, passed: bool) -> None:
        """Write them where the environment says."""
        folder = MatrixSettings().matrix
        if folder is None or not self.taken:
            return
        folder.mkdir(parents=True, exist_ok=True)
        told = {"test": test, "result": "passed" if passed else "failed"}
        lines = [row.model_copy(update=told).model_dump_json() + "\n" for row in self.taken]
        (folder / f"{re.sub('[^A-Za-z0-9]+', '-', test)}.jsonl").write_text("".join(lines))


def rows_of(folder: Path) -> Iterator[Row]:
    """Yield every row that was written to a folder."""
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text().splitlines():
            yield Row.model_validate_json(line)


def table(folder: Path) -> str:
    """Return the rows of a folder as a table in Markdown."""
    lines = ["| injected | checked | result | seconds | until | test |", "|---|---|---|---|---|---|"]
    for row in rows_of(folder):
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        lines.append(f"| {row.injected} | {row.checked} | {row.result} | {seconds} | {row.until} | `{row.test}` |")
    return "\n".join(lines)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        sys.stdout.write(table(Path(name)) + "\n")
