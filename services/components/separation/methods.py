"""The methods by name, and what all of them have in common: numbering, homologs, what is left over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import cc3d
import numpy as np
from numpy.typing import NDArray

from services.components.separation.connected import connected_bodies
from services.components.separation.counting import likeliest
from services.components.separation.doubts import assess
from services.components.separation.field import ChromatinField, Labels, Zyx, paint_field
from services.components.separation.fragments import find_fragments
from services.components.separation.homologs import split_bodies
from services.components.separation.links import possible_links
from services.components.separation.outcome import Bodies, Evidence
from services.components.separation.result import (
    MOST,
    Chromosome,
    Doubt,
    Separated,
    Suspect,
    Target,
    by_size,
    sizes_of,
)
from services.components.separation.seeds import draw_tracks, grown
from services.components.separation.tracks import Cover, CoverProblem, greedy_cover, tracks_of
from services.imaging.labelling import LabelTables

DEFAULT = "sc_link_watershed"
BIVALENTS = 6
_LEAST_SHARE = 0.1
"""A piece without SC smaller than this share of a body is a crumb, and no chromosome."""
_TELL_SHARE = 0.01
_ODD = 0.4
"""A chromosome smaller than this share of the usual one, or as much larger, is odd where the number is wrong."""

Method = Callable[[ChromatinField, Target, int | None], Bodies]


class UnknownMethodError(ValueError):
    """No method of separation has that name."""


@dataclass(frozen=True, slots=True)
class Nucleus:
    """What is known of a nucleus besides its tables.

    Attributes
    ----------
    voxel_zyx_nm
        Edges of a voxel of the tables.
    clipped
        Whether a face of the acquisition cuts it: then no number is expected of it.
    part
        Whether the tables hold a part of it only, such as a group of objects that closed: no number is expected, and
        none is missed.
    """

    voxel_zyx_nm: Zyx
    clipped: bool = False
    part: bool = False


def target_of(count: int, homologs: bool | None = None) -> Target:
    """Return what a number of chromosomes asks for: more than 6 are homologs, unless said otherwise.

    >>> target_of(12).homologs, target_of(6).homologs, target_of(7, homologs=False).bodies
    (True, False, 7)
    """
    return Target(count, count > BIVALENTS if homologs is None else homologs)


def separate(tables: LabelTables, nucleus: Nucleus, target: Target, method: str = DEFAULT) -> Separated:
    """Separate the chromosomes of a nucleus.

    Parameters
    ----------
    tables
        Run tables; of a nucleus that is still open, what there is of it is separated without a number, and chromosomes
        that touch the front are provisional.
    nucleus
        Its voxels, and whether it is whole.
    target
        What to look for; in a clipped nucleus the number is not forced.
    method
        Name of the method.

    Raises
    ------
    UnknownMethodError
        If no method has that name.
    """
    divide = named(method)
    field = paint_field(tables, nucleus.voxel_zyx_nm)
    forced = tables.finished and not nucleus.clipped and not nucleus.part
    bodies = divide(field, target, target.bodies if forced else None)
    suspects = list(bodies.suspects)
    if nucleus.clipped:
        suspects.append(
            Suspect(Doubt.CLIPPED, (), 1.0, "a face of the acquisition cuts the nucleus: no number is forced")
        )
    separated = _numbered(field, replace(bodies, suspects=tuple(suspects)), target, forced=forced)
    if nucleus.part:
        return separated
    found = (*separated.suspects, *_miscounted(separated.chromosomes, target))
    return replace(separated, suspects=tuple(sorted(found, key=_by_rank)))


def named(name: str) -> Method:
    """Return a method by its name.

    Raises
    ------
    UnknownMethodError
        If there is none.
    """
    if name not in METHODS:
        raise UnknownMethodError(f"no separation is called {name!r}; there are: {', '.join(sorted(METHODS))}")
    return METHODS[name]


def _cc26(field: ChromatinField, target: Target, count: int | None) -> Bodies:
    """Take the largest connected objects (the manuscript)."""
    return connected_bodies(field, target, target.count if count is not None else None)


def _sc_watershed(field: ChromatinField, target: Target, count: int | None) -> Bodies:
    """Grow every connected piece of the SC; no number is asked for, and gaps over-split."""
    del target, count
    pieces, found = cc3d.connected_components(field.complex, connectivity=26, return_N=True)
    sizes = np.bincount(pieces.ravel(), minlength=found + 1)
    sizes[0] = 0
    order = np.argsort(-sizes, kind="stable")[: min(found, MOST)]
    number = np.zeros(found + 1, np.uint8)
    number[order] = np.arange(1, order.size + 1)
    seeds = number[pieces]
    return Bodies(grown(field, seeds, seeds))


def _sc_link_watershed(field: ChromatinField, target: Target, count: int | None) -> Bodies:
    """Link pieces of the SC to tracks, the cheapest link first, and grow these (domain.md, section 7)."""
    del target

    def cover(problem: CoverProblem) -> Cover:
        if count is None:
            return likeliest(problem, lambda number: greedy_cover(problem.fragments, problem.links, number))
        return greedy_cover(problem.fragments, problem.links, count)

    return _from_tracks(field, count, cover, exact=False)


def _path_cover(field: ChromatinField, target: Target, count: int | None) -> Bodies:
    """Choose, of all ways to link pieces of the SC to as many tracks as expected, the cheapest, and grow these."""
    del target

    def cover(problem: CoverProblem) -> Cover:
        if count is None:
            return likeliest(problem, problem.solve)
        return problem.cheapest(min(count, len(problem.fragments)))

    return _from_tracks(field, count, cover, exact=True)


METHODS: Mapping[str, Method] = {
    "cc26": _cc26,
    "sc_watershed": _sc_watershed,
    "sc_link_watershed": _sc_link_watershed,
    "path_cover": _path_cover,
}


def _from_tracks(
    field: ChromatinField, count: int | None, choose: Callable[[CoverProblem], Cover], *, exact: bool
) -> Bodies:
    fragments = find_fragments(field)
    links = possible_links(field, fragments)
    problem = CoverProblem(fragments, links)
    if not fragments:
        return _with_bare_pieces(field, Bodies(np.zeros_like(field.classes)), count)
    cover = choose(problem)
    tracks = tracks_of(fragments, links, cover)[:MOST]
    seeds = draw_tracks(field, fragments, links, tracks)
    assessed = assess(problem, cover, tracks, exact=exact)
    bodies = Bodies(
        grown(field, seeds, seeds), dict(enumerate(assessed.evidence, start=1)), assessed.suspects, fragments=fragments
    )
    return _with_bare_pieces(field, bodies, count)


def _with_bare_pieces(field: ChromatinField, bodies: Bodies, count: int | None) -> Bodies:
    """Take pieces of chromatin that hold no SC for chromosomes where tracks are too few, and tell of the others."""
    bare = field.chromatin & (bodies.labels == 0)
    pieces, found = cc3d.connected_components(bare, connectivity=26, return_N=True)
    sizes = np.bincount(pieces.ravel(), minlength=found + 1)
    sizes[0] = 0
    total = int(np.count_nonzero(field.chromatin))
    known = len(bodies.evidence)
    wanted = max((MOST if known == 0 else 0) if count is None else count - known, 0)
    least = _LEAST_SHARE * total / max(count or known or 1, 1)
    labels, suspects, number = bodies.labels, list(bodies.suspects), known
    for piece in np.argsort(-sizes, kind="stable")[:found]:
        if sizes[piece] < min(least, _TELL_SHARE * total):
            break
        if number - known < wanted and sizes[piece] >= least:
            number += 1
            labels[pieces == piece] = number
            suspects.append(_bare(field, pieces == piece, (number,), int(sizes[piece]) / total))
        else:
            suspects.append(_bare(field, pieces == piece, (), int(sizes[piece]) / total))
    return replace(bodies, labels=labels, suspects=tuple(suspects))


def _bare(field: ChromatinField, piece: NDArray[np.bool_], numbers: tuple[int, ...], share: float) -> Suspect:
    middle = (np.argwhere(piece).mean(axis=0) + 0.5) * np.array(field.step_zyx_nm)
    z, y, x = (round(float(value), 1) for value in middle)
    told = "taken for a chromosome" if numbers else "belongs to no chromosome"
    reason = f"a piece with {100 * share:.1f} % of the chromatin touches no complex: {told}"
    doubt = Doubt.MERGE if numbers else Doubt.UNASSIGNED
    return Suspect(doubt, numbers, round(min(1.0, 0.5 + share), 4), reason, (z, y, x))


def _numbered(field: ChromatinField, bodies: Bodies, target: Target, *, forced: bool) -> Separated:
    """Divide bodies between homologs where asked for, number everything by size, and rank the suspects."""
    with_sc = not target.homologs
    labels, parents = _divided(field, bodies, target)
    sizes = sizes_of(field, labels, with_sc)
    numbers = by_size(sizes)
    body_numbers = by_size(sizes_of(field, bodies.labels)) if parents else numbers
    front = _at_the_front(field, labels)
    chromosomes = []
    for label in np.argsort(numbers, kind="stable")[np.count_nonzero(numbers == 0) :]:
        body = parents.get(int(label), int(label))
        evidence = bodies.evidence.get(body)
        chromosomes.append(
            _chromosome(int(numbers[label]), int(sizes[label]), evidence, int(body_numbers[body]), label in front)
        )
    suspects = _renumbered(field, bodies.suspects, numbers, parents)
    return Separated(
        field=field,
        labels=numbers[labels],
        bodies=body_numbers[bodies.labels] if parents else numbers[labels],
        chromosomes=tuple(chromosomes),
        suspects=tuple(sorted(suspects, key=_by_rank)),
        forced=forced,
        sc_counts=with_sc,
    )


def _divided(field: ChromatinField, bodies: Bodies, target: Target) -> tuple[Labels, dict[int, int]]:
    """Return the labels of chromosomes, and for homologs the body of each."""
    if not target.homologs or bodies.whole:
        return bodies.labels, {}
    by_length = sorted(bodies.evidence, key=lambda body: (-bodies.evidence[body].track.length_nm, body))
    # With an odd number expected the shortest complex is that of no pair: the male's X.
    single = max(0, 2 * len(by_length) - target.count) if len(by_length) <= target.bodies else 0
    divided = {body: bodies.evidence[body].track for body in by_length[: len(by_length) - single] if body <= MOST // 2}
    labels = split_bodies(field, bodies.fragments, divided, np.where(bodies.labels <= MOST // 2, bodies.labels, 0))
    return labels, {label: -(-label // 2) for label in range(1, MOST + 1)}


def _chromosome(number: int, voxels: int, evidence: Evidence | None, body: int, provisional: bool) -> Chromosome:
    return Chromosome(
        number=number,
        voxels=voxels,
        confidence=None if evidence is None else round(evidence.confidence, 4),
        sc_length_nm=None if evidence is None else round(evidence.track.length_nm, 1),
        sc_found=None if evidence is None else round(evidence.found, 4),
        bivalent=body,
        provisional=provisional,
    )


def _at_the_front(field: ChromatinField, labels: Labels) -> frozenset[int]:
    if field.tables.finished or not labels.size:
        return frozenset()
    front = (field.tables.next_z - 1 - field.origin_zyx[0]) // field.strides_zyx[0]
    return frozenset(np.unique(labels[front]).tolist()) - {0} if 0 <= front < len(labels) else frozenset()


def _renumbered(
    field: ChromatinField, suspects: tuple[Suspect, ...], numbers: NDArray[np.uint8], parents: dict[int, int]
) -> list[Suspect]:
    """Return the suspects with the numbers of chromosomes instead of labels of bodies, and places on the canvas."""
    found = []
    for suspect in suspects:
        labels = [label for body in suspect.chromosomes for label in _labels_of(body, parents)]
        chromosomes = tuple(sorted({int(numbers[label]) for label in labels} - {0}))
        place = suspect.place_zyx_nm
        if place is not None:
            z, y, x = (round(float(value), 1) for value in field.place_nm(np.array(place)))
            place = (z, y, x)
        found.append(replace(suspect, chromosomes=chromosomes, place_zyx_nm=place))
    return found


def _labels_of(body: int, parents: dict[int, int]) -> list[int]:
    return [label for label, parent in parents.items() if parent == body] if parents else [body]


def _by_rank(suspect: Suspect) -> tuple[float, str, tuple[int, ...], str]:
    return (-suspect.score, suspect.doubt.value, suspect.chromosomes, suspect.reason)


def _miscounted(chromosomes: Sequence[Chromosome], target: Target) -> list[Suspect]:
    """Tell that the number is not the expected one, and which chromosomes are of an odd size then."""
    found = len(chromosomes)
    if found == target.count:
        return []
    suspects = [Suspect(Doubt.COUNT, (), 0.95, f"{found} chromosomes instead of {target.count}")]
    usual = float(np.median([chromosome.voxels for chromosome in chromosomes])) if chromosomes else 0.0
    for chromosome in chromosomes:
        ratio = chromosome.voxels / usual
        if found < target.count and ratio > 1 / (2 * _ODD):
            reason = f"{ratio:.1f} times the usual size, and there are too few"
            suspects.append(Suspect(Doubt.MERGE, (chromosome.number,), round(1 - 1 / (1 + ratio), 4), reason))
        if found > target.count and ratio < _ODD:
            reason = f"{ratio:.2f} of the usual size, and there are too many"
            suspects.append(Suspect(Doubt.SPLIT, (chromosome.number,), round(1 - ratio, 4), reason))
    return suspects
