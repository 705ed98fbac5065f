"""What a share does over days: markers that come late or get lost, an hour away, a clock that was set back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from services.ingest.watcher import Ingest
from services.runtime.errors import TransientError
from tests.support.ingest_bench import Bench, name_of, slice_bytes


@pytest.fixture
def flags(bench: Bench) -> Path:
    folder = bench.folder.parent / "UploadFlags"
    folder.mkdir()
    return folder


def mark(flags: Path, z: int) -> None:
    (flags / f"ROI1^E^^Images^Y2026^{name_of(z)}^keep").touch()


def marked_ingest(bench: Bench, flags: Path) -> Ingest:
    return bench.ingest(watch=True, first_z=0, keep_flags=flags)


def read(ingest: Ingest) -> int:
    return ingest.ledger().files.accepted


def test_a_file_is_read_when_it_is_marked_and_not_before(bench: Bench, flags: Path) -> None:
    ingest = marked_ingest(bench, flags)
    bench.write_slices(range(2))
    bench.turn(ingest, polls=30)
    assert (read(ingest), ingest.ledger().files.in_flight) == (0, 2)
    mark(flags, 1)
    bench.turn(ingest)
    assert read(ingest) == 1
    assert (flags / f"ROI1^E^^Images^Y2026^{name_of(1)}^keep").exists()


def test_a_marked_file_need_not_rest(bench: Bench, flags: Path) -> None:
    ingest = marked_ingest(bench, flags)
    mark(flags, 0)
    bench.write_slices([0])
    bench.turn(ingest)
    assert read(ingest) == 1


def test_a_file_whose_marker_got_lost_is_read_after_an_hour_of_rest(bench: Bench, flags: Path) -> None:
    ingest = marked_ingest(bench, flags)
    bench.write_slices([0])
    bench.turn(ingest, polls=3)
    bench.clock.advance(3500)
    bench.turn(ingest)
    assert read(ingest) == 0
    bench.clock.advance(100)
    bench.turn(ingest)
    assert read(ingest) == 1


def test_at_the_finish_no_marker_is_waited_for(bench: Bench, flags: Path) -> None:
    ingest = marked_ingest(bench, flags)
    bench.write_slices(range(3))
    bench.write("ACQUISITION_FINISHED", b"")
    bench.run(ingest)
    assert sorted(bench.ingested()) == [0, 1, 2]


def test_a_folder_of_markers_that_is_away_is_an_outage(bench: Bench, flags: Path) -> None:
    ingest = marked_ingest(bench, flags)
    shutil.rmtree(flags)
    with pytest.raises(TransientError, match="the folder of markers cannot be listed"):
        bench.turn(ingest)
    flags.mkdir()
    mark(flags, 0)
    bench.write_slices([0])
    bench.turn(ingest)
    assert read(ingest) == 1


def test_a_share_that_is_away_for_an_hour_costs_nothing_but_the_hour(bench: Bench) -> None:
    ingest = bench.ingest(watch=True, first_z=0, missing_after_s=600.0)
    bench.write_slices(range(20))
    bench.turn(ingest, polls=3)
    away = bench.folder.with_name("away")
    bench.folder.rename(away)
    for _ in range(60):
        bench.clock.advance(60)
        with pytest.raises(TransientError, match="the folder of slices cannot be listed"):
            ingest.step()
    away.rename(bench.folder)
    bench.write_slices(range(20, 25))
    bench.write("ACQUISITION_FINISHED", b"")
    bench.run(ingest)
    assert sorted(bench.ingested()) == list(range(25))
    assert (bench.absent(), bench.letters()) == ({}, {})


def test_a_clock_that_is_set_back_changes_neither_order_nor_outcome(bench: Bench) -> None:
    ingest = bench.ingest(watch=True, first_z=0)
    for z in range(20):
        bench.write(name_of(z), slice_bytes(z))
        # The microscope's clock runs backwards: every file is older than the one before.
        os.utime(bench.folder / name_of(z), ns=((1000 - z) * 10**9, (1000 - z) * 10**9))
        bench.turn(ingest, polls=2)
    bench.write("ACQUISITION_FINISHED", b"")
    bench.run(ingest)
    assert sorted(bench.ingested()) == list(range(20))
    assert bench.letters() == {}


def test_a_file_written_again_with_an_earlier_time_is_noticed(bench: Bench) -> None:
    ingest = bench.ingest(watch=True, first_z=0)
    bench.write_slices(range(3))
    bench.turn(ingest, polls=3)
    (bench.folder / name_of(1)).write_bytes(slice_bytes(77))
    os.utime(bench.folder / name_of(1), ns=(1, 1))
    bench.turn(ingest, polls=4)
    assert ingest.ledger().files.conflict == 1


def test_every_known_file_is_looked_at_once_an_hour_however_many_there_are(bench: Bench) -> None:
    ingest = bench.ingest(watch=True, first_z=0, poll_interval_s=900.0)
    bench.write_slices(range(600))
    for _ in range(4):
        bench.clock.advance(900)
        bench.turn(ingest)
    assert read(ingest) == 600
    (bench.folder / name_of(599)).write_bytes(slice_bytes(5))
    bench.clock.advance(3600)
    bench.turn(ingest)
    bench.clock.advance(900)
    bench.turn(ingest)
    bench.clock.advance(900)
    bench.turn(ingest)
    assert ingest.ledger().files.conflict == 1
