"""`advise` says in words and in numbers what the run in a folder knows."""

from __future__ import annotations

import json
import math
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.app import app
from services.embedded.progress import STATUS_FILE
from services.embedded.settings import STATE, settle
from services.embedded.timing import REPORT_FILE
from services.extract.histories import Ended, Histories, Open, Seen
from services.extract.outlook import histories_key
from services.imaging.forecasting.notices import Notice, NoticeKind
from services.runtime.store.directory import DirectoryStore
from tests.support.toy_acquisition import toy_settings

VOXEL_NM = 16.0
RADIUS_PX = 128.0
NOW_Z = 200
FIELD = (700, 640)


def called(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output + (str(result.exception) if result.exit_code else "")


def nucleus(nucleus_id: str, middle_z: int, y: float = 350.0) -> Open:
    """Return a ball of 2048 nm as it was followed to the slice of now."""
    found = Open(nucleus_id=nucleus_id)
    for z in range(NOW_Z + 1):
        radius = math.sqrt(max(0.0, RADIUS_PX**2 - (z - middle_z) ** 2))
        if radius > 77:
            box = (round(y - radius), round(320 - radius), round(y + radius), round(320 + radius))
            found.take(Seen(z=z, area_px=math.pi * radius**2, box_yx_px=box))
    return found


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return the folder of a run that was stopped at slice 200, with one nucleus half milled and one complete."""
    folder = tmp_path / "out"
    settle(folder, toy_settings(tmp_path / "slices", last_z=400), joined=False)
    state = folder / STATE
    known = Histories(
        voxel_zyx_nm=(VOXEL_NM,) * 3,
        field_yx_px=FIELD,
        next_z=NOW_Z + 1,
        open=[nucleus("n0002", 180), nucleus("n0003", 170, y=134.0)],
        ended=[Ended(nucleus_id="n0001", z_end=90, half_height_nm=2048.0, radius_nm=2048.0)],
        notices=[Notice(z, NoticeKind.COMPLETE, f"n{z:04d}", f"n{z:04d} is complete.") for z in range(101, 108)],
    )
    with closing(DirectoryStore(state / "store")) as store:
        store.put(histories_key("toy"), known.model_dump_json().encode())
    progress = {"seen": 201, "followed": 201, "crops": 400, "segmented": 400}
    (state / STATUS_FILE).write_text(json.dumps({"line": "slices 201/?", "progress": progress, "ledger": {}}))
    stages = {"inference": {"seconds": 2010.0}, "extract-detect": {"seconds": 201.0}, "results": {"seconds": 900.0}}
    points = [[75.0 * k, 1 + k, k] for k in range(200)]
    (state / REPORT_FILE).write_text(json.dumps({"stages": stages, "wall_s": 1.0, "progress": points}))
    return folder


def test_the_verb_has_help_with_examples() -> None:
    code, text = called("advise", "--help")
    assert code == 0
    assert "fibsem-nuclei advise stack" in " ".join(text.split())


def test_advice_is_plain_words(out: Path) -> None:
    code, text = called("advise", str(out))
    assert code == 0
    assert "nuclei 1 complete, 2 open, 0 cut" in text
    assert "Go on for 11" in text
    assert "at 75 s): 2 of 2 open nuclei end by then with 90 %." in text
    assert "It is set to end at z 400: 2.0 of 2 open nuclei end by then." in text
    # The networks work beside the rest: 10 s a slice, against 75 s.
    assert "needs 10 s for a slice, the microscope 75 s (slowest: inference, 7.5 x real time): it keeps up" in text
    assert "The disk has room for" in text


def test_a_slower_microscope_gives_other_times(out: Path) -> None:
    assert "at 135 s)" in called("advise", str(out), "--period-s", "135")[1]
    assert "does not keep up" in called("advise", str(out), "--period-s", "5")[1]


def test_the_latest_events_are_said_and_all_of_them_when_asked(out: Path) -> None:
    latest, every = called("advise", str(out))[1], called("advise", str(out), "--events")[1]
    assert "z 107: n0107 is complete." in latest
    assert [text.count("is complete.") for text in (latest, every)] == [5, 7]
    events = json.loads(called("advise", str(out), "--json")[1])["events"]
    assert [event["z"] for event in events] == list(range(101, 108))
    assert {event["kind"] for event in events} == {"complete"}


def test_json_has_the_numbers(out: Path) -> None:
    code, text = called("advise", str(out), "--json")
    assert code == 0
    found = json.loads(text)
    assert found["z"] == NOW_Z
    assert found["complete"] == ["n0001"]
    by_id = {one["nucleus_id"]: one for one in found["open"]}
    assert by_id["n0002"]["end_z"]["5%"] < 180 + RADIUS_PX < by_id["n0002"]["end_z"]["95%"]
    assert by_id["n0002"]["milled"] == pytest.approx(0.62, abs=0.05)
    assert found["period_s"] == 75.0
    assert found["pace"]["keeps_up"] is True
    assert found["until"]["sure"] == 2


def test_status_tells_it_too(out: Path) -> None:
    code, text = called("status", str(out))
    assert code == 0
    assert "Go on for 11" in text
    assert "Go on for 11" in json.loads(called("status", str(out), "--json")[1])["advice"][0]


def test_a_run_that_knows_nothing_says_so(tmp_path: Path) -> None:
    settle(tmp_path / "out", toy_settings(tmp_path / "slices"), joined=False)
    code, text = called("advise", str(tmp_path / "out"))
    assert code == 1
    assert "no slice was followed yet" in text
    assert called("status", str(tmp_path / "out"))[0] == 0
