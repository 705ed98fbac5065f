"""Colours: those of the manuscript for classes, twelve that can be told apart for chromosomes."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from services.imaging.palette import CHROMOSOME_COLOURS

Rgb = tuple[int, int, int]

MEMBRANE: Rgb = (184, 192, 202)
CLASS_COLOURS: Mapping[int, Rgb] = {
    2: (242, 194, 48),  # chromosomes yellow, nucleolus green, SC blue: figure 2 of the manuscript
    3: (47, 158, 86),
    4: (47, 98, 224),
    5: MEMBRANE,
}
UNRANKED: Rgb = (150, 154, 162)


def hexadecimal(colour: Rgb) -> str:
    """Return a colour as a style sheet writes it.

    Examples
    --------
    >>> hexadecimal((255, 0, 16))
    '#ff0010'
    """
    return "#{:02x}{:02x}{:02x}".format(*colour)


def chromosome_colour(rank: int) -> Rgb:
    """Return the colour of the chromosome of a rank (1 first); beyond the twelve it is grey.

    Examples
    --------
    >>> chromosome_colour(1) == CHROMOSOME_COLOURS[0], chromosome_colour(40) == UNRANKED
    (True, True)
    """
    return CHROMOSOME_COLOURS[rank - 1] if 1 <= rank <= len(CHROMOSOME_COLOURS) else UNRANKED


def to_linear(colour: Rgb) -> NDArray[np.float64]:
    """Return (3,) float64 light intensities 0..1 of an sRGB colour.

    Examples
    --------
    >>> to_linear((0, 255, 0)).tolist()
    [0.0, 1.0, 0.0]
    """
    share = np.asarray(colour, np.float64) / 255.0
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def to_srgb(light: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return sRGB values 0..255 of light intensities; what is brighter than 1 becomes 255.

    Examples
    --------
    >>> to_srgb(np.array([0.0, 0.5, 7.0])).tolist()
    [0, 188, 255]
    """
    share = np.clip(light, 0.0, 1.0)
    curved = np.where(share <= 0.0031308, share * 12.92, 1.055 * share ** (1 / 2.4) - 0.055)
    return np.floor(curved * 255.0 + 0.5).astype(np.uint8)


__all__ = [
    "CHROMOSOME_COLOURS",
    "CLASS_COLOURS",
    "MEMBRANE",
    "UNRANKED",
    "Rgb",
    "chromosome_colour",
    "hexadecimal",
    "to_linear",
    "to_srgb",
]
