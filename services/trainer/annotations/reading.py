"""Reads images and masks of annotation tools: TIFF of every dialect, PNG, and what else Pillow knows."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from services.contracts.values import VoxelSize
from services.imaging.tiff import TiffReader
from services.imaging.tiff_faults import TiffError, UnsupportedCompressionError, UnsupportedDtypeError
from services.trainer.annotations.findings import NotANumberError, UnreadableAnnotationError

TIFF_SUFFIXES = (".tif", ".tiff")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif")
SUFFIXES = (*TIFF_SUFFIXES, *PICTURE_SUFFIXES)

_PICTURE_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF")

GreyPlanes = NDArray[np.uint8 | np.uint16]
_LOSSY_COMPRESSIONS = {6, 7, 33003, 33005, 33007, 34712, 34892, 34927, 50001, 50002}
"""JPEG in its forms, JPEG 2000, JPEG XR, WebP, JPEG XL: lossy, or not told from the tag that they are not."""
_NM_PER = {"nm": 1.0, "nanometer": 1.0, "um": 1e3, "µm": 1e3, "micron": 1e3, "micrometer": 1e3, "mm": 1e6, "m": 1e9}
_READING_FAULTS = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    RuntimeError,
    SyntaxError,
    EOFError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, eq=False)
class GreyFile:
    """The planes of an image file.

    Attributes
    ----------
    planes_zyx
        uint8 or uint16.
    lossy
        Name of a lossy compression, or empty.
    voxel_size
        What the file says, if it does.
    """

    planes_zyx: GreyPlanes
    lossy: str = ""
    voxel_size: VoxelSize | None = None


@dataclass(frozen=True, eq=False)
class MaskFile:
    """The planes of a mask file.

    Attributes
    ----------
    values_zyx
        Whole numbers from 0: ids as stored, indices of a palette, or colours as 0xRRGGBB.
    is_colour
        Whether they are colours.
    palette
        Colour 0xRRGGBB of each index, int64, where the file has a palette of colours.
    lossy
        Name of a lossy compression, or empty.
    remarks
        What a person should know.
    """

    values_zyx: NDArray[np.integer]
    is_colour: bool = False
    palette: NDArray[np.int64] | None = None
    lossy: str = ""
    remarks: tuple[str, ...] = ()

    def as_colours(self) -> MaskFile:
        """Return the mask as colours where it has a palette or is grey; a mask in colours as it is."""
        if self.is_colour:
            return self
        top = int(self.values_zyx.max(initial=0))
        table = self.palette if self.palette is not None else np.arange(256, dtype=np.int64) * 0x010101
        if top >= len(table):
            raise UnreadableAnnotationError(f"value {top} has no colour: map it under [values]")
        return MaskFile(table[self.values_zyx], True, None, self.lossy, self.remarks)

    def as_values(self) -> MaskFile:
        """Return the mask as ids; of a colour file only when it is grey, its channels equal."""
        if not self.is_colour:
            return self
        grey = self.values_zyx & 255
        if (grey * 0x010101 != self.values_zyx).any():
            colours = ", ".join(f"#{int(value):06x}" for value in np.unique(self.values_zyx)[:12])
            raise UnreadableAnnotationError(f"the mask is in colours ({colours}): map them under [colours]")
        return MaskFile(grey, False, None, self.lossy, self.remarks)


def is_annotation_file(path: Path) -> bool:
    """Whether a file's name is that of an image or mask; hidden files are not."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def read_grey(path: Path) -> GreyFile:
    """Return the planes of an image.

    Raises
    ------
    NotANumberError
        If pixels are NaN or infinite.
    UnreadableAnnotationError
        If it cannot be read as grey of 8 or 16 bits.
    """
    try:
        if path.suffix.lower() in TIFF_SUFFIXES:
            return _read_grey_tiff(path)
        with Image.open(path, formats=_PICTURE_FORMATS) as picture:
            frames, lossy = _frames(picture), _picture_loss(picture, path)
        return GreyFile(_as_grey(np.stack([frame for frame, _ in frames])), lossy)
    except UnreadableAnnotationError:
        raise
    except _READING_FAULTS as fault:
        raise UnreadableAnnotationError(f"cannot be read as an image: {fault}") from fault


def grey_bits(path: Path) -> int:
    """Return the bits of an image's grey, from its header."""
    try:
        if path.suffix.lower() in TIFF_SUFFIXES:
            with tifffile.TiffFile(path) as tiff:
                return 8 * int(np.dtype(tiff.pages.first.dtype).itemsize)
        with Image.open(path, formats=_PICTURE_FORMATS) as picture:
            return 16 if picture.mode.startswith("I") else 8
    except _READING_FAULTS:
        return 8  # what is wrong with the file is said when it is read


