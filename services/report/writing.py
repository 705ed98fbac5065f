"""Writing the report of a results folder: reads, has everything drawn, writes one page and the pictures beside it."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from services.report.content import (
    NucleusArrays,
    NucleusRow,
    OverviewSlice,
    Pixels,
    ReportData,
    ResultsFormatError,
    Section,
)
from services.report.drawing import to_data_uri, to_png
from services.report.page import Gallery, Illustration, NucleusGallery, compose
from services.report.pictures import overlay_picture, raw_picture, series_picture, slice_picture
from services.report.reading import read_results, volume_path
from services.report.rendering import Subject, prepare, render
from services.report.volumes import read_arrays

_CAPTIONS = {
    Subject.EVERYTHING: "Chromosomes, nucleolus and synaptonemal complex inside the nucleus",
    Subject.CHROMOSOMES: "Chromosomes",
    Subject.COMPLEXES: "Synaptonemal complex",
    Subject.MEMBRANE: "Nuclear membrane, cut open",
    Subject.INDIVIDUALS: "Single chromosomes",
}
_SERIES_COLUMNS = 4


@dataclass(frozen=True)
class ReportOptions:
    """How much is drawn.

    Parameters
    ----------
    whole_rendered, other_rendered
        How many whole nuclei get all five renderings, and how many others get one, in the order of the table.
    hero_px, rendering_px
        Edge of the large rendering of a nucleus, and of the other four.
    section_px, slice_px
        Width of planes through a nucleus, and of whole slices.
    workers
        Threads to draw with; the pictures do not depend on it.
    """

    whole_rendered: int = 12
    other_rendered: int = 6
    hero_px: int = 640
    rendering_px: int = 480
    section_px: int = 480
    slice_px: int = 900
    workers: int = 2


def write_report(
    out: Path, options: ReportOptions | None = None, on_nucleus: Callable[[str], None] | None = None
) -> Path:
    """Write `report/index.html` of a results folder and return its path.

    The page holds its pictures and opens with no network; the same pictures lie beside it as PNG, for talks.

    Parameters
    ----------
    out
        Folder that a run left behind, see `reading.read_results`.
    options
        How much is drawn.
    on_nucleus
        Called with the id of each nucleus whose pictures are done.

    Raises
    ------
    ResultsFormatError
        When what is read is malformed.
    """
    options = options or ReportOptions()
    data = read_results(out)
    folder = out / "report"
    shutil.rmtree(folder / "pictures", ignore_errors=True)
    (folder / "pictures").mkdir(parents=True)
    easel = _Easel(folder, options)
    galleries = {nucleus.nucleus_id: NucleusGallery(remark=_not_drawn(options)) for nucleus in data.nuclei}
    for nucleus, subjects in _to_render(data.nuclei, options):
        galleries[nucleus.nucleus_id] = _nucleus_gallery(out, data, nucleus, subjects, easel)
        if on_nucleus is not None:
            on_nucleus(nucleus.nucleus_id)
    gallery = Gallery(tuple(easel.hang_slice(overview) for overview in data.overview), galleries)
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    draft = folder / "index.html.part"
    draft.write_text(compose(data, gallery, written), encoding="utf-8")
    return draft.replace(folder / "index.html")


@dataclass(frozen=True)
class _Easel:
    """Writes pictures beside the page and makes illustrations of them."""

    folder: Path
    options: ReportOptions

    def hang(self, picture: Pixels, name: str, text: str, caption: str) -> Illustration:
        file = f"pictures/{name}.png"
        (self.folder / file).write_bytes(to_png(picture))
        return Illustration(to_data_uri(picture), text, caption, (picture.shape[1], picture.shape[0]), file)

    def hang_slice(self, overview: OverviewSlice) -> Illustration:
        count = len(overview.outlines)
        caption = f"Slice {overview.z}: {count} {'nucleus' if count == 1 else 'nuclei'}"
        text = f"Slice {overview.z} with the outlines and ids of {count} nuclei"
        return self.hang(slice_picture(overview, self.options.slice_px), f"slice-{overview.z:06d}", text, caption)

    def hang_section(self, section: Section, nucleus_id: str, width_px: int, raw: bool) -> Illustration:
        draw, what = (raw_picture, "as imaged") if raw else (overlay_picture, "with classes")
        picture = draw(section, width_px)
        text = f"{section.name} plane through nucleus {nucleus_id}, {what}"
        kind = "image" if raw else "classes"
        return self.hang(picture, f"{nucleus_id}-{section.name}-{kind}", text, f"{section.name}, {what}")


def _to_render(nuclei: Sequence[NucleusRow], options: ReportOptions) -> list[tuple[NucleusRow, tuple[Subject, ...]]]:
    """Nuclei to draw, and the renderings that each gets."""
    whole = [nucleus for nucleus in nuclei if nucleus.is_whole][: options.whole_rendered]
    others = [nucleus for nucleus in nuclei if not nucleus.is_whole][: options.other_rendered]
    return [(n, tuple(Subject)) for n in whole] + [(n, (Subject.EVERYTHING,)) for n in others]


def _not_drawn(options: ReportOptions) -> str:
    drawn = f"the first {options.whole_rendered} whole nuclei and the first {options.other_rendered} others"
    return f"Not drawn: this report draws {drawn}."


def _nucleus_gallery(
    out: Path, data: ReportData, nucleus: NucleusRow, subjects: Sequence[Subject], easel: _Easel
) -> NucleusGallery:
    path = volume_path(out, nucleus.nucleus_id)
    if not path.exists():
        return NucleusGallery(remark="The volume of this nucleus is not available.")
    arrays = read_arrays(path, data.chromosomes_of(nucleus.nucleus_id))
    if arrays is None:
        return NucleusGallery(remark="Nothing is labelled in the volume of this nucleus.")
    renderings = _renderings(arrays, nucleus.nucleus_id, subjects, easel)
    return NucleusGallery(
        hero=renderings[0],
        renderings=renderings[1:],
        sections=_sections(arrays, nucleus.nucleus_id, easel),
        series=_series(arrays, nucleus.nucleus_id, easel),
    )


def _renderings(
    arrays: NucleusArrays, nucleus_id: str, subjects: Sequence[Subject], easel: _Easel
) -> tuple[Illustration, ...]:
    scene = prepare(arrays.classes, arrays.chromosomes, arrays.voxel_nm)
    drawn = []
    for subject in subjects:
        is_hero = subject is Subject.EVERYTHING and len(subjects) > 1
        size_px = easel.options.hero_px if is_hero else easel.options.rendering_px
        picture = render(scene, subject, size_px, easel.options.workers)
        text = f"Rendering of nucleus {nucleus_id}: {_CAPTIONS[subject]}"
        drawn.append(easel.hang(picture, f"{nucleus_id}-{subject}", text, _CAPTIONS[subject]))
    return tuple(drawn)


def _sections(arrays: NucleusArrays, nucleus_id: str, easel: _Easel) -> tuple[Illustration, ...]:
    """Draw the xy plane as imaged, then all three planes with their classes, all at one scale."""
    first = arrays.orthogonal[0]
    px_per_nm = easel.options.section_px / max(section.width_nm for section in arrays.orthogonal)
    shown = [(first, True), *((section, False) for section in arrays.orthogonal)]
    return tuple(
        easel.hang_section(section, nucleus_id, round(section.width_nm * px_per_nm), raw) for section, raw in shown
    )


def _series(arrays: NucleusArrays, nucleus_id: str, easel: _Easel) -> Illustration:
    tile_px = easel.options.section_px // 2
    sheet = series_picture(arrays.series, _SERIES_COLUMNS, tile_px)
    text = f"{len(arrays.series)} planes along z through nucleus {nucleus_id}, with classes"
    return easel.hang(
        sheet, f"{nucleus_id}-series", text, "Planes along z, with classes; contrast stretched for the eye"
    )


__all__ = ["ReportOptions", "ResultsFormatError", "write_report"]
