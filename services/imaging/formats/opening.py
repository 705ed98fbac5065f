"""Opens a slice file of any format: its first bytes decide, not its name."""

from __future__ import annotations

from io import BytesIO
from typing import BinaryIO

from services.imaging.formats.dat import DAT_MAGIC, DatReader
from services.imaging.formats.description import SliceFile
from services.imaging.tiff import TiffReader
from services.imaging.tiff_layout import TiffLimits


def open_slice(file: BinaryIO | bytes, limits: TiffLimits = TiffLimits()) -> SliceFile:  # noqa: B008 - frozen
    r"""Open a TIFF, BigTIFF or Janelia `.dat` file and check that it is all there.

    Parameters
    ----------
    file
        The file's bytes, or the file opened for reading; it must stay open while pages are read.
    limits
        What is too large.

    Raises
    ------
    FormatError
        The subclass and its `reason` say why the file cannot be read; what begins like no format that is read
        is refused as a TIFF.

    Examples
    --------
    >>> open_slice(b"\xd3\xed\xf5\xf2")
    Traceback (most recent call last):
    ...
    services.imaging.formats.dat_faults.TruncatedHeaderError: the file ends after 4 bytes of its header of 1024
    """
    opened = BytesIO(file) if isinstance(file, bytes) else file
    return DatReader(opened, limits) if is_dat(opened) else TiffReader(opened, limits)


def is_dat(file: BinaryIO) -> bool:
    """Say whether a file begins as a Janelia `.dat` file does."""
    file.seek(0)
    head = file.read(len(DAT_MAGIC))
    return bool(head) and DAT_MAGIC.startswith(head)
