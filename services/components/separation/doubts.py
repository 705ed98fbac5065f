"""How sure the tracks of a cover are, and which of their links may be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.components.separation.links import Link
from services.components.separation.outcome import Evidence
from services.components.separation.result import Doubt, Suspect
from services.components.separation.tracks import Cover, CoverProblem, Track

PRICE_NM = 1500.0
"""A link that costs more than this more likely joins two chromosomes than one (measured on phantoms with gaps)."""
_SURE_NM = 600.0
_CLEAR_NM = 250.0
_DOUBTFUL = 0.9
_WORTH_TELLING = 0.05


@dataclass(frozen=True, eq=False)
class Assessed:
    """Evidence for each track, and the suspects among links, chromosomes numbered as the tracks from 1."""

    evidence: tuple[Evidence, ...]
    suspects: tuple[Suspect, ...]


def assess(problem: CoverProblem, cover: Cover, tracks: Sequence[Track], *, exact: bool) -> Assessed:
    """Say how sure each track is, and which links may be wrong.

    A link is as sure as the best cover without it is dearer (its min-marginal); a track is as sure as its least sure
    link, and less so where more than half of it is gap. Two tracks are a probable split where joining them would cost
    little.

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
        confidence = min([sure[k] for k in track.links], default=1.0) * min(1.0, 2 * share)
        evidence.append(Evidence(track, share, confidence))
        suspects += [_merge(problem.links[k], number, sure[k]) for k in track.links if sure[k] < _DOUBTFUL]
    if exact:
        suspects += _splits(problem, cover, tracks)
    return Assessed(tuple(evidence), tuple(suspects))


def _sureness(problem: CoverProblem, cover: Cover, k: int, *, exact: bool) -> float:
    cost_nm = problem.links[k].cost_nm
    if cost_nm <= _CLEAR_NM:
        return 1.0
    dearer_nm = _dearer(problem, cover, k) if exact else _rival(problem.links, k) - cost_nm
    # What is likelier a merge by its price alone is not sure, even without a rival.
    dear = min(1.0, PRICE_NM / cost_nm)
    return float(dear * (1 - np.exp(-max(dearer_nm, 0.0) / _SURE_NM)))


def _dearer(problem: CoverProblem, cover: Cover, k: int) -> float:
    other = problem.solve(cover.tracks, without=(k,))
    return np.inf if other is None else other.cost_nm - cover.cost_nm


def _rival(links: Sequence[Link], k: int) -> float:
    ends = {links[k].first, links[k].second}
    return min(
        (link.cost_nm for j, link in enumerate(links) if j != k and ends & {link.first, link.second}), default=np.inf
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
    score = float(np.exp(-max(fewer.cost_nm - cover.cost_nm, 0.0) / PRICE_NM))
    number_of = {index: number for number, track in enumerate(tracks, start=1) for index in track.fragments}
    found = []
    for k in sorted(set(fewer.chosen) - set(cover.chosen)):
        pair = tuple(sorted({number_of.get(index, 0) for index in problem.links[k].fragments}))
        if len(pair) == 2 and pair[0] and score > _WORTH_TELLING:
            reason = f"their complexes could be one: joining them costs {fewer.cost_nm - cover.cost_nm:.0f} nm"
            found.append(Suspect(Doubt.SPLIT, pair, round(score, 4), reason, _middle(problem.links[k])))
    return found


def _middle(link: Link) -> tuple[float, float, float]:
    z, y, x = (round(float(value), 1) for value in link.way[len(link.way) // 2])
    return z, y, x
