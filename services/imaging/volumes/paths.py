"""What kind of volume a path names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

KINDS_HELP = (
    "a folder of TIFFs, a multi-page .tif, .zarr (OME-Zarr), .n5 as folder.n5/dataset, .npy, .mrc, "
    "or .h5 as file.h5:/dataset"
)
_HDF5 = re.compile(r"^(?P<file>.+\.(?:h5|hdf5|hdf))(?::(?P<inside>.*))?$", re.IGNORECASE)


class UnknownVolumeError(ValueError):
    """A path names no kind of volume that can be read or written."""


class VolumeKind(Enum):
    """How a volume is stored."""

    TIFF = "multi-page TIFF"
    TIFF_FOLDER = "folder of TIFFs"
    ZARR = "Zarr"
    NPY = "npy"
    HDF5 = "HDF5"
    MRC = "MRC"
    N5 = "N5"


_SUFFIXES = {
    ".tif": VolumeKind.TIFF, ".tiff": VolumeKind.TIFF, ".npy": VolumeKind.NPY, "": VolumeKind.TIFF_FOLDER,
    ".mrc": VolumeKind.MRC, ".rec": VolumeKind.MRC, ".st": VolumeKind.MRC, ".map": VolumeKind.MRC,
}  # fmt: skip
_FOLDERS = {".zarr": VolumeKind.ZARR, ".n5": VolumeKind.N5}


@dataclass(frozen=True, slots=True)
class VolumePath:
    """A path, and what lies at it.

    Attributes
    ----------
    path
        The file or folder.
    kind
        How the volume is stored there.
    inside
        Name of the array within an HDF5 file, a Zarr or an N5, without slashes at the ends; empty: to be found.
    """

    path: Path
    kind: VolumeKind
    inside: str = ""

    @classmethod
    def of(cls, text: str) -> VolumePath:
        """Read a path as a person writes it.

        Raises
        ------
        UnknownVolumeError
            When it names no kind of volume.

        Examples
        --------
        >>> found = VolumePath.of("cells.h5:/labels/nuclei")
        >>> found.path.name, found.kind.name, found.inside
        ('cells.h5', 'HDF5', 'labels/nuclei')
        >>> VolumePath.of("n1/volume.ome.zarr/labels/classes").inside
        'labels/classes'
        """
        hdf5 = _HDF5.match(text)
        if hdf5:
            return cls(Path(hdf5["file"]), VolumeKind.HDF5, (hdf5["inside"] or "").strip("/"))
        path = Path(text)
        for root in (path, *path.parents):
            if root.suffix.lower() in _FOLDERS:
                inside = path.relative_to(root).as_posix()
                return cls(root, _FOLDERS[root.suffix.lower()], "" if inside == "." else inside)
        kind = VolumeKind.TIFF_FOLDER if path.is_dir() else _SUFFIXES.get(path.suffix.lower())
        if kind is None:
            raise UnknownVolumeError(f"{text}: give {KINDS_HELP}")
        return cls(path, kind)

    def __str__(self) -> str:
        if self.kind is VolumeKind.HDF5 and self.inside:
            return f"{self.path}:/{self.inside}"
        return str(self.path / self.inside) if self.inside else str(self.path)
