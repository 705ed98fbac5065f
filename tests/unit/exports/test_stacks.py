"""MRC and TIFF: read by mrcfile and tifffile, with spacing and origin, cut to what was imaged."""

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile
import zarr
import zarr.storage

from services.exports.blocks import whole
from services.exports.export import Request, export
from services.exports.place import Placement
from services.exports.products import imaged_part
from services.exports.reading import Image, Nucleus
from services.exports.stacks import StackRangeError, write_mrc, write_tiff
from tests.support.exported import place_nm
from tests.support.results_builder import VOXEL_NM, nucleus_volumes


def silent(_done: int, _steps: int) -> None:
    pass


def image(voxels: np.ndarray, name: str = "objects") -> Image:
    chunks = (4, 8, 8)
    return Image(name, zarr.create_array(zarr.storage.MemoryStore(), data=voxels, chunks=chunks))


def test_an_mrc_holds_the_voxels_at_their_place(out: Path) -> None:
    folder = export(Request(out, "mrc")).folder
    grey, classes, objects = nucleus_volumes()
    for name, voxels in (("grey", grey), ("classes", classes), ("objects", objects)):
        with mrcfile.open(folder / f"n0001-{name}.mrc") as mrc:
            np.testing.assert_array_equal(mrc.data, voxels)
            size = mrc.voxel_size
            np.testing.assert_allclose([size.z, size.y, size.x], np.array(VOXEL_NM) * 10, rtol=1e-6)
            origin = mrc.header.origin
            found_nm = np.array([origin.z, origin.y, origin.x]) / 10 + np.array((3, 5, 7)) * np.array(VOXEL_NM)
            np.testing.assert_allclose(found_nm, place_nm((3, 5, 7)), rtol=1e-6)
            assert mrc.header.dmax == voxels.max()
            assert mrc.header.dmean == pytest.approx(voxels.mean(), rel=1e-4)


def test_an_mrc_is_valid(out: Path) -> None:
    folder = export(Request(out, "mrc")).folder
    assert mrcfile.validate(folder / "n0001-grey.mrc")


def test_a_tiff_is_an_imagej_stack_with_spacing_and_origin(out: Path) -> None:
    folder = export(Request(out, "tiff")).folder
    grey, _, objects = nucleus_volumes()
    for name, voxels in (("grey", grey), ("objects", objects)):
        with tifffile.TiffFile(folder / f"n0001-{name}.tif") as tiff:
            assert tiff.is_imagej
            about = tiff.imagej_metadata
            assert about is not None
            np.testing.assert_array_equal(tiff.asarray(), voxels)
            tags = tiff.pages.first.tags
            x_um = tags["XResolution"].value[1] / tags["XResolution"].value[0]
            y_um = tags["YResolution"].value[1] / tags["YResolution"].value[0]
        edges_nm = np.array([about["spacing"], y_um, x_um]) * 1000.0
        np.testing.assert_allclose(edges_nm, VOXEL_NM, rtol=1e-5)
        origin = np.array([float(about[f"{axis}origin"]) for axis in "zyx"])
        np.testing.assert_allclose((np.array((3.5, 5.5, 7.5)) - origin) * edges_nm, place_nm((3, 5, 7)), rtol=1e-4)


def test_a_tiff_too_large_for_the_classic_kind_is_a_bigtiff_with_its_place(tmp_path: Path) -> None:
    voxels = np.arange(6 * 10 * 12, dtype=np.uint8).reshape(6, 10, 12)
    place = Placement((8.0, 4.0, 2.0), (80.0, 40.0, 20.0))
    write_tiff(tmp_path / "a.tif", image(voxels), whole(voxels.shape), place, silent, classic_bytes=100)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.is_bigtiff
        np.testing.assert_array_equal(tiff.asarray(), voxels)
        ome = tifffile.xml2dict(tiff.ome_metadata or "")["OME"]["Image"]["Pixels"]
    assert [ome[f"PhysicalSize{axis}"] for axis in "ZYX"] == [0.008, 0.004, 0.002]
    assert [ome["Plane"][0][f"Position{axis}"] for axis in "ZYX"] == pytest.approx([0.084, 0.042, 0.021])


def test_ids_beyond_sixteen_bits_are_kept_exactly(tmp_path: Path) -> None:
    voxels = np.zeros((4, 8, 8), np.uint32)
    voxels[1, 2, 3], voxels[2, 2, 3] = 70_000, 70_001
    place = Placement((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    write_mrc(tmp_path / "a.mrc", image(voxels), whole(voxels.shape), place, silent)
    write_tiff(tmp_path / "a.tif", image(voxels), whole(voxels.shape), place, silent)
    np.testing.assert_array_equal(mrcfile.read(tmp_path / "a.mrc"), voxels)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), voxels)


def test_ids_that_no_voxel_type_tells_apart_are_refused(tmp_path: Path) -> None:
    voxels = np.zeros((4, 8, 8), np.uint32)
    voxels[0, 0, 0] = 2**24
    with pytest.raises(StackRangeError, match="16 777 215"):
        write_tiff(tmp_path / "a.tif", image(voxels), whole(voxels.shape), Placement((1, 1, 1), (0, 0, 0)), silent)


def test_a_stack_is_cut_to_what_was_imaged(tmp_path: Path) -> None:
    voxels = np.zeros((12, 30, 40), np.uint8)
    voxels[2:9, 11:20, 17:33] = 9
    nucleus = Nucleus("n1", Placement((8.0, 4.0, 2.0), (0.0, -40.0, 0.0)), (image(voxels, "grey"),), {})
    box = imaged_part(nucleus)
    write_mrc(tmp_path / "a.mrc", nucleus.images[0], box, nucleus.placement, silent)
    with mrcfile.open(tmp_path / "a.mrc") as mrc:
        np.testing.assert_array_equal(mrc.data, voxels[2:9, 11:20, 17:33])
        assert float(mrc.header.origin.y) == pytest.approx((-40.0 + 11.5 * 4.0) * 10)
