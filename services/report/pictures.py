"""Flat pictures: slices with outlines, planes through a nucleus with its classes drawn over them."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from services.report.colours import CLASS_COLOURS, Rgb
from services.report.content import OverviewSlice, Pixels, Section
from services.report.drawing import with_caption, with_labels, with_scale_bar

WHOLE_OUTLINE: Rgb = (64, 224, 208)
CLIPPED_OUTLINE: Rgb = (255, 159, 67)
_PAPER: Rgb = (255, 255, 255)
_FILL = 0.5
_GAP_PX = 4


class SectionShapeError(ValueError):
    """Image and classes of a section differ in shape."""


def stretch(grey: Pixels) -> Pixels:
    """Return an image with its contrast stretched for the eye; 0, which means no image, stays black.

    Examples
    --------
    >>> stretch(np.array([[0, 100, 150, 200]], dtype=np.uint8)).tolist()
    [[0, 0, 127, 255]]
    """
    seen = grey[grey > 0]
    if seen.size == 0:
        return grey.copy()
    low, high = np.percentile(seen, [0.5, 99.5])
    table = np.clip((np.arange(256) - low) * (255.0 / max(high - low, 1.0)), 0, 255).astype(np.uint8)
    table[0] = 0
    return np.asarray(table[grey])


def raw_picture(section: Section, width_px: int) -> Pixels:
    """Return a section as it was imaged, (rows, width_px, 3) uint8 RGB, with a scale bar."""
    return with_scale_bar(_grey_rgb(section, width_px), _pixel_um(section, width_px), _PAPER)


def overlay_picture(section: Section, width_px: int) -> Pixels:
    """Return a section with its classes drawn over it in the manuscript's colours, (rows, width_px, 3) uint8 RGB."""
    return with_scale_bar(_overlay(section, width_px), _pixel_um(section, width_px), _PAPER)


def series_picture(sections: Sequence[Section], columns: int, tile_px: int) -> Pixels:
    """Return sections as small multiples in rows of `columns`, each with its depth and its classes drawn over it."""
    tiles = []
    for section in sections:
        picture = _overlay(section, tile_px)
        tiles.append(with_caption(picture, f"z {section.position_nm / 1000.0:.2f} \u00b5m"))
    tiles[-1] = with_scale_bar(tiles[-1], _pixel_um(sections[-1], tile_px), _PAPER)
    height = max(tile.shape[0] for tile in tiles)
    rows = -(-len(tiles) // columns)
    sheet = np.zeros((rows * (height + _GAP_PX) - _GAP_PX, columns * (tile_px + _GAP_PX) - _GAP_PX, 4), np.uint8)
    for index, tile in enumerate(tiles):
        top, left = (index // columns) * (height + _GAP_PX), (index % columns) * (tile_px + _GAP_PX)
        sheet[top : top + tile.shape[0], left : left + tile_px, :3] = tile
        sheet[top : top + tile.shape[0], left : left + tile_px, 3] = 255
    return sheet


def slice_picture(overview: OverviewSlice, width_px: int) -> Pixels:
    """Return a slice with the outlines of its nuclei and their ids, (rows, width_px, 3) uint8 RGB."""
    scale = width_px / overview.image.shape[1]
    height_px = max(1, round(overview.image.shape[0] * scale))
    picture = cv2.cvtColor(_resized(stretch(overview.image), (height_px, width_px)), cv2.COLOR_GRAY2RGB)
    labels = []
    for outline in overview.outlines:
        points = np.asarray(outline.contour_yx, np.float64)[:, ::-1] * scale
        colour = CLIPPED_OUTLINE if outline.is_clipped else WHOLE_OUTLINE
        cv2.polylines(picture, [np.round(points * 16).astype(np.int32)], True, colour, 2, cv2.LINE_AA, 4)
        x, y = points.mean(axis=0)
        labels.append((outline.nucleus_id, (float(y), float(x)), colour))
    picture = with_labels(np.asarray(picture, np.uint8), labels)
    return with_scale_bar(picture, overview.pixel_nm / scale / 1000.0, _PAPER)


def _overlay(section: Section, width_px: int) -> Pixels:
    picture = _grey_rgb(section, width_px)
    for label, colour in CLASS_COLOURS.items():
        mask = (section.classes == label).astype(np.uint8) * np.uint8(255)
        if not mask.any():
            continue
        # Interpolating the mask before the cut keeps enlarged edges smooth.
        smooth = _resized(mask, (picture.shape[0], picture.shape[1])) > 127
        tint = (1.0 - _FILL) * picture[smooth] + _FILL * np.array(colour)
        picture[smooth] = np.floor(tint + 0.5).astype(np.uint8)
        contours, _ = cv2.findContours(smooth.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, colour, 1, cv2.LINE_AA)
    return picture


def _grey_rgb(section: Section, width_px: int) -> Pixels:
    if section.grey.shape != section.classes.shape:
        raise SectionShapeError(f"image {section.grey.shape} and classes {section.classes.shape} differ in shape")
    height_nm, width_nm = (n * p for n, p in zip(section.grey.shape, section.pixel_nm, strict=True))
    height_px = max(1, round(width_px * height_nm / width_nm))
    grey = _resized(stretch(section.grey), (height_px, width_px))
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)


def _resized(image: Pixels, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Image at (rows, columns): averaged where it shrinks, interpolated where it grows."""
    shrinks = shape[0] * shape[1] < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (shape[1], shape[0]), interpolation=method), np.uint8)


def _pixel_um(section: Section, width_px: int) -> float:
    return section.width_nm / width_px / 1000.0
