"""Which predicted nucleus is which true one, and what was missed, split, merged or invented."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

FOUND_SHARE = 0.5
PART_SHARE = 0.1

Overlaps = Mapping[tuple[int, str], int]


@dataclass(frozen=True, slots=True)
class NucleusCounts:
    """How many nuclei there are, and what became of them.

    Attributes
    ----------
    truth
        True nuclei.
    found
        Those that one prediction holds more than half of, and which are that prediction's largest part.
    missed
        The others: truth = found + missed.
    split
        True nuclei of which two or more predictions hold at least a tenth each.
    merged
        True nuclei of which at least a tenth lies in a prediction that holds a tenth of another one too.
    """

    truth: int
    found: int
    missed: int
    split: int
    merged: int


@dataclass(frozen=True, slots=True)
class Matching:
    """What was found of every nucleus.

    Attributes
    ----------
    prediction_of
        The prediction that found a true nucleus; missed ones are not in it.
    split, merged
        True nuclei, as in `NucleusCounts`.
    home_of
        The true nucleus that a prediction holds most of; predictions that hold none are not in it.
    """

    prediction_of: Mapping[int, str]
    split: frozenset[int]
    merged: frozenset[int]
    home_of: Mapping[str, int]


def match_nuclei(true_voxels: Mapping[int, int], overlaps: Overlaps) -> Matching:
    """Match predicted to true nuclei by the voxels they share.

    Parameters
    ----------
    true_voxels
        Voxels of every true nucleus.
    overlaps
        Voxels that a true nucleus and a prediction share, both 1 or more.

    Returns
    -------
    Matching
        One prediction at most for a true nucleus, one true nucleus at most for a prediction.

    Examples
    --------
    >>> match_nuclei({1: 100, 2: 100}, {(1, "a"): 90, (2, "a"): 4, (2, "b"): 30}).prediction_of
    {1: 'a'}
    """
    homes = _homes(overlaps)
    found = {}
    for nucleus in sorted(true_voxels):
        held = {p: voxels for (t, p), voxels in overlaps.items() if t == nucleus and homes[p] == nucleus}
        best = max(sorted(held), key=lambda prediction: held[prediction], default=None)
        if best is not None and held[best] > FOUND_SHARE * true_voxels[nucleus]:
            found[nucleus] = best
    parts = sorted(pair for pair, voxels in overlaps.items() if voxels >= PART_SHARE * true_voxels[pair[0]])
    predictions_of = Counter(nucleus for nucleus, _ in parts)
    nuclei_in = Counter(prediction for _, prediction in parts)
    return Matching(
        prediction_of=found,
        split=frozenset(nucleus for nucleus, predictions in predictions_of.items() if predictions > 1),
        merged=frozenset(nucleus for nucleus, prediction in parts if nuclei_in[prediction] > 1),
        home_of=homes,
    )


def count_nuclei(matching: Matching, nuclei: Iterable[int]) -> NucleusCounts:
    """Count what became of some of the true nuclei.

    >>> matching = match_nuclei({1: 100, 2: 100}, {(1, "a"): 90, (1, "b"): 10})
    >>> count_nuclei(matching, [1, 2])
    NucleusCounts(truth=2, found=1, missed=1, split=1, merged=0)
    """
    chosen = frozenset(nuclei)
    found = chosen & matching.prediction_of.keys()
    return NucleusCounts(
        truth=len(chosen),
        found=len(found),
        missed=len(chosen) - len(found),
        split=len(chosen & matching.split),
        merged=len(chosen & matching.merged),
    )


def _homes(overlaps: Overlaps) -> dict[str, int]:
    best: dict[str, tuple[int, int]] = {}
    for (nucleus, prediction), voxels in overlaps.items():
        # The smaller id wins a tie, whatever the order of the overlaps.
        best[prediction] = max(best.get(prediction, (0, 0)), (voxels, -nucleus))
    return {prediction: -negative for prediction, (_, negative) in sorted(best.items())}
