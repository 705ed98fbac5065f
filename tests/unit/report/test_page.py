import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from services.report.content import NucleusRow, ReportData
from services.report.page import Gallery, Illustration, NucleusGallery, compose
from services.report.reading import read_results
from services.report.writing import ReportOptions, write_report
from tests.support.results_builder import FakeNucleus, build_results

SMALL = ReportOptions(hero_px=80, rendering_px=64, section_px=96, slice_px=160)
NUCLEI = (
    FakeNucleus("n0001"),
    FakeNucleus("n0002", {"clipped": "X_LAST,Z_FIRST", "bridged_planes": 3}),
    FakeNucleus("n0003", {"state": "open", "z_last": None, "volume_um3": None}, has_volume=False),
    FakeNucleus("n0004", {"chromosome_count": 11}, has_volume=False),
)
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Reads a page strictly: every element that is opened is closed in its turn."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(markup)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(build_results(tmp_path_factory.mktemp("run") / "out", NUCLEI, scores=True), SMALL)


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page(written.read_text("utf-8"))


def test_the_page_is_written_where_design_says_and_parses(written: Path, page: Page) -> None:
    assert (written.parent.name, written.name) == ("report", "index.html")
    assert page.all("html") == [{"lang": "en"}]


def test_every_nucleus_has_its_card_and_its_row(page: Page) -> None:
    cards = [attributes["id"] for attributes in page.all("article")]
    assert sorted(cards) == [f"nucleus-{nucleus.nucleus_id}" for nucleus in NUCLEI]
    assert all(page.text.count(nucleus.nucleus_id) >= 2 for nucleus in NUCLEI)


@pytest.mark.parametrize(
    "flag",
    ["clipped: right, first slice", "3 bridged planes", "open: more slices expected", "11 chromosomes, expected 12"],
)
def test_flags_are_visible(page: Page, flag: str) -> None:
    assert flag in page.text


def test_nothing_is_loaded_from_elsewhere(written: Path, page: Page) -> None:
    loaded = [a[key] for _, a in page.elements for key in ("src", "srcset", "data", "poster", "action") if key in a]
    assert loaded
    assert all(address.startswith("data:image/") for address in loaded)
    markup = written.read_text("utf-8")
    assert not page.all("script") + page.all("link") + page.all("iframe")
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", markup)
    hrefs = [a[key] for _, a in page.elements for key in ("href", "xlink:href") if key in a]
    assert not [href for href in hrefs if re.match(r"[a-z]+:|//", href)]


