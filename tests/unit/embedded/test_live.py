"""The page of a run at work: it degrades by rule under a backlog, says so, and no result depends on it."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

from services.cli.app import app
from services.embedded.live import MOST_WAITING, PAGE, PICTURE, PREVIEW_FUSION, PREVIEW_WIDTH_PX, WIDTH_PX
from services.embedded.load import waiting_slices
from services.embedded.run import EmbeddedRun, Parts
from services.embedded.settings import REPORT
from services.runtime.segmenter.port import ModelSetError, Segmenter
from tests.support.grey_segmenter import GreySegmenter
from tests.support.toy_acquisition import VOXEL_NM, Runner, toy_settings, write_toy

PLANES = 44


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy") / "slices", PLANES)


@pytest.fixture(scope="module")
def unwatched(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return Runner(tmp_path_factory.mktemp("unwatched"), toy_settings(slices)).to_the_end()


def shown_at_every_turn(runner: Runner, run: EmbeddedRun) -> tuple[set[str], set[int], str]:
    """Run to the end, drawing the page at every turn; return the pages' marks, the pictures' widths, the manifest."""
    marks: set[str] = set()
    widths: set[int] = set()
    page, picture = (runner.out / REPORT / name for name in (PAGE, PICTURE))
    for _ in range(4000):
        if run.complete:
            run.finish()
            run.end_live()
            return marks, widths, runner.manifest()
        run.turn()
        run.show_live(now=True)
        if picture.exists():
            marks.add("PREVIEW" if "PREVIEW" in page.read_text() else "full")
            shown = cv2.imread(str(picture))
            assert shown is not None
            widths.add(shown.shape[1])
    raise AssertionError("not complete")


def test_results_are_the_same_bytes_with_and_without_a_page_drawn_under_load(
    slices: Path, unwatched: str, tmp_path: Path
) -> None:
    parts = Parts(segmenter=GreySegmenter(VOXEL_NM), preview=lambda: GreySegmenter(VOXEL_NM))
    runner = Runner(tmp_path, toy_settings(slices), parts=parts)
    run = runner.start()
    try:
        marks, widths, manifest = shown_at_every_turn(runner, run)
    finally:
        run.close()
    # The toy is read in at once, so that its crops wait; at the end nothing waits.
    assert marks == {"PREVIEW", "full"}
    assert widths <= {PREVIEW_WIDTH_PX, WIDTH_PX, 150}
    assert manifest == unwatched
    assert not (tmp_path / REPORT / PAGE).exists()


def test_networks_that_a_preview_lacks_stop_nothing(slices: Path, unwatched: str, tmp_path: Path) -> None:
    def missing() -> Segmenter:
        raise ModelSetError("there is no network called chromatin")

    runner = Runner(tmp_path, toy_settings(slices), parts=Parts(segmenter=GreySegmenter(VOXEL_NM), preview=missing))
    run = runner.start()
    try:
        marks, _, manifest = shown_at_every_turn(runner, run)
    finally:
        run.close()
    assert "PREVIEW" not in marks
    assert manifest == unwatched


def test_the_page_says_what_advice_says_of_the_computer_and_the_disk(slices: Path, tmp_path: Path) -> None:
    parts = Parts(segmenter=GreySegmenter(VOXEL_NM), preview=lambda: GreySegmenter(VOXEL_NM))
    runner = Runner(tmp_path, toy_settings(slices), parts=parts)
    run = runner.start()
    try:
        while run.progress().followed < PLANES // 2:
            run.turn()
        run.keep_state()
        run.show_live(now=True)
        assert f'fibsem_disk_free_bytes{{volume="{tmp_path}"}}' in run.metrics.render().decode()
        advised = CliRunner().invoke(app, ["advise", str(tmp_path), "--json"], catch_exceptions=False)
    finally:
        run.close()
    page = (tmp_path / REPORT / PAGE).read_text()
    for beginning in ("The computer needs", "The disk has room for"):
        (sentence,) = (said for said in json.loads(advised.stdout)["text"] if said.startswith(beginning))
        assert f"<li>{escape(sentence.split(' for ')[0])}" in page


def test_slices_whose_crops_wait_count_as_waiting() -> None:
    assert waiting_slices({}) == 0
    assert waiting_slices({"seen": 10, "followed": 10, "crops": 50, "segmented": 50}) == 0
    assert waiting_slices({"seen": 30, "followed": 10, "crops": 50, "segmented": 45}) == 21
    assert MOST_WAITING > 1


def test_a_preview_asks_one_network() -> None:
    assert {source.network for source in PREVIEW_FUSION.foreground} | {PREVIEW_FUSION.background} == {"chromatin"}
