"""Which metrics a PromQL expression asks for."""

from __future__ import annotations

import re

WORDS = frozenset({
    "and", "bool", "by", "group_left", "group_right", "ignoring", "inf", "nan", "offset", "on", "or", "unless",
    "without",
})  # fmt: skip


def metrics_of(expr: str) -> set[str]:
    """Return the names of metrics in an expression.

    Examples
    --------
    >>> sorted(metrics_of('sum by (stage) (rate(a_total{stage="x"}[5m])) / on (stage) clamp_min(b:c, 1e-6) > 4'))
    ['a_total', 'b:c']
    """
    bare = re.sub(r'"[^"]*"', "", expr)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|offset\s+\w+", " ", bare)
    bare = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    names = re.finditer(r"(?<![\w.:$])([a-zA-Z_:][\w:]*)(\s*\()?", bare)
    return {name[1] for name in names if not name[2] and name[1].lower() not in WORDS}
