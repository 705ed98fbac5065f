"""Lettering and scale bars on pictures, and their files' bytes."""

import base64
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from services.report.colours import Rgb
from services.report.content import Pixels

_INK: Rgb = (128, 136, 148)  # reads on white as on black
_EDGE: Rgb = (20, 20, 20)
_BARS_UM = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    """Matplotlib's own sans-serif: it is always there and has Greek letters, which Pillow's own has not."""
    return ImageFont.truetype(Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size_px)


def bar_length_um(width_um: float) -> float:
    """Return the longest round length that takes no more than about a quarter of a picture.

    Examples
    --------
    >>> bar_length_um(4.6), bar_length_um(30.0)
    (1.0, 5.0)
    """
    fitting = [bar for bar in _BARS_UM if bar <= 0.27 * width_um]
    return fitting[-1] if fitting else _BARS_UM[0]


def with_scale_bar(picture: Pixels, pixel_um: float, ink: Rgb = _INK) -> Pixels:
    """Return a picture (rows, columns, 3 or 4) with a scale bar, labelled in micrometres, at the lower right."""
    height, width = picture.shape[:2]
    length_um = bar_length_um(width * pixel_um)
    length = round(length_um / pixel_um)
    margin, thickness = max(6, width // 32), max(3, width // 110)
    right, bottom = width - margin, height - margin
    canvas = Image.fromarray(picture)
    pen = ImageDraw.Draw(canvas)
    fill = (*ink, 255)[: picture.shape[2]]
    # On a photograph the lettering needs an edge of its own; a transparent ground has nothing to hide it.
    edge = 2 if picture.shape[2] == 3 else 0
    if edge:
        pen.rectangle((right - length - 1, bottom - thickness - 1, right, bottom), fill=_EDGE)
    pen.rectangle((right - length, bottom - thickness, right - 1, bottom - 1), fill=fill)
    place, text = (right - length / 2, bottom - thickness - 4), f"{length_um:g} \u00b5m"
    font = _font(max(12, width // 30))
    pen.text(place, text, fill=fill, font=font, anchor="mb", stroke_width=edge, stroke_fill=_EDGE)
    return np.asarray(canvas)


def with_caption(picture: Pixels, text: str, ink: Rgb = (255, 255, 255)) -> Pixels:
    """Return a picture (rows, columns, 3) with a line of text, outlined in black, at the upper left."""
    canvas = Image.fromarray(picture)
    font = _font(max(10, picture.shape[1] // 24))
    pen = ImageDraw.Draw(canvas)
    pen.text((6, 4), text, fill=ink, font=font, anchor="lt", stroke_width=2, stroke_fill=_EDGE)
    return np.asarray(canvas)


def with_labels(picture: Pixels, labels: Sequence[tuple[str, tuple[float, float], Rgb]]) -> Pixels:
    """Return a picture (rows, columns, 3) with texts centred at (row, column), outlined in black."""
    canvas = Image.fromarray(picture)
    pen = ImageDraw.Draw(canvas)
    font = _font(max(11, picture.shape[1] // 36))
    for text, (row, column), colour in labels:
        pen.text((column, row), text, fill=colour, font=font, anchor="mm", stroke_width=2, stroke_fill=_EDGE)
    return np.asarray(canvas)


def to_png(picture: Pixels) -> bytes:
    """Return the PNG of a picture, (rows, columns) grey, RGB or RGBA; same pixels, same bytes."""
    return bytes(cv2.imencode(".png", _blue_first(picture), [cv2.IMWRITE_PNG_COMPRESSION, 6])[1])


def to_data_uri(picture: Pixels, quality: int = 88) -> str:
    """Return a picture as an address that holds the picture itself (WebP, about a tenth of the PNG)."""
    data = cv2.imencode(".webp", _blue_first(picture), [cv2.IMWRITE_WEBP_QUALITY, quality])[1]
    return "data:image/webp;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def _blue_first(picture: Pixels) -> Pixels:
    """Turn red, green, blue round, as OpenCV's writers want it; grey stays."""
    if picture.ndim == 2:
        return picture
    code = cv2.COLOR_RGB2BGR if picture.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    return np.asarray(cv2.cvtColor(picture, code), np.uint8)
