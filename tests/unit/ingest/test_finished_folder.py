"""A finished folder becomes messages: good slices ingested, bad ones kept and explained, gaps declared."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile

from services.contracts.messages import AcquisitionFinished, AcquisitionOpened, SliceAbsent
from tests.support.ingest_bench import VOXEL, Bench, blank_bytes, name_of, slice_bytes
from tests.support.tiff_corpus import plane, readable, refused, written

REFUSED = refused()


def test_every_slice_is_published_with_its_bytes_its_place_and_its_grey(bench: Bench) -> None:
    bench.write_slices(range(20))
    bench.run(bench.ingest())
    (opened,) = bench.of_kind(AcquisitionOpened)
    assert (opened.height_px, opened.width_px, opened.bits, opened.z_first) == (24, 17, 8, 0)
    assert opened.voxel_size == VOXEL
    pixels = np.stack([plane(z, 8, (24, 17)) for z in range(16)])
    assert opened.grey.mean == pytest.approx(pixels.mean())
    assert opened.grey.sd == pytest.approx(pixels.std())
    ingested = bench.ingested()
    assert sorted(ingested) == list(range(20))
    assert ingested[7].file_name == "slice_0007.tif"
    assert ingested[7].grey == opened.grey
    assert bench.stored(ingested[7]) == slice_bytes(7)
    (finished,) = bench.of_kind(AcquisitionFinished)
    assert (finished.z_first, finished.z_last) == (0, 19)


def test_the_acquisition_is_opened_before_any_slice_and_finished_after_the_last_decision(bench: Bench) -> None:
    bench.write_slices([0, 1, 3])
    bench.run(bench.ingest())
    kinds = [type(message).__name__ for message in bench.messages() if type(message).__name__[0] in "AD"]
    assert kinds == ["DecisionRecorded", "AcquisitionOpened", "DecisionRecorded", "AcquisitionFinished"]


def test_z_comes_from_the_name_and_the_acquisition_begins_at_the_lowest(bench: Bench) -> None:
    bench.write_slices([12, 10, 11])
    bench.run(bench.ingest())
    assert bench.of_kind(AcquisitionOpened)[0].z_first == 10
    assert sorted(bench.ingested()) == [10, 11, 12]


@pytest.mark.parametrize("kind", REFUSED)
def test_a_bad_file_is_kept_and_explained_and_the_next_slices_flow(bench: Bench, kind: str) -> None:
    payload, reason = REFUSED[kind]
    bench.write_slices([0, 1, 2, 4])
    bench.write(name_of(3), payload)
    ingest = bench.run(bench.ingest(max_page_pixels=2**16))
    assert bench.letters() == {name_of(3): reason}
    assert bench.kept(name_of(3)) == payload
    assert bench.absent() == {3: "DEAD_LETTERED"}
    assert sorted(bench.ingested()) == [0, 1, 2, 4]
    files = ingest.ledger().files
    assert (files.accepted, files.dead_lettered) == (4, 1)
    assert bench.metrics.value("fibsem_slices_quarantined_total", acquisition="roi", reason=reason) == 1


def test_files_of_every_readable_kind_are_ingested(bench: Bench) -> None:
    samples = [sample for sample in readable() if len(sample.planes) == 1 and sample.channel is None]
    samples = [sample for sample in samples if sample.planes[0].dtype == np.uint8]
    for z, sample in enumerate(samples):
        bench.write(name_of(z), sample.payload)
    bench.run(bench.ingest())
    assert sorted(bench.ingested()) == list(range(len(samples)))


def test_a_slice_of_another_shape_is_refused_even_if_it_is_the_first(bench: Bench) -> None:
    bench.write_slices(range(1, 20))
    bench.write(name_of(0), slice_bytes(0, shape_yx=(5, 9)))
    bench.write(name_of(18), slice_bytes(18, shape_yx=(17, 24)))
    bench.run(bench.ingest())
    assert bench.letters() == {name_of(0): "wrong_shape", name_of(18): "wrong_shape"}
    assert bench.absent() == {0: "DEAD_LETTERED", 18: "DEAD_LETTERED"}
    opened = bench.of_kind(AcquisitionOpened)[0]
    assert (opened.z_first, opened.height_px, opened.width_px) == (0, 24, 17)
    assert bench.kept(name_of(0)) == slice_bytes(0, shape_yx=(5, 9))


def test_a_slice_of_another_depth_is_refused(bench: Bench) -> None:
    bench.write_slices(range(18))
    bench.write(name_of(18), slice_bytes(18, bits=16))
    bench.run(bench.ingest())
    assert bench.letters() == {name_of(18): "wrong_dtype"}


def test_16_bit_grey_is_mapped_between_the_percentiles_of_the_first_sixteen(bench: Bench) -> None:
    for z in range(18):
        bench.write(name_of(z), slice_bytes(z, bits=16))
    bench.run(bench.ingest(grey_low_percentile=2, grey_high_percentile=98))
    pixels = np.stack([plane(z, 16, (24, 17)) for z in range(16)])
    opened = bench.of_kind(AcquisitionOpened)[0]
    assert opened.bits == 16
    assert opened.grey.low == np.percentile(pixels, 2, method="inverted_cdf")
    assert opened.grey.high == np.percentile(pixels, 98, method="inverted_cdf")


def test_a_blank_slice_is_kept_flagged_and_absent_and_does_not_count_for_grey(bench: Bench) -> None:
    bench.write_slices(range(1, 18))
    bench.write(name_of(0), blank_bytes())
    bench.write(name_of(9), blank_bytes(255))
    ingest = bench.run(bench.ingest())
    assert bench.absent() == {0: "BLANK", 9: "BLANK"}
    pixels = np.stack([plane(z, 8, (24, 17)) for z in range(1, 18) if z != 9])
    assert bench.of_kind(AcquisitionOpened)[0].grey.mean == pytest.approx(pixels.mean())
    ledger = ingest.ledger()
    assert (ledger.files.accepted, ledger.slices.ingested, ledger.slices.blank) == (18, 18, 2)
    assert [(row.z, row.file) for row in ingest.ledger_rows() if row.state == "blank"] == [
        (0, name_of(0)),
        (9, name_of(9)),
    ]


def test_gaps_are_declared_recorded_and_listed(bench: Bench) -> None:
    bench.write_slices([2, 3, 6, 7, 9])
    ingest = bench.run(bench.ingest())
    assert bench.absent() == {4: "MISSING", 5: "MISSING", 8: "MISSING"}
    assert bench.decisions() == [
        ("SLICES_MISSING", 4, 5, "policy-finished-folder"),
        ("SLICES_MISSING", 8, 8, "policy-finished-folder"),
        ("ACQUISITION_FINISHED", 2, 9, "policy-finished-folder"),
    ]
    assert [row.z for row in ingest.ledger_rows() if row.state == "missing"] == [4, 5, 8]
    assert ingest.ledger().slices.missing == 3


def test_gaps_are_waited_for_if_the_user_wants(bench: Bench) -> None:
    bench.write_slices([0, 1, 3])
    ingest = bench.ingest(gaps="wait")
    bench.turn(ingest, polls=10)
    assert not ingest.is_done
    assert "z 2, which have not come" in ingest.status().waiting_for
    bench.write_slices([2])
    bench.run(ingest)
    assert sorted(bench.ingested()) == [0, 1, 2, 3]


def test_equal_bytes_for_one_z_are_counted_as_duplicates(bench: Bench) -> None:
    bench.write_slices(range(3))
    bench.write("again_0001.tif", slice_bytes(1))
    ingest = bench.run(bench.ingest())
    files = ingest.ledger().files
    assert (files.seen, files.accepted, files.duplicate) == (4, 3, 1)
    assert bench.metrics.value("fibsem_slices_duplicate_total", acquisition="roi") == 1
    rows = {row.file: row.state for row in ingest.ledger_rows()}
    assert (rows["again_0001.tif"], rows[name_of(1)]) == ("ingested", "duplicate")


def test_other_bytes_for_one_z_are_a_conflict_in_which_the_accepted_one_stands_and_both_are_kept(bench: Bench) -> None:
    bench.write_slices(range(3))
    bench.write("z_other_0001.tif", slice_bytes(77))
    ingest = bench.run(bench.ingest())
    assert bench.stored(bench.ingested()[1]) == slice_bytes(1)
    assert ingest.ledger().files.conflict == 1
    (conflict,) = [row for row in ingest.ledger_rows() if row.state == "conflict"]
    assert (conflict.z, conflict.file, conflict.reason) == (1, "z_other_0001.tif", "other_bytes")
    raw = list(bench.store.keys("roi/raw"))
    assert sum(key.startswith("roi/raw/z000001-") for key in raw) == 2
    assert bench.metrics.value("fibsem_slices_conflict_total", acquisition="roi") == 1


def test_a_good_file_takes_the_place_of_a_bad_one_with_the_same_z(bench: Bench) -> None:
    bench.write_slices(range(3))
    bench.write("a_0001.tif", slice_bytes(1)[:-10])
    bench.run(bench.ingest())
    assert bench.letters() == {"a_0001.tif": "truncated_strip"}
    assert bench.absent() == {}
    assert sorted(bench.ingested()) == [0, 1, 2]


def test_a_name_without_a_z_is_a_dead_letter(bench: Bench) -> None:
    bench.write_slices(range(3))
    bench.write("overview.tif", slice_bytes(50))
    ingest = bench.run(bench.ingest())
    assert bench.letters() == {"overview.tif": "name_without_z"}
    assert bench.absent() == {}
    assert ingest.ledger_rows()[0].z is None


def test_a_number_that_can_be_no_z_is_a_dead_letter_and_no_gap(bench: Bench) -> None:
    bench.write_slices(range(3))
    bench.write("image_20190809.tif", slice_bytes(50))
    bench.run(bench.ingest())
    assert bench.letters() == {"image_20190809.tif": "z_out_of_range"}
    assert bench.absent() == {}


def test_what_is_no_slice_is_ignored_and_counted(bench: Bench) -> None:
    bench.write_slices(range(3))
    for name in ("notes.txt", ".slice_0001.tif.Xy12", "slice_0005.tif.part", "ACQUISITION_FINISHED"):
        bench.write(name, b"x")
    (bench.folder / "thumbnails").mkdir()
    files = bench.run(bench.ingest()).ledger().files
    assert files.seen == 3
    assert files.ignored == {"extension": 1, "unfinished": 2, "marker": 1, "not_a_file": 1}


def test_pages_of_a_stack_are_slices_from_the_z_in_its_name(bench: Bench) -> None:
    bench.write("stack_0010.tif", written([plane(z, 8, (24, 17)) for z in range(12)], compression="zlib"))
    bench.write("stack_0022.tif", slice_bytes(22))
    bench.run(bench.ingest(pages_per_turn=5))
    ingested = bench.ingested()
    assert sorted(ingested) == list(range(10, 23))
    assert (ingested[14].page, ingested[14].file_name) == (4, "stack_0010.tif")
    assert ingested[14].raw == ingested[10].raw


def test_a_stack_without_a_number_begins_where_the_setting_says(bench: Bench) -> None:
    bench.write("train_raw.tif", written([plane(z, 8, (24, 17)) for z in range(4)]))
    bench.run(bench.ingest(stack_z_zero=30))
    assert sorted(bench.ingested()) == [30, 31, 32, 33]


def test_a_damaged_page_of_a_stack_costs_only_its_own_z(bench: Bench) -> None:
    stack = bytearray(written([plane(z, 8, (24, 17)) for z in range(4)], compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(bytes(stack))) as opened:
        start = opened.pages[2].dataoffsets[0]
    stack[start + 10 : start + 30] = bytes(20)
    bench.write("stack.tif", bytes(stack))
    ingest = bench.run(bench.ingest())
    assert sorted(bench.ingested()) == [0, 1, 3]
    assert bench.absent() == {2: "DEAD_LETTERED"}
    assert ingest.ledger().files.accepted == 1


def test_only_the_slices_of_the_range_that_is_wanted_are_taken(bench: Bench) -> None:
    bench.write_slices(range(4))
    bench.write("stack_0004.tif", written([plane(z, 8, (24, 17)) for z in range(4, 10)]))
    ingest = bench.run(bench.ingest(first_z=2, last_z=6))
    assert sorted(bench.ingested()) == [2, 3, 4, 5, 6]
    assert bench.absent() == {}
    assert ingest.ledger().files.ignored == {"outside_z_range": 2}


def test_the_named_channel_of_unequal_ones_is_taken(bench: Bench) -> None:
    for z in range(3):
        channels = np.stack([plane(z + 50, 8, (24, 17)), plane(z, 8, (24, 17)), plane(z + 90, 8, (24, 17))], -1)
        bench.write(name_of(z), written([channels], photometric="rgb"))
    bench.run(bench.ingest(channel=1))
    assert bench.ingested()[2].channel == 1
    pixels = np.stack([plane(z, 8, (24, 17)) for z in range(3)])
    assert bench.of_kind(AcquisitionOpened)[0].grey.mean == pytest.approx(pixels.mean())


def test_two_folders_are_one_acquisition(bench: Bench, tmp_path: Path) -> None:
    bench.write_slices(range(3))
    (tmp_path / name_of(3)).write_bytes(slice_bytes(3))
    (tmp_path / name_of(2)).write_bytes(slice_bytes(2))
    ingest = bench.run(bench.ingest(folders=(bench.folder, tmp_path)))
    assert sorted(bench.ingested()) == [0, 1, 2, 3]
    assert ingest.ledger().files.duplicate == 1


def test_an_empty_folder_ends_without_an_acquisition_and_says_so(bench: Bench) -> None:
    ingest = bench.run(bench.ingest())
    assert bench.messages() == []
    assert "no slice" in ingest.status().waiting_for
    bench.write_slices(range(2))
    bench.run(bench.ingest())
    assert sorted(bench.ingested()) == [0, 1]


def test_a_folder_of_bad_files_ends_and_says_why(bench: Bench) -> None:
    bench.write(name_of(4), b"no image")
    bench.write(name_of(6), blank_bytes())
    bench.run(bench.ingest())
    assert bench.absent() == {4: "DEAD_LETTERED", 5: "MISSING", 6: "BLANK"}
    assert bench.of_kind(AcquisitionOpened) == []
    assert len(bench.of_kind(AcquisitionFinished)) == 1
    assert [message.detail for message in bench.of_kind(SliceAbsent) if message.z == 4] == [f"{name_of(4)}: not_a_tiff"]


def test_links_inside_the_folder_are_followed_and_links_out_of_it_are_not(bench: Bench, tmp_path: Path) -> None:
    bench.write_slices(range(2))
    (tmp_path / "secret.tif").write_bytes(slice_bytes(2))
    (bench.folder / name_of(2)).symlink_to(tmp_path / "secret.tif")
    (bench.folder / name_of(3)).symlink_to(bench.folder / name_of(0))
    (bench.folder / name_of(4)).symlink_to(tmp_path / "nowhere.tif")
    ingest = bench.run(bench.ingest())
    assert sorted(bench.ingested()) == [0, 1, 3]
    assert ingest.ledger().files.ignored == {"link_outside": 1, "not_a_file": 1}


def test_links_out_of_the_folder_are_followed_if_the_user_wants(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.tif").write_bytes(slice_bytes(2))
    (bench.folder / name_of(2)).symlink_to(tmp_path / "elsewhere.tif")
    bench.run(bench.ingest(follow_links_outside=True))
    assert sorted(bench.ingested()) == [2]


def test_a_name_that_is_not_utf_8_is_spelled_out(bench: Bench) -> None:
    (bench.folder / b"slice_\xb5_0001.tif".decode("utf-8", "surrogateescape")).write_bytes(slice_bytes(1))
    bench.run(bench.ingest())
    assert bench.ingested()[1].file_name == r"slice_\xb5_0001.tif"
    again = bench.ingest()
    bench.turn(again)
    assert again.is_done
    assert again.ledger().files.seen == 1


def test_a_file_larger_than_memory_is_streamed(bench: Bench) -> None:
    bench.write_slices(range(3))
    bench.write(name_of(1), slice_bytes(1)[:-10])
    bench.run(bench.ingest(in_memory_bytes=64))
    assert sorted(bench.ingested()) == [0, 2]
    assert bench.kept(name_of(1)) == slice_bytes(1)[:-10]
