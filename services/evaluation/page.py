"""The page of a comparison of label images: one HTML file that holds its pictures and opens with no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from services.evaluation.comparison import Comparison, ImageScore
from services.evaluation.comparison_text import AVERAGES, interval, number
from services.evaluation.examples import class_colours, data_address, pictures, rank
from services.evaluation.folders import Folders, load, load_image
from services.evaluation.learning_curves import parse_curves, plot
from services.evaluation.manuscript import TABLE_1

DEFAULT_WIDTH_PX = 420
_LOSSES = {"train_loss": "#3b7ea1", "validation_loss": "#e0913a"}
_F1 = {"macro_f1": "#2f9e6b"}


@dataclass(frozen=True, slots=True)
class _Example:
    name: str
    f1: str
    pictures: tuple[tuple[str, str], ...]


def write_page(
    found: Comparison, folders: Folders, path: Path, curves: str | None = None, width_px: int = DEFAULT_WIDTH_PX
) -> Path:
    """Write the page; same comparison and same files, same bytes.

    Parameters
    ----------
    found
        What to show.
    folders
        Where the examples are read from.
    path
        The HTML file.
    curves
        Text of a training's `curves.csv`, None without.
    width_px
        Most columns of a picture.

    Raises
    ------
    CurvesError
        If that text is no table of training curves.
    EvaluationInputError
        If an image has not the shape of its labels.
    """
    ranked = rank(found.images)
    text = _template().render(
        title=folders.prediction.absolute().name,
        found=found,
        number=number,
        interval=lambda name: interval(found, name),
        averages=AVERAGES,
        colours=_colours(found.settings.class_names),
        matrix=_matrix(found),
        plots=_plots(curves),
        examples={
            "Worst": _examples(ranked.worst, found, folders, width_px),
            "Best": _examples(ranked.best, found, folders, width_px),
        },
        published=TABLE_1,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    draft.write_text(text, encoding="utf-8")
    return draft.replace(path)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("services.evaluation", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def _colours(names: Mapping[int, str]) -> dict[str, str]:
    return {names[label]: "#{:02x}{:02x}{:02x}".format(*rgb) for label, rgb in class_colours(names).items()}


def _matrix(found: Comparison) -> list[tuple[str, int, list[tuple[int, float]]]]:
    """Name, pixels, and each predicted class's pixels and share, by true class."""
    rows = []
    for name, counts in zip(found.pixels.classes, found.confusion.tolist(), strict=True):
        total = sum(counts)
        rows.append((name, total, [(count, count / total if total else 0.0) for count in counts]))
    return rows


def _plots(curves: str | None) -> list[tuple[str, Mapping[str, str], str]]:
    """Title, colours and SVG of each plot."""
    if curves is None:
        return []
    columns = parse_curves(curves)
    steps = columns["step"]
    return [
        (title, colours, plot(steps, {name: columns[name] for name in colours}, colours))
        for title, colours in (("Loss", _LOSSES), ("Macro F1, validation", _F1))
    ]


def _examples(images: Sequence[ImageScore], found: Comparison, folders: Folders, width_px: int) -> list[_Example]:
    shown = []
    for image in images:
        pair = load(folders, image.name)
        drawn = pictures(pair, load_image(folders, pair), found.settings.class_names, width_px)
        addresses = tuple((what, data_address(picture)) for what, picture in drawn.items())
        shown.append(_Example(image.name, number(image.f1_macro), addresses))
    return shown
