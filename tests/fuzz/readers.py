"""What is fuzzed: each reader as a function of bytes that may refuse them, and must do nothing else unexpected."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from services.imaging.formats.dat import DatReader, scaled, telemetry
from services.imaging.formats.dialects import read_atlas, read_imagej, read_smartsem, read_thermo
from services.imaging.formats.faults import FormatError
from services.imaging.formats.metadata import read_metadata
from services.imaging.formats.opening import open_slice
from services.imaging.tiff_layout import TiffLimits
from services.imaging.volumes import UnreadableVolumeError, open_volume
from services.imaging.volumes.unpacking import UnslicedTypeError, as_grey
from services.ingest.names import (
    DEFAULT_PATTERN,
    NameRules,
    classify,
    compile_pattern,
    depth_um,
    marked_file,
    shown,
    tile_of,
)

LIMITS = TiffLimits(2**16, 64, 2**18, 4096, 100, 2**22)
_RULES = NameRules(compile_pattern(DEFAULT_PATTERN))
_MOST_PAGES = 4
_LARGEST_PLANE_PX = 2**20
# A volume that is a folder comes as its files one after another, with this between them.
BOUNDARY = b"\n-----\n"
N5_FILES = ("volume.n5/raw/attributes.json", "volume.n5/raw/0/0/0")
ZARR_FILES = {
    False: ("volume.zarr/.zgroup", "volume.zarr/.zattrs", "volume.zarr/0/.zarray", "volume.zarr/0/0.0.0"),
    True: ("volume.zarr/zarr.json", "volume.zarr/0/zarr.json", "volume.zarr/0/c/0/0/0"),
}


def slices(payload: bytes) -> None:
    """Open a slice file, read what it says and its first pages, every channel."""
    try:
        opened = open_slice(payload, LIMITS)
        read_metadata(opened)
    except FormatError:
        return
    if isinstance(opened, DatReader):
        telemetry(opened.header)
    for number, page in enumerate(opened.description.pages[:_MOST_PAGES]):
        for channel in (None, 0, page.choices - 1, page.choices):
            try:
                plane = opened.read(number, channel)
            except FormatError:
                continue
            assert plane.shape == (page.height_px, page.width_px)
            assert plane.dtype == (np.uint8 if page.bits == 8 else np.uint16)
            if isinstance(opened, DatReader) and channel is not None:
                with np.errstate(all="ignore"):
                    scaled(opened.header, plane, channel)


def dialects(payload: bytes) -> None:
    """Read text as every instrument's; nothing in it may be refused."""
    text = payload.decode("latin-1")
    for read in (read_smartsem, read_thermo, read_atlas):
        said = read(text)
        assert said.pixel_x_nm is None or 0.05 <= said.pixel_x_nm <= 10_000
    read_imagej(text, 0.25, 0.5)


def names(payload: bytes) -> None:
    """Read bytes as the name of a file and of a marker."""
    name = payload.replace(b"/", b"").replace(b"\0", b"").decode("utf-8", "surrogateescape")
    classify(name, _RULES)
    tile_of(name)
    depth_um(name)
    marked_file(name)
    shown(name).encode("utf-8")


def mrc(payload: bytes) -> None:
    """Read an MRC volume: its reader is a maintained one, and whatever it says must come as a known refusal."""
    with _laid_out({"volume.mrc": payload}) as folder:
        _first_plane(folder / "volume.mrc")


def hdf5(payload: bytes) -> None:
    """Read the only array of an HDF5 file."""
    with _laid_out({"volume.h5": payload}) as folder:
        _first_plane(folder / "volume.h5")


def n5(payload: bytes) -> None:
    """Read an N5 of one array: its attributes and its first block."""
    with _laid_out(dict(zip(N5_FILES, payload.split(BOUNDARY), strict=False))) as folder:
        _first_plane(folder / "volume.n5" / "raw")


def zarr(payload: bytes) -> None:
    """Read a Zarr of either format: metadata of the group, metadata of the array, its first chunk."""
    files = ZARR_FILES[payload[:1] == b"3"]
    with _laid_out(dict(zip(files, payload[1:].split(BOUNDARY), strict=False))) as folder:
        _first_plane(folder / "volume.zarr")


@contextmanager
def _laid_out(files: Mapping[str, bytes]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        for name, payload in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(payload)
        yield Path(folder)


def _first_plane(path: Path) -> None:
    """Read the first plane as a run does; whatever is wrong must come as a known refusal."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_volume(path, largest_plane_px=_LARGEST_PLANE_PX) as source:
                as_grey(source.read(0, 1))
    except (UnreadableVolumeError, UnslicedTypeError):
        return


READERS: dict[str, Callable[[bytes], None]] = {
    "slices": slices, "dialects": dialects, "names": names, "mrc": mrc, "hdf5": hdf5, "n5": n5, "zarr": zarr,
}  # fmt: skip
