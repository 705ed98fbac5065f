"""Overlapping classes as one label per pixel and back: annotations that are bits, networks that have one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint8]


class UnknownBitError(ValueError):
    """A pixel has a bit that is no class."""


@dataclass(frozen=True, slots=True)
class BitClass:
    """A class of bits.

    Attributes
    ----------
    name
        Of the class.
    bit
        Of the annotation: 1, 2, 4 ...
    within
        Name of a class that a pixel of this one belongs to as well; None if to no other.
    """

    name: str
    bit: int
    within: str | None = None


@dataclass(frozen=True, slots=True)
class Precedence:
    """Turns bits into exclusive labels and back.

    Attributes
    ----------
    classes
        Later ones win where a pixel has several; label k + 1 is class k, 0 is what has no bit.
    """

    classes: Sequence[BitClass]

    def labels(self, bits: Labels) -> Labels:
        """Return one label per pixel.

        Raises
        ------
        UnknownBitError
            If a bit belongs to no class.

        Examples
        --------
        >>> rule = Precedence((BitClass("body", 1), BitClass("rim", 2, within="body")))
        >>> rule.labels(np.array([0, 1, 2, 3], np.uint8)).tolist()
        [0, 1, 2, 2]
        """
        known = sum(each.bit for each in self.classes)
        if strange := int(np.bitwise_or.reduce(bits.ravel(), initial=0)) & ~known:
            raise UnknownBitError(f"bits {strange:#x} are no classes: {[each.name for each in self.classes]}")
        labels = np.zeros(bits.shape, np.uint8)
        for number, each in enumerate(self.classes, start=1):
            labels[(bits & each.bit) > 0] = number
        return labels

    def mask(self, labels: Labels, name: str) -> NDArray[np.bool_]:
        """Return where a class is, whatever else is there: its own label, and those of the classes within it.

        >>> rule = Precedence((BitClass("body", 1), BitClass("rim", 2, within="body")))
        >>> rule.mask(np.array([0, 1, 2], np.uint8), "body").tolist()
        [False, True, True]
        """
        own = [k for k, each in enumerate(self.classes, start=1) if name in {each.name, each.within}]
        return np.isin(labels, own)

    def bit(self, name: str) -> int:
        """Return the bit of a class."""
        return next(each.bit for each in self.classes if each.name == name)

    @property
    def class_ids(self) -> dict[str, int]:
        """Label by name, `background` included."""
        return {"background": 0} | {each.name: k for k, each in enumerate(self.classes, start=1)}
