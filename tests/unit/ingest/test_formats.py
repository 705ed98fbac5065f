"""Files of every format in one folder: each is what its first bytes say, whatever its name, and trouble is its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from services.contracts.messages import DeadLettered
from services.extract.reading import SliceReader
from services.imaging.formats.dat_writing import dat_bytes
from services.ingest.events import FileRead
from services.ingest.journal import Journal
from tests.support.ingest_bench import Bench, name_of, slice_bytes
from tests.support.instrument_files import THERMO, tagged
from tests.support.tiff_corpus import Plane, plane, written

SHAPE = (24, 17)
PIXEL = {"PixelSize": 4.0}


def dat_name(minute: int, tile: str = "0-0-0") -> str:
    return f"Merlin-6281_19-08-09_12{minute:02d}26_{tile}.dat"


def square(bench: Bench) -> dict[str, Any]:
    """Return settings of square pixels, which is all that a `.dat` header can say."""
    return {"voxel_size": bench.settings().voxel_size.model_copy(update={"x_nm": 4.0, "y_nm": 4.0})}


def read_back(bench: Bench, z: int) -> Plane:
    return SliceReader(bench.store).read(bench.ingested()[z])


def test_formats_may_be_mixed_and_a_suffix_decides_nothing(bench: Bench) -> None:
    grey = [plane(z, 8, SHAPE) for z in range(4)]
    bench.write("slice_0000.tif", written([grey[0]]))
    bench.write("slice_0001.dat", dat_bytes(grey[1][None], PIXEL))
    bench.write("slice_0002.tif", dat_bytes(grey[2][None], PIXEL))
    bench.write("slice_0003.dat", written([grey[3]], bigtiff=True))
    bench.write("slice_0004.dat", b"a table of numbers\n1 2 3\n")
    bench.run(bench.ingest(**square(bench)))
    assert sorted(bench.ingested()) == [0, 1, 2, 3]
    assert bench.letters() == {"slice_0004.dat": "not_a_tiff"}
    for z in range(4):
        np.testing.assert_array_equal(read_back(bench, z), grey[z])


def test_of_two_detectors_the_named_one_is_taken_and_without_a_name_none(bench: Bench) -> None:
    for z in range(3):
        planes = np.stack([plane(z, 16, SHAPE), plane(z + 50, 16, SHAPE)])
        bench.write(f"slice_{z:04d}.dat", dat_bytes(planes, {**PIXEL, "DetA": "InLens", "DetB": "ESB"}))
    bench.run(bench.ingest(**square(bench), channel=1))
    message = bench.ingested()[1]
    assert (message.channel, message.bits) == (1, 16)
    grey = message.grey
    expected = np.clip(np.rint((plane(51, 16, SHAPE).astype(float) - grey.low) * 255 / (grey.high - grey.low)), 0, 255)
    np.testing.assert_array_equal(read_back(bench, 1), expected.astype(np.uint8))


def test_of_two_detectors_none_is_taken_by_guess(bench: Bench) -> None:
    planes = np.stack([plane(1, 8, SHAPE), plane(2, 8, SHAPE)])
    bench.write("slice_0000.dat", dat_bytes(planes, PIXEL))
    bench.run(bench.ingest(**square(bench)))
    assert bench.letters() == {"slice_0000.dat": "channel_not_named"}


def test_of_a_tiff_of_two_grey_samples_both_services_take_the_named_one(bench: Bench) -> None:
    both = np.stack([plane(1, 8, SHAPE), plane(2, 8, SHAPE)], axis=-1)
    bench.write(name_of(0), written([both], extrasamples=["unspecified"], planarconfig="contig"))
    bench.run(bench.ingest(channel=1))
    assert bench.ingested()[0].channel == 1
    np.testing.assert_array_equal(read_back(bench, 0), both[..., 1])


def test_z_of_a_janelia_name_is_the_slice_number_of_the_header(bench: Bench) -> None:
    for number in (40, 41, 42):
        fields = {**PIXEL, "FIBSliceNum": number}
        bench.write(dat_name(number), dat_bytes(plane(number, 8, SHAPE)[None], fields))
    bench.run(bench.ingest(**square(bench)))
    assert sorted(bench.ingested()) == [40, 41, 42]


def test_a_janelia_name_without_a_tile_leaves_z_to_the_header_too(bench: Bench) -> None:
    for number in (40, 41):
        bench.write(
            f"Merlin-6281_19-08-09_0904{number}.dat",
            dat_bytes(plane(number, 8, SHAPE)[None], {**PIXEL, "FIBSliceNum": number}),
        )
    bench.run(bench.ingest(**square(bench)))
    assert sorted(bench.ingested()) == [40, 41]


def test_a_number_below_0_is_no_slice(bench: Bench) -> None:
    bench.write_slices(range(3))
    bench.write("slice_-002.tif", slice_bytes(50))
    bench.run(bench.ingest())
    assert bench.letters() == {"slice_-002.tif": "z_out_of_range"}
    assert sorted(bench.ingested()) == [0, 1, 2]


def test_an_old_dat_without_a_slice_number_asks_for_a_pattern(bench: Bench) -> None:
    bench.write(dat_name(1), dat_bytes(plane(1, 8, SHAPE)[None], PIXEL, version=4))
    bench.run(bench.ingest(**square(bench)))
    assert bench.letters() == {dat_name(1): "name_without_z"}


def test_a_tile_of_a_mosaic_is_no_slice(bench: Bench) -> None:
    for minute, tile in ((1, "0-0-0"), (2, "0-0-1"), (3, "0-1-0")):
        bench.write(dat_name(minute, tile), dat_bytes(plane(minute, 8, SHAPE)[None], {**PIXEL, "FIBSliceNum": 7}))
    bench.run(bench.ingest(**square(bench)))
    assert bench.letters() == {dat_name(2, "0-0-1"): "mosaic_tile", dat_name(3, "0-1-0"): "mosaic_tile"}


def test_a_dat_that_grows_is_read_when_it_is_as_long_as_its_header_says(bench: Bench) -> None:
    whole = dat_bytes(plane(0, 8, SHAPE)[None], PIXEL)
    ingest = bench.ingest(watch=True, first_z=0, **square(bench))
    bench.write("slice_0000.dat", whole[:-1])
    bench.turn(ingest, polls=4)
    assert "truncated_pixels" in ingest.status().waiting_for
    bench.write("slice_0000.dat", whole)
    bench.write("ACQUISITION_FINISHED", b"")
    bench.run(ingest)
    assert bench.letters() == {}
    assert sorted(bench.ingested()) == [0]


def test_a_dat_that_stays_short_is_kept_with_its_reason_and_nothing_is_made_up(bench: Bench) -> None:
    bench.write_slices([0, 2])
    short = dat_bytes(plane(1, 8, SHAPE)[None], PIXEL)[:-5]
    bench.write("slice_0001.dat", short)
    bench.run(bench.ingest(**square(bench)))
    assert bench.letters() == {"slice_0001.dat": "truncated_pixels"}
    assert bench.absent() == {1: "DEAD_LETTERED"}
    assert bench.kept("slice_0001.dat") == short


def test_a_file_that_says_another_pixel_size_is_refused_with_both_values(bench: Bench) -> None:
    bench.write_slices(range(2))
    bench.write("slice_0002.dat", dat_bytes(plane(2, 8, SHAPE)[None], {"PixelSize": 8.0}))
    bench.run(bench.ingest(**square(bench)))
    (letter,) = bench.of_kind(DeadLettered)
    assert (letter.message_key, letter.reason) == ("slice_0002.dat", "voxel_size_mismatch")
    assert letter.detail == "the settings say y 4, x 4 nm; the file says y 8, x 8 nm"


def test_metadata_that_are_known_to_be_wrong_can_be_ignored(bench: Bench) -> None:
    bench.write("slice_0000.dat", dat_bytes(plane(0, 8, SHAPE)[None], {"PixelSize": 8.0}))
    bench.run(bench.ingest(**square(bench), metadata="ignore"))
    assert sorted(bench.ingested()) == [0]


@pytest.mark.parametrize(("set_to", "height"), [(None, 30), (0, 37), (9, 28)])
def test_a_data_bar_is_cut_off_and_both_services_see_the_same_rows(
    bench: Bench, set_to: int | None, height: int
) -> None:
    payload = tagged(34682, THERMO.format(corrected="no", tilt=0.0, rows=30))
    bench.write(name_of(0), payload)
    bench.run(bench.ingest(**square(bench), data_bar_px=set_to))
    message = bench.ingested()[0]
    assert (message.height_px, message.width_px) == (height, 23)
    np.testing.assert_array_equal(read_back(bench, 0), plane()[:height])


def test_slices_of_another_microscope_are_refused_even_if_the_first_is_one(bench: Bench) -> None:
    for z in range(5):
        machine = "Jeiss1" if z == 0 else "Jeiss6"
        bench.write(f"slice_{z:04d}.dat", dat_bytes(plane(z, 8, SHAPE)[None], {**PIXEL, "MachineID": machine}))
    bench.run(bench.ingest(**square(bench)))
    assert bench.letters() == {"slice_0000.dat": "other_machine"}
    assert sorted(bench.ingested()) == [1, 2, 3, 4]


def test_grey_is_mapped_by_the_slices_of_the_microscope_that_is_taken(bench: Bench) -> None:
    deep = [plane(z, 16, SHAPE) for z in range(5)]
    for z, grey in enumerate(deep):
        machine, levels = ("Jeiss1", grey // 4) if z == 0 else ("Jeiss6", grey)
        bench.write(f"slice_{z:04d}.dat", dat_bytes(levels[None], {**PIXEL, "MachineID": machine}))
    bench.run(bench.ingest(**square(bench)))
    assert bench.letters() == {"slice_0000.dat": "other_machine"}
    own = np.concatenate([grey.ravel() for grey in deep[1:]])
    mapping = bench.ingested()[1].grey
    assert (mapping.low, mapping.high) == pytest.approx(
        np.percentile(own, (0.1, 99.9), method="inverted_cdf").tolist(), rel=0.01
    )


def test_what_the_instrument_said_is_kept_in_the_journal(bench: Bench) -> None:
    fields: dict[str, int | float | str] = {
        **PIXEL,
        "Restart": 1,
        "StageX": 1.5,
        "MillingPIDTarget": 21.25,
        "MachineID": "Jeiss6",
        "Notes": "µ",
    }
    bench.write("slice_0000.dat", dat_bytes(plane(0, 8, SHAPE)[None], fields))
    bench.write("slice_0001.tif", slice_bytes(1))
    bench.run(bench.ingest(**square(bench)))
    read = [
        event for events in Journal(bench.store, "roi").entries() for event in events if isinstance(event, FileRead)
    ]
    said = {event.file.name: event.telemetry for event in read}
    assert said["slice_0001.tif"] == {}
    kept = said["slice_0000.dat"]
    assert (kept["restart"], kept["stage_x_mm"], kept["milling_target"]) == (True, 1.5, 21.25)
    assert (kept["machine"], kept["notes"]) == ("Jeiss6", "µ")


def test_a_damaged_file_of_one_format_costs_the_others_nothing(bench: Bench) -> None:
    bench.write("slice_0000.tif", slice_bytes(0))
    bench.write("slice_0001.dat", dat_bytes(plane(1, 8, SHAPE)[None], {**PIXEL, "ChanNum": 9}))
    bench.write("slice_0002.tif", slice_bytes(2)[:40])
    bench.write("slice_0003.dat", dat_bytes(plane(3, 8, SHAPE)[None], PIXEL))
    bench.run(bench.ingest(**square(bench)))
    assert sorted(bench.ingested()) == [0, 3]
    assert sorted(bench.letters().values()) == ["contradictory_header", "truncated_directory"]


def test_grey_that_is_turned_round_is_turned_round_after_it_was_mapped(bench: Bench) -> None:
    bench.write("slice_0000.dat", dat_bytes(plane(0, 16, SHAPE)[None], PIXEL))
    bench.write("slice_0001.dat", dat_bytes(plane(1, 16, SHAPE)[None], PIXEL))
    bench.run(bench.ingest(**square(bench)))
    straight, grey = read_back(bench, 1), bench.ingested()[1].grey
    assert not grey.inverted
    message = bench.ingested()[1].model_copy(update={"grey": grey.model_copy(update={"inverted": True})})
    np.testing.assert_array_equal(SliceReader(bench.store).read(message), 255 - straight)


def test_the_moments_of_an_inverted_acquisition_are_those_of_its_inverted_grey(bench: Bench) -> None:
    bench.write_slices(range(3))
    bench.run(bench.ingest(contrast="inverted"))
    message = bench.ingested()[0]
    assert message.grey.inverted
    seen = np.concatenate([read_back(bench, z).ravel() for z in range(3)])
    np.testing.assert_array_equal(read_back(bench, 2), 255 - plane(2, 8, SHAPE))
    assert message.grey.mean == pytest.approx(seen.mean())
    assert message.grey.sd == pytest.approx(seen.std())
