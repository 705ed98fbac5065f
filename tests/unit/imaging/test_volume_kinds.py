"""Finished stacks of every kind: read exactly, with the size of a voxel that they state, and laid out as slices."""

from __future__ import annotations

import json
import os
from pathlib import Path

import h5py
import numcodecs
import numpy as np
import pytest
import tifffile
import zarr

from services.imaging.volumes import UnknownVolumeError, UnreadableVolumeError, open_volume, write_volume
from services.imaging.volumes.unpacking import OtherVolumeError, UnslicedTypeError, unpack
from tests.support.volume_files import VOLUME, as_hdf5, as_mrc, as_n5, as_ome_zarr

KINDS = {
    "MRC": lambda folder: as_mrc(folder / "volume.mrc", VOLUME.astype(np.uint16)),
    "N5": lambda folder: as_n5(folder / "volume.n5", VOLUME),
    "HDF5": lambda folder: as_hdf5(folder / "volume.h5", VOLUME),
    "OME-Zarr 0.5": lambda folder: as_ome_zarr(folder / "volume.ome.zarr", VOLUME),
    "OME-Zarr 0.4": lambda folder: as_ome_zarr(folder / "volume.ome.zarr", VOLUME, "0.4"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_volume_is_read_exactly_and_says_its_voxel(kind: str, tmp_path: Path) -> None:
    with open_volume(KINDS[kind](tmp_path)) as source:
        assert source.shape_zyx == (5, 6, 7)
        assert source.voxel_zyx_nm == pytest.approx((8.0, 4.0, 5.0), rel=1e-5)
        np.testing.assert_array_equal(source.read(1, 4), VOLUME[1:4])


@pytest.mark.parametrize("kind", KINDS)
def test_a_volume_is_laid_out_as_slices_of_the_same_grey(kind: str, tmp_path: Path) -> None:
    done: list[int] = []
    with open_volume(KINDS[kind](tmp_path)) as source:
        unpack(source, kind, tmp_path / "slices", done.append)
    files = sorted((tmp_path / "slices").glob("*.tif"))
    assert [file.name for file in files] == [f"volume_z{z:06d}.tif" for z in range(5)]
    np.testing.assert_array_equal(np.stack([tifffile.imread(file) for file in files]), VOLUME)
    assert sum(done) == 5


def test_the_same_volume_gives_the_same_bytes_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = as_hdf5(tmp_path / "volume.h5", VOLUME)
    with open_volume(path) as source:
        unpack(source, "a", tmp_path / "one")
        unpack(source, "a", tmp_path / "two")
        kept = (tmp_path / "two" / "volume_z000001.tif").stat().st_mtime_ns
        (tmp_path / "two" / "volume_z000003.tif").unlink()
        unpack(source, "a", tmp_path / "two")
        for z in range(5):
            name = f"volume_z{z:06d}.tif"
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        assert (tmp_path / "two" / "volume_z000001.tif").stat().st_mtime_ns == kept
        with pytest.raises(OtherVolumeError, match="slices of another volume"):
            unpack(source, "b", tmp_path / "two")


@pytest.mark.parametrize("kind", KINDS)
def test_a_volume_that_was_replaced_is_another_one(kind: str, tmp_path: Path) -> None:
    path = KINDS[kind](tmp_path)
    with open_volume(path) as source:
        unpack(source, "a", tmp_path / "slices")
    with open_volume(path) as source:
        unpack(source, "a", tmp_path / "slices")
    file = path if path.is_file() else max(other for other in path.rglob("*") if other.is_file())
    later_ns = file.stat().st_mtime_ns + 10**9
    os.utime(file, ns=(later_ns, later_ns))
    with open_volume(path) as source, pytest.raises(OtherVolumeError, match="before it was written to"):
        unpack(source, "a", tmp_path / "slices")


def test_a_folder_of_an_earlier_release_goes_on(tmp_path: Path) -> None:
    path, record = as_hdf5(tmp_path / "volume.h5", VOLUME), tmp_path / "slices" / "source.json"
    with open_volume(path) as source:
        unpack(source, "a", tmp_path / "slices")
        kept = json.loads(record.read_text())
        record.write_text(json.dumps({name: kept[name] for name in ("volume", "shape_zyx", "dtype")}))
        unpack(source, "a", tmp_path / "slices")
    assert json.loads(record.read_text()) == kept


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("i1", [0, 128, 255]), ("i2", [0, 32768, 65535]), ("u2", [0, 1, 65535]), ("?", [0, 255, 255])],
)
def test_signed_voxels_are_moved_up_and_nothing_else(dtype: str, expected: list[int], tmp_path: Path) -> None:
    info = np.iinfo(dtype) if dtype != "?" else None
    low, high = (info.min, info.max) if info else (0, 1)
    middle = 0 if dtype.startswith("i") else 1
    path = as_hdf5(tmp_path / "v.h5", np.array([[[low, middle, high]]]).astype(dtype))
    with open_volume(path) as source:
        unpack(source, "v", tmp_path / "slices")
    assert tifffile.imread(tmp_path / "slices" / "volume_z000000.tif").ravel().tolist() == expected


def test_fractions_are_no_slices(tmp_path: Path) -> None:
    path = as_mrc(tmp_path / "v.mrc", VOLUME.astype(np.float32))
    with open_volume(path) as source, pytest.raises(UnslicedTypeError, match="float32"):
        unpack(source, "v", tmp_path / "slices")
    assert not (tmp_path / "slices").exists()


