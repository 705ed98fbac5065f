"""How many tracks there are where nobody says it: the number at which links, tracks and their lengths are likeliest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from services.components.separation.links import LIKELY
from services.components.separation.tracks import Cover, CoverProblem, tracks_of

USUAL_NM = 6500.0
"""Length of the complex of most chromosomes: five of 7800 and one of 2500 nm (domain.md, 1), bent ends cut short."""
LONGER = 0.25
SHORTER = 0.5
"""Spread of its logarithm upwards, where two chromosomes in one would be, and downwards, where the short one is."""
MOST_SHORT = 3.0
"""However short, a track may be the rest of a chromosome that is cut: nothing more speaks against it than this."""


def likeliest(problem: CoverProblem, cover_of: Callable[[int], Cover | None]) -> Cover:
    """Return the cover of the number of tracks that is likeliest, all numbers tried that the fragments can be.

    Parameters
    ----------
    problem
        Fragments and links, of a nucleus or of a part of it.
    cover_of
        Gives the cover of so many tracks, or None where there is none.
    """
    total_nm = sum(fragment.length_nm for fragment in problem.fragments)
    most = min(len(problem.fragments), 2 + round(2 * total_nm / USUAL_NM))
    covers = [cover for cover in map(cover_of, range(1, most + 1)) if cover is not None]
    if not covers:
        return problem.cheapest(None, LIKELY)
    return min(covers, key=lambda cover: (_cost(problem, cover), cover.tracks))


def _cost(problem: CoverProblem, cover: Cover) -> float:
    """Return what speaks against a cover, nats: its links, every track that a link could have saved, odd lengths."""
    lengths_nm = np.array([track.length_nm for track in tracks_of(problem.fragments, problem.links, cover)])
    return cover.cost + LIKELY * lengths_nm.size + float(length_cost(lengths_nm).sum())


def length_cost(length_nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what speaks against tracks of such lengths, nats.

    >>> length_cost(np.array([6500.0, 13000.0, 3250.0, 1.0])).round(2).tolist()
    [0.0, 3.84, 0.96, 3.0]
    """
    apart = np.log(np.maximum(length_nm, 1.0) / USUAL_NM)
    longer, shorter = 0.5 * (apart / LONGER) ** 2, 0.5 * (apart / SHORTER) ** 2
    return np.where(apart > 0, longer, np.minimum(shorter, MOST_SHORT))
