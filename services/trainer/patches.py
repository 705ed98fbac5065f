"""Patches: what a network is shown at each step, the same for the same seed and number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from services.trainer.augmentation import warped
from services.trainer.datasets import DataRequestError, Plane, PlaneSet
from services.trainer.losses import IGNORED

_Pixel = TypeVar("_Pixel", np.uint8, np.float32)

# A patch that is rotated freely is cut so much larger, so that its corners have something to show.
_WARP_MARGIN = 1.45
_FOCUS_PIXELS, _FOCUS_STRIDE = 250_000, 16


@dataclass(frozen=True, slots=True)
class PatchRule:
    """How patches are drawn from planes.

    Attributes
    ----------
    patch_px
        Edge of a patch; a smaller plane is mirrored at its ends, where nothing counts as labelled.
    batch_crops
        Patches per batch.
    focus
        Tissue classes that a patch is centred about, drawn with equal chance; a class may be repeated.
    focus_share
        Share of patches that are centred about a focus class; the others lie anywhere.
    neighbours
        Planes shown on each side of the labelled one.
    patch_planes
        Planes of a patch that are labelled: more than 1 for networks of three dimensions.
    turned
        Whether patches are turned by right angles and mirrored at random.
    warp_share
        Share of patches that are rotated by any angle, scaled and stretched elastically.
    in_passes
        Whether every labelled plane is shown once before any is shown again.
    """

    patch_px: int
    batch_crops: int
    focus: tuple[int, ...] = ()
    focus_share: float = 0.0
    neighbours: int = 0
    patch_planes: int = 1
    turned: bool = True
    warp_share: float = 0.0
    in_passes: bool = False


@dataclass(frozen=True, slots=True)
class Patch:
    """A window with its truth and the normalisation of its planes.

    Attributes
    ----------
    grey
        float32, (plane, y, x), 0 to 255.
    classes
        uint8, (plane, y, x): of the middle plane alone, or of all planes in three dimensions.
    """

    grey: NDArray[np.float32]
    classes: Plane
    mean: float
    sd: float


class PatchSource:
    """Draws patches.

    Parameters
    ----------
    planes
        All planes to learn from.
    rule
        How to draw.

    Raises
    ------
    DataRequestError
        If nothing is labelled.
    """

    def __init__(self, planes: Sequence[PlaneSet], rule: PatchRule) -> None:
        self._planes, self._rule = tuple(planes), rule
        self._places = [(owner, int(z)) for owner, plane_set in enumerate(planes) for z in plane_set.labelled]
        if not self._places:
            raise DataRequestError("nothing is labelled on any plane")
        self._pixels = {class_id: _pixels_of(planes, class_id) for class_id in sorted(set(rule.focus))}

    @property
    def labelled_planes(self) -> int:
        """Number of planes on which something is labelled."""
        return len(self._places)

    def batch(self, seed: int, number: int) -> list[Patch]:
        """Return the patches of a batch."""
        rng = np.random.default_rng([seed, number])
        crops = self._rule.batch_crops
        return [self._patch(rng, seed, number * crops + position) for position in range(crops)]

    def _patch(self, rng: np.random.Generator, seed: int, position: int) -> Patch:
        owner, plane, y, x = self._centre(rng, seed, position)
        planes, rule = self._planes[owner], self._rule
        is_warped = bool(rng.random() < rule.warp_share) if rule.warp_share else False
        size = rule.patch_px
        cut_px = int(size * _WARP_MARGIN) if is_warped else size
        rows, columns = (
            _around(centre, cut_px, size, length, rng)
            for centre, length in zip((y, x), planes.grey_zyx.shape[1:], strict=True)
        )
        shown, labelled = self._depths(planes, plane, rng)
        grey = _cut(planes.grey_zyx, shown, rows, columns).astype(np.float32)
        classes = _cut(planes.classes_zyx, labelled, rows, columns, unlabelled=True)
        if is_warped:
            grey, classes = warped(grey, classes, int(rng.integers(2**31)))
        grey, classes = _middle(grey, size), _middle(classes, size)
        if rule.turned:
            turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
            grey, classes = _turned(grey, turns, mirrored=mirrored), _turned(classes, turns, mirrored=mirrored)
        return Patch(grey, classes, planes.mean, planes.sd)

    def _depths(
        self, planes: PlaneSet, plane: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the positions of the planes that are shown, and of those that are labelled."""
        if self._rule.patch_planes == 1:
            around = planes.around(plane, self._rule.neighbours, self._rule.neighbours)
            return around, np.array([plane])
        before = int(rng.integers(self._rule.patch_planes))
        block = planes.around(plane, before, self._rule.patch_planes - 1 - before)
        return block, block

    def _centre(self, rng: np.random.Generator, seed: int, position: int) -> tuple[int, int, int, int]:
        """Return set, plane, row and column about which to cut."""
        if self._rule.focus and rng.random() < self._rule.focus_share:
            pixels = self._pixels[int(rng.choice(self._rule.focus))]
            if len(pixels):
                owner, plane, y, x = (int(value) for value in pixels[rng.integers(len(pixels))])
                return owner, plane, y, x
        if self._rule.in_passes:
            turn, place = divmod(position, len(self._places))
            owner, plane = self._places[
                int(np.random.default_rng([seed, turn, 1]).permutation(len(self._places))[place])
            ]
        else:
            owner, plane = self._places[int(rng.integers(len(self._places)))]
        y, x = (int(rng.integers(size)) for size in self._planes[owner].grey_zyx.shape[1:])
        return owner, plane, y, x


