"""Volumes in files, read and written some planes at a time: TIFF, OME-Zarr, npy and HDF5.

`open_volume` reads any of them by its path; `write_volume` writes the kind that the path's suffix says.
"""

from services.imaging.volumes.paths import UnknownVolumeError, VolumePath
from services.imaging.volumes.reading import PlaneSource, UnreadableVolumeError, open_volume
from services.imaging.volumes.writing import VolumeExistsError, write_volume

__all__ = [
    "PlaneSource",
    "UnknownVolumeError",
    "UnreadableVolumeError",
    "VolumeExistsError",
    "VolumePath",
    "open_volume",
    "write_volume",
]