def test_every_link_within_the_page_has_a_target_and_no_id_is_used_twice(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {a[key][1:] for _, a in page.elements for key in ("href", "xlink:href") if a.get(key, "").startswith("#")}
    assert wanted <= set(ids)


def test_every_link_to_a_file_leads_to_one(written: Path, page: Page) -> None:
    files = [a["href"] for a in page.all("a") if not a["href"].startswith("#")]
    assert "../nuclei.parquet" in files
    assert all((written.parent / file).exists() for file in files)


def test_every_picture_has_a_text_for_who_cannot_see_it(page: Page) -> None:
    assert all(len(image["alt"]) > 10 for image in page.all("img"))


def test_pictures_beside_the_page_have_the_size_it_declares_and_are_not_blank(written: Path, page: Page) -> None:
    images = page.all("img")
    linked = [a["href"] for a in page.all("a") if a["href"].startswith("pictures/")]
    assert len(images) == len(linked)
    for image, file in zip(images, linked, strict=True):
        pixels = cv2.imread(str(written.parent / file), cv2.IMREAD_UNCHANGED)
        assert pixels is not None
        assert (int(image["width"]), int(image["height"])) == (pixels.shape[1], pixels.shape[0])
        assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 20


def test_a_whole_nucleus_gets_all_renderings_and_another_one(written: Path) -> None:
    names = {path.stem for path in (written.parent / "pictures").iterdir()}
    subjects = {"everything", "chromosomes", "complexes", "membrane", "individuals"}
    assert {name.removeprefix("n0001-") for name in names if name.startswith("n0001-")} >= subjects
    assert {name.removeprefix("n0002-") for name in names if name.startswith("n0002-")} & subjects == {"everything"}


def test_nuclei_beyond_those_that_are_drawn_say_so(tmp_path: Path) -> None:
    out = build_results(tmp_path / "out", [FakeNucleus("n0001"), FakeNucleus("n0002", has_volume=False)])
    done: list[str] = []
    page = write_report(out, ReportOptions(whole_rendered=0, other_rendered=1), done.append)
    assert Page(page.read_text("utf-8")).text.count("Not drawn: this report draws the first 0 whole nuclei") == 2
    assert done == []
    assert not list((page.parent / "pictures").glob("n*"))


def test_gaps_and_dead_letters_stand_on_the_page_with_their_reason(page: Page) -> None:
    assert "truncated in strip 3" in page.text
    assert "declared at the end" in page.text


def test_scores_stand_on_the_page_only_when_the_truth_is_known(tmp_path: Path, page: Page) -> None:
    assert "Scores against the known truth" in page.text
    assert "0.82 missed" in page.text
    blind = compose(read_results(build_results(tmp_path / "out", NUCLEI[3:])), Gallery())
    assert "Scores against" not in blind
    assert "F1" not in Page(blind).text


def test_a_report_is_the_same_when_written_again_but_for_its_date(tmp_path: Path) -> None:
    out = build_results(tmp_path / "out", [FakeNucleus("n0001", {"clipped": "X_LAST"})])
    first = write_report(out, SMALL)
    pictures, markup = first.parent / "pictures", first.read_text("utf-8")
    before = {path.name: path.read_bytes() for path in pictures.iterdir()}
    (pictures / "stale.png").write_bytes(b"")
    write_report(out, SMALL)
    assert {path.name: path.read_bytes() for path in pictures.iterdir()} == before
    dated = r"written \d{4}-\d\d-\d\d \d\d:\d\d UTC"
    assert re.sub(dated, "", first.read_text("utf-8")) == re.sub(dated, "", markup)


HOSTILE = '<script>alert("x")</script> & $x_1$ "quoted" \'single\''


def test_names_cannot_put_anything_into_the_page(tmp_path: Path) -> None:
    out = build_results(tmp_path / "out", scores=True)
    data = read_results(out)
    picture = Illustration("data:image/webp;base64,", HOSTILE, HOSTILE, (4, 4), 'pictures/"><b>.png')
    hostile = ReportData(
        acquisition=HOSTILE,
        voxel_nm=None,
        nuclei=(NucleusRow(HOSTILE.replace("/", "|"), 3, 9, clipped=(HOSTILE,), volume_um3=1.0, continues=HOSTILE),),
        objects=tuple(replace(o, nucleus_id=HOSTILE.replace("/", "|"), class_name=HOSTILE) for o in data.objects),
        ledger=tuple(replace(row, state=HOSTILE, reason=HOSTILE, file=HOSTILE) for row in data.ledger),
        events=((HOSTILE, 3),),
        provenance=((HOSTILE, HOSTILE),),
        timing=data.timing and replace(data.timing, stages=(replace(data.timing.stages[0], name=HOSTILE),)),
        scores=data.scores and replace(data.scores, averages=((HOSTILE, 0.5),)),
        missing=(HOSTILE,),
    )
    gallery = Gallery(
        (picture,), {hostile.nuclei[0].nucleus_id: NucleusGallery(picture, (picture,), (picture,), picture)}
    )
    page = Page(compose(hostile, gallery, HOSTILE))
    assert not page.all("script")
    assert not page.all("b") or all("class" in attributes or not attributes for attributes in page.all("b"))
    assert page.text.count("alert") > 10


def test_a_run_that_found_nothing_has_a_page_all_the_same() -> None:
    page = Page(compose(ReportData(acquisition="empty", voxel_nm=None, nuclei=()), Gallery()))
    assert "No nucleus was found" in page.text
    assert page.text.count("Not available") >= 3