def _around(centre: int, cut_px: int, patch_px: int, length: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return positions along an axis about a centre: inside where the plane is long enough, else past its ends."""
    off = int(rng.integers(patch_px // 8, patch_px - patch_px // 8)) + (cut_px - patch_px) // 2
    start = int(np.clip(centre - off, 0, length - cut_px)) if length >= cut_px else (length - cut_px) // 2
    return np.arange(start, start + cut_px)


def _cut(
    stack: Plane,
    depths: NDArray[np.intp],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    *,
    unlabelled: bool = False,
) -> Plane:
    """Cut a block out of a stack; past its ends it is mirrored, or unlabelled."""
    height, width = stack.shape[1:]
    block = stack[np.ix_(depths, _mirrored(rows, height), _mirrored(columns, width))]
    if unlabelled:
        block[:, (rows < 0) | (rows >= height)] = IGNORED
        block[:, :, (columns < 0) | (columns >= width)] = IGNORED
    return block


def _mirrored(positions: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Fold positions back into 0 .. length - 1, the ends repeated.

    >>> _mirrored(np.arange(-2, 5), 3).tolist()
    [1, 0, 0, 1, 2, 2, 1]
    """
    folded = positions % (2 * length)
    return np.asarray(np.where(folded < length, folded, 2 * length - 1 - folded), np.intp)


def _middle(stack: NDArray[_Pixel], size: int) -> NDArray[_Pixel]:
    y0, x0 = ((edge - size) // 2 for edge in stack.shape[1:])
    return stack[:, y0 : y0 + size, x0 : x0 + size]


def _turned(stack: NDArray[_Pixel], turns: int, *, mirrored: bool) -> NDArray[_Pixel]:
    turned = np.rot90(stack, turns, axes=(1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if mirrored else turned)


def _pixels_of(planes: Sequence[PlaneSet], class_id: int) -> NDArray[np.int32]:
    """Pixels of a class, evenly spread over all there are, as rows of (set, plane, y, x)."""
    total = sum(int(np.count_nonzero(plane_set.classes_zyx == class_id)) for plane_set in planes)
    stride = max(_FOCUS_STRIDE, total // _FOCUS_PIXELS)
    found = []
    for owner, plane_set in enumerate(planes):
        places = np.flatnonzero(plane_set.classes_zyx == class_id)[::stride]
        where = np.stack(np.unravel_index(places, plane_set.classes_zyx.shape), axis=1)
        found.append(np.insert(where, 0, owner, axis=1))
    return np.concatenate(found).astype(np.int32)
