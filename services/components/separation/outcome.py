"""What every method hands over before chromosomes are numbered: bodies, the tracks in them, and doubts about these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.components.separation.field import Labels
from services.components.separation.fragments import Fragment
from services.components.separation.result import Suspect
from services.components.separation.tracks import Track


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of the track of a body.

    Attributes
    ----------
    track
        Its middle line.
    found
        Share of it in which the SC is there.
    confidence
        0 to 1.
    """

    track: Track
    found: float
    confidence: float


@dataclass(frozen=True, eq=False)
class Bodies:
    """A nucleus shared out among bodies: bivalents, or what a method takes for chromosomes.

    Attributes
    ----------
    labels
        uint8 (z, y, x) on the grid of the field.
    evidence
        By label; bodies without a track are not in it.
    suspects
        With the labels of this array as numbers; places in nm of the grid.
    whole
        Whether these are the chromosomes already, even where homologs are asked for.
    fragments
        The pieces of the SC that the tracks name.
    """

    labels: Labels
    evidence: Mapping[int, Evidence] = field(default_factory=dict)
    suspects: tuple[Suspect, ...] = ()
    whole: bool = False
    fragments: tuple[Fragment, ...] = ()
