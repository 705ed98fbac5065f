from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.report.content import LedgerRow, NucleusRow, ReportData, Timing
from services.report.findings import account_for, doubts_about, flags_of, key_numbers

WHOLE = NucleusRow("n1", 0, 99, volume_um3=33.0, chromosome_count=12, nucleolus_volume_um3=3.0)


def texts(nucleus: NucleusRow) -> list[str]:
    return [flag.text for flag in flags_of(nucleus)]


def test_a_whole_nucleus_with_all_its_chromosomes_is_flagged_whole_and_doubted_by_nobody() -> None:
    assert texts(WHOLE) == ["whole"]
    assert doubts_about(WHOLE) == ()


def test_an_open_clipped_nucleus_says_so_and_is_not_judged_by_its_numbers() -> None:
    nucleus = replace(WHOLE, is_closed=False, clipped=("Z_LAST", "Y_FIRST"), chromosome_count=3, volume_um3=2.0)
    assert texts(nucleus) == ["open: more slices expected", "clipped: last slice, top"]
    assert doubts_about(nucleus) == ()


@pytest.mark.parametrize(
    ("change", "doubt"),
    [
        ({"chromosome_count": 11}, "11 chromosomes instead of 12"),
        ({"volume_um3": 80.0}, "volume 80.0"),
        ({"volume_um3": 4.0, "nucleolus_volume_um3": None}, "volume 4.0"),
        ({"nucleolus_volume_um3": 12.0}, "nucleolus takes 36.4%"),
        ({"absent_planes": 1}, "1 absent plane"),
    ],
)
def test_what_is_unusual_in_a_whole_nucleus_is_a_doubt(change: dict[str, object], doubt: str) -> None:
    found = doubts_about(replace(WHOLE, **change))  # type: ignore[arg-type]
    assert len(found) == 1
    assert doubt in found[0]


def test_a_run_that_was_told_to_expect_six_is_content_with_six() -> None:
    assert texts(replace(WHOLE, chromosome_count=6, expected_chromosomes=6)) == ["whole"]


def test_bridged_planes_and_a_continuation_are_flagged() -> None:
    assert texts(replace(WHOLE, bridged_planes=2, continues="n0")) == ["whole", "continues n0", "2 bridged planes"]


@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["ingested", "missing", "in_flight", "awaited"]))))
def test_every_z_of_the_range_is_either_accounted_for_or_counted_as_not(rows: list[tuple[int, str]]) -> None:
    account = account_for([LedgerRow(z, state) for z, state in rows])
    settled = {z for z, state in rows if state in {"ingested", "missing"}}
    zs = [z for z, _ in rows]
    expected = set(range(min(zs), max(zs) + 1)) if zs else set()
    assert account.unaccounted == len(expected - settled)
    assert account.slices == len(set(zs))


def test_remarks_are_all_rows_but_the_plain_ones() -> None:
    plain, odd, reasoned = LedgerRow(0, "accepted"), LedgerRow(1, "conflict"), LedgerRow(2, "accepted", "blank")
    assert account_for([plain, odd, reasoned]).remarks == (odd, reasoned)


def test_key_numbers_tell_slices_nuclei_chromosomes_and_rate() -> None:
    data = ReportData(
        acquisition="a",
        voxel_nm=None,
        nuclei=(WHOLE, replace(WHOLE, chromosome_count=10), replace(WHOLE, clipped=("X_LAST",))),
        ledger=tuple(LedgerRow(z, "ingested") for z in range(50)),
        timing=Timing((), wall_s=25.0),
    )
    shown = {number.label: number for number in key_numbers(data)}
    assert shown["slices"].value == "50"
    assert (shown["whole nuclei"].value, shown["whole nuclei"].note) == ("2", "1 clipped, 0 open")
    assert shown["chromosomes per nucleus"].value == "10\u201312"
    assert shown["chromosomes per nucleus"].kind == "warn"
    assert shown["slices per second"].value == "2"
    assert shown["slices unaccounted for"].kind == "good"


def test_a_whole_nucleus_with_a_failed_check_is_worth_a_second_look() -> None:
    assert doubts_about(replace(WHOLE, checks_failed=1)) == ("1 failed check",)
    assert doubts_about(replace(WHOLE, checks_failed=0)) == ()