def read_mask(path: Path) -> MaskFile:
    """Return the planes of a mask as they are stored.

    Raises
    ------
    NotANumberError
        If pixels are NaN or infinite.
    UnreadableAnnotationError
        If it holds no whole numbers from 0, or several channels.
    """
    try:
        if path.suffix.lower() in TIFF_SUFFIXES:
            return _read_mask_tiff(path)
        return _read_mask_picture(path)
    except UnreadableAnnotationError:
        raise
    except _READING_FAULTS as fault:
        raise UnreadableAnnotationError(f"cannot be read as a mask: {fault}") from fault


def _read_grey_tiff(path: Path) -> GreyFile:
    with tifffile.TiffFile(path) as tiff:
        lossy, voxel_size = _tiff_loss(tiff), _tiff_voxel_size(tiff)
        try:
            with path.open("rb") as file:
                reader = TiffReader(file)
                pages = [reader.read(page) for page in range(len(reader.description.pages))]
        except (UnsupportedCompressionError, UnsupportedDtypeError):
            return GreyFile(_as_grey(_planes(tiff)), lossy, voxel_size)
        except TiffError as fault:
            raise UnreadableAnnotationError(f"{fault.reason}: {fault}") from fault
        if len(pages) < _plane_count(tiff):
            # ImageJ writes one directory for a whole stack.
            return GreyFile(_as_grey(_planes(tiff)), lossy, voxel_size)
    if len({page.shape for page in pages}) > 1 or len({page.dtype for page in pages}) > 1:
        raise UnreadableAnnotationError("its pages differ in shape or type: save them as single images")
    return GreyFile(np.stack(pages), lossy, voxel_size)


def _read_mask_tiff(path: Path) -> MaskFile:
    with tifffile.TiffFile(path) as tiff:
        planes, lossy, remarks = _planes(tiff), _tiff_loss(tiff), _tiff_remarks(tiff)
        page = tiff.pages.first
        palette = None
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
            palette = _packed(np.moveaxis(np.asarray(page.colormap) >> (8 if page.colormap.max() > 255 else 0), 0, -1))
    values, is_colour = _as_values(planes)
    return MaskFile(values, is_colour, palette, lossy, remarks)


def _read_mask_picture(path: Path) -> MaskFile:
    with Image.open(path, formats=_PICTURE_FORMATS) as picture:
        frames, lossy = _frames(picture), _picture_loss(picture, path)
    palettes = [palette for _, palette in frames]
    values, is_colour = _as_values(np.stack([frame for frame, _ in frames]))
    return MaskFile(values, is_colour, palettes[0], lossy)


def _frames(picture: Image.Image) -> list[tuple[NDArray[Any], NDArray[np.int64] | None]]:
    """Pixels and palette of each frame of a picture."""
    frames = []
    for number in range(getattr(picture, "n_frames", 1)):
        picture.seek(number)
        palette = None
        if picture.mode == "P" and picture.palette is not None:
            palette = _packed(np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3))
        frame = picture.convert("L") if picture.mode in {"LA", "La"} else picture
        pixels = np.asarray(frame)
        frames.append((pixels.astype(np.uint8) if pixels.dtype == bool else pixels, palette))
    return frames


def _picture_loss(picture: Image.Image, path: Path) -> str:
    if picture.format == "WEBP":
        with path.open("rb") as file:
            is_lossless_webp = b"VP8L" in file.read(64)
        return "" if is_lossless_webp else "WebP"
    return picture.format if picture.format in {"JPEG", "MPO", "JPEG2000"} else ""


def _planes(tiff: tifffile.TiffFile) -> NDArray[Any]:
    """Pixels of the first image of a TIFF, (z, y, x) or, in colours, (z, y, x, 3)."""
    series = tiff.series[0]
    data, axes = np.asarray(series.asarray()), series.axes
    samples = tiff.pages.first.samplesperpixel in {3, 4} and "S" in axes
    if samples:
        data = np.moveaxis(data, axes.index("S"), -1)
        axes = axes.replace("S", "")
    squeezed = [axis for axis, size in zip(axes, data.shape, strict=False) if size > 1 or axis in "YX"]
    if "C" in squeezed:
        raise UnreadableAnnotationError(
            f"has {data.shape[axes.index('C')]} channels: save the one that holds the image or the labels"
        )
    if len(squeezed) > 3:
        raise UnreadableAnnotationError(f"has axes {axes} of {data.shape}: save single stacks (z, y, x)")
    rows, columns = data.shape[len(axes) - 2 : len(axes)]
    return data.reshape(-1, rows, columns, data.shape[-1]) if samples else data.reshape(-1, rows, columns)


