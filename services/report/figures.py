"""The manuscript's figures 7 to 10 for print: panels drawn by rays, lettering and scale bars as vectors.

Figures 7 and 8 of the manuscript show the same three panels for two regions; here every nucleus has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import ndimage

from services.report.colours import CLASS_COLOURS, hexadecimal
from services.report.content import NucleusRow, Pixels, ResultsFormatError
from services.report.drawing import bar_length_um
from services.report.reading import read_results, volume_path
from services.report.rendering import Scene, Subject, pixel_um, prepare, render_bare, render_chromosome
from services.report.volumes import read_arrays

Step = Callable[[str, int, int], None]

MAX_VOXELS = 48_000_000
ENDS = ("png", "pdf", "svg")
_WIDTH_IN = 7.09  # 180 mm, two columns of most journals
_TITLE_IN = 0.22
_KEY_IN = 0.2
_INK = "#20262e"
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.0,
    "pdf.fonttype": 42,  # text stays text in an editor
    "svg.fonttype": "none",
    "svg.hashsalt": "fibsem-nuclei",
}


class NothingToDrawError(ValueError):
    """No nucleus asked for has anything labelled."""


@dataclass(frozen=True, eq=False)
class Panel:
    """A picture in a figure, with its title."""

    picture: Pixels
    title: str


def write_figures(
    out: Path, folder: Path, nucleus_ids: Sequence[str] = (), dpi: int = 300, on_step: Step | None = None
) -> list[Path]:
    """Write the figures of nuclei as PNG, PDF and SVG and return their paths.

    Of each nucleus: `<id>-fig7-8-classes` (all classes, chromosomes, synaptonemal complex), `<id>-fig9-membrane` and
    `<id>-fig10-chromosomes` (all in their colours, then each alone, all at one scale).

    Parameters
    ----------
    out
        Folder that a run left behind.
    folder
        Where to write.
    nucleus_ids
        Nuclei to draw; all that are whole, or all where none is, when empty.
    dpi
        Dots per inch at the printed width of 180 mm.
    on_step
        Told of each figure its name, and how many of how many are done.

    Raises
    ------
    ResultsFormatError
        When what is read is malformed, or a nucleus asked for is not there.
    NothingToDrawError
        When nothing is labelled in any of them.
    """
    data = read_results(out)
    nuclei = _chosen(data.nuclei, nucleus_ids, out)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for done, nucleus in enumerate(nuclei):
        chromosomes = data.chromosomes_of(nucleus.nucleus_id)
        path = volume_path(out, nucleus.nucleus_id)
        arrays = read_arrays(path, chromosomes, MAX_VOXELS) if path.exists() else None
        if arrays is None:
            continue
        classes = without_specks(arrays.classes)
        scene = prepare(classes, arrays.chromosomes * (classes > 0), arrays.voxel_nm)
        ranks = sorted({c.chromosome for c in chromosomes if c.chromosome})
        for number, (name, draw) in enumerate(_FIGURES.items()):
            if on_step is not None:
                on_step(f"{nucleus.nucleus_id} {name}", done * len(_FIGURES) + number, len(nuclei) * len(_FIGURES))
            written += _write(draw(scene, ranks, dpi), folder / f"{nucleus.nucleus_id}-{name}", dpi)
    if not written:
        raise NothingToDrawError(f"{out}: nothing is labelled in {', '.join(n.nucleus_id for n in nuclei) or 'it'}")
    return written


def without_specks(classes: Pixels) -> Pixels:
    """Return the classes (z, y, x) without what is not connected with the largest labelled body, the nucleus.

    Examples
    --------
    >>> without_specks(np.array([[[5, 2, 0, 0, 5]]], np.uint8)).tolist()
    [[[5, 2, 0, 0, 0]]]
    """
    pieces, count = ndimage.label(classes > 0)
    if count < 2:
        return classes
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.where(pieces == sizes.argmax(), classes, 0).astype(np.uint8)


def _chosen(nuclei: Sequence[NucleusRow], nucleus_ids: Sequence[str], out: Path) -> list[NucleusRow]:
    known = {nucleus.nucleus_id: nucleus for nucleus in nuclei}
    for nucleus_id in nucleus_ids:
        if nucleus_id not in known:
            raise ResultsFormatError(f"{out} has no nucleus {nucleus_id!r}; nuclei: {', '.join(known) or 'none'}")
    if nucleus_ids:
        return [known[nucleus_id] for nucleus_id in nucleus_ids]
    return [nucleus for nucleus in nuclei if nucleus.is_whole] or list(nuclei)


def _classes_figure(scene: Scene, _: Sequence[int], dpi: int) -> Figure:
    """Draw figures 7 and 8: all classes, chromosomes, synaptonemal complex."""
    names = {2: "chromosomes", 3: "nucleolus", 4: "synaptonemal complex"}
    key = [(names[label], hexadecimal(CLASS_COLOURS[label])) for label in names]
    size_px = _panel_px(3, dpi)
    titles = {
        Subject.EVERYTHING: "All classes",
        Subject.CHROMOSOMES: "Chromosomes",
        Subject.COMPLEXES: "Synaptonemal complex",
    }
    panels = [Panel(render_bare(scene, subject, size_px), title) for subject, title in titles.items()]
    return _sheet(scene, panels, 3, key)


def _membrane_figure(scene: Scene, _: Sequence[int], dpi: int) -> Figure:
    """Draw figure 9: the nuclear membrane, cut open towards the viewer."""
    panels = [
        Panel(render_bare(scene, Subject.MEMBRANE, _panel_px(2, dpi)), "Nuclear membrane, an eighth removed"),
        Panel(render_bare(scene, Subject.EVERYTHING, _panel_px(2, dpi)), "What it encloses"),
    ]
    return _sheet(scene, panels, 2)


def _chromosomes_figure(scene: Scene, ranks: Sequence[int], dpi: int) -> Figure:
    """Draw figure 10: the chromosomes together, then each alone in its place."""
    columns = 4
    size_px = _panel_px(columns, dpi)
    panels = [Panel(render_bare(scene, Subject.INDIVIDUALS, size_px), "All chromosomes")]
    panels += [Panel(render_chromosome(scene, rank, size_px), f"Chromosome {rank}") for rank in ranks]
    return _sheet(scene, panels, columns)


_FIGURES: dict[str, Callable[[Scene, Sequence[int], int], Figure]] = {
    "fig7-8-classes": _classes_figure,
    "fig9-membrane": _membrane_figure,
    "fig10-chromosomes": _chromosomes_figure,
}


def _panel_px(columns: int, dpi: int) -> int:
    return round(_WIDTH_IN / columns * dpi)


def _sheet(scene: Scene, panels: Sequence[Panel], columns: int, key: Sequence[tuple[str, str]] = ()) -> Figure:
    """Lay panels out in rows, lettered A, B, C, each with the same scale bar, above a key of the colours."""
    edge_in = _WIDTH_IN / columns
    row_in = edge_in + _TITLE_IN
    height_in = -(-len(panels) // columns) * row_in + (_KEY_IN if key else 0.0)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_IN, height_in), facecolor="white")
        for index, panel in enumerate(panels):
            left, top = (index % columns) / columns, 1.0 - (index // columns) * row_in / height_in
            box = (left, top - row_in / height_in, 1.0 / columns, edge_in / height_in)
            _fill(figure.add_axes(box), panel, pixel_um(scene, panel.picture.shape[0]))
            _letter(figure, (left, top), chr(ord("A") + index) if index < 26 else "", panel.title)
        for place, (name, colour) in enumerate(key):
            x, y = 0.02 + 0.2 * place, 0.5 * _KEY_IN / height_in
            figure.add_artist(Line2D([x], [y], marker="s", markersize=5, color=colour, markeredgewidth=0, linewidth=0))
            figure.text(x + 0.012, y, name, ha="left", va="center", color=_INK, fontsize=7)
    return figure


def _fill(axes: Axes, panel: Panel, edge_um: float) -> None:
    """Put a picture on white, with a scale bar at the lower right."""
    size = panel.picture.shape[0]
    alpha = panel.picture[..., 3:].astype(np.float64) / 255.0
    white = panel.picture[..., :3] * alpha + 255.0 * (1.0 - alpha)
    axes.imshow(np.floor(white + 0.5).astype(np.uint8), interpolation="none", extent=(0, size, size, 0))
    axes.set_axis_off()
    length_um = bar_length_um(size * edge_um)
    right, base = 0.97 * size, 0.965 * size
    axes.plot([right - length_um / edge_um, right], [base, base], color=_INK, linewidth=1.6, solid_capstyle="butt")
    middle = right - 0.5 * length_um / edge_um
    axes.text(middle, base - 0.02 * size, f"{length_um:g} \u00b5m", ha="center", va="bottom", color=_INK, fontsize=6.5)


def _letter(figure: Figure, corner: tuple[float, float], letter: str, title: str) -> None:
    width_in, height_in = figure.get_size_inches()
    left, top = corner
    y = top - 0.5 * _TITLE_IN / height_in
    figure.text(left + 0.05 / width_in, y, letter, ha="left", va="center", weight="bold", fontsize=9, color=_INK)
    figure.text(left + 0.24 / width_in, y, title, ha="left", va="center", fontsize=7.5, color=_INK)


def _write(figure: Figure, stem: Path, dpi: int) -> list[Path]:
    """Write a figure in every format; no file holds a time, so that the same figure is the same bytes."""
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
        "svg": {"Date": None, "Creator": None},
    }
    written = []
    with mpl.rc_context(_STYLE):
        for end in ENDS:
            path = stem.with_name(f"{stem.name}.{end}")
            part = stem.with_name(f".{stem.name}.part.{end}")
            figure.savefig(part, dpi=dpi, format=end, metadata=metadata[end])
            written.append(part.replace(path))
    return written
