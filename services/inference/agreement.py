"""How far two model sets agree on the same crops: pixels counted by the class that each gives them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from services.contracts.classes import LabelClass
from services.contracts.values import Count, Value

Counts = NDArray[np.int64]
CLASSES = len(LabelClass)


def counted(current: NDArray[np.uint8], candidate: NDArray[np.uint8], inside: NDArray[np.bool_]) -> Counts:
    """Count the pixels inside by both classes; int64, (class now, class of the candidate).

    Examples
    --------
    >>> now, then = np.array([[1, 2, 2]], np.uint8), np.array([[1, 2, 1]], np.uint8)
    >>> counted(now, then, np.array([[True, True, True]]))[1:3, 1:3]
    array([[1, 0],
           [1, 1]])
    """
    pairs = current[inside].astype(np.int64) * CLASSES + candidate[inside]
    return np.bincount(pairs, minlength=CLASSES * CLASSES).reshape(CLASSES, CLASSES)


class Agreement(Value):
    """What was counted so far.

    Attributes
    ----------
    crops
        Crops compared.
    pixels
        By class now, then by class of the candidate.
    """

    crops: Count = 0
    pixels: tuple[tuple[int, ...], ...] = ((0,) * CLASSES,) * CLASSES

    def plus(self, counts: Counts, crops: int) -> Agreement:
        """Return the agreement with more crops counted in."""
        total = self._array() + counts
        return Agreement(crops=self.crops + crops, pixels=tuple(tuple(int(n) for n in row) for row in total))

    def equal_share(self) -> float | None:
        """Return the share of pixels to which both give one class; None before any was compared."""
        pixels = self._array()
        return float(np.trace(pixels) / pixels.sum()) if pixels.sum() else None

    def dice(self) -> Mapping[str, float]:
        """Return the Dice coefficient of each class that either gives to any pixel, by its name.

        Examples
        --------
        >>> counts = np.zeros((CLASSES, CLASSES), np.int64)
        >>> counts[2, 2], counts[2, 1] = 3, 2
        >>> Agreement().plus(counts, 1).dice()
        {'nucleoplasm': 0.0, 'chromosome': 0.75}
        """
        pixels = self._array()
        given = pixels.sum(axis=0) + pixels.sum(axis=1)
        return {
            label.name.lower(): float(2 * pixels[label, label] / given[label]) for label in LabelClass if given[label]
        }

    def _array(self) -> Counts:
        return np.array(self.pixels, np.int64)
