"""A folder that a microscope writes into: files grow, come late, twice, out of order, or never."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.contracts.messages import AcquisitionFinished, AcquisitionOpened
from services.ingest.names import FINISH_MARKER
from services.ingest.requests import DeclareMissing, FinishAcquisition, ResolveConflict
from services.ingest.watcher import Ingest
from tests.support.ingest_bench import Bench, blank_bytes, content, name_of, slice_bytes
from tests.support.tiff_corpus import plane, written


@pytest.fixture
def watching(bench: Bench) -> Ingest:
    return bench.ingest(watch=True)


def test_a_file_is_read_when_two_looks_saw_it_alike(bench: Bench, watching: Ingest) -> None:
    bench.write_slices(range(16))
    bench.turn(watching)
    assert watching.ledger().files.in_flight == 16
    bench.turn(watching)
    assert watching.ledger().files.accepted == 16


def test_slices_flow_before_the_acquisition_is_finished(bench: Bench, watching: Ingest) -> None:
    bench.write_slices(range(17))
    bench.turn(watching, polls=3)
    assert len(bench.ingested()) == 17
    bench.write_slices([17])
    bench.turn(watching, polls=3)
    assert len(bench.ingested()) == 18
    assert "the next slice" in watching.status().waiting_for


def test_nothing_is_published_before_the_first_sixteen_are_known(bench: Bench, watching: Ingest) -> None:
    bench.write_slices([*range(14), *range(15, 30)])
    bench.turn(watching, polls=4)
    assert bench.messages() == []
    assert "the first 16 slices" in watching.status().waiting_for
    assert "z 14, which have not come" in watching.status().waiting_for
    bench.write_slices([14])
    bench.turn(watching, polls=4)
    assert len(bench.ingested()) == 30


def test_the_marker_finishes_the_acquisition_once_the_folder_is_at_rest(bench: Bench, watching: Ingest) -> None:
    bench.write(FINISH_MARKER, b"")
    for z in range(5):
        bench.write_slices([z])
        bench.turn(watching)
        assert not watching.is_done
    bench.run(watching)
    assert sorted(bench.ingested()) == [0, 1, 2, 3, 4]
    assert len(bench.of_kind(AcquisitionFinished)) == 1
    assert watching.status().waiting_for == "nothing"


def test_the_marker_does_not_overtake_a_file_that_is_still_copied_under_a_passing_name(
    bench: Bench, watching: Ingest
) -> None:
    bench.write_slices(range(3))
    bench.write(FINISH_MARKER, b"")
    payload = slice_bytes(3)
    for length in range(0, len(payload), 100):
        bench.write(".slice_0003.tif.Xy12ab", payload[:length])
        bench.turn(watching)
        assert not watching.is_done
    (bench.folder / ".slice_0003.tif.Xy12ab").unlink()
    bench.write_slices([3])
    bench.run(watching)
    assert sorted(bench.ingested()) == [0, 1, 2, 3]


def test_watching_a_finished_folder_says_the_same_as_reading_it(bench: Bench, tmp_path: Path) -> None:
    other = Bench(tmp_path)
    for each in (bench, other):
        each.write_slices([0, 1, 2, 5, 6])
        each.write(name_of(7), blank_bytes())
        each.write(name_of(8), b"II*\x00")
        each.write(name_of(9), slice_bytes(9)[:-20])
        each.write(FINISH_MARKER, b"")
    finished = bench.run(bench.ingest())
    watched = other.run(other.ingest(watch=True))
    assert finished.ledger_rows() == watched.ledger_rows()
    assert content(bench.messages()) == content(other.messages())
    other.close()


def test_a_growing_file_is_read_once_and_whole(bench: Bench, watching: Ingest) -> None:
    bench.write_slices(range(16))
    payload = slice_bytes(16)
    for length in range(0, len(payload), 90):
        bench.write(name_of(16), payload[:length])
        bench.turn(watching, polls=3)
        assert watching.ledger().files.dead_lettered == 0
        assert watching.ledger().slices.in_flight == 1
    bench.write_slices([16])
    bench.turn(watching, polls=3)
    ingested = bench.ingested()
    assert bench.stored(ingested[16]) == payload
    assert watching.ledger().files.seen == 17


def test_an_incomplete_file_is_given_up_once_later_slices_came_and_it_has_rested(
    bench: Bench, watching: Ingest
) -> None:
    bench.write_slices([*range(16), 17])
    bench.write(name_of(16), slice_bytes(16)[:-30])
    bench.turn(watching, polls=8)
    assert watching.ledger().files.in_flight == 1
    assert "slice_0016.tif (truncated_strip)" in watching.status().waiting_for
    bench.turn(watching, polls=6)
    assert bench.letters() == {name_of(16): "truncated_strip"}
    assert watching.ledger().slices.dead_lettered == 1


def test_the_last_file_is_not_given_up_before_the_finish(bench: Bench, watching: Ingest) -> None:
    bench.write_slices(range(16))
    bench.write(name_of(16), slice_bytes(16)[:-30])
    bench.turn(watching, polls=60)
    assert watching.ledger().files.in_flight == 1
    bench.write(FINISH_MARKER, b"")
    bench.run(watching)
    assert bench.absent() == {16: "DEAD_LETTERED"}


def test_a_file_that_becomes_whole_after_it_was_given_up_is_late_and_kept(bench: Bench, watching: Ingest) -> None:
    bench.write_slices([*range(16), 17])
    bench.write(name_of(16), slice_bytes(16)[:-30])
    bench.turn(watching, polls=16)
    bench.write(name_of(16), slice_bytes(16))
    bench.turn(watching, polls=4)
    assert bench.absent() == {16: "DEAD_LETTERED"}
    files = watching.ledger().files
    assert (files.seen, files.dead_lettered, files.conflict) == (19, 1, 1)
    (late,) = [row for row in watching.ledger_rows() if row.state == "conflict"]
    assert (late.z, late.reason) == (16, "late")
    assert any(key.startswith("roi/raw/z000016-") for key in bench.store.keys("roi/raw"))


def test_a_slice_written_again_under_its_name_is_a_conflict(bench: Bench, watching: Ingest) -> None:
    bench.write_slices(range(17))
    bench.turn(watching, polls=3)
    bench.write(name_of(4), slice_bytes(99))
    bench.turn(watching, polls=4)
    files = watching.ledger().files
    assert (files.seen, files.accepted, files.conflict) == (18, 17, 1)


def test_a_new_time_of_the_same_bytes_means_nothing(bench: Bench, watching: Ingest) -> None:
    bench.write_slices(range(17))
    bench.turn(watching, polls=3)
    bench.touch(name_of(4))
    bench.turn(watching, polls=4)
    files = watching.ledger().files
    assert (files.seen, files.accepted, files.in_flight) == (17, 17, 0)


def test_a_file_that_is_taken_away_before_it_was_read_is_forgotten(bench: Bench, watching: Ingest) -> None:
    bench.write_slices(range(3))
    bench.turn(watching)
    (bench.folder / name_of(2)).unlink()
    bench.turn(watching, polls=2)
    assert watching.ledger().files.seen == 2


def test_a_missing_z_is_waited_for_and_named(bench: Bench, watching: Ingest) -> None:
    bench.write_slices([*range(16), 18])
    bench.turn(watching, polls=100)
    assert watching.status().waiting_for.startswith("z 16-17, which have not come")
    assert watching.ledger().slices.awaited == 2


def test_declaring_slices_missing_goes_on_as_a_recorded_decision(bench: Bench, watching: Ingest) -> None:
    bench.write_slices([*range(16), 18, 20])
    bench.turn(watching, polls=3)
    bench.requests.leave(DeclareMissing(z_first=15, z_last=17, decided_by="ada", reason="the mill was stopped"))
    bench.turn(watching, polls=2)
    messages = bench.messages()
    (decision,) = [m for m in messages if type(m).__name__ == "DecisionRecorded"]
    assert decision.model_dump(include={"z_first", "z_last", "decided_by", "reason"}) == {
        "z_first": 16, "z_last": 17, "decided_by": "ada", "reason": "the mill was stopped",
    }  # fmt: skip
    assert {m.z for m in messages if type(m).__name__ == "SliceAbsent"} == {16, 17}  # type: ignore[attr-defined]
    assert watching.ledger().slices.awaited == 1


def test_slices_that_have_yet_to_be_milled_are_not_missing(bench: Bench, watching: Ingest) -> None:
    bench.write_slices(range(17))
    bench.turn(watching, polls=3)
    bench.requests.leave(DeclareMissing(z_first=20, z_last=30))
    bench.turn(watching, polls=2)
    assert bench.decisions() == []
    (why,) = bench.requests.refusals().values()
    assert "no z from 20 to 30 is awaited" in why


def test_a_time_out_that_was_configured_declares_slices_missing_and_is_recorded(bench: Bench) -> None:
    watching = bench.ingest(watch=True, missing_after_s=30)
    bench.write_slices([*range(16), 18])
    bench.turn(watching, polls=25)
    assert bench.decisions() == []
    bench.turn(watching, polls=15)
    assert bench.decisions() == [("SLICES_MISSING", 16, 17, "policy-time-out")]
    assert watching.ledger().slices.missing == 2


def test_a_slice_that_comes_after_it_was_declared_missing_is_late(bench: Bench) -> None:
    watching = bench.ingest(watch=True, missing_after_s=5)
    bench.write_slices([*range(16), 17])
    bench.turn(watching, polls=10)
    bench.write_slices([16])
    bench.turn(watching, polls=3)
    assert 16 not in bench.ingested()
    assert [(row.z, row.reason) for row in watching.ledger_rows() if row.state == "conflict"] == [(16, "late")]


def test_a_request_finishes_the_acquisition_and_says_who(bench: Bench, watching: Ingest) -> None:
    bench.write_slices([0, 1, 3])
    bench.turn(watching, polls=3)
    bench.requests.leave(FinishAcquisition(decided_by="ada", reason="the block is gone"))
    bench.run(watching)
    assert bench.decisions() == [
        ("SLICES_MISSING", 2, 2, "policy-finished-folder"),
        ("ACQUISITION_FINISHED", 0, 3, "ada"),
    ]


def test_a_finish_that_was_asked_for_survives_a_restart(bench: Bench, watching: Ingest) -> None:
    bench.write_slices(range(3))
    bench.turn(watching, polls=2)
    bench.requests.leave(FinishAcquisition(decided_by="ada"))
    bench.turn(watching)
    bench.run(bench.ingest(watch=True))


def test_a_request_that_says_nothing_sensible_is_put_aside_with_the_reason(bench: Bench, watching: Ingest) -> None:
    bench.store.put("roi/requests/asked/stop.json", b'{"kind": "stop"}')
    bench.write_slices(range(3))
    bench.turn(watching, polls=3)
    assert "this is no request" in bench.requests.refusals()["stop"]
    assert watching.ledger().files.accepted == 3


def test_a_conflict_can_be_resolved_before_anything_is_published(bench: Bench, watching: Ingest) -> None:
    bench.write_slices(range(5))
    bench.turn(watching, polls=2)
    bench.write("better_0002.tif", slice_bytes(70))
    bench.turn(watching, polls=2)
    (conflict,) = [row for row in watching.ledger_rows() if row.state == "conflict"]
    bench.requests.leave(ResolveConflict(z=2, sha256=conflict.sha256))
    bench.turn(watching, polls=2)
    bench.write(FINISH_MARKER, b"")
    bench.run(watching)
    messages = bench.messages()
    chosen = {m.z: m for m in messages if type(m).__name__ == "SliceIngested"}[2]  # type: ignore[attr-defined]
    assert bench.stored(chosen) == slice_bytes(70)  # type: ignore[arg-type]


def test_a_conflict_about_a_published_slice_can_only_be_settled_for_the_accepted_one(
    bench: Bench, watching: Ingest
) -> None:
    bench.write_slices(range(17))
    bench.turn(watching, polls=3)
    bench.write("better_0002.tif", slice_bytes(70))
    bench.turn(watching, polls=3)
    states = {row.state: row.sha256 for row in watching.ledger_rows() if row.z == 2}
    bench.requests.leave(ResolveConflict(z=2, sha256=states["conflict"]))
    bench.turn(watching, polls=2)
    (why,) = bench.requests.refusals().values()
    assert "z 2 has been published" in why
    bench.requests.leave(ResolveConflict(z=2, sha256=states["ingested"]))
    bench.turn(watching, polls=2)
    assert bench.decisions() == [("CONFLICT_RESOLVED", 2, 2, "operator")]


def test_an_acquisition_that_counts_from_one_begins_at_one(bench: Bench, watching: Ingest) -> None:
    bench.write_slices(range(1, 17))
    bench.turn(watching, polls=3)
    assert bench.of_kind(AcquisitionOpened)[0].z_first == 1


def test_where_an_acquisition_begins_that_starts_elsewhere_is_asked_for(bench: Bench, watching: Ingest) -> None:
    bench.write_slices(range(100, 120))
    bench.turn(watching, polls=5)
    assert bench.messages() == []
    assert "z 100 is the lowest so far, --first-z settles it" in watching.status().waiting_for
    bench.turn(bench.ingest(watch=True, first_z=100), polls=3)
    assert sorted(bench.ingested()) == list(range(100, 120))


def test_slice_0_after_the_acquisition_began_at_1_is_late(bench: Bench, watching: Ingest) -> None:
    bench.write_slices(range(1, 18))
    bench.turn(watching, polls=3)
    bench.write_slices([0])
    bench.turn(watching, polls=3)
    assert watching.ledger().files.conflict == 1
    assert 0 not in bench.ingested()


def test_the_last_z_that_is_wanted_finishes_the_acquisition(bench: Bench) -> None:
    watching = bench.ingest(watch=True, last_z=20)
    bench.write_slices(range(25))
    bench.run(watching)
    assert sorted(bench.ingested()) == list(range(21))


def test_a_stack_that_grows_page_by_page_is_read_when_it_has_rested(bench: Bench, watching: Ingest) -> None:
    planes = [plane(z, 8, (24, 17)) for z in range(20)]
    bench.write("stack_0000.tif", written(planes[:10]))
    bench.turn(watching, polls=30)
    assert watching.ledger().files.in_flight == 1
    bench.write("stack_0000.tif", written(planes))
    bench.turn(watching, polls=70)
    assert sorted(bench.ingested()) == list(range(20))
    assert watching.ledger().files.seen == 1


def test_gauges_and_counters_tell_how_the_acquisition_stands(bench: Bench, watching: Ingest) -> None:
    bench.write_slices([*range(16), 17])
    bench.turn(watching, polls=3)
    bench.write_slices([18])
    bench.turn(watching)
    value = bench.metrics.value
    assert value("fibsem_slices_seen_total", acquisition="roi") == 18
    assert value("fibsem_slices_missing", acquisition="roi") == 1
    assert value("fibsem_slices_unaccounted", acquisition="roi") == 0
    assert value("fibsem_slice_frontier_index", acquisition="roi", stage="ingest") == 15
    assert value("fibsem_slices_processed_total", stage="ingest") == 17
