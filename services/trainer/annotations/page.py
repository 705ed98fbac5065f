"""The page of an annotated data set: every pair as an overlay, those with warnings first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jinja2

from services.trainer.annotations.class_map import UNLABELLED_NAME
from services.trainer.annotations.dataset import AnnotatedDataset, ImageEntry, Manifest
from services.trainer.annotations.overlays import class_colours, data_address, overlay, plain

DEFAULT_WIDTH_PX = 420


@dataclass(frozen=True, slots=True)
class _Card:
    entry: ImageEntry
    image: str
    overlay: str
    place: str
    part: str
    shares: tuple[tuple[str, str], ...]


def write_page(
    dataset: AnnotatedDataset,
    path: Path,
    parts: Mapping[str, str] | None = None,
    told: Callable[[int, int], None] = lambda done, total: None,
    width_px: int = DEFAULT_WIDTH_PX,
) -> Path:
    """Write a page that holds its pictures and opens with no network; same data set, same bytes.

    Parameters
    ----------
    dataset
        What to show.
    path
        The HTML file.
    parts
        What each image is used for, by name; shown where it is given.
    told
        Hears of progress.
    width_px
        Most columns of a picture.

    Returns
    -------
    pathlib.Path
        The file.
    """
    entries = sorted(dataset.manifest.images, key=lambda entry: (not entry.warnings, entry.name))
    cards = []
    for done, entry in enumerate(entries):
        told(done, len(entries))
        cards.append(_card(dataset, entry, (parts or {}).get(entry.name, ""), width_px))
    text = page_template("page.html").render(
        name=dataset.folder.absolute().name,
        manifest=dataset.manifest,
        cards=cards,
        doubtful=sum(bool(entry.warnings) for entry in entries),
        classes=_class_rows(dataset.manifest),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    draft.write_text(text, encoding="utf-8")
    told(len(entries), len(entries))
    return draft.replace(path)


def page_template(name: str) -> jinja2.Template:
    """Return a template of this package by its file name."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("services.trainer.annotations", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _card(dataset: AnnotatedDataset, entry: ImageEntry, part: str, width_px: int) -> _Card:
    pair = dataset.load(entry.name)
    total = entry.height_px * entry.width_px
    drawn = overlay(pair.image_yx, pair.labels_yx, dataset.manifest.class_ids, width_px)
    place = [f"nucleus {entry.nucleus}"] if entry.nucleus is not None else []
    place += [f"z {entry.z}"] if entry.z is not None else []
    shares = tuple((name, f"{count / total:.1%}") for name, count in entry.pixels.items() if count)
    image = data_address(plain(pair.image_yx, width_px))
    return _Card(entry, image, data_address(drawn), ", ".join(place), part, shares)


def _class_rows(manifest: Manifest) -> list[tuple[str, str, str, int, int, str]]:
    """Colour, name, id, images, pixels and share of each class, unlabelled last."""
    totals = manifest.pixels()
    everything = max(1, sum(totals.values()))
    colours = {name: "#{:02x}{:02x}{:02x}".format(*rgb) for name, rgb in class_colours(manifest.class_ids).items()}
    rows = []
    for name, count in totals.items():
        images = sum(bool(entry.pixels.get(name)) for entry in manifest.images)
        class_id = "255" if name == UNLABELLED_NAME else str(manifest.class_ids[name])
        rows.append((colours.get(name, "#d628a0"), name, class_id, images, count, f"{count / everything:.2%}"))
    return rows
