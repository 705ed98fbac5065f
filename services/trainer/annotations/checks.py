"""Checks of one image and its mask: damage by JPEG, orientation, specks, and how a class looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from services.trainer.annotations.class_map import UNLABELLED, Keys

Plane = NDArray[np.uint8]
_RARE_SHARE, _FEWEST_RARE_VALUES, _MOST_RINGING = 0.01, 4, 0.5
_MOST_EDGE_PX = 384

TRANSFORMS: Mapping[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "as it is": lambda plane: plane,
    "turned by 180 degrees": lambda plane: plane[::-1, ::-1],
    "mirrored left to right": lambda plane: plane[:, ::-1],
    "mirrored top to bottom": lambda plane: plane[::-1],
    "transposed": lambda plane: plane.T,
    "turned by 90 degrees": lambda plane: np.rot90(plane, 1),
    "turned by 270 degrees": lambda plane: np.rot90(plane, 3),
    "transposed about the other diagonal": lambda plane: plane[::-1, ::-1].T,
}
"""The eight ways in which an image may lie; the last four need a square."""


@dataclass(frozen=True, slots=True)
class JpegDamage:
    """Traces of lossy compression in a mask.

    Attributes
    ----------
    values
        Different values that the class map does not know.
    pixels
        Pixels that have one.
    """

    values: int
    pixels: int


def jpeg_damage(values_yx: NDArray[np.integer], keys: Keys) -> JpegDamage | None:
    """Return the traces of JPEG in a mask, or None.

    Where values change, JPEG rings: many values that nobody drew, each rare, and hardly two neighbours alike. An
    unknown id that somebody drew, however small its pieces, is one value among its neighbours.

    Parameters
    ----------
    values_yx
        (y, x) as stored.
    keys
        Which values are known.

    Examples
    --------
    >>> drawn = np.kron(np.array([[0, 7, 8, 9, 10, 200]], np.uint8), np.ones((16, 16), np.uint8))
    >>> jpeg_damage(drawn, Keys({0: 0, 200: 1})) is None
    True
    """
    found, counts = np.unique(values_yx, return_counts=True)
    unknown = np.array([keys.code(int(value)) is None for value in found])
    rare = found[unknown & (counts < _RARE_SHARE * values_yx.size)]
    if len(rare) < _FEWEST_RARE_VALUES or len(rare) < 0.5 * unknown.sum():
        return None
    stray = np.isin(values_yx, rare)
    if stray.mean() > _MOST_RINGING or _agreement(values_yx, stray) > 0.75:
        return None
    return JpegDamage(len(rare), int(stray.sum()))


def _agreement(values: NDArray[np.integer], stray: NDArray[np.bool_]) -> float:
    """Share of neighbours along x, both stray, that have one value; 0 where there are none."""
    both = stray[:, 1:] & stray[:, :-1]
    return float((values[:, 1:] == values[:, :-1])[both].mean()) if both.any() else 0.0


@dataclass(frozen=True, slots=True)
class Orientation:
    """How much of the variance of grey the classes explain, as the mask lies and at best.

    Attributes
    ----------
    transform
        How the mask should be moved to explain most.
    explained, explained_best
        Share of the variance, 0 to 1.
    """

    transform: str
    explained: float
    explained_best: float


def wrong_orientation(image_yx: Plane, labels_yx: Plane) -> Orientation | None:
    """Return a suspicion that the mask was turned or mirrored against its image, or None.

    Parameters
    ----------
    image_yx, labels_yx
        uint8, (y, x), of one shape.
    """
    grey, labels = small(np.asarray(cv2.GaussianBlur(image_yx, (0, 0), 2.0), np.uint8), labels_yx)
    square = image_yx.shape[0] == image_yx.shape[1]
    names = list(TRANSFORMS) if square else list(TRANSFORMS)[:4]
    explained = {name: _explained(grey, TRANSFORMS[name](labels)) for name in names}
    here, best = explained[names[0]], max(names, key=lambda name: explained[name])
    if best == names[0] or explained[best] < 0.1 or explained[best] < 1.2 * here + 0.02:
        return None
    return Orientation(best, here, explained[best])


def _explained(grey: Plane, labels: Plane) -> float:
    """Correlation ratio (eta squared) of grey by class over labelled pixels."""
    labelled = labels != UNLABELLED
    values, classes = grey[labelled].astype(np.float64), labels[labelled]
    total = float(((values - values.mean()) ** 2).sum()) if values.size else 0.0
    if total == 0:
        return 0.0
    counts = np.bincount(classes, minlength=256)
    sums = np.bincount(classes, values, minlength=256)
    present = counts > 0
    between = float((counts[present] * (sums[present] / counts[present] - values.mean()) ** 2).sum())
    return between / total


def small(image_yx: Plane, labels_yx: Plane) -> tuple[Plane, Plane]:
    """Return an image and its labels with at most 384 px along an edge; labels are picked, never mixed."""
    step = max(1, -(-max(image_yx.shape) // _MOST_EDGE_PX))
    if step == 1:
        return image_yx, labels_yx
    rows, columns = (edge // step for edge in image_yx.shape)
    cut = image_yx[: rows * step, : columns * step]
    shrunk = np.asarray(cv2.resize(cut, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
    return shrunk, np.ascontiguousarray(labels_yx[step // 2 :: step, step // 2 :: step][:rows, :columns])


def count_specks(labels_yx: Plane, class_ids: Sequence[int], speck_px: int = 3) -> tuple[int, int]:
    """Return how many drawn pieces are specks, and how many pieces there are.

    JPEG that was rounded to ids leaves hundreds of specks.

    Parameters
    ----------
    labels_yx
        uint8, (y, x).
    class_ids
        Classes to look at.
    speck_px
        Most pixels of a speck.

    Examples
    --------
    >>> plane = np.zeros((9, 9), np.uint8)
    >>> plane[1:5, 1:5] = 1; plane[7, 7] = 1
    >>> count_specks(plane, [1])
    (1, 2)
    """
    pieces = specks = 0
    for class_id in class_ids:
        count, _, stats, _ = cv2.connectedComponentsWithStats((labels_yx == class_id).astype(np.uint8), connectivity=8)
        pieces += count - 1
        specks += int((stats[1:, cv2.CC_STAT_AREA] <= speck_px).sum())
    return specks, pieces


Looks = NDArray[np.float64]
"""How a class looks in an image: grey against the image's mean in standard deviations, logarithm of its share
of the pixels, of its share of edge pixels and of its number of pieces; (4,) float64."""


def looks_of_classes(image_yx: Plane, labels_yx: Plane, class_ids: Sequence[int]) -> dict[int, Looks]:
    """Return how each class of an image looks; classes of fewer than 32 pixels are left out."""
    grey, labels = small(image_yx, labels_yx)
    mean, sd = float(grey.mean()), float(grey.std()) or 1.0
    looks: dict[int, Looks] = {}
    for class_id in class_ids:
        mask = (labels == class_id).astype(np.uint8)
        area = int(mask.sum())
        if area < 32:
            continue
        edge = area - int(cv2.erode(mask, np.ones((3, 3), np.uint8), borderValue=0).sum())
        pieces = cv2.connectedComponents(mask, connectivity=8)[0] - 1
        shade = (float(grey[mask > 0].mean()) - mean) / sd
        looks[class_id] = np.array([shade, np.log(area / mask.size), np.log(edge / area), np.log(pieces)])
    return looks


def swapped_classes(looks: Sequence[Mapping[int, Looks]]) -> list[tuple[int, int, int]]:
    """Return images in which two classes look like each other's in most other images.

    Each pair of classes is compared with the medians over all images; swapping the two must bring an image much
    nearer to them. A swap in more than half of the images cannot be seen this way.

    Parameters
    ----------
    looks
        Of each image, from `looks_of_classes`.

    Returns
    -------
    list of (int, int, int)
        Index of the image, and the two class ids, the smaller first.
    """
    typical = _typical_looks(looks)
    found = []
    for index, mine in enumerate(looks):
        candidates = [
            (gain, a, b)
            for a in sorted(mine)
            for b in sorted(typical)
            if a in typical and a != b and (b not in mine or a < b)
            for gain in [_gain(mine, typical, a, b)]
            if gain > 0
        ]
        if candidates:
            _, a, b = max(candidates, key=lambda item: item[0])
            found.append((index, min(a, b), max(a, b)))
    return found


def _typical_looks(looks: Sequence[Mapping[int, Looks]]) -> dict[int, tuple[Looks, Looks]]:
    """Median and robust spread of each class's looks, of classes that at least five images have."""
    typical = {}
    for class_id in sorted({class_id for mine in looks for class_id in mine}):
        table = np.array([mine[class_id] for mine in looks if class_id in mine])
        if len(table) >= 5:
            middle = np.median(table, axis=0)
            spread = 1.4826 * np.median(np.abs(table - middle), axis=0)
            typical[class_id] = (middle, np.maximum(spread, [0.15, 0.25, 0.15, 0.35]))
    return typical


def _gain(mine: Mapping[int, Looks], typical: Mapping[int, tuple[Looks, Looks]], a: int, b: int) -> float:
    """How much nearer to the typical looks an image is with two classes swapped; 0 unless it is much."""
    here = there = 0.0
    for class_id, other in ((a, b), (b, a)):
        if class_id in mine:
            here = max(here, _distance(mine[class_id], typical[class_id]))
            there = max(there, _distance(mine[class_id], typical[other]))
    # Two classes that both look like the other one are told sooner than one that has taken the other's place.
    least = 2.0 if a in mine and b in mine else 3.0
    return here - there if here > least and there < 0.5 * here else 0.0


def _distance(looks: Looks, typical: tuple[Looks, Looks]) -> float:
    middle, spread = typical
    return float(np.sqrt((((looks - middle) / spread) ** 2).mean()))
