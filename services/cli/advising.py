"""The verb that says what to do with a running acquisition, and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from services.cli.console import OUT
from services.cli.sites import AcquisitionName, Site, Where, site_of
from services.extract.outlook import read_histories
from services.imaging.forecasting.advising import Advice, advise
from services.imaging.forecasting.notices import Notice
from services.imaging.forecasting.pace import DiskForecast, PaceForecast
from services.imaging.forecasting.wording import as_json as advice_json
from services.imaging.forecasting.wording import sentences

_CHANCES = ("5%", "50%", "95%")
LATEST = 5
"""Notices that are printed."""
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
Events = Annotated[bool, typer.Option("--events", help="say all that was noticed so far, not only the latest")]
PeriodS = Annotated[
    float | None, typer.Option("--period-s", min=0.1, help="the microscope's time for a slice; default: as measured")
]


class NothingKnownError(ValueError):
    """Nothing was followed yet that could be forecast."""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command(
        "advise",
        epilog="Examples: fibsem-nuclei advise roi1; fibsem-nuclei advise roi1 --events; "
        "fibsem-nuclei advise stack --json",
    )(give_advice)


def give_advice(
    where: Where,
    as_json: AsJson = False,
    events: Events = False,
    period_s: PeriodS = None,
    acquisition: AcquisitionName = None,
) -> None:
    """Say whether to go on or to stop, which nuclei would be lost, which way to move the field, and what room is left.

    From what is known so far: the areas of every nucleus against z, and the sizes of those complete. Every forecast is
    a range; docs/advice.md tells how often they were right.
    """
    with site_of(where, acquisition) as site:
        histories = read_histories(site.store, site.settings.acquisition)
        if histories is None:
            raise NothingKnownError("no slice was followed yet: advice needs nuclei")
        found = advise(histories.situation())
        period_s, pace, disk = costs_of(where, site, found, period_s)
        last_z = site.settings.last_z
        said = sentences(found, pace, disk, period_s=period_s, planned_last_z=last_z)
        name = site.settings.acquisition
    if as_json:
        numbers: dict[str, Any] = {"acquisition": name, "period_s": period_s, "text": said} | advice_json(found)
        numbers["pace"] = None if pace is None else asdict(pace)
        numbers["disk"] = None if disk is None else asdict(disk)
        numbers["events"] = [asdict(notice) for notice in histories.notices]
        OUT.print_json(json.dumps(numbers))
        return
    _print(name, found, said, histories.notices if events else histories.notices[-LATEST:])


def advice_of(site: Site) -> Advice | None:
    """Return what is advised; None where nothing was followed yet, or there are no nuclei to follow."""
    histories = read_histories(site.store, site.settings.acquisition)
    return None if histories is None else advise(histories.situation())


def costs_of(
    where: Path, site: Site, found: Advice, period_s: float | None
) -> tuple[float | None, PaceForecast | None, DiskForecast | None]:
    """Return the microscope's period, and what is known of the computer: of this one, not of a deployed system."""
    if not where.is_dir():
        told = site.ask().get("interval_s")
        return period_s or (None if told is None else float(told)), None, None
    from services.embedded.load import load_of

    load = load_of(where)
    period_s = period_s or load.period_s
    return period_s, *load.costs(found, period_s)


def _print(name: str, found: Advice, said: list[str], notices: Sequence[Notice]) -> None:
    z_nm = found.situation.voxel_zyx_nm[0]
    z = round(found.situation.now_nm / z_nm)
    OUT.print(
        f"{name}, z {z}: nuclei {len(found.complete)} complete, {len(found.open)} open, {len(found.cut)} cut",
        soft_wrap=True,
    )
    for sentence in said:
        OUT.print(f"- {sentence}", markup=False, highlight=False, soft_wrap=True)
    for notice in notices:
        OUT.print(f"  z {notice.z}: {notice.text}", markup=False, highlight=False, soft_wrap=True)
    if found.open:
        table = Table("nucleus", "milled", *(f"ends by, {chance}" for chance in _CHANCES), title="open nuclei, z")
        for nucleus in advice_json(found)["open"]:
            ends = (str(nucleus["end_z"][chance]) for chance in _CHANCES)
            table.add_row(nucleus["nucleus_id"], f"{nucleus['milled']:.0%}", *ends)
        OUT.print(table)
        stops = Table("stop at z", "slices", "complete, expected", "with 90 %", "cut, um3", title="stopping")
        for stop in advice_json(found)["stops"]:
            numbers = (stop["z"], stop["slices"], f"{stop['expected']:.1f}", stop["sure"], f"{stop['lost_um3']:.0f}")
            stops.add_row(*map(str, numbers))
        OUT.print(stops)