def test_a_short_mrc_is_refused(tmp_path: Path) -> None:
    path = as_mrc(tmp_path / "v.mrc", VOLUME.astype(np.int16))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UnreadableVolumeError, match=r"cannot be read as MRC"), open_volume(path):
        pass


@pytest.mark.parametrize(("at", "count"), [(0, -7), (8, 0), (4, 2**31 - 1), (92, 2**31 - 1), (92, -1)])
def test_an_mrc_that_counts_what_it_does_not_hold_is_refused_before_memory_is_taken(
    at: int, count: int, tmp_path: Path
) -> None:
    path = as_mrc(tmp_path / "v.mrc", VOLUME.astype(np.int16))
    payload = bytearray(path.read_bytes())
    payload[at : at + 4] = count.to_bytes(4, "little", signed=True)
    path.write_bytes(payload)
    with (
        pytest.raises(UnreadableVolumeError, match=r"its header counts .*, the file has 1444 bytes"),
        open_volume(path),
    ):
        pass


def test_an_mrc_of_volumes_without_planes_is_refused(tmp_path: Path) -> None:
    path = as_mrc(tmp_path / "v.mrc", VOLUME.astype(np.int16))
    payload = bytearray(path.read_bytes())
    payload[36:40], payload[88:92] = bytes(4), (401).to_bytes(4, "little")
    path.write_bytes(payload)
    with pytest.raises(UnreadableVolumeError, match=r"cannot be read as MRC"), open_volume(path):
        pass


def test_an_hdf5_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v.h5").write_bytes(b"")
    with pytest.raises(UnreadableVolumeError, match="cannot be read as HDF5"), open_volume(tmp_path / "v.h5"):
        pass


@pytest.mark.parametrize("kind", ["N5", "OME-Zarr 0.5", "HDF5"])
def test_a_damaged_chunk_is_refused_when_its_planes_are_read(kind: str, tmp_path: Path) -> None:
    path = KINDS[kind](tmp_path)
    if kind == "HDF5":
        with h5py.File(path, "w") as file:
            file.create_dataset("raw", data=VOLUME, chunks=(2, 3, 4), compression="gzip")
            chunk, at = path, file["raw"].id.get_chunk_info(0).byte_offset
    else:
        # The block of an N5 has 16 bytes before what is packed.
        chunk, at = (path / "0/0/0", 16) if kind == "N5" else (path / "0/c/0/0/0", 0)
    payload = bytearray(chunk.read_bytes())
    payload[at : at + 8] = bytes(byte ^ 0x5A for byte in payload[at : at + 8])
    chunk.write_bytes(payload)
    with open_volume(path) as source, pytest.raises(UnreadableVolumeError, match="cannot be read as"):
        source.read(0, 1)


def test_a_chunk_that_counts_less_than_nothing_is_refused(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "v.zarr", mode="w", zarr_format=2)
    group.create_array("0", shape=(1, 2, 2), dtype="u1", compressors=numcodecs.Blosc())[...] = 1
    chunk = tmp_path / "v.zarr" / "0" / "0.0.0"
    chunk.write_bytes(chunk.read_bytes()[:4] + b"\xff\xff\xff\xff" + chunk.read_bytes()[8:])
    with open_volume(tmp_path / "v.zarr") as source, pytest.raises(UnreadableVolumeError, match="Negative size"):
        source.read(0, 1)


@pytest.mark.parametrize("kind", ["hdf5", "zarr"])
def test_a_plane_that_nobody_could_hold_is_refused_before_memory_is_taken(kind: str, tmp_path: Path) -> None:
    path = tmp_path / ("v.h5" if kind == "hdf5" else "v.zarr")
    if kind == "hdf5":
        with h5py.File(path, "w") as file:
            file.create_dataset("raw", (1, 2**20, 2**20), "u1", chunks=(1, 64, 64))
    else:
        zarr.open_group(path, mode="w").create_array("0", shape=(1, 2**20, 2**20), dtype="u1", chunks=(1, 64, 64))
    with pytest.raises(UnreadableVolumeError, match="1048576 x 1048576 pixels is no slice"), open_volume(path):
        pass


def test_what_the_system_says_of_a_disk_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / "v.h5").mkdir()
    with pytest.raises(IsADirectoryError), open_volume(tmp_path / "v.h5"):
        pass


def test_a_big_endian_mrc_is_read(tmp_path: Path) -> None:
    with open_volume(as_mrc(tmp_path / "v.mrc", VOLUME.astype(">i2"))) as source:
        np.testing.assert_array_equal(source.read(0, 5), VOLUME)


def test_an_mrc_that_states_no_voxel_states_none(tmp_path: Path) -> None:
    with open_volume(as_mrc(tmp_path / "v.mrc", VOLUME.astype(np.int16), (0.0, 0.0, 0.0))) as source:
        assert source.voxel_zyx_nm is None


def test_an_n5_without_a_name_lists_its_arrays(tmp_path: Path) -> None:
    as_n5(tmp_path / "v.n5", VOLUME)
    wanted = r"say which array, as v.n5/NAME; arrays: raw/s0"
    with pytest.raises(UnreadableVolumeError, match=wanted), open_volume(tmp_path / "v.n5"):
        pass


@pytest.mark.parametrize("name", ["v.mrc", "v.n5"])
def test_what_is_only_read_is_not_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownVolumeError, match="is read and not written"):
        write_volume(tmp_path / name, VOLUME.shape, VOLUME.dtype, iter([VOLUME]))
