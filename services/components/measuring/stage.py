"""The stage of a nucleus, by rules on its volumes and shapes that anybody can check.

In this order, the first that fits (domain.md 1; thresholds are engineering defaults, chosen to leave room on both sides
of what sources give):

1. `unknown`: a face of the acquisition cuts the nucleus, or nothing was labelled in it.
2. `sperm`: below 5 um3, half or more of it chromatin, no nucleolus. Sperm nuclei are small, compact and very dark.
3. `pachytene`: the synaptonemal complex is 15 um long or longer in all. Whole complexes are 35 to 42 um long; half of
   that may be lost to a poor segmentation.
4. `other_prophase`: the complex is 2 um or longer (zygotene, diplotene), or the chromatin is 4 to 8 large separate
   bodies of sphericity above 0.6 (diakinesis: six condensed bivalents).
5. `mitotic`: there is chromatin but less than 2 um of complex: the distal, proliferating zone, interphase included.
6. `unknown`: everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Stage = Literal["pachytene", "other_prophase", "mitotic", "sperm", "unknown"]

LEAST_UM3 = 0.2
SPERM_UM3 = 5.0
SPERM_CHROMATIN = 0.5
PACHYTENE_UM = 15.0
PROPHASE_UM = 2.0
DIAKINESIS_BODIES = (4, 8)
DIAKINESIS_SPHERICITY = 0.6
DIAKINESIS_SHARE = 0.05
TRACE = 0.005


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the stage of a nucleus is told from.

    Attributes
    ----------
    is_cut
        Whether a face of the acquisition cuts it.
    volume_um3
        Of the nucleus.
    chromatin_fraction, nucleolus_fraction
        Shares of that volume, 0 to 1.
    sc_length_um
        Length of all synaptonemal complexes.
    bodies
        Of every chromosome: its volume, um3, and its sphericity.
    """

    is_cut: bool
    volume_um3: float
    chromatin_fraction: float
    nucleolus_fraction: float
    sc_length_um: float
    bodies: Sequence[tuple[float, float]] = ()


def stage_of(evidence: Evidence) -> Stage:
    """Return the stage of a nucleus by the rules above.

    Examples
    --------
    >>> stage_of(Evidence(False, 36.0, 0.15, 0.1, 38.0))
    'pachytene'
    >>> stage_of(Evidence(False, 36.0, 0.15, 0.1, 0.0))
    'mitotic'
    """
    if evidence.is_cut or evidence.volume_um3 < LEAST_UM3:
        return "unknown"
    if (
        evidence.volume_um3 < SPERM_UM3
        and evidence.chromatin_fraction >= SPERM_CHROMATIN
        and evidence.nucleolus_fraction <= TRACE
    ):
        return "sperm"
    if evidence.sc_length_um >= PACHYTENE_UM:
        return "pachytene"
    if evidence.sc_length_um >= PROPHASE_UM or _is_condensed(evidence.bodies):
        return "other_prophase"
    return "mitotic" if evidence.chromatin_fraction > TRACE else "unknown"


def _is_condensed(bodies: Sequence[tuple[float, float]]) -> bool:
    total = sum(volume for volume, _ in bodies)
    large = [sphericity for volume, sphericity in bodies if volume >= DIAKINESIS_SHARE * total]
    few, many = DIAKINESIS_BODIES
    return few <= len(large) <= many and all(sphericity > DIAKINESIS_SPHERICITY for sphericity in large)
