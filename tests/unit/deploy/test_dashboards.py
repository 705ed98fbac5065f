"""Dashboards are generated, committed, and each panel can be understood without its author."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.grafana.generate import DASHBOARDS, differing, main, queries, rendered

BOARDS = {name: json.loads(text) for name, text in rendered().items()}
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, board in BOARDS.items()
    for panel in board["panels"]
    if panel["type"] not in {"row", "text"}
]
Json = dict[str, Any]


def test_the_committed_dashboards_are_those_that_would_be_generated() -> None:
    assert differing(rendered(), DASHBOARDS) == []
    assert main(["--check"]) == 0


def test_a_changed_an_absent_and_a_superfluous_dashboard_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "changed.json").write_text("{}")
    (tmp_path / "superfluous.json").write_text("{}")
    assert differing({"changed.json": "[]", "absent.json": "{}"}, tmp_path) == [
        "absent.json", "changed.json", "superfluous.json",
    ]  # fmt: skip


def test_the_pages_are_the_five_of_the_design_and_the_runbooks() -> None:
    assert sorted(board["title"] for board in BOARDS.values()) == [
        "GPU throughput",
        "Is my acquisition safe?",
        "Pipeline and queues",
        "Runbooks",
        "Science",
        "Storage and faults",
    ]


@pytest.mark.parametrize("name", BOARDS)
def test_a_page_may_not_be_edited_and_names_its_panels_once(name: str) -> None:
    board = BOARDS[name]
    assert board["editable"] is False
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_asks_a_question_and_says_how_to_read_the_answer(panel: Json) -> None:
    assert panel["description"].endswith((".", "%."))
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}
    assert all(target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize("panel", PANELS)
def test_thresholds_rise(panel: Json) -> None:
    values = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
    assert values[0] is None
    assert values[1:] == sorted(values[1:])


def test_links_lead_to_the_runbook_that_they_name() -> None:
    runbooks = {panel["id"]: panel["title"] for panel in BOARDS["fibsem-runbooks.json"]["panels"]}
    links = [link for board in BOARDS.values() for panel in board["panels"] for link in panel.get("links", ())]
    assert len(links) > 20
    for link in links:
        page, _, number = link["url"].partition("?viewPanel=")
        assert page == "/d/fibsem-runbooks"
        assert link["title"] == f"What to do: {runbooks[int(number)]}"


def test_panels_do_not_overlap_and_stay_on_the_page() -> None:
    for board in BOARDS.values():
        taken = set[tuple[int, int]]()
        for panel in board["panels"]:
            place = panel["gridPos"]
            cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
            assert not cells & taken
            assert all(0 <= column < 24 for column, _ in cells)
            taken |= cells


def test_queries_are_those_of_the_panels() -> None:
    board = {"panels": [{"title": "row"}, {"title": "a", "targets": [{"expr": "up"}, {"expr": "1"}]}]}
    assert queries(board) == [("a", "up"), ("a", "1")]


def test_what_belongs_to_an_acquisition_follows_the_choice_of_it() -> None:
    for name, board in BOARDS.items():
        for title, expr in queries(board):
            if "by (acquisition" in expr and "fibsem_" in expr:
                assert '{acquisition=~"$acquisition"}' in expr, f"{name}: {title}"
