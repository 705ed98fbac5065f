"""Pictures of single images: what was segmented, the truth, the prediction, and where the two differ."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.contracts.classes import LabelClass
from services.evaluation.comparison import IGNORED, ImageScore, LabelPair
from services.imaging.palette import CHROMOSOME_COLOURS

Plane = NDArray[np.uint8]
Rgb = tuple[int, int, int]

WRONG: Rgb = (220, 38, 38)
UNKNOWN: Rgb = (214, 40, 160)
_GREY = 96
_TINT = 0.5
_FAINT = {LabelClass.EXTERIOR.label, LabelClass.NUCLEOPLASM.label, "background"}


@dataclass(frozen=True, slots=True)
class Ranked:
    """Images to show, worst first in `worst`, best first in `best`; no image is in both."""

    worst: tuple[ImageScore, ...]
    best: tuple[ImageScore, ...]


def rank(images: Sequence[ImageScore], most: int = 3) -> Ranked:
    """Choose the worst and best images by their macro F1; names decide a tie.

    Examples
    --------
    >>> shown = rank([ImageScore("a", 9, 0.5), ImageScore("b", 9, 0.9), ImageScore("c", 9, None)])
    >>> [image.name for image in shown.worst], [image.name for image in shown.best]
    (['a'], ['b'])
    """
    known = sorted((image.f1_macro, image.name, image) for image in images if image.f1_macro is not None)
    ordered = [image for _, _, image in known]
    worst = ordered[: min(most, (len(ordered) + 1) // 2)]
    return Ranked(tuple(worst), tuple(reversed(ordered[len(worst) :][-most:])))


def class_colours(names: Mapping[int, str]) -> dict[int, Rgb]:
    """Return a colour by class id: the manuscript's for this program's own classes, others in the order of ids."""
    own = {member.label: member.rgba[:3] for member in LabelClass} | {LabelClass.EXTERIOR.label: (70, 70, 90)}
    others = iter(CHROMOSOME_COLOURS * (1 + len(names) // len(CHROMOSOME_COLOURS)))
    return {label: own[name] if name in own else next(others) for label, name in sorted(names.items())}


def pictures(pair: LabelPair, image: Plane | None, names: Mapping[int, str], width_px: int) -> dict[str, Plane]:
    """Return pictures of one image, or of the plane of a stack that holds the most of all classes but 0.

    Parameters
    ----------
    pair
        Truth and prediction, (y, x) or (z, y, x).
    image
        uint8 of the same shape; plain grey without.
    names
        Name by class id.
    width_px
        Most columns of a picture.

    Returns
    -------
    dict
        `truth`, `prediction` and `errors`, and `image` where there is one: (rows, columns, 3) uint8 RGB.
    """
    truth, prediction, grey = _plane(pair, image)
    truth, prediction = (_shrunk(labels, width_px, cv2.INTER_NEAREST) for labels in (truth, prediction))
    below = np.full(truth.shape, _GREY, np.uint8) if grey is None else _shrunk(grey, width_px, cv2.INTER_AREA)
    unknown = truth == IGNORED
    shown = {"image": _tinted(below, [])} if grey is not None else {}
    colours = class_colours(names)
    for what, labels in (("truth", truth), ("prediction", prediction)):
        tints = [((labels == label) & ~unknown, colours[label]) for label in names if names[label] not in _FAINT]
        shown[what] = _tinted(below, [*tints, (unknown, UNKNOWN)] if what == "truth" else tints)
    shown["errors"] = _tinted(below, [((truth != prediction) & ~unknown, WRONG)])
    return shown


def data_address(picture: Plane) -> str:
    """Return an RGB picture as an address that holds the picture itself (WebP); same pixels, same text."""
    encoded = cv2.imencode(".webp", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, 80])[1]
    return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def _plane(pair: LabelPair, image: Plane | None) -> tuple[Plane, Plane, Plane | None]:
    labels = [np.asarray(array, np.uint8) for array in (pair.truth, pair.prediction)]
    if pair.truth.ndim == 2:
        return labels[0], labels[1], image
    held = ((labels[0] > 0) & (labels[0] != IGNORED)).sum(axis=(1, 2)) + (labels[1] > 0).sum(axis=(1, 2))
    z = int(np.argmax(held))
    return labels[0][z], labels[1][z], None if image is None else image[z]


def _shrunk(plane: Plane, width_px: int, how: int) -> Plane:
    rows, columns = plane.shape
    if columns <= width_px:
        return plane
    return np.asarray(cv2.resize(plane, (width_px, max(1, round(rows * width_px / columns))), interpolation=how))


def _tinted(grey: Plane, tints: Sequence[tuple[NDArray[np.bool_], Rgb]]) -> Plane:
    picture = np.repeat(grey[..., None], 3, axis=2).astype(np.float32)
    for mask, colour in tints:
        picture[mask] = (1.0 - _TINT) * picture[mask] + _TINT * np.array(colour, np.float32)
    return np.rint(picture).astype(np.uint8)
