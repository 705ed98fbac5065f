"""Pictures of annotated images: the image, and its classes drawn over it."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from services.contracts.classes import LabelClass
from services.imaging.palette import CHROMOSOME_COLOURS
from services.trainer.annotations.class_map import UNLABELLED

Plane = NDArray[np.uint8]
Rgb = tuple[int, int, int]

UNLABELLED_COLOUR: Rgb = (214, 40, 160)
_STRONG, _FAINT = 0.45, 0.15
_FAINT_CLASSES = {LabelClass.EXTERIOR.label, LabelClass.NUCLEOPLASM.label, "background"}


def class_colours(class_ids: Mapping[str, int]) -> dict[str, Rgb]:
    """Return a colour for each class: the manuscript's for this program's own, others in the order of ids.

    >>> class_colours({"chromosome": 2, "mitochondrion": 7})["chromosome"]
    (250, 204, 21)
    """
    own = {member.label: member.rgba[:3] for member in LabelClass} | {LabelClass.EXTERIOR.label: (70, 70, 90)}
    others = iter(CHROMOSOME_COLOURS * (1 + len(class_ids) // len(CHROMOSOME_COLOURS)))
    return {name: own[name] if name in own else next(others) for name in class_ids}


def overlay(image_yx: Plane, labels_yx: Plane, class_ids: Mapping[str, int], width_px: int) -> Plane:
    """Return an image with its classes tinted and outlined, unlabelled pixels hatched.

    Parameters
    ----------
    image_yx, labels_yx
        uint8, (y, x), of one shape.
    class_ids
        Id by class name.
    width_px
        Most columns of the picture.

    Returns
    -------
    numpy.ndarray
        (rows, columns, 3) uint8 RGB.
    """
    grey, labels = _shrunk(image_yx, labels_yx, width_px)
    picture = np.repeat(grey[..., None], 3, axis=2).astype(np.float32)
    colours = class_colours(class_ids)
    for name, class_id in class_ids.items():
        mask = labels == class_id
        share = _FAINT if name in _FAINT_CLASSES else _STRONG
        picture[mask] = (1 - share) * picture[mask] + share * np.array(colours[name], np.float32)
    rows, columns = np.indices(labels.shape)
    hatched = (labels == UNLABELLED) & ((rows + columns) % 8 < 2)
    picture[hatched] = 0.5 * picture[hatched] + 0.5 * np.array(UNLABELLED_COLOUR, np.float32)
    drawn = np.rint(picture).astype(np.uint8)
    for name, class_id in class_ids.items():
        if name not in _FAINT_CLASSES:
            contours, _ = cv2.findContours((labels == class_id).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(drawn, contours, -1, colours[name], 1, cv2.LINE_AA)
    return drawn


def doubt_map(image_yx: Plane, doubt_yx: Plane, width_px: int) -> Plane:
    """Return an image, faint, under how doubtful its labels are: dark where they are sure, bright where they are not.

    Parameters
    ----------
    image_yx, doubt_yx
        uint8, (y, x), of one shape; doubt is 255 times one minus the confidence, and half of that is brightest.
    width_px
        Most columns of the picture.

    Returns
    -------
    numpy.ndarray
        (rows, columns, 3) uint8 RGB.
    """
    grey = _shrunk(image_yx, image_yx, width_px)[0]
    rows, columns = grey.shape
    doubt = (
        doubt_yx
        if doubt_yx.shape == grey.shape
        else cv2.resize(doubt_yx, (columns, rows), interpolation=cv2.INTER_AREA)
    )
    brightness = np.minimum(2 * np.asarray(doubt, np.uint16), 255).astype(np.uint8)
    glow = cv2.cvtColor(cv2.applyColorMap(brightness, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return np.asarray(np.minimum(0.3 * grey[..., None] + glow, 255), np.uint8)


def plain(image_yx: Plane, width_px: int) -> Plane:
    """Return an image alone, (rows, columns) uint8, at most so many columns wide."""
    return _shrunk(image_yx, image_yx, width_px)[0]


def data_address(picture: Plane, quality: int = 80) -> str:
    """Return a picture, grey or RGB, as an address that holds the picture itself (WebP); same pixels, same text."""
    blue_first = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".webp", blue_first, [cv2.IMWRITE_WEBP_QUALITY, quality])[1]
    return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def _shrunk(image_yx: Plane, labels_yx: Plane, width_px: int) -> tuple[Plane, Plane]:
    rows, columns = image_yx.shape
    if columns <= width_px:
        return image_yx, labels_yx
    size = (width_px, max(1, round(rows * width_px / columns)))
    grey = np.asarray(cv2.resize(image_yx, size, interpolation=cv2.INTER_AREA), np.uint8)
    return grey, np.asarray(cv2.resize(labels_yx, size, interpolation=cv2.INTER_NEAREST), np.uint8)
