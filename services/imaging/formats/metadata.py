"""What a slice file says about itself: pixel size, tilt, data bar, instrument, and where that is written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from services.imaging.formats.dat import DatHeader, DatReader, FieldValue, telemetry
from services.imaging.formats.description import SliceFile
from services.imaging.formats.dialects import (
    Said,
    read_atlas,
    read_imagej,
    read_ome,
    read_resolution,
    read_smartsem,
    read_thermo,
)
from services.imaging.formats.faults import FormatError
from services.imaging.tiff import TiffReader

# Images of a face that was milled at this angle to the beam are foreshortened by its sine, unless the instrument
# stretches its scan. 52 degrees is Thermo's column angle, 54 degrees Zeiss's.
_TILTED_DEG = (30.0, 70.0)
_TOLERATED = 0.01


class VoxelSizeMismatchError(FormatError):
    """The metadata of a file and the settings say different pixel sizes."""

    reason = "voxel_size_mismatch"


@dataclass(frozen=True, slots=True)
class SliceMetadata:
    """What a file says about itself.

    Attributes
    ----------
    dialect
        Who wrote it: `janelia_dat`, `zeiss_atlas`, `zeiss_smartsem`, `thermo_fei`, `imagej`, `ome_tiff` or `tiff`.
    pixel_y_nm, pixel_x_nm
        Edges of a pixel as the instrument states them, not corrected for tilt; None if the file does not say.
    tilt_deg
        Angle of the stage; None if the file does not say.
    tilt_corrected
        Whether the instrument stretched its scan by the tilt; None if the file does not say.
    data_bar_px
        Rows at the bottom that are burnt-in writing and no image.
    z_index
        Count of slices by the instrument; None if the file does not say.
    machine
        Which instrument; empty if the file does not say.
    detectors
        Name of each channel's detector.
    telemetry
        Everything else that was understood, by name with unit.
    """

    dialect: str = "tiff"
    pixel_y_nm: float | None = None
    pixel_x_nm: float | None = None
    tilt_deg: float | None = None
    tilt_corrected: bool | None = None
    data_bar_px: int = 0
    z_index: int | None = None
    machine: str = ""
    detectors: tuple[str, ...] = ()
    telemetry: Mapping[str, FieldValue | bool] = field(default_factory=dict)

    @property
    def foreshortening(self) -> float:
        """Length along y in the image for a length of 1 in the specimen.

        >>> round(SliceMetadata(tilt_deg=52.0, tilt_corrected=False).foreshortening, 3)
        0.788
        >>> SliceMetadata(tilt_deg=52.0, tilt_corrected=True).foreshortening
        1.0
        """
        return 1.0 if self.tilt_corrected is not False else self._sine

    @property
    def doubtful_foreshortening(self) -> float | None:
        """What `foreshortening` would be if the scan was not stretched, where the file does not say; else None.

        >>> round(SliceMetadata(tilt_deg=54.0).doubtful_foreshortening, 3)
        0.809
        >>> SliceMetadata(tilt_deg=0.0).doubtful_foreshortening is None
        True
        """
        return self._sine if self.tilt_corrected is None and self._sine < 1 else None

    @property
    def _sine(self) -> float:
        """Sine of the tilt, 1 for one that is not that of a milled face."""
        tilted = self.tilt_deg is not None and _TILTED_DEG[0] <= abs(self.tilt_deg) <= _TILTED_DEG[1]
        return math.sin(math.radians(abs(self.tilt_deg))) if tilted and self.tilt_deg is not None else 1.0

    @property
    def voxel_y_nm(self) -> float | None:
        """Edge of a pixel along y in the specimen: what is foreshortened shows more of it in each pixel."""
        return None if self.pixel_y_nm is None else self.pixel_y_nm / self.foreshortening


def read_metadata(opened: SliceFile) -> SliceMetadata:
    """Read what an open file says about itself; one whose metadata are damaged says less, it does not fail.

    Parameters
    ----------
    opened
        As `open_slice` opened it.

    Raises
    ------
    FormatError
        If part of it went away meanwhile.
    """
    if isinstance(opened, DatReader):
        return _of_dat(opened.header)
    if not isinstance(opened, TiffReader):
        return SliceMetadata()
    said = _instrument(opened)
    height = opened.description.pages[0].height_px
    image_rows = said.image_rows or height
    return SliceMetadata(
        dialect=said.dialect,
        pixel_y_nm=said.pixel_y_nm,
        pixel_x_nm=said.pixel_x_nm,
        tilt_deg=said.tilt_deg,
        tilt_corrected=said.tilt_corrected,
        # A bar is a strip at the bottom: an image whose rows are said to be far fewer was cropped or binned instead.
        data_bar_px=height - image_rows if 0 < height - image_rows <= height // 4 else 0,
        machine=said.machine,
        detectors=said.detectors,
        telemetry=said.telemetry,
    )


def check_voxel_size(metadata: SliceMetadata, y_nm: float, x_nm: float) -> None:
    """Compare what a file says with what is set.

    Parameters
    ----------
    metadata
        Of the file.
    y_nm, x_nm
        Edges of a voxel as set.

    Raises
    ------
    VoxelSizeMismatchError
        If they differ by more than 1 %; the message has both values.

    Examples
    --------
    >>> check_voxel_size(SliceMetadata(pixel_y_nm=8.0, pixel_x_nm=8.0), 8.05, 8.0)
    >>> check_voxel_size(SliceMetadata(pixel_y_nm=8.0, pixel_x_nm=8.0), 4.0, 4.0)
    Traceback (most recent call last):
    ...
    services.imaging.formats.metadata.VoxelSizeMismatchError: the settings say y 4, x 4 nm; the file says y 8, x 8 nm
    """
    stated = (metadata.voxel_y_nm, metadata.pixel_x_nm)
    if stated[0] is None or stated[1] is None:
        return
    if abs(stated[0] / y_nm - 1) <= _TOLERATED and abs(stated[1] / x_nm - 1) <= _TOLERATED:
        return
    why = ""
    if metadata.foreshortening < 1:
        why = (
            f" (pixels of {metadata.pixel_y_nm:g} nm, foreshortened by {metadata.foreshortening:.3f} "
            f"at a tilt of {metadata.tilt_deg:g} degrees)"
        )
    raise VoxelSizeMismatchError(
        f"the settings say y {y_nm:g}, x {x_nm:g} nm; the file says y {stated[0]:g}, x {stated[1]:g} nm{why}"
    )


def _of_dat(header: DatHeader) -> SliceMetadata:
    found = telemetry(header)
    pixel_nm = found.pixel_nm if found.pixel_nm > 0 else None
    return SliceMetadata(
        dialect="janelia_dat",
        pixel_y_nm=pixel_nm,
        pixel_x_nm=pixel_nm,
        # The imaged face is square to the beam in these instruments: their tilt is not one of the image.
        z_index=found.slice_number,
        machine=found.machine or "",
        detectors=header.detectors,
        telemetry={
            "file_version": header.version,
            **{name: value for name, value in asdict(found).items() if value is not None},
        },
    )


def _instrument(opened: TiffReader) -> Said:
    """Return what the most telling of the private tags says; plain resolution is asked last."""
    file, directory = opened.file, opened.directory
    readers = (
        ((51023,), read_atlas),
        ((34118,), read_smartsem),
        ((34682, 34680, 34683), read_thermo),
    )
    for tags, read in readers:
        for tag in tags:
            if tag in directory.fields:
                return read(directory.text(file, tag, 2**20))
    description = directory.text(file, 270)
    per_x, per_y = directory.fraction(file, 282), directory.fraction(file, 283)
    if description.startswith("ImageJ="):
        return read_imagej(description, per_y, per_x)
    if (ome := read_ome(description)) is not None:
        return ome
    unit = directory.values(file, 296, 1) if directory.count(296) == 1 else None
    return read_resolution(per_y, per_x, 2 if unit is None or not len(unit) else int(unit[0]))
