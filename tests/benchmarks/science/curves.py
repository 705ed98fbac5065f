"""What validations of a training said: the rows of its `curves.csv`."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

Row = dict[str, str]


def validations(place: Path, name: str) -> list[Row]:
    """Return the rows of a training; of several trainings of the name, those of the newest.

    Parameters
    ----------
    place
        Folder of the task.
    name
        Of the network.
    """
    found = (place / ".training").glob(f"{name}-{'[0-9a-f]' * 12}/curves.csv")
    newest = max(found, key=lambda curves: curves.stat().st_mtime_ns)
    return list(csv.DictReader(newest.read_text(encoding="utf-8").splitlines()))


def best_macro_f1(place: Path, name: str) -> float:
    """Return the highest macro F1 in any validation, that of the weights which are published."""
    return max(float(row["macro_f1"]) for row in validations(place, name))


def best_by_validation(place: Path, names: Iterable[str]) -> str:
    """Return the network that validated best."""
    return max(names, key=lambda name: best_macro_f1(place, name))
