"""Varies the grey of patches as microscopes do: gain, offset, focus, noise, curtains, charging."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float32]


def varied(grey_yx: Grey, share: float, rng: np.random.Generator) -> Grey:
    """Return a patch with artefacts of random kind and strength, or as it was.

    Parameters
    ----------
    grey_yx
        8-bit grey as float32, (y, x).
    share
        Chance of having artefacts.
    rng
        Decides everything.

    Returns
    -------
    numpy.ndarray
        float32, (y, x), clipped to 0..255.

    Examples
    --------
    >>> patch = np.full((8, 8), 100, np.float32)
    >>> first, again = (varied(patch, 1.0, np.random.default_rng(3)) for _ in range(2))
    >>> bool((first == again).all())
    True
    """
    if rng.random() >= share:
        return grey_yx
    grey = grey_yx
    for artefact, chance in (
        (_defocused, 0.25),
        (_curtained, 0.3),
        (_charged, 0.25),
        (_noisier, 0.3),
        (_rescaled, 0.8),
    ):
        if rng.random() < chance:
            grey = artefact(grey, rng)
    return np.clip(grey, 0, 255)


def jittered_normalisation(mean: float, sd: float, rng: np.random.Generator) -> tuple[float, float]:
    """Return a normalisation as other first slices of the same block might have given it.

    Slices without nuclei are darker and have less contrast than those with, so most patches keep the
    specimen's own figures with a small error, and some get those of slices with nuclei.
    """
    if rng.random() < 0.2:
        mean, sd = mean + 14 * rng.random(), sd * (1 + 0.5 * rng.random())
    return mean + rng.normal(0, 1.0), sd * float(np.exp(rng.normal(0, 0.04)))


def _defocused(grey: Grey, rng: np.random.Generator) -> Grey:
    sigmas = rng.uniform(0.2, 0.8, 2)
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), sigmaX=float(sigmas[0]), sigmaY=float(sigmas[1])), np.float32)


def _curtained(grey: Grey, rng: np.random.Generator) -> Grey:
    """Stripes along the milling direction (y), stronger below."""
    rows, columns = grey.shape
    x, down = np.arange(columns, dtype=np.float32), np.linspace(0.5, 1.0, rows, dtype=np.float32)
    stripes = np.zeros(columns, np.float32)
    for _ in range(int(rng.integers(1, 6))):
        centre, width = rng.uniform(0, columns), rng.uniform(0.7, 5)
        stripes += np.float32(rng.uniform(-0.06, 0.06)) * np.exp(-(((x - centre) / width) ** 2) / 2).astype(np.float32)
    return np.asarray(grey * (1 + down[:, None] * stripes[None, :]), np.float32)


def _charged(grey: Grey, rng: np.random.Generator) -> Grey:
    """Slow shading across the patch."""
    coarse = rng.normal(0, 6, (3, 3)).astype(np.float32)
    return np.asarray(grey + cv2.resize(coarse, grey.shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def _noisier(grey: Grey, rng: np.random.Generator) -> Grey:
    return np.asarray(grey + rng.normal(0, rng.uniform(1, 6), grey.shape), np.float32)


def _rescaled(grey: Grey, rng: np.random.Generator) -> Grey:
    return np.asarray((grey - 170) * rng.uniform(0.9, 1.1) + 170 + rng.uniform(-8, 8), np.float32)
