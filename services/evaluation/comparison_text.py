"""A comparison of label images as a table for the terminal, lines of at most 100 characters."""

from __future__ import annotations

from services.evaluation.comparison import Comparison

AVERAGES = ("macro", "micro", "weighted")


def format_comparison(found: Comparison) -> str:
    """Return the comparison as text to read."""
    lines = [_row("class", ["precision", "recall", "F1", "interval", "IoU", "boundary F", "clDice"])]
    for name, score in found.pixels.classes.items():
        values = [number(score.precision), number(score.recall), number(score.f1), interval(found, f"f1_{name}")]
        values += [number(score.iou), number(found.boundary_f[name]), number(found.cldice.get(name))]
        lines.append(_row(name, values))
    lines += ["", f"{'F1':<22}{'with exterior':>26}{'without exterior':>26}"]
    for name in AVERAGES:
        cells = (_with_interval(found, key) for key in (name, f"{name}_without_exterior"))
        lines.append(f"{name:<22}" + "".join(f"{cell:>26}" for cell in cells))
    if found.calibration is not None:
        lines += ["", f"expected calibration error {number(found.calibration.ece)}"]
    return "\n".join([*lines, "", *_notes(found)])


def number(value: float | None) -> str:
    """Return a score to three digits, or a dash.

    >>> number(0.12345), number(None)
    ('0.123', '-')
    """
    return "-" if value is None else f"{value:.3f}"


def interval(found: Comparison, name: str) -> str:
    """Return the interval of a score as `0.812-0.934`, or a dash."""
    known = found.intervals.get(name)
    return "-" if known is None else f"{known.low:.3f}-{known.high:.3f}"


def _with_interval(found: Comparison, name: str) -> str:
    value, bounds = number(found.f1[name]), interval(found, f"f1_{name}")
    return value if bounds == "-" else f"{value} ({bounds})"


def _notes(found: Comparison) -> list[str]:
    settings = found.settings
    notes = [f"{len(found.images)} images; {found.ignored} pixels without a truth left out"]
    if found.intervals:
        notes.append(f"intervals: {settings.level:.0%}, {settings.resamples} resamples of images, seed {settings.seed}")
    else:
        notes.append("no intervals: a bootstrap over images takes at least two images and one resample")
    notes.append(f"boundary F within {settings.tolerance_px:g} px")
    return notes


def _row(name: str, cells: list[str]) -> str:
    widths = (10, 8, 7, 14, 7, 12, 8)
    return f"{name:<22}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
