"""Janelia `.dat`: both detectors, both depths, every version, and refusal of what is short or lies."""

from __future__ import annotations

import csv
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from numpy.typing import NDArray

from services.imaging.formats.dat import DatReader, parse_header, scaled, telemetry
from services.imaging.formats.dat_faults import (
    ChannelNotNamedError,
    ContradictoryHeaderError,
    NoSuchChannelError,
    NoSuchPageError,
    TooLargeError,
    TruncatedHeaderError,
    TruncatedPixelsError,
    UnknownVersionError,
)
from services.imaging.formats.dat_fields import HEADER_BYTES, fields_of
from services.imaging.formats.dat_writing import UnwritableDatError, dat_bytes, dat_header
from services.imaging.tiff_layout import TiffLimits

HEADERS = "dat_headers"
MERLIN = "Merlin-6281_19-08-09_120426_0-0-0.header"
GREY16 = np.array([[[0, 1, 32767], [32768, 40000, 65535]], [[9, 8, 7], [6, 5, 4]]], np.uint16)


def merlin(real_data: Path) -> bytes:
    return (real_data / HEADERS / MERLIN).read_bytes()


@given(
    planes=nps.arrays(
        st.sampled_from([np.uint8, np.uint16]), st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 9))
    ),
    version=st.integers(1, 9),
    footer=st.binary(max_size=40),
)
def test_every_detector_of_every_version_and_depth_comes_back_exactly(
    planes: NDArray[np.uint8 | np.uint16], version: int, footer: bytes
) -> None:
    reader = DatReader(dat_bytes(planes, {"PixelSize": 4.0}, version=version) + footer)
    (page,) = reader.description.pages
    assert (page.height_px, page.width_px, page.samples) == (*planes.shape[1:], planes.shape[0])
    assert page.bits == 8 * planes.dtype.itemsize
    for channel, plane in enumerate(planes):
        found = reader.read(0, channel)
        assert found.dtype == planes.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found, plane)


def test_16_bits_are_stored_signed_big_endian_channel_by_channel_in_each_pixel() -> None:
    payload = dat_bytes(GREY16, {})
    stored = np.frombuffer(payload[HEADER_BYTES:], ">i2").reshape(2, 3, 2)
    assert stored[0, 0].tolist() == [0 - 32768, 9 - 32768]
    assert stored[1, 2].tolist() == [32767, 4 - 32768]


def test_of_several_detectors_one_must_be_named() -> None:
    reader = DatReader(dat_bytes(GREY16, {"DetA": "InLens", "DetB": "ESB @ 600 V"}))
    with pytest.raises(ChannelNotNamedError, match="0 InLens, 1 ESB @ 600 V"):
        reader.read(0)
    with pytest.raises(NoSuchChannelError, match="channel 2 was named, and the file has 2"):
        reader.read(0, 2)
    with pytest.raises(NoSuchPageError):
        reader.read(1, 0)


def test_of_one_detector_nothing_need_be_named() -> None:
    np.testing.assert_array_equal(DatReader(dat_bytes(GREY16[:1], {})).read(0), GREY16[0])


def test_channels_are_the_inputs_that_were_on() -> None:
    fields: dict[str, int | float | str] = {"AI1": 0, "AI2": 1, "DetA": "InLens", "DetB": "ESB"}
    assert parse_header(dat_bytes(GREY16[:1], fields)[:HEADER_BYTES]).detectors == ("ESB",)


@given(st.integers(0, HEADER_BYTES + 24 - 1))
def test_no_part_of_a_file_is_ever_read_as_if_it_were_whole(length: int) -> None:
    payload = dat_bytes(GREY16, {})
    assert len(payload) == HEADER_BYTES + 24
    with pytest.raises((TruncatedHeaderError, TruncatedPixelsError)) as found:
        DatReader(payload[:length])
    assert found.value.may_grow


def test_a_file_that_ends_before_the_length_in_its_header_is_short_even_if_its_pixels_are_there() -> None:
    with pytest.raises(TruncatedPixelsError, match="the header says 1124 bytes; the file has 1048"):
        DatReader(dat_bytes(GREY16, {"FileLength": 1124}))


def test_a_file_that_shrinks_while_it_is_read_is_short() -> None:
    file = BytesIO(dat_bytes(GREY16, {}))
    reader = DatReader(file)
    file.truncate(HEADER_BYTES + 23)
    with pytest.raises(TruncatedPixelsError, match="went away"):
        reader.read(0, 0)


