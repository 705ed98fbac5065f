"""Which artefacts a simulated acquisition has, and how strong each one is."""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass


class UnknownArtefactError(ValueError):
    """A name that is not an artefact."""


class ArtefactStrengthError(ValueError):
    """A strength that is not a number of 0 or more."""


@dataclass(frozen=True)
class Artefacts:
    """Strength of every artefact: 0 is off, 1 the usual strength; in between and beyond, sizes and rates scale with it.

    Attributes
    ----------
    noise
        Shot and detector noise.
    blur
        Width of the beam, and of the depth it sees.
    brightness
        Slow walk of brightness and contrast.
    drift
        Slow walk of the stage, with small rotation, scale and shear.
    jitter
        Independent shift of every slice.
    thickness
        Slices thicker or thinner than nominal.
    restart
        Rare jumps: the field is found again elsewhere, with other contrast and focus.
    defocus
        Slow walk of focus and stigmation.
    curtaining
        Vertical stripes of the milling beam that last for many slices.
    charging
        Brightening around, and dark tails beside, what holds no stain.
    glitches
        Jitter of the lines, and rare lines that are shifted or have another brightness.
    missed, repeated, out_of_order, half_written, blank
        Faults of whole slices: never written; imaged again without milling; written some slices late; cut short;
        without content.
    defocused, astigmatic, curtained, charged, saturated, striped, torn, debris, frozen
        Faults of single images, at 1 in 500 slices and at least once each: out of focus along both axes, or along one;
        full of stripes of the milling beam; charged; contrast and brightness too high; 1 to 10 lines of another
        brightness, or displaced; something lying on the block face; the image of the slice before it, noise and all.
        The strength is their size.
    brightness_step, field_shift, z_jump
        What begins at a slice and stays, as often: another brightness; the field found elsewhere; more milled away
        than one slice.
    """

    noise: float = 1.0
    blur: float = 1.0
    brightness: float = 0.5
    drift: float = 0.0
    jitter: float = 0.0
    thickness: float = 0.0
    restart: float = 0.0
    defocus: float = 0.0
    curtaining: float = 0.0
    charging: float = 0.0
    glitches: float = 0.0
    missed: float = 0.0
    repeated: float = 0.0
    out_of_order: float = 0.0
    half_written: float = 0.0
    blank: float = 0.0
    defocused: float = 0.0
    astigmatic: float = 0.0
    curtained: float = 0.0
    charged: float = 0.0
    saturated: float = 0.0
    striped: float = 0.0
    torn: float = 0.0
    debris: float = 0.0
    frozen: float = 0.0
    brightness_step: float = 0.0
    field_shift: float = 0.0
    z_jump: float = 0.0


ARTEFACT_NAMES = tuple(field.name for field in dataclasses.fields(Artefacts))
FAULT_NAMES = ("missed", "repeated", "out_of_order", "half_written", "blank")
SPOILING_NAMES = (
    "defocused",
    "astigmatic",
    "curtained",
    "charged",
    "saturated",
    "striped",
    "torn",
    "debris",
    "frozen",
    "brightness_step",
    "field_shift",
    "z_jump",
)
"""Faults of single slices; the word ``spoilt`` stands for all of them, the word ``all`` for all others."""
ALL = "all"
SPOILT = "spoilt"
_GROUPS = {ALL: tuple(name for name in ARTEFACT_NAMES if name not in SPOILING_NAMES), SPOILT: SPOILING_NAMES}


def parse_artefact(text: str) -> tuple[str, float]:
    """Read ``NAME`` or ``NAME=VALUE``; a name alone means strength 1.

    Parameters
    ----------
    text
        As on the command line; ``spoilt`` stands for every fault of single slices, ``all`` for every other artefact.

    Returns
    -------
    tuple of str and float
        Name and strength.

    Raises
    ------
    UnknownArtefactError
        If there is no such artefact; the message lists those there are.
    ArtefactStrengthError
        If the value is not a finite number of 0 or more.

    Examples
    --------
    >>> parse_artefact("drift"), parse_artefact("out-of-order=0.5")
    (('drift', 1.0), ('out_of_order', 0.5))
    """
    name, _, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if name not in (*ARTEFACT_NAMES, *_GROUPS):
        known = ", ".join((*_GROUPS, *ARTEFACT_NAMES))
        raise UnknownArtefactError(f"no artefact is called {name!r}; there are: {known}")
    try:
        strength = float(value) if "=" in text else 1.0
    except ValueError:
        strength = math.nan
    if not (math.isfinite(strength) and strength >= 0):
        raise ArtefactStrengthError(f"the strength of artefact {name!r} must be a number of 0 or more, not {value!r}")
    return name, strength


def artefacts_from(texts: Iterable[str]) -> Artefacts:
    """Change the default artefacts as a list of ``NAME[=VALUE]`` says, in its order.

    Examples
    --------
    >>> artefacts_from(["all", "noise=0"]).noise, artefacts_from(["all"]).drift, artefacts_from([]).drift
    (0.0, 1.0, 0.0)
    """
    artefacts = Artefacts()
    for text in texts:
        name, strength = parse_artefact(text)
        changes = dict.fromkeys(_GROUPS.get(name, (name,)), strength)
        artefacts = dataclasses.replace(artefacts, **changes)
    return artefacts