def _plane_count(tiff: tifffile.TiffFile) -> int:
    series = tiff.series[0]
    return int(np.prod([size for axis, size in zip(series.axes, series.shape, strict=True) if axis not in "YXSC"]))


def _as_values(planes: NDArray[Any]) -> tuple[NDArray[np.integer], bool]:
    """Whole numbers from 0, (z, y, x), and whether they are colours."""
    if planes.ndim == 4:
        if planes.dtype != np.uint8:
            raise UnreadableAnnotationError(f"colours of type {planes.dtype}: save the mask with 8 bits per colour")
        return _packed(planes[..., :3]), True
    values = _whole(planes)
    if values.dtype.kind == "i" and values.min(initial=0) < 0:
        raise UnreadableAnnotationError(f"holds {int(values.min())}: ids are 0 and up")
    return values, False


def _as_grey(planes: NDArray[Any]) -> GreyPlanes:
    """Grey of 8 or 16 bits, (z, y, x)."""
    if planes.ndim == 4:
        colours = planes[..., :3]
        if (colours != colours[..., :1]).any():
            raise UnreadableAnnotationError("is in colours that differ: save the image as grey")
        planes = colours[..., 0]
    values = _whole(planes)
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < 0 or high > 65535:
        raise UnreadableAnnotationError(f"has grey from {low} to {high}: save it with 8 or 16 bits, unsigned")
    return values.astype(np.uint8 if values.dtype.itemsize == 1 or high < 256 else np.uint16)


def _whole(planes: NDArray[Any]) -> NDArray[np.integer]:
    if planes.dtype.kind == "b":
        return planes.astype(np.uint8)
    if planes.dtype.kind in {"u", "i"}:
        return planes
    if planes.dtype.kind != "f":
        raise UnreadableAnnotationError(f"holds {planes.dtype}: save whole numbers")
    if not np.isfinite(planes).all():
        count = int((~np.isfinite(planes)).sum())
        raise NotANumberError(f"{count} pixels are NaN or infinite: replace them before the import")
    if (planes != np.rint(planes)).any():
        raise UnreadableAnnotationError("holds fractions: save whole numbers (8 or 16 bits)")
    return planes.astype(np.int64)


def _packed(colours: NDArray[Any]) -> NDArray[np.int64]:
    """Colours (..., 3) as 0xRRGGBB."""
    red, green, blue = (colours[..., sample].astype(np.int64) for sample in range(3))
    return (red << 16) | (green << 8) | blue


def _tiff_loss(tiff: tifffile.TiffFile) -> str:
    page = tiff.pages.first
    return tifffile.COMPRESSION(page.compression).name if int(page.compression) in _LOSSY_COMPRESSIONS else ""


def _tiff_remarks(tiff: tifffile.TiffFile) -> tuple[str, ...]:
    metadata = tiff.imagej_metadata or {}
    overlays: Sequence[bytes] = metadata.get("Overlays") or ([metadata["ROI"]] if metadata.get("ROI") else [])
    if not overlays:
        return ()
    return (
        f"has an ImageJ overlay of {len(overlays)} regions that are not in its pixels and were not read: "
        "in Fiji, fill them into a label image first if they are meant",
    )


def _tiff_voxel_size(tiff: tifffile.TiffFile) -> VoxelSize | None:
    """Return what OME-XML or ImageJ's metadata say of the voxel, if they do; other resolution tags mean paper."""
    try:
        if tiff.ome_metadata:
            return _ome_voxel_size(tiff.ome_metadata)
        metadata = tiff.imagej_metadata or {}
        unit = _NM_PER.get(str(metadata.get("unit", "")).replace("\\u00B5", "µ").lower())
        tags = tiff.pages.first.tags
        spacing = metadata.get("spacing")
        if unit is None or spacing is None or "XResolution" not in tags or "YResolution" not in tags:
            return None
        x_nm, y_nm = (unit * tags[name].value[1] / tags[name].value[0] for name in ("XResolution", "YResolution"))
        return VoxelSize(z_nm=unit * float(spacing), y_nm=y_nm, x_nm=x_nm)
    except (ValueError, ZeroDivisionError, TypeError, KeyError):
        return None  # an unlikely size is as good as none: the voxel size can be given


def _ome_voxel_size(text: str) -> VoxelSize | None:
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", text)
    sizes: dict[str, str] = dict(re.findall(r'PhysicalSize([XYZ](?:Unit)?)="([^"]*)"', pixels[0])) if pixels else {}
    if not {"X", "Y", "Z"} <= set(sizes):
        return None
    x_nm, y_nm, z_nm = (float(sizes[axis]) * _NM_PER[sizes.get(f"{axis}Unit", "µm").lower()] for axis in "XYZ")
    return VoxelSize(z_nm=z_nm, y_nm=y_nm, x_nm=x_nm)
