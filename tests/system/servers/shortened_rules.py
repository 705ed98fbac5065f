"""The deployed rules with every duration divided, so that a test need not wait for an hour to be called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.system.servers.prometheus import RULES

UNITS_S: Mapping[str, int] = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# `[10m]` and `offset 10m`; the names of recording rules hold durations too, and stay.
DURATION = re.compile(r"(?P<before>\[|\boffset )(?P<number>\d+)(?P<unit>[smhd])")
# Durations that stand in expressions as plain seconds.
SECONDS: Mapping[str, tuple[str, float]] = {"PipelineStuck": ("< 60", 60.0), "DiskWillFill": ("48 * 3600", 172_800.0)}


class UnknownDurationError(ValueError):
    """A rule no longer holds the seconds that were to be divided: correct `SECONDS`."""


def divided(duration: str, factor: float) -> str:
    """Return a duration of Prometheus divided by a factor.

    >>> divided("2m", 30)
    '4000ms'
    """
    return f"{round(1000 * int(duration[:-1]) * UNITS_S[duration[-1]] / factor)}ms"


def _shortened(rule: dict[str, Any], factor: float) -> dict[str, Any]:
    def replaced(found: re.Match[str]) -> str:
        return found["before"] + divided(found["number"] + found["unit"], factor)

    expr = DURATION.sub(replaced, rule["expr"])
    name = rule.get("alert", "")
    if name in SECONDS:
        text, seconds = SECONDS[name]
        if text not in expr:
            raise UnknownDurationError(f"{name} does not say {text!r}: {expr}")
        expr = expr.replace(text, text.replace(text.removeprefix("< "), f"{seconds / factor}"))
    lasting = {"for": divided(rule["for"], factor)} if "for" in rule else {}
    return rule | lasting | {"expr": expr}


def shortened_rules(folder: Path, factor: float, rules: Path = RULES) -> Path:
    """Write the rules with every duration divided by `factor`; return their folder.

    Divided are `for`, ranges, offsets and the seconds of `SECONDS`. What follows from the acquisition's own pace,
    such as four slice intervals, stays: a test that delivers slices quickly shortens it by itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(rules.glob("*.yml")):
        content = yaml.safe_load(file.read_text())
        for group in content["groups"]:
            group["rules"] = [_shortened(rule, factor) for rule in group["rules"]]
        (folder / file.name).write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


def alert_names(rules: Path = RULES) -> set[str]:
    """Return the names of all alerts."""
    files = [yaml.safe_load(file.read_text()) for file in rules.glob("*.yml")]
    found = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    return {rule["alert"] for rule in found if "alert" in rule}
