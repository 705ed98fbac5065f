"""The table of checks and the measured columns of chromosomes on the page."""

from services.report.content import CheckRow, ChromosomeRow, NucleusRow, ObjectRow, ReportData
from services.report.page import Gallery, compose

NUCLEUS = NucleusRow("n1", 0, 9, stage="other_prophase", sc_length_um=12.5, sc_tracks=5, sphericity=0.91)
FAILED = CheckRow(
    "n1", "sc_length", "failed", "length of all complexes", 12.5, 25.0, 55.0, place_nm=(1000.0, 2500.0, 250.0)
)
PASSED = CheckRow("n1", "envelope_closed", "passed", "share without envelope", 0.001, None, 0.02)


def page(checks: tuple[CheckRow, ...]) -> str:
    data = ReportData(
        "a",
        (4.0, 4.0, 4.0),
        (NUCLEUS,),
        objects=(ObjectRow("n1", 7, "chromosome", 1, 400, 0.5),),
        chromosomes=(ChromosomeRow("n1", 1, True, 0.5, 15.25, 0.31, 7.59, 2, 0.05),),
        checks=checks,
    )
    return compose(data, Gallery())


def test_a_failed_check_is_shown_with_its_range_and_place() -> None:
    shown = page((FAILED, PASSED))
    row = shown[shown.index("SC length</td>") :].split("</tr>")[0]
    assert "12.5" in row
    assert "25 to 55" in row
    assert "1.00, 2.50, 0.25" in row
    assert '<tr class="warn">' in shown[: shown.index("SC length</td>")][-80:]


def test_a_passed_check_shows_no_place() -> None:
    shown = page((PASSED,))
    row = shown[shown.index("envelope closed</td>") :].split("</tr>")[0]
    assert "at most 0.02" in row
    assert '<table class="checks">' not in page(())


def test_measured_quantities_stand_among_the_facts_and_beside_the_chromosomes() -> None:
    shown = page(())
    assert "other prophase" in shown
    assert "12.5 \u00b5m in 5" in shown
    assert "Surface, \u00b5m\u00b2" in shown
    assert "7.59" in shown


def test_chromosomes_cut_out_of_one_object_are_all_listed() -> None:
    data = ReportData(
        "a",
        (4.0, 4.0, 4.0),
        (NUCLEUS,),
        objects=(ObjectRow("n1", 7, "chromosome", 1, 900, 0.9),),
        chromosomes=tuple(ChromosomeRow("n1", number, True, 0.3, 15.25, 0.31) for number in (1, 2, 3)),
    )
    assert [row.chromosome for row in data.chromosomes_of("n1")] == [1, 2, 3]
