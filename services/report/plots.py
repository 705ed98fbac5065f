"""Plots as inline SVG that takes the page's colours, so that they are sharp at any size and right on light and dark."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from services.report.colours import CLASS_COLOURS, chromosome_colour, hexadecimal
from services.report.content import ClassScore, NucleusRow, ObjectRow, SliceRow, Timing
from services.report.findings import Account

GOALS: Mapping[str, float] = {
    "chromosome": 0.95,
    "nucleolus": 0.97,
    "nuclear membrane": 0.90,
    "synaptonemal complex": 0.82,
}
_CLASS_OF_NAME: Mapping[str, int] = {
    "chromosome": 2,
    "nucleolus": 3,
    "synaptonemal complex": 4,
    "nuclear membrane": 5,
}
_ALIASES: Mapping[str, str] = {"sc": "synaptonemal complex", "membrane": "nuclear membrane"}
_INK = "#010203"  # stand-ins that the page's own colours take the place of
_LINE = "#040506"
_ACCENT = "#3b7ea1"
_SOFT = "#9fb8c6"
_CLIPPED = "#e0913a"
_MOST_ROWS = 60
_STYLE: Mapping[str, object] = {
    "axes.edgecolor": _LINE,
    "axes.facecolor": "none",
    "axes.grid": False,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "svg.fonttype": "none",
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _LINE,
    "xtick.labelcolor": _INK,
    "ytick.color": _LINE,
    "ytick.labelcolor": _INK,
    "ytick.major.size": 0.0,
}


Arguments = ParamSpec("Arguments")


def _styled(draw: Callable[Arguments, str]) -> Callable[Arguments, str]:
    """Draw within the plots' style, and leave matplotlib's settings as they were."""

    @wraps(draw)
    def in_style(*args: Arguments.args, **kwargs: Arguments.kwargs) -> str:
        with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
            return draw(*args, **kwargs)

    return in_style


def class_title(name: str) -> str:
    """Return the name of a class as the page writes it.

    Examples
    --------
    >>> class_title("nuclear_membrane"), class_title("SC")
    ('nuclear membrane', 'synaptonemal complex')
    """
    plain = name.replace("_", " ").lower()
    return _ALIASES.get(plain, plain)


@_styled
def timing_plot(timing: Timing) -> str:
    """Return bars of the busy seconds of each stage, with how many things it worked on."""
    figure, axes = _canvas(len(timing.stages))
    seconds = [stage.seconds for stage in timing.stages]
    _bars(axes, [stage.name for stage in timing.stages], seconds, [_ACCENT] * len(seconds))
    for row, stage in enumerate(timing.stages):
        each = f", {stage.seconds / stage.count * 1000:.3g} ms each" if stage.count else ""
        count = f"  ({stage.count:,}{each})" if stage.count is not None else ""
        _beside(axes, stage.seconds, row, f"{stage.seconds:.1f} s{count}")
    axes.set_xlim(0, max([*seconds, 1e-6]) * 1.7)
    axes.set_xlabel("busy seconds")
    return _svg(figure, "timing")


@_styled
def progress_plot(progress: Sequence[tuple[float, int, int]]) -> str:
    """Return slices seen and slices final over time."""
    figure, axes = _canvas(6)
    seconds, seen, final = np.array(progress, np.float64).T
    for counts, name, colour in ((seen, "seen", _SOFT), (final, "final", _ACCENT)):
        axes.step(seconds, counts, where="post", color=colour, linewidth=1.8)
        axes.annotate(name, (seconds[-1], counts[-1]), (4, 0), textcoords="offset points", va="center", color=colour)
    axes.set_xlabel("seconds since the start")
    axes.set_ylabel("slices")
    axes.set_ylim(0)
    return _svg(figure, "progress")


@_styled
def extent_plot(nuclei: Sequence[NucleusRow], z_nm: float | None) -> str:
    """Return from which to which depth each nucleus reaches; what is not whole is marked by its colour."""
    shown = nuclei[:_MOST_ROWS]
    figure, axes = _canvas(len(shown))
    scale = 1.0 if z_nm is None else z_nm / 1000.0
    deepest = max(nucleus.z_first if nucleus.z_last is None else nucleus.z_last for nucleus in nuclei)
    for row, nucleus in enumerate(shown):
        last = deepest if nucleus.z_last is None else nucleus.z_last
        left, width = nucleus.z_first * scale, (last - nucleus.z_first + 1) * scale
        colour = _ACCENT if nucleus.is_whole else _CLIPPED
        axes.barh(row, width, left=left, height=0.62, color=colour, alpha=1.0 if nucleus.is_closed else 0.45)
    axes.set_yticks(range(len(shown)), [nucleus.nucleus_id for nucleus in shown])
    axes.invert_yaxis()
    axes.set_xlabel("slice" if z_nm is None else "depth (\u00b5m)")
    return _svg(figure, "extent")


@_styled
def volume_plot(nuclei: Sequence[NucleusRow]) -> str:
    """Return the volume of each nucleus, divided into its classes."""
    shown = [nucleus for nucleus in nuclei if nucleus.volume_um3 is not None][:_MOST_ROWS]
    figure, axes = _canvas(len(shown))
    left = np.zeros(len(shown))
    for label, column in ((2, "chromosome"), (3, "nucleolus"), (4, "sc"), (5, "membrane")):
        part = np.array([getattr(nucleus, f"{column}_volume_um3") or 0.0 for nucleus in shown])
        axes.barh(range(len(shown)), part, left=left, height=0.62, color=hexadecimal(CLASS_COLOURS[label]))
        left += part
    whole = np.array([nucleus.volume_um3 or 0.0 for nucleus in shown])
    axes.barh(range(len(shown)), np.maximum(whole - left, 0.0), left=left, height=0.62, color=_SOFT, alpha=0.35)
    for row, volume in enumerate(whole):
        _beside(axes, max(volume, left[row]), row, f"{volume:.1f}")
    axes.set_yticks(range(len(shown)), [nucleus.nucleus_id for nucleus in shown])
    axes.invert_yaxis()
    axes.set_xlabel("volume (\u00b5m\u00b3)")
    return _svg(figure, "volumes")


@_styled
def chromosome_plot(nucleus_id: str, chromosomes: Sequence[ObjectRow]) -> str:
    """Return the volume of each chromosome by rank, in the colours of the picture of single chromosomes."""
    figure, axes = _canvas(5, width_in=5.2)
    ranks = [c.chromosome or 0 for c in chromosomes]
    axes.bar(
        ranks,
        [c.volume_um3 for c in chromosomes],
        width=0.7,
        color=[hexadecimal(chromosome_colour(rank)) for rank in ranks],
    )
    axes.set_xticks(ranks)
    axes.set_xlabel("chromosome, largest first")
    axes.set_ylabel("volume (\u00b5m\u00b3)")
    return _svg(figure, f"chromosomes-{nucleus_id}")


@_styled
def quality_plot(slices: Sequence[SliceRow]) -> str:
    """Return thickness and sharpness along z, and below them a row of marks for every kind of trouble there is."""
    marks = [(row.z, what, row.severity) for row in slices for what in (row.troubles or (row.absent,)) if what]
    kinds = sorted({what for _, what, _ in marks})
    figure = Figure(figsize=(6.6, 3.0 + 0.22 * len(kinds)), layout="constrained")
    thick, sharp, flags = figure.subplots(3, 1, sharex=True, height_ratios=(4, 4, max(1, len(kinds))))
    for axes, name, values in (
        (thick, "thickness (nm)", [row.thickness_nm for row in slices]),
        (sharp, "sharpness", [row.sharpness for row in slices]),
    ):
        known = [np.nan if value is None else value for value in values]
        axes.plot([row.z for row in slices], known, color=_ACCENT, linewidth=0.9)
        axes.set_ylabel(name)
        for z in {z for z, _, _ in marks}:
            axes.axvline(z, color=_CLIPPED, linewidth=0.7, alpha=0.5)
    thick.set_ylim(0)
    for z, what, severity in marks:
        flags.scatter(z, kinds.index(what), s=16 + 8 * min(severity, 8.0), color=_CLIPPED, linewidths=0)
    flags.set_yticks(range(len(kinds)), [kind.lower().replace("_", " ") for kind in kinds])
    flags.set_ylim(len(kinds) - 0.4, -0.6)
    flags.set_xlabel("slice")
    return _svg(figure, "quality")


@_styled
def ledger_plot(account: Account) -> str:
    """Return how many files or slices are in each state."""
    figure, axes = _canvas(len(account.states))
    counts = [count for _, count in account.states]
    _bars(axes, [state for state, _ in account.states], counts, [_ACCENT] * len(counts))
    for row, count in enumerate(counts):
        _beside(axes, count, row, f"{count:,}")
    axes.set_xlim(0, max(counts) * 1.2)
    axes.set_xlabel("rows of the ledger")
    return _svg(figure, "ledger")


@_styled
def score_plot(scores: Sequence[ClassScore]) -> str:
    """Return the F1 of each class, with a mark at what is aimed at."""
    figure, axes = _canvas(len(scores))
    titles = [class_title(score.name) for score in scores]
    colours = [hexadecimal(CLASS_COLOURS[_CLASS_OF_NAME[t]]) if t in _CLASS_OF_NAME else _SOFT for t in titles]
    _bars(axes, titles, [score.f1 or 0.0 for score in scores], colours)
    for row, (title, score) in enumerate(zip(titles, scores, strict=True)):
        axes.text(1.02, row, "\u2013" if score.f1 is None else f"{score.f1:.3f}", va="center")
        if title in GOALS:
            axes.plot([GOALS[title]] * 2, [row - 0.42, row + 0.42], color=_INK, linewidth=1.6)
    axes.set_xlim(0, 1.12)
    axes.set_xlabel("F1 (mark: goal)")
    return _svg(figure, "scores")


def _canvas(rows: int, width_in: float = 6.6) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width_in, 0.75 + 0.3 * max(rows, 2)), layout="constrained")
    return figure, figure.add_subplot()


def _bars(axes: Axes, names: Sequence[str], values: Sequence[float], colours: Sequence[str]) -> None:
    axes.barh(range(len(names)), values, height=0.62, color=list(colours))
    axes.set_yticks(range(len(names)), list(names))
    axes.invert_yaxis()


def _beside(axes: Axes, value: float, row: int, text: str) -> None:
    """Write a text to the right of a bar."""
    axes.annotate(text, (value, row), (5, 0), textcoords="offset points", va="center")


def _svg(figure: Figure, name: str) -> str:
    """Markup of a figure that can stand several times in one page: own ids, no header, no metadata, page colours."""
    sink = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None})
    markup = sink.getvalue()
    markup = markup[markup.index("<svg") :]
    markup = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", markup, flags=re.DOTALL)
    prefix = re.sub(r"[^a-zA-Z0-9-]", lambda match: f"-{ord(match.group()):x}-", name)
    markup = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", markup)
    markup = markup.replace(_INK, "currentColor").replace(_LINE, "var(--line)")
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'role="img" aria-hidden="true"', markup, count=1)
