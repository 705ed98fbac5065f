"""How sure the tracks of a cover are, and which of their links may be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.components.separation.links import LIKELY, Link
from services.components.separation.outcome import Evidence
from services.components.separation.result import Doubt, Suspect
from services.components.separation.tracks import Cover, CoverProblem, Track

SHORTEST_NM = 2000.0
"""About the shortest complex: that of the X has 2500 nm (domain.md, 1), 1500 to 2400 in phantoms, ends cut short."""
CALIBRATION = (5.9, 1.55, 2.68, 6.66)
"""Log-odds of a track against which nothing speaks, and what takes from them: doubt about its least sure link, the
share that is gap, and the logarithm by which it is shorter than `SHORTEST_NM`.

A logistic regression over 270 tracks that `path_cover` found in phantom nuclei of seeds 41 to 43 and 51 to 56 with the
number given: 162 of seeds 41 to 43, 51 and 53 with 20 to 70 % of the complexes in gaps, 8 of them wrong, and 108 with
whole complexes or as our networks see them, all of them right and taken as free of gaps. With one nucleus left out at
a time the Brier score is .017, that of the base rate .029. Right means here that more than half of the length of the
complexes that the track and the chromosome have is of both.
"""
_CLEAR = 1.0
_FAR = 8.0
"""Nats by which a link is dearer than another, or the other way round, and no doubt is left."""
_DOUBTFUL = 0.9
_WORTH_TELLING = 0.05


@dataclass(frozen=True, eq=False)
class Assessed:
    """Evidence for each track, and the suspects among links, chromosomes numbered as the tracks from 1."""

    evidence: tuple[Evidence, ...]
    suspects: tuple[Suspect, ...]


def assess(problem: CoverProblem, cover: Cover, tracks: Sequence[Track], *, exact: bool) -> Assessed:
    """Say how sure each track is, and which links may be wrong.

    A link is as sure as the best cover without it is dearer (its min-marginal); for a track see `confidence`. Two
    tracks are a probable split where joining them would cost little.

    Parameters
    ----------
    problem, cover, tracks
        What was solved, and how.
    exact
        Whether the cover is the optimum, so that others can be compared with it; otherwise a link is as sure as the
        cheapest other link at either of its ends is dearer.
    """
    sure = {k: _sureness(problem, cover, k, exact=exact) for k in cover.chosen}
    evidence = []
    suspects = []
    for number, track in enumerate(tracks, start=1):
        found = sum(problem.fragments[index].length_nm for index in track.fragments)
        share = min(1.0, found / track.length_nm) if track.length_nm else 1.0
        chance = confidence(min([sure[k] for k in track.links], default=1.0), share, track.length_nm)
        evidence.append(Evidence(track, share, chance))
        suspects += [_merge(problem.links[k], number, sure[k]) for k in track.links if sure[k] < _DOUBTFUL]
    if exact:
        suspects += _splits(problem, cover, tracks)
    return Assessed(tuple(evidence), tuple(suspects))


def confidence(sure: float, found: float, length_nm: float) -> float:
    """Return the chance that a track is that of one chromosome: an IoU above .5 with a true one (see `CALIBRATION`).

    Parameters
    ----------
    sure
        How likely its least sure link is right.
    found
        Share of it in which the complex is there.
    length_nm
        Its length. What is shorter than any complex is hardly the whole of one.

    Examples
    --------
    >>> confidence(1.0, 1.0, 7000.0) > 0.98, confidence(0.5, 0.3, 600.0) < 0.2
    (True, True)
    """
    at_all, doubt, gap, short = CALIBRATION
    shorter = max(0.0, float(np.log(SHORTEST_NM / max(length_nm, 1.0))))
    return float(1 / (1 + np.exp(doubt * (1 - sure) + gap * (1 - found) + short * shorter - at_all)))


def _sureness(problem: CoverProblem, cover: Cover, k: int, *, exact: bool) -> float:
    """Return how likely it is that a link is right, against what the best cover without it has instead."""
    cost = problem.links[k].cost
    rival = _rival(problem.links, k) - cost
    if cost <= _CLEAR and rival >= _FAR:
        return 1.0
    dearer = min(_dearer(problem, cover, k) if exact else rival, _FAR)
    # What is likelier wrong by its cost alone is not sure, even without a rival.
    return float(1 / (1 + np.exp(-dearer)) / (1 + np.exp(cost - LIKELY)))


def _dearer(problem: CoverProblem, cover: Cover, k: int) -> float:
    other = problem.solve(cover.tracks, without=(k,))
    return np.inf if other is None else other.cost - cover.cost


def _rival(links: Sequence[Link], k: int) -> float:
    ends = {links[k].first, links[k].second}
    return min(
        (link.cost for j, link in enumerate(links) if j != k and ends & {link.first, link.second}), default=np.inf
    )


def _merge(link: Link, number: int, sureness: float) -> Suspect:
    gap_nm = float(np.linalg.norm(link.way[-1] - link.way[0]))
    return Suspect(
        Doubt.MERGE,
        (number,),
        round(1 - sureness, 4),
        f"joined across a gap of {gap_nm:.0f} nm in its complex",
        _middle(link),
    )


def _splits(problem: CoverProblem, cover: Cover, tracks: Sequence[Track]) -> list[Suspect]:
    """Return the links that one track less would take."""
    fewer = problem.solve(cover.tracks - 1)
    if fewer is None:
        return []
    dearer = max(fewer.cost - cover.cost, 0.0)
    score = float(1 / (1 + np.exp(dearer - LIKELY)))
    number_of = {index: number for number, track in enumerate(tracks, start=1) for index in track.fragments}
    found = []
    for k in sorted(set(fewer.chosen) - set(cover.chosen)):
        pair = tuple(sorted({number_of.get(index, 0) for index in problem.links[k].fragments}))
        if len(pair) == 2 and pair[0] and score > _WORTH_TELLING:
            reason = f"their complexes could be one: joining them costs {dearer:.1f} nats"
            found.append(Suspect(Doubt.SPLIT, pair, round(score, 4), reason, _middle(problem.links[k])))
    return found


def _middle(link: Link) -> tuple[float, float, float]:
    z, y, x = (round(float(value), 1) for value in link.way[len(link.way) // 2])
    return z, y, x