def test_a_length_that_leaves_no_room_for_the_pixels_is_a_lie() -> None:
    with pytest.raises(ContradictoryHeaderError, match="1047 bytes; its pixels alone need 1048"):
        DatReader(dat_bytes(GREY16, {"FileLength": 1047}))


@pytest.mark.parametrize("field", ["ChanNum", "XResolution", "YResolution"])
def test_a_header_without_pixels_is_a_contradiction(field: str) -> None:
    with pytest.raises(ContradictoryHeaderError):
        DatReader(dat_bytes(GREY16, {field: 0}))


def test_five_channels_are_a_contradiction() -> None:
    with pytest.raises(ContradictoryHeaderError, match="5 channels"):
        DatReader(dat_bytes(GREY16, {"ChanNum": 5}))


@pytest.mark.parametrize("version", [0, 10, 65535])
def test_a_version_that_is_not_known_is_refused(version: int) -> None:
    with pytest.raises(UnknownVersionError, match=f"version {version} is not known"):
        DatReader(dat_bytes(GREY16, {"FileVersion": version}))


def test_absurd_dimensions_take_no_memory() -> None:
    huge = {"XResolution": 2**32 - 1, "YResolution": 2**32 - 1, "FileLength": 2**63 - 1}
    with pytest.raises((TooLargeError, ContradictoryHeaderError)):
        DatReader(dat_bytes(GREY16, huge))
    with pytest.raises(TooLargeError, match="2 x 3 pixels"):
        DatReader(dat_bytes(GREY16, {}), TiffLimits(max_page_pixels=5))


def test_a_field_that_the_version_lacks_cannot_be_written() -> None:
    with pytest.raises(UnwritableDatError, match="version 4 has no field FIBSliceNum"):
        dat_header((1, 1, 1), {"FIBSliceNum": 3}, eight_bit=True, version=4)
    with pytest.raises(UnwritableDatError, match="1 to 4 channels"):
        dat_header((1, 1, 5), {}, eight_bit=True)


def test_scaling_follows_the_version() -> None:
    rows = np.array([[1.0, 2.0, 4.0, 0.5], [10.0, 20.0, 3.0, 0.25]])
    plane = np.array([[32768 + 7]], np.uint16)

    def value(version: int, channel: int) -> float:
        head = dat_header((1, 1, 2), {"ScanRate": 2.0}, eight_bit=False, version=version, scaling=rows)
        return float(scaled(parse_header(head), plane, channel)[0, 0])

    assert value(1, 0) == value(6, 0) == 1.0 + 7 * 2.0
    assert value(6, 1) == 10.0 + 7 * 20.0
    assert value(7, 0) == (7 - 2.0) * 4.0
    assert value(9, 1) == pytest.approx((7 - 20.0) * 3.0 / 2.0 * 10.0 / 0.1)


def test_8_bits_are_scaled_like_the_16_that_they_were_made_of() -> None:
    # Raw 5 at a rate of 8 stands for 5 * 8 / 2 / 4 / 0.5 + 3 = 13 of 16 bits.
    rows = np.array([[2.0, 3.0, 4.0, 0.5], [1.0, 0.0, 1.0, 1.0]])
    head = parse_header(dat_header((1, 1, 1), {"ScanRate": 8.0}, eight_bit=True, version=8, scaling=rows))
    assert float(scaled(head, np.array([[5]], np.uint8), 0)[0, 0]) == pytest.approx((13 - 3) * 4.0 / 8.0 * 2.0 / 0.1)


def test_the_second_detector_alone_has_its_own_scaling_from_version_7_on() -> None:
    rows = np.array([[1.0, 2.0, 4.0, 0.5], [10.0, 20.0, 3.0, 0.25]])
    head = dat_header((1, 1, 1), {"AI1": 0, "AI2": 1}, eight_bit=False, version=7, scaling=rows)
    assert float(scaled(parse_header(head), np.array([[32768 + 25]], np.uint16), 0)[0, 0]) == (25 - 20) * 3.0


def test_telemetry_is_kept_with_its_units() -> None:
    fields: dict[str, int | float | str] = {
        "PixelSize": 4.5, "FIBSliceNum": 77, "Restart": 1, "StageMove": 0, "FirstX": -12, "StageX": 1.5,
        "MachineID": "Jeiss6", "SampleID": "gonad 3", "EHT": 0.75, "MillingPIDOn": 1,
    }  # fmt: skip
    found = telemetry(parse_header(dat_bytes(GREY16, fields)[:HEADER_BYTES]))
    assert (found.pixel_nm, found.slice_number, found.restart, found.stage_move) == (4.5, 77, True, False)
    assert (found.first_x_px, found.stage_x_mm, found.accelerating_kv) == (-12, 1.5, 0.75)
    assert (found.machine, found.sample, found.milling_on) == ("Jeiss6", "gonad 3", True)


