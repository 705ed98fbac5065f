"""Write Grafana's dashboards from the boards and the runbooks: ``python deploy/grafana/generate.py [--check]``.

What is written is committed, so that an installation needs no generator; `--check` fails where it differs from what
would be written.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    # Run as a script: deploy/ is not installed.
    sys.path.insert(0, str(ROOT))

from grafana_foundation_sdk.builders import dashboard  # noqa: E402
from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: E402
from grafana_foundation_sdk.models.dashboard import (  # noqa: E402
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from deploy.grafana.boards import gpu, pipeline, safety, science, storage  # noqa: E402
from deploy.grafana.panels import RUNBOOKS, SOURCE, Board, built, note  # noqa: E402

BOARDS = (safety.BOARD, pipeline.BOARD, gpu.BOARD, storage.BOARD, science.BOARD)
DASHBOARDS = Path(__file__).with_name("dashboards")
RUNBOOK = ROOT / "deploy" / "runbooks.md"
ANY_ACQUISITION = "label_values(fibsem_acquisition_active, acquisition)"


def sections(markdown: str) -> dict[str, str]:
    r"""Return the runbook of each alert by its name: the text below each second-level heading.

    Examples
    --------
    >>> sections("# Runbooks\n\n## Stalled\nLook.\n\n## Full\nDelete.\n")
    {'Stalled': 'Look.', 'Full': 'Delete.'}
    """
    parts = re.split(r"^## +(\S+) *$", markdown, flags=re.MULTILINE)[1:]
    return {name: text.strip() for name, text in zip(parts[::2], parts[1::2], strict=True)}


def queries(board: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return every query of a dashboard.

    Parameters
    ----------
    board
        A dashboard as Grafana reads it.

    Returns
    -------
    list of tuple
        Title of the panel and its expression, whose `$acquisition` stands for a regular expression.
    """
    return [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel.get("targets", ())]


def dashboards() -> Iterator[tuple[str, Dashboard]]:
    """Yield every dashboard with the name of its file."""
    texts = sections(RUNBOOK.read_text())
    numbers = {name: place for place, name in enumerate(texts, start=1)}
    for board in BOARDS:
        yield board.uid, _drawn(board, numbers)
    page = _page(RUNBOOKS, "Runbooks", "What to do about each alert; the same as deploy/runbooks.md.")
    for name, text in texts.items():
        page.with_panel(note(name, text, numbers[name]))
    yield RUNBOOKS, page.build()


def _drawn(board: Board, numbers: dict[str, int]) -> Dashboard:
    page = _page(board.uid, board.title, board.description).with_variable(_acquisitions())
    for row in board.rows:
        page.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            page.with_panel(built(panel, numbers))
    drawn = page.build()
    for number, placed in enumerate(drawn.panels or (), start=1):
        placed.id_val = number
    return drawn


def _page(uid: str, title: str, description: str) -> dashboard.Dashboard:
    links = dashboard.DashboardLink("FIB-SEM").type(DashboardLinkType.DASHBOARDS).tags(["fibsem"])
    page = dashboard.Dashboard(title).uid(uid).description(description).tags(["fibsem"]).readonly()
    page.link(links.as_dropdown(False).include_vars(True).keep_time(True))
    return page.time("now-6h", "now").refresh("10s").timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR)


def _acquisitions() -> dashboard.QueryVariable:
    chooser = dashboard.QueryVariable("acquisition").label("Acquisition").datasource(SOURCE).query(ANY_ACQUISITION)
    chooser.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
    everything = VariableOption(selected=True, text="All", value="$__all")
    return chooser.multi(True).include_all(True).all_value(".*").current(everything)


def rendered() -> dict[str, str]:
    """Return what the files hold, by file name."""
    return {
        f"{name}.json": json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
        for name, board in dashboards()
    }


def differing(contents: Mapping[str, str], folder: Path) -> list[str]:
    """Return the names of files that are not as they should be, that are absent or that are one too many."""
    present = {path.name: path.read_text() for path in folder.glob("*.json")}
    return sorted(name for name in contents.keys() | present.keys() if contents.get(name) != present.get(name))


def main(argv: Sequence[str]) -> int:
    """Write the dashboards, or check them; return the exit status."""
    contents = rendered()
    wrong = differing(contents, DASHBOARDS)
    if "--check" in argv:
        if wrong:
            sys.stderr.write(f"not up to date: {', '.join(wrong)}; run python deploy/grafana/generate.py\n")
        return int(bool(wrong))
    DASHBOARDS.mkdir(exist_ok=True)
    for name in wrong:
        path = DASHBOARDS / name
        if name in contents:
            path.write_text(contents[name])
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
