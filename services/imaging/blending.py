"""Overlapping windows whose answers are blended, for networks that see further than a margin can be wide.

Each window's answer counts by a Hann weight: most in the middle, where the network saw everything around, and next to
nothing at the edge. Half-overlapping windows then blend without seams.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

Slices = tuple[slice, ...]


class WindowSizeError(ValueError):
    """A window does not fit the image, or a step leaves gaps."""


def hann_weights(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the weight of each pixel of a window: a product of Hann curves, nowhere 0.

    Parameters
    ----------
    shape
        Of the window, in pixels along each axis; an axis of one pixel counts fully.

    Returns
    -------
    numpy.ndarray
        float32 of that shape.

    Examples
    --------
    >>> [round(float(weight), 3) for weight in hann_weights((4,))]
    [0.146, 0.854, 0.854, 0.146]
    """
    weights = np.ones((), np.float32)
    for size in shape:
        curve = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
        weights = np.multiply.outer(weights, curve.astype(np.float32))
    return np.asarray(weights, np.float32)


def windows(shape: tuple[int, ...], window: tuple[int, ...]) -> Iterator[Slices]:
    """Yield half-overlapping windows that cover an image; the last of each axis ends with it.

    Parameters
    ----------
    shape, window
        Of image and windows, in pixels along each axis.

    Raises
    ------
    WindowSizeError
        If a window is larger than the image.

    Examples
    --------
    >>> [(rows.start, rows.stop) for rows, in windows((10,), (4,))]
    [(0, 4), (2, 6), (4, 8), (6, 10)]
    """
    if any(part > whole for part, whole in zip(window, shape, strict=True)):
        raise WindowSizeError(f"a window of {window} px does not fit into an image of {shape} px")
    starts = [_starts(whole, part) for whole, part in zip(shape, window, strict=True)]
    for corner in product(*starts):
        yield tuple(slice(start, start + part) for start, part in zip(corner, window, strict=True))


class Blend:
    """Adds up the answers of windows, each by its weight.

    Parameters
    ----------
    channels
        Of an answer.
    shape
        Of the image, in pixels along each axis.

    Examples
    --------
    >>> blend = Blend(1, (3,))
    >>> for where in windows((3,), (2,)):
    ...     blend.add(np.full((1, 2), 7, np.float32), where)
    >>> blend.mean().tolist()
    [[7.0, 7.0, 7.0]]
    """

    def __init__(self, channels: int, shape: tuple[int, ...]) -> None:
        self._sum = np.zeros((channels, *shape), np.float32)
        self._weight = np.zeros(shape, np.float32)

    def add(self, answer: NDArray[np.float32], where: Slices) -> None:
        """Add the answer of a window: float32, (channel, ...) of the window's shape."""
        weights = hann_weights(answer.shape[1:])
        self._sum[(slice(None), *where)] += answer * weights
        self._weight[where] += weights

    def mean(self) -> NDArray[np.float32]:
        """Return the weighted mean: float32, (channel, ...).

        Raises
        ------
        WindowSizeError
            If a pixel was in no window.
        """
        if not self._weight.all():
            raise WindowSizeError("some pixels were in no window")
        return self._sum / self._weight


def _starts(whole: int, part: int) -> list[int]:
    step = max(1, part // 2)
    return [*range(0, whole - part, step), whole - part]