def test_what_a_version_does_not_record_is_none_and_what_is_no_number_is_0() -> None:
    found = telemetry(parse_header(dat_bytes(GREY16, {"PixelSize": float("nan")}, version=4)[:HEADER_BYTES]))
    assert (found.slice_number, found.machine, found.temperature_f, found.restart) == (None, None, None, None)
    assert found.pixel_nm == 0.0


def test_no_two_fields_of_a_version_overlap_but_the_ones_the_tables_record_so() -> None:
    for version in range(1, 10):
        places = sorted((field.offset, field.offset + field.dtype.itemsize) for field in fields_of(version).values())
        assert all(end <= following for (_, end), (following, _) in pairwise(places)), version
        assert places[-1][1] <= HEADER_BYTES


@pytest.mark.data
@pytest.mark.parametrize("version", range(1, 10))
def test_fields_are_those_of_the_published_tables(version: int, real_data: Path) -> None:
    table = real_data / HEADERS / "specs" / f"v{version}.tsv"
    with table.open() as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["name"] != "Scaling"]
    ours = {(name, field.offset, field.dtype.newbyteorder(">").str) for name, field in fields_of(version).items()}
    theirs = {(row["name"], int(row["offset"]), np.dtype(row["dtype"]).newbyteorder(">").str) for row in rows}
    assert ours == theirs


@pytest.mark.data
def test_the_real_header_of_version_8_says_what_is_known_of_it(real_data: Path) -> None:
    header = parse_header(merlin(real_data))
    assert (header.version, header.width_px, header.height_px) == (8, 15000, 10000)
    assert header.detectors == ("InLens", "ESB @ 600 V")
    assert header.file_length == header.pixels_end == 600_001_024
    assert not header.eight_bit
    found = telemetry(header)
    assert found.pixel_nm == pytest.approx(7.9998, abs=1e-3)
    assert found.machine == "Jeiss6/Merlin-6281"
    assert found.slice_number == 15283
    assert found.accelerating_kv == pytest.approx(1.2)
    assert found.restart is None


@pytest.mark.data
def test_the_real_file_of_version_9_is_refused_since_its_pixels_were_cut_off(real_data: Path) -> None:
    payload = (real_data / HEADERS / "v9_header_with_truncated_pixels.dat").read_bytes()
    header = parse_header(payload[:HEADER_BYTES])
    assert (header.version, header.width_px, header.height_px, header.channels) == (9, 8688, 3500, 2)
    assert header.file_length == header.pixels_end == 121_633_024
    with pytest.raises(TruncatedPixelsError, match="the header says 121633024 bytes; the file has 2048"):
        DatReader(payload)
    # Without light a detector reads about its offset: the first pairs of the second lie near it.
    pairs = np.frombuffer(payload[HEADER_BYTES:], ">i2").reshape(-1, 2)
    assert np.abs(np.median(pairs[:, 1]) - header.scaling[1, 1]) < 1000


@pytest.mark.data
def test_real_pixels_under_a_real_header_come_back(real_data: Path) -> None:
    pixels = tifffile.imread(real_data / "fib25" / "sample1_raw_z000-099_unlabelled.tif", key=0)
    height, width = pixels.shape
    head = bytearray(merlin(real_data))
    places = fields_of(8)
    for name, value in {
        "XResolution": width, "YResolution": height, "FileLength": 1024 + 4 * pixels.size,
    }.items():  # fmt: skip
        offset, dtype = places[name]
        head[offset : offset + dtype.itemsize] = np.array(value).astype(dtype).tobytes()
    signed = (pixels.astype(np.int32) * 257 - 32768).astype(">i2")
    reader = DatReader(bytes(head) + np.stack([signed, -signed - 1], axis=-1).astype(">i2").tobytes() + b"footer")
    np.testing.assert_array_equal(reader.read(0, 0), pixels.astype(np.uint16) * 257)
    np.testing.assert_array_equal(reader.read(0, 1), 65535 - pixels.astype(np.uint16) * 257)
    assert telemetry(reader.header).machine == "Jeiss6/Merlin-6281"
