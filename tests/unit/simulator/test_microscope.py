from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from services.imaging.formats.dat import DatReader, telemetry
from services.imaging.formats.dat_faults import TruncatedPixelsError
from services.simulator.faults import Faults
from services.simulator.microscope import FINISH_MARKER, ImageFormat, Microscope, due_slices, slice_name, tiff_pieces
from services.simulator.phantom import Phantom, PhantomSpec

MakeSpec = Callable[..., PhantomSpec]


def no_waiting(_seconds: float) -> None:
    raise AssertionError("nobody asked for a period")


def first_page(file: tifffile.TiffFile) -> tifffile.TiffPage:
    page = file.pages[0]
    assert isinstance(page, tifffile.TiffPage)
    return page


def microscope(phantom: Phantom, folder: Path, image_format: ImageFormat = "grey8") -> Microscope:
    return Microscope(phantom, folder, image_format, None, no_waiting)


def test_an_image_is_read_back_with_its_pixel_size() -> None:
    image = np.arange(11 * 7, dtype=np.uint8).reshape(11, 7)
    with tifffile.TiffFile(io.BytesIO(b"".join(tiff_pieces(image, 4.0)))) as file:
        page = first_page(file)
        assert np.array_equal(page.asarray(), image)
        assert page.compression == tifffile.COMPRESSION.NONE
        numerator, denominator = page.tags["XResolution"].value
        assert numerator / denominator == pytest.approx(1e7 / 4.0)


def test_a_file_grows_in_place_and_is_incomplete_until_its_last_piece(phantom: Phantom, tmp_path: Path) -> None:
    sizes: list[int] = []
    waits: list[float] = []
    path = tmp_path / slice_name(5, 64.0, 50)

    def look(seconds: float) -> None:
        sizes.append(path.stat().st_size)
        waits.append(seconds)

    Microscope(phantom, tmp_path, "grey8", 10.0, look).acquire(50)
    growth = sizes[:-1]
    assert growth == sorted(set(growth))
    assert len(growth) >= 5
    assert sum(waits) == pytest.approx(10.0)
    with tifffile.TiffFile(path) as file:
        page = first_page(file)
        ends = [start + size for start, size in zip(page.dataoffsets, page.databytecounts, strict=True)]
    assert max(ends) == path.stat().st_size == growth[-1]
    assert growth[-2] < max(ends)
    assert np.array_equal(tifffile.imread(path), phantom.slice(50))


@pytest.mark.parametrize(("image_format", "dtype", "channels"), [("rgb8", "uint8", 3), ("grey16", "uint16", 1)])
def test_other_pixel_formats_hold_the_same_image(
    phantom: Phantom, tmp_path: Path, image_format: ImageFormat, dtype: str, channels: int
) -> None:
    scope = microscope(phantom, tmp_path, image_format)
    scope.acquire(50)
    image = tifffile.imread(scope.path(50))
    assert image.dtype == dtype
    grey = image if channels == 1 else image[..., 0]
    assert np.abs(grey / (257.0 if dtype == "uint16" else 1.0) - phantom.slice(50)).max() <= 0.51
    if channels == 3:
        assert (image == grey[..., None]).all()
    assert scope.complete(50)


def test_a_half_written_slice_lacks_its_second_half(make_spec: MakeSpec, tmp_path: Path) -> None:
    phantom = Phantom(make_spec("half_written", n_slices=12))
    scope = microscope(phantom, tmp_path)
    (z,) = phantom.faults.half_written
    scope.acquire(z)
    scope.acquire(z - 1)
    ratio = scope.path(z).stat().st_size / scope.path(z - 1).stat().st_size
    assert 0.3 < ratio < 0.7
    assert scope.complete(z)
    assert scope.path(z).read_bytes() == b"".join(tiff_pieces(phantom.slice(z), 64.0))[: scope.path(z).stat().st_size]


def test_a_blank_slice_has_one_grey(make_spec: MakeSpec, tmp_path: Path) -> None:
    phantom = Phantom(make_spec("blank", n_slices=12))
    scope = microscope(phantom, tmp_path)
    (z,) = phantom.faults.blank
    scope.acquire(z)
    assert len(np.unique(tifffile.imread(scope.path(z)))) == 1


def test_a_file_with_the_same_bytes_is_left_alone_and_another_is_replaced(phantom: Phantom, tmp_path: Path) -> None:
    scope = microscope(phantom, tmp_path)
    scope.acquire(50)
    written = scope.path(50).stat().st_mtime_ns
    scope.acquire(50)
    assert scope.path(50).stat().st_mtime_ns == written
    whole = scope.path(50).read_bytes()
    scope.path(50).write_bytes(whole[:100])
    assert not scope.complete(50)
    scope.acquire(50)
    assert scope.path(50).read_bytes() == whole


def test_late_slices_come_after_as_many_others_as_their_delay_and_missed_ones_never() -> None:
    faults = Faults(missed=frozenset({1}), late=((2, 3), (6, 2)))
    order = [due for z in range(8) for due in due_slices(z, 8, faults)]
    assert order == [0, 3, 4, 5, 2, 7, 6]


def test_the_end_is_marked_by_an_empty_file(phantom: Phantom, tmp_path: Path) -> None:
    microscope(phantom, tmp_path).finish()
    assert (tmp_path / FINISH_MARKER).read_bytes() == b""
    assert FINISH_MARKER == "ACQUISITION_FINISHED"


def test_names_end_in_z_and_say_the_voxel_size() -> None:
    assert slice_name(7, 16.0, 0) == "phantom_s7_16x16x16nm.0000.tif"
    assert slice_name(7, 6.5, 12345) == "phantom_s7_6.5x6.5x6.5nm.12345.tif"


def test_a_dat_file_grows_in_place_and_holds_the_16_bit_slice(phantom: Phantom, tmp_path: Path) -> None:
    scope = microscope(phantom, tmp_path, "dat")
    scope.acquire(50)
    assert scope.complete(50)
    payload = scope.path(50).read_bytes()
    assert scope.path(50).suffix == ".dat"
    reader = DatReader(payload)
    assert np.array_equal(reader.read(0), phantom.slice_16bit(50))
    found = telemetry(reader.header)
    assert (found.slice_number, found.pixel_nm, found.machine) == (50, phantom.spec.voxel_nm, "phantom")
    for piece in range(1, len(scope.pieces(50))):
        with pytest.raises(TruncatedPixelsError):
            DatReader(b"".join(scope.pieces(50)[:piece]))
