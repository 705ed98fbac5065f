"""What an open slice file is, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

GreyPlane = NDArray[np.uint8 | np.uint16]


@dataclass(frozen=True, slots=True)
class PageDescription:
    """What one page is.

    Attributes
    ----------
    height_px, width_px
        Rows and columns.
    bits
        8 or 16.
    samples
        Values per pixel: 1 for grey and palette, 3 or 4 for RGB and RGBA, one per detector.
    compression
        `none`, `lzw`, `deflate`, `zstd` or `packbits`.
    choices
        Channels among which one may be named: detectors, colours, colours of a palette; 1: there is no choice.
    """

    height_px: int
    width_px: int
    bits: int
    samples: int
    compression: str
    choices: int = 1


@dataclass(frozen=True, slots=True)
class SliceDescription:
    """The pages of a file that is structurally complete, thumbnails left out.

    `kind` is the format: `tiff` or `dat`.
    """

    pages: tuple[PageDescription, ...]
    kind: str = "tiff"


class SliceFile(Protocol):
    """An open file that holds slices, found whole."""

    @property
    def description(self) -> SliceDescription:
        """Pages, shapes and packing."""

    def read(self, page: int, channel: int | None = None) -> GreyPlane:
        """Return one page as grey, (y, x), uint8 or uint16; raises `FormatError` if it cannot be had."""
