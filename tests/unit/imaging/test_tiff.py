"""Grey planes out of TIFF files: exactly, or not at all and with a reason."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.imaging.tiff import TiffReader, inspect, read_page
from services.imaging.tiff_faults import NoSuchChannelError, NoSuchPageError, TiffError, TooLargeError
from services.imaging.tiff_layout import TiffLimits
from tests.support.tiff_corpus import Sample, colours, plane, readable, refused, retagged, written

READABLE = {sample.name: sample for sample in readable()}
REFUSED = refused()
SMALL = TiffLimits(max_page_pixels=2**16, max_pages=64)


def pages_of(payload: bytes, channel: int | None = None) -> list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    reader = TiffReader(payload, SMALL)
    return [reader.read(number, channel) for number in range(len(reader.description.pages))]


def pages_or_fault(
    payload: bytes, channel: int | None
) -> list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]] | TiffError:
    try:
        return pages_of(payload, channel)
    except TiffError as fault:
        return fault


@pytest.mark.parametrize("sample", READABLE.values(), ids=READABLE.keys())
def test_every_kind_of_file_gives_its_planes_exactly(sample: Sample) -> None:
    found = pages_of(sample.payload, sample.channel)
    assert len(found) == len(sample.planes)
    for page, expected in zip(found, sample.planes, strict=True):
        np.testing.assert_array_equal(page, expected)
        assert page.dtype == expected.dtype
        assert page.dtype.isnative
        assert page.flags.c_contiguous


@pytest.mark.parametrize("sample", READABLE.values(), ids=READABLE.keys())
def test_a_file_on_disk_reads_like_its_bytes(sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "slice.tif").write_bytes(sample.payload)
    with (tmp_path / "slice.tif").open("rb") as file:
        np.testing.assert_array_equal(read_page(file, 0, sample.channel), sample.planes[0])


@pytest.mark.parametrize(("payload", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_every_kind_of_bad_file_is_refused_with_its_reason(payload: bytes, reason: str) -> None:
    with pytest.raises(TiffError) as refusal:
        pages_of(payload)
    assert refusal.value.reason == reason
    assert str(refusal.value)


@pytest.mark.parametrize("kind", [kind for kind in REFUSED if kind.startswith(("cut", "fiji-cut", "empty", "zeros"))])
def test_a_file_that_may_still_be_written_says_so(kind: str) -> None:
    with pytest.raises(TiffError) as refusal:
        pages_of(REFUSED[kind][0])
    assert refusal.value.may_grow


@pytest.mark.parametrize("kind", ["float", "unequal-channels", "jpeg", "huge"])
def test_a_file_that_no_growth_can_help_says_so(kind: str) -> None:
    with pytest.raises(TiffError) as refusal:
        pages_of(REFUSED[kind][0])
    assert not refusal.value.may_grow


@given(sample=st.sampled_from(list(READABLE.values())), data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_file_cut_anywhere_is_read_exactly_or_refused(sample: Sample, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, len(sample.payload) - 1))
    found = pages_or_fault(sample.payload[:length], sample.channel)
    if isinstance(found, TiffError):
        assert found.may_grow, found.reason
        return
    assert len(found) == len(sample.planes)
    for page, expected in zip(found, sample.planes, strict=True):
        np.testing.assert_array_equal(page, expected)


@given(sample=st.sampled_from(list(READABLE.values())), data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_file_that_grows_into_reserved_space_is_never_read_before_its_last_byte(
    sample: Sample, data: st.DataObject
) -> None:
    """Only pixels themselves may still be zero: then nothing in an uncompressed file tells."""
    length = data.draw(st.integers(0, len(sample.payload) - 1))
    reserved = sample.payload[:length] + bytes(len(sample.payload) - length)
    found = pages_or_fault(reserved, sample.channel)
    if isinstance(found, TiffError):
        return
    for page, expected in zip(found, sample.planes, strict=False):
        assert page.shape == expected.shape
        assert page.dtype == expected.dtype


@given(
    sample=st.sampled_from([s for s in READABLE.values() if len(s.payload) < 8000]),
    places=st.lists(st.tuples(st.integers(0, 7999), st.integers(0, 255)), min_size=1, max_size=6),
)
@settings(max_examples=200, deadline=None)
@example(sample=READABLE["tiles"], places=[(2, 43)])
def test_damage_anywhere_is_a_refusal_or_a_plane_but_never_another_error(
    sample: Sample, places: list[tuple[int, int]]
) -> None:
    damaged = bytearray(sample.payload)
    for at, value in places:
        damaged[at % len(damaged)] = value
    found = pages_or_fault(bytes(damaged), sample.channel)
    if isinstance(found, TiffError):
        assert found.reason
        return
    assert all(page.ndim == 2 and page.dtype in (np.uint8, np.uint16) for page in found)


@given(bits=st.sampled_from([8, 16]), height=st.integers(1, 40), width=st.integers(1, 40), rows=st.integers(1, 45))
@settings(max_examples=60, deadline=None)
def test_any_shape_and_strip_height_reads_as_tifffile_reads_it(bits: int, height: int, width: int, rows: int) -> None:
    payload = written([plane(3, bits, (height, width))], rowsperstrip=rows, compression="lzw", predictor=True)
    np.testing.assert_array_equal(read_page(payload), tifffile.imread(io.BytesIO(payload)))


def test_a_description_says_what_each_page_is() -> None:
    description = inspect(written([colours(plane(1, 16))], photometric="rgb", compression="zstd"))
    (page,) = description.pages
    assert (page.height_px, page.width_px, page.bits, page.samples, page.compression) == (37, 23, 16, 3, "zstd")


def test_inspection_unpacks_no_pixel() -> None:
    payload, reason = REFUSED["damaged-strip"]
    assert reason == "decode_failed"
    assert len(inspect(payload).pages) == 1


def test_a_plane_can_be_written_to() -> None:
    for name in ("one-strip", "rgb", "palette", "tiles"):
        read_page(READABLE[name].payload)[0, 0] = 7


def test_naming_a_channel_that_is_not_there_is_refused() -> None:
    payload = written([np.stack([plane(1), plane(2), plane(3)], -1)], photometric="rgb")
    with pytest.raises(NoSuchChannelError):
        read_page(payload, channel=3)


def test_a_page_that_is_not_there_is_refused() -> None:
    with pytest.raises(NoSuchPageError, match="no page 3 in a file of 3"):
        read_page(READABLE["pages"].payload, 3)


def test_too_many_pages_are_refused() -> None:
    with pytest.raises(TooLargeError, match="more than 2 pages"):
        inspect(READABLE["pages"].payload, TiffLimits(max_pages=2))


def test_a_page_beyond_the_limit_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(TooLargeError):
        inspect(READABLE["one-strip"].payload, TiffLimits(max_page_pixels=37 * 23 - 1))


def test_a_strip_that_unpacks_to_more_than_its_rows_gives_only_its_rows() -> None:
    """A codec is given no more room than a strip needs, however much the file would unpack to."""
    tall = written([plane(1, shape_yx=(400, 300))], compression="lzw")
    short = retagged(retagged(tall, 257, 10), 278, 10)
    np.testing.assert_array_equal(read_page(short), plane(1, shape_yx=(400, 300))[:10])


@pytest.mark.data
@pytest.mark.parametrize("name", ["epfl6/train_raw.tif", "fei_tif/fei-sem-rbc.tif", "fib25/sample2_raw_z000-149.tif"])
def test_real_slices_read_as_tifffile_reads_them(real_data: Path, name: str) -> None:
    path = real_data / name
    with path.open("rb") as file, tifffile.TiffFile(path) as opened:
        reader = TiffReader(file)
        assert len(reader.description.pages) == len(opened.pages)
        for number in (0, len(opened.pages) // 2, len(opened.pages) - 1):
            np.testing.assert_array_equal(reader.read(number), opened.pages[number].asarray())
