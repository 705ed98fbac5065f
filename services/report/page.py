"""The page itself: what is known of a run, put into the template."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import jinja2
from markupsafe import Markup

from services.report import plots
from services.report.colours import CLASS_COLOURS, chromosome_colour, hexadecimal
from services.report.content import (
    CLASS_NAMES,
    CheckRow,
    ChromosomeRow,
    NucleusRow,
    ObjectRow,
    ReportData,
    Scores,
    SuspectRow,
)
from services.report.findings import Flag, account_for, doubts_about, flags_of, key_numbers

MOST_LEDGER_ROWS = 400
MOST_GAPS = 200


@dataclass(frozen=True)
class Illustration:
    """A picture on the page.

    Parameters
    ----------
    source
        Address that holds the picture itself.
    text
        What it shows, for who cannot see it.
    caption
        What stands below it; may be empty.
    size
        Width and height in pixels.
    file
        Where the picture lies as a PNG, relative to the page; empty when it does not.
    """

    source: str
    text: str
    caption: str
    size: tuple[int, int]
    file: str = ""


@dataclass(frozen=True)
class NucleusGallery:
    """Pictures of one nucleus: the large one, renderings beside it, flat planes below, small multiples last."""

    hero: Illustration | None = None
    renderings: tuple[Illustration, ...] = ()
    sections: tuple[Illustration, ...] = ()
    series: Illustration | None = None
    remark: str = ""


@dataclass(frozen=True)
class Gallery:
    """All pictures of a page: slices, and nuclei by id."""

    slices: tuple[Illustration, ...] = ()
    nuclei: Mapping[str, NucleusGallery] = field(default_factory=dict)


@dataclass(frozen=True)
class _NucleusCard:
    row: NucleusRow
    flags: tuple[Flag, ...]
    facts: tuple[tuple[str, str], ...]
    chromosomes: tuple[ObjectRow, ...]
    chromosome_plot: Markup | None
    gallery: NucleusGallery
    measured: Mapping[int, ChromosomeRow]
    checks: tuple[CheckRow, ...]
    suspects: tuple[SuspectRow, ...]


def compose(data: ReportData, gallery: Gallery, written: str = "") -> str:
    """Return the page as HTML.

    Parameters
    ----------
    data
        What is known of the run.
    gallery
        Its pictures.
    written
        When the page was written, as text; empty to leave it out.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("services.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["significant"] = significant
    environment.filters["chromosome_colour"] = lambda rank: hexadecimal(chromosome_colour(rank))
    account = account_for(data.ledger)
    doubts = [(n, doubts_about(n)) for n in data.nuclei]
    return environment.get_template("page.html").render(
        data=data,
        written=written,
        numbers=key_numbers(data),
        legend=[(CLASS_NAMES[label], hexadecimal(colour)) for label, colour in CLASS_COLOURS.items()],
        cards=[_card(nucleus, data, gallery) for nucleus in _in_order(data.nuclei)],
        slices=gallery.slices,
        doubts=[(nucleus, reasons) for nucleus, reasons in doubts if reasons],
        account=account,
        remarks=account.remarks[:MOST_LEDGER_ROWS],
        gaps=account.gaps[:MOST_GAPS],
        charts=_charts(data),
        goals=plots.GOALS,
        score_classes=_score_classes(data.scores),
        class_title=plots.class_title,
    )


def significant(value: float) -> str:
    """Return a number with three significant digits, zeros at the end included.

    Examples
    --------
    >>> significant(40.0), significant(0.25), significant(123.4)
    ('40.0', '0.250', '123')
    """
    return f"{value:#.3g}".rstrip(".") if abs(value) < 1000 else f"{value:,.0f}"


def _in_order(nuclei: Sequence[NucleusRow]) -> list[NucleusRow]:
    """Whole nuclei first, each group in the order of the table."""
    return sorted(nuclei, key=lambda nucleus: not nucleus.is_whole)


def _charts(data: ReportData) -> dict[str, Markup]:
    """Return plots by name; a name is there when there is something to plot.

    The markup is matplotlib's, which escapes every text that it is given.
    """
    z_nm = data.voxel_nm[0] if data.voxel_nm else None
    drawn: dict[str, str] = {}
    if data.nuclei:
        drawn["extent"] = plots.extent_plot(data.nuclei, z_nm)
    if any(nucleus.volume_um3 is not None for nucleus in data.nuclei):
        drawn["volumes"] = plots.volume_plot(data.nuclei)
    if data.ledger:
        drawn["ledger"] = plots.ledger_plot(account_for(data.ledger))
    if data.slices:
        drawn["quality"] = plots.quality_plot(data.slices)
    if data.timing and data.timing.stages:
        drawn["timing"] = plots.timing_plot(data.timing)
    if data.timing and len(data.timing.progress) > 1:
        drawn["progress"] = plots.progress_plot(data.timing.progress)
    if data.scores and data.scores.classes:
        drawn["scores"] = plots.score_plot(data.scores.classes)
    return {name: Markup(markup) for name, markup in drawn.items()}  # noqa: S704 - see above


def _score_classes(scores: Scores | None) -> tuple[str, ...]:
    """Classes that single nuclei are scored by, in the order of the class table."""
    if scores is None:
        return ()
    scored = {name for nucleus in scores.per_nucleus for name, _ in nucleus.f1}
    return tuple(score.name for score in scores.classes if score.name in scored)


def _card(nucleus: NucleusRow, data: ReportData, gallery: Gallery) -> _NucleusCard:
    chromosomes = data.chromosomes_of(nucleus.nucleus_id)
    plot = plots.chromosome_plot(nucleus.nucleus_id, chromosomes) if chromosomes else None
    return _NucleusCard(
        row=nucleus,
        flags=flags_of(nucleus),
        facts=_facts(nucleus, data),
        chromosomes=chromosomes,
        chromosome_plot=Markup(plot) if plot else None,  # noqa: S704 - matplotlib escapes its texts
        gallery=gallery.nuclei.get(nucleus.nucleus_id, NucleusGallery()),
        measured={row.chromosome: row for row in data.measured_chromosomes_of(nucleus.nucleus_id)},
        checks=data.checks_of(nucleus.nucleus_id),
        suspects=data.suspects_of(nucleus.nucleus_id),
    )


def _facts(nucleus: NucleusRow, data: ReportData) -> tuple[tuple[str, str], ...]:
    """Names and values of a nucleus's measurements, those that there are."""
    facts = [("slices", _depth_range(nucleus, data))]
    if nucleus.chromosome_count is not None:
        facts.append(("chromosomes", f"{nucleus.chromosome_count} of {nucleus.expected_chromosomes}"))
    volumes = (
        ("volume", nucleus.volume_um3),
        ("chromosome volume", nucleus.chromosome_volume_um3),
        ("nucleolus volume", nucleus.nucleolus_volume_um3),
        ("SC volume", nucleus.sc_volume_um3),
        ("membrane volume", nucleus.membrane_volume_um3),
    )
    for name, volume in volumes:
        if volume is None:
            continue
        share = f" ({volume / nucleus.volume_um3:.1%})" if nucleus.volume_um3 and name != "volume" else ""
        facts.append((name, f"{significant(volume)} \u00b5m\u00b3{share}"))
    facts.extend(_shape_facts(nucleus))
    if nucleus.centroid_nm is not None:
        facts.append(("centre z, y, x", ", ".join(f"{c / 1000.0:.2f}" for c in nucleus.centroid_nm) + " \u00b5m"))
    if nucleus.mean_confidence is not None:
        facts.append(("mean confidence", f"{nucleus.mean_confidence:.1%}"))
    return tuple(facts)


def _shape_facts(nucleus: NucleusRow) -> list[tuple[str, str]]:
    """Names and values of what was measured on a nucleus's voxels, those that there are."""
    measured = (
        ("surface", nucleus.area_um2, "{} \u00b5m\u00b2"),
        ("sphericity", nucleus.sphericity, "{}"),
        ("nucleolus eccentricity", nucleus.nucleolus_eccentricity, "{}"),
        ("envelope thickness", nucleus.envelope_thickness_um, "{} \u00b5m"),
        ("SC length", nucleus.sc_length_um, f"{{}} \u00b5m in {nucleus.sc_tracks or 0}"),
    )
    facts = [("stage", nucleus.stage.replace("_", " "))] if nucleus.stage else []
    facts += [(name, text.format(significant(value))) for name, value, text in measured if value is not None]
    if nucleus.neighbours is not None:
        facts.append(("neighbours", str(nucleus.neighbours)))
    return facts


def _depth_range(nucleus: NucleusRow, data: ReportData) -> str:
    """Slices of a nucleus, and how deep they are together."""
    if nucleus.z_last is None:
        return f"from {nucleus.z_first}"
    planes = nucleus.z_last - nucleus.z_first + 1
    depth = f" ({planes * data.voxel_nm[0] / 1000.0:.2f} \u00b5m)" if data.voxel_nm else ""
    return f"{nucleus.z_first}\u2013{nucleus.z_last}{depth}"
