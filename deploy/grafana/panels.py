"""Panels as data: a panel answers one question, with a unit, a description and thresholds; a board has rows of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, text, timeseries
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    LineInterpolation,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode
from grafana_foundation_sdk.models.text import TextMode

SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
RUNBOOKS = "fibsem-runbooks"
GRID_COLUMNS = 24


@dataclass(frozen=True, slots=True)
class Query:
    """One expression of a panel.

    Attributes
    ----------
    expr
        PromQL.
    legend
        What a series is called, `{{label}}` filled in.
    """

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """A question and how its answer is drawn.

    Attributes
    ----------
    title, description
        The question, and how to read the answer.
    queries
        What answers it.
    kind
        A number, lines over time, lines in steps, or states over time.
    unit
        Grafana's name of the unit.
    warn, alarm
        From which value on it is drawn yellow and red; below them if `low_is_bad`.
    runbook
        Alert whose section tells what to do.
    width, height
        In units of the grid, which has 24 columns.
    """

    title: str
    description: str
    queries: tuple[Query, ...]
    kind: Literal["number", "lines", "steps", "states"] = "lines"
    unit: str = "short"
    warn: float | None = None
    alarm: float | None = None
    low_is_bad: bool = False
    runbook: str | None = None
    width: int = 8
    height: int = 8


@dataclass(frozen=True, slots=True)
class Row:
    """Panels that belong together."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """A page.

    Attributes
    ----------
    uid
        Name in addresses; it never changes.
    title, description
        What the page answers.
    rows
        Top to bottom.
    """

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]


# A small panel with one number per series; its arguments are those of a panel.
number = partial(Panel, kind="number", width=4, height=5)

Built = stat.Panel | timeseries.Panel | statetimeline.Panel


def built(panel: Panel, runbooks: dict[str, int]) -> Built:
    """Return a panel as the SDK builds it.

    Parameters
    ----------
    panel
        What to draw.
    runbooks
        Number of each alert's panel on the page of runbooks.
    """
    drawn = {"number": _number, "lines": _lines, "steps": _steps, "states": _states}[panel.kind]()
    drawn.title(panel.title).description(panel.description).datasource(SOURCE)
    drawn.unit(panel.unit).span(panel.width).height(panel.height).thresholds(_thresholds(panel))
    for place, query in enumerate(panel.queries):
        drawn.with_target(_target(query, chr(ord("A") + place), instant=panel.kind == "number"))
    if panel.runbook is not None:
        link = dashboard.DashboardLink(f"What to do: {panel.runbook}")
        drawn.links([link.url(f"/d/{RUNBOOKS}?viewPanel={runbooks[panel.runbook]}")])
    if isinstance(drawn, timeseries.Panel) and panel.alarm is not None:
        drawn.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    return drawn


def note(title: str, markdown: str, number_of_panel: int) -> text.Panel:
    """Return a panel that holds a text, over the whole width."""
    panel = text.Panel().title(title).mode(TextMode.MARKDOWN).content(markdown)
    return panel.id(number_of_panel).span(GRID_COLUMNS).height(9)


def _number() -> Built:
    numbers = stat.Panel().graph_mode(BigValueGraphMode.AREA).color_mode(BigValueColorMode.VALUE)
    return numbers.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).no_value("none")


def _lines() -> Built:
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    lines = timeseries.Panel().legend(legend.show_legend(True)).line_width(2).fill_opacity(8)
    return lines.show_points(VisibilityMode.NEVER).min(0)


def _steps() -> Built:
    steps = _lines()
    assert isinstance(steps, timeseries.Panel)
    return steps.line_interpolation(LineInterpolation.STEP_AFTER).fill_opacity(0)


def _states() -> Built:
    return statetimeline.Panel().show_value(VisibilityMode.NEVER).fill_opacity(80)


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    marks = [(value, colour) for value, colour in ((panel.warn, "yellow"), (panel.alarm, "red")) if value is not None]
    if panel.low_is_bad:
        # From the alarm up to the warning it is yellow, below it is red.
        colours = ["red", "yellow", "green"] if len(marks) == 2 else [marks[0][1], "green"]
        steps = list(zip([None, *sorted(value for value, _ in marks)], colours, strict=True))
    else:
        steps = [(None, "green"), *marks]
    config = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE)
    return config.steps([Threshold(value=value, color=colour) for value, colour in steps])


def _target(query: Query, ref: str, *, instant: bool) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(ref)
    # A number with a sparkline needs the range as well; the last value of the range is what is shown.
    return target.range_and_instant() if instant else target.range()
