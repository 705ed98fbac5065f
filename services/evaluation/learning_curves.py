"""The curves of a training as inline SVG: losses and macro F1 over steps, from the table that training writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

WIDTH, HEIGHT, LEFT, BOTTOM = 460, 220, 46, 28
NEEDED = ("step", "train_loss", "validation_loss", "macro_f1")

Curve = Sequence[float]


class CurvesError(ValueError):
    """The text is no table of training curves."""


def parse_curves(text: str) -> dict[str, list[float]]:
    r"""Return the columns of a `curves.csv` by name.

    Raises
    ------
    CurvesError
        If a column is missing, a cell is no number, or there is no line.

    Examples
    --------
    >>> parse_curves("step,train_loss,validation_loss,macro_f1\n4,0.5,0.25,0.75\n")["macro_f1"]
    [0.75]
    """
    lines = [line.split(",") for line in text.splitlines() if line.strip()]
    if len(lines) < 2 or not set(NEEDED) <= set(lines[0]):
        raise CurvesError(f"no table of training curves: it takes the columns {', '.join(NEEDED)} and a line")
    try:
        columns = list(zip(*([float(cell) for cell in line] for line in lines[1:]), strict=True))
    except ValueError as error:
        raise CurvesError(f"no table of training curves: {error}") from error
    if len(columns) != len(lines[0]):
        raise CurvesError(f"no table of training curves: {len(lines[0])} names, {len(columns)} columns")
    return {name: list(column) for name, column in zip(lines[0], columns, strict=True)}


def plot(steps: Curve, curves: Mapping[str, Curve], colours: Mapping[str, str]) -> str:
    """Return lines over steps as SVG in the page's ink; values that are no finite numbers break a line.

    Parameters
    ----------
    steps
        Abscissa.
    curves
        Ordinates by name, each as long as `steps`.
    colours
        Of every curve.
    """
    finite = [value for curve in curves.values() for value in curve if math.isfinite(value)]
    top = max(finite, default=1.0) or 1.0
    first, last = min(steps), max(steps)

    def place(step: float, value: float) -> str:
        x = LEFT + (WIDTH - LEFT - 8) * (step - first) / max(last - first, 1e-9)
        y = 8 + (HEIGHT - BOTTOM - 8) * (1.0 - value / top)
        return f"{x:.1f} {y:.1f}"

    lines = [
        f'<path d="{_path(steps, curve, place)}" fill="none" stroke="{colours[name]}" stroke-width="2"/>'
        for name, curve in curves.items()
    ]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{", ".join(curves)} over steps">'
        f'<path d="M{LEFT} 8V{HEIGHT - BOTTOM}H{WIDTH - 8}" fill="none" stroke="currentColor" stroke-opacity=".4"/>'
        f'<text x="{LEFT - 6}" y="14" text-anchor="end">{top:.3g}</text>'
        f'<text x="{LEFT - 6}" y="{HEIGHT - BOTTOM}" text-anchor="end">0</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 10}">{first:g}</text>'
        f'<text x="{WIDTH - 8}" y="{HEIGHT - 10}" text-anchor="end">{last:g} steps</text>'
        f"{''.join(lines)}</svg>"
    )


def _path(steps: Curve, curve: Curve, place: Callable[[float, float], str]) -> str:
    parts, pen = [], "M"
    for step, value in zip(steps, curve, strict=True):
        if math.isfinite(value):
            parts.append(pen + place(step, value))
            pen = "L"
        else:
            pen = "M"
    return "".join(parts)
