"""Divides annotated images into training, validation and test so that no part has seen what another is judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, Self

import numpy as np
from numpy.random import RandomState
from pydantic import Field, model_validator

from services.contracts.model_card import Fraction
from services.contracts.values import Count, Identifier, Value

SplitKind = Literal["image", "nucleus", "z-block"]
LeakKind = Literal["neighbours", "same-picture", "unknown-place"]

MANUSCRIPT_SHUFFLE_SEED, MANUSCRIPT_SPLIT_SEED = 123, 0
DEFAULT_DISTANCE_NM = 100.0
"""How near in z two images of a nucleus may not be in different parts: about the width of a synaptonemal complex."""
REFERENCE_VOXEL_NM = 4.0


class SplitError(ValueError):
    """The images cannot be divided as asked; the message says how they can."""


class PseudoJudgeError(SplitError):
    """A split has labels that a network proposed judge a network, or taught beside images that do."""


class Part(StrEnum):
    """What an image is used for."""

    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"
    LEFT_OUT = "left_out"


_MOST_TRIES = 32
_JUDGES = (Part.TRAINING, Part.VALIDATION, Part.TEST)


@dataclass(frozen=True, slots=True)
class Sample:
    """An image as far as a split cares.

    Attributes
    ----------
    name
        Its name.
    nucleus, z
        Nucleus or stack, and plane; None where they cannot be told.
    similar
        Names of images that show the same or nearly the same.
    is_pseudo
        Whether a network proposed its labels: it may be learned from and never judges.
    """

    name: str
    nucleus: str | None = None
    z: int | None = None
    similar: tuple[str, ...] = ()
    is_pseudo: bool = False


@dataclass(frozen=True, slots=True)
class SplitRule:
    """How to divide.

    Attributes
    ----------
    seed
        Same seed, same parts.
    test, validation
        Share of the images for testing, and for validation.
    distance_planes
        Images of one nucleus that are at most so many planes apart are never in two parts; between the parts of a
        nucleus as many planes are left out.
    """

    seed: int = 0
    test: float = 0.1
    validation: float = 0.1
    distance_planes: int = int(DEFAULT_DISTANCE_NM / REFERENCE_VOXEL_NM)

    def __post_init__(self) -> None:
        if not (0 < self.test < 1 and 0 < self.validation < 1 and self.test + self.validation < 1):
            raise SplitError(f"shares of test ({self.test:g}) and validation ({self.validation:g}) leave no training")
        if self.distance_planes < 0:
            raise SplitError(f"a distance of {self.distance_planes} planes is none")


class Split(Value):
    """Which image is used for what; written beside a model so that its scores can be checked.

    Attributes
    ----------
    kind
        `image`: at random, as the manuscript did; `nucleus`: whole nuclei; `z-block`: runs of planes.
    distance_planes
        Distance that the parts keep along z; 0 if none was kept.
    """

    schema_version: Literal[1] = 1
    kind: SplitKind
    seed: Count
    distance_planes: Count
    test_share: Fraction
    validation_share: Fraction
    training: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    validation: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    test: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    left_out: tuple[Identifier, ...] = ()

    @model_validator(mode="after")
    def _no_image_has_two_uses(self) -> Self:
        names = [*self.training, *self.validation, *self.test, *self.left_out]
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if twice:
            raise ValueError(f"images in two parts: {twice[:10]}")
        return self

    @property
    def part_of(self) -> dict[str, Part]:
        """Part by image name."""
        parts = {
            Part.TRAINING: self.training,
            Part.VALIDATION: self.validation,
            Part.TEST: self.test,
            Part.LEFT_OUT: self.left_out,
        }
        return {name: part for part, names in parts.items() for name in names}


class Leak(Value):
    """Two images in different parts that show nearly the same.

    Attributes
    ----------
    why
        `neighbours` in z, `same-picture`, or `unknown-place`: of one nucleus, and one of them without a z.
    distance_planes
        How far apart in z, for neighbours.
    """

    first: Identifier
    first_part: Part
    second: Identifier
    second_part: Part
    why: LeakKind
    distance_planes: Count | None = None


def split_by_image(samples: Sequence[Sample], rule: SplitRule = SplitRule()) -> Split:
    """Divide at random by image, as the manuscript did: neighbours in z leak.

    The order of names is shuffled with seed 123, `train_test_split` with `rule.seed` (0 in the manuscript's code)
    takes the test part, and the last tenth of the shuffled rest validates: 260 images give 211, 23 and 26. Source:
    domain.md section 4, "Labels". The same steps as scikit-learn's `shuffle` and `train_test_split`, which draw
    from NumPy's legacy generator.

    Parameters
    ----------
    samples
        Images in any order.
    rule
        Seed and shares; the distance is not kept.

    Raises
    ------
    SplitError
        If there are too few images.

    Examples
    --------
    >>> split = split_by_image([Sample(f"n{k:03}") for k in range(260)])
    >>> len(split.training), len(split.validation), len(split.test)
    (211, 23, 26)
    """
    return _judged_by_annotations(samples, rule, _by_image)


def _by_image(samples: Sequence[Sample], rule: SplitRule) -> Split:
    names = sorted(sample.name for sample in samples)
    _check_enough(len(names))
    order = RandomState(MANUSCRIPT_SHUFFLE_SEED).permutation(len(names))
    drawn = RandomState(rule.seed).permutation(len(names))
    shuffled = [names[order[index]] for index in drawn]
    n_test = int(np.ceil(rule.test * len(names)))
    rest = shuffled[n_test:]
    n_validation = max(1, int(rule.validation * len(rest)))
    parts = {
        Part.TEST: shuffled[:n_test],
        Part.VALIDATION: rest[len(rest) - n_validation :],
        Part.TRAINING: rest[: len(rest) - n_validation],
    }
    return _split("image", rule, parts, kept=False)


def split_by_place(samples: Sequence[Sample], rule: SplitRule = SplitRule()) -> Split:
    """Divide by nucleus where there are enough of them, by blocks of planes otherwise; nothing leaks.

    Whole nuclei are taken when their numbers of images can make the parts about as large as asked (from half to
    twice). Otherwise, see `split_by_block`.

    Raises
    ------
    SplitError
        If the images are too few, or lie too near each other to be divided.
    """
    return _judged_by_annotations(samples, rule, _by_place)


def _by_place(samples: Sequence[Sample], rule: SplitRule) -> Split:
    try:
        by_nucleus = _by_nucleus(samples, rule)
    except SplitError:
        return _by_block(samples, rule)
    wanted = {Part.TEST: rule.test, Part.VALIDATION: rule.validation}
    shares = {Part.TEST: len(by_nucleus.test), Part.VALIDATION: len(by_nucleus.validation)}
    fits = all(0.5 <= shares[part] / (share * len(samples)) <= 2 for part, share in wanted.items())
    return by_nucleus if fits else _by_block(samples, rule)


def split_by_nucleus(samples: Sequence[Sample], rule: SplitRule = SplitRule()) -> Split:
    """Divide by whole nuclei; images of unknown nucleus stand for themselves, and similar images stay together.

    Raises
    ------
    SplitError
        If there are fewer than three groups.
    """
    return _judged_by_annotations(samples, rule, _by_nucleus)


def _by_nucleus(samples: Sequence[Sample], rule: SplitRule) -> Split:
    groups = _groups(samples)
    if len(groups) < 3:
        raise SplitError(f"{len(groups)} nuclei cannot make three parts: divide by z-block")
    order = [groups[index] for index in RandomState(rule.seed).permutation(len(groups))]
    parts: dict[Part, list[str]] = {part: [] for part in _JUDGES}
    for part, share in ((Part.TEST, rule.test), (Part.VALIDATION, rule.validation)):
        wanted = share * len(samples)
        while order and len(order) > 2 - (part is Part.VALIDATION):
            # The first group of a part is taken whatever its size; others only as they bring it nearer.
            gain = abs(wanted - len(parts[part])) - abs(wanted - len(parts[part]) - len(order[0]))
            if parts[part] and gain <= 0:
                break
            parts[part] += order.pop(0)
    parts[Part.TRAINING] = [name for group in order for name in group]
    return _split("nucleus", rule, parts)


def split_by_block(samples: Sequence[Sample], rule: SplitRule = SplitRule()) -> Split:
    """Divide by runs of planes: test, validation and training lie one after the other along z.

    Nuclei are put in a random order, planes in theirs, and the circle of all is cut in three, at the place of 32
    random ones that costs fewest images. Images nearer than the distance to one of a part that judges them are left
    out: of training or validation for the test part, of training for the validation part.

    Raises
    ------
    SplitError
        If the images are too few, or lie too near each other to be divided.
    """
    return _judged_by_annotations(samples, rule, _by_block)


def _by_block(samples: Sequence[Sample], rule: SplitRule) -> Split:
    _check_enough(len(samples))
    generator = RandomState(rule.seed)
    line = _along_z(samples, generator)
    near = list(_near_pairs(samples, rule.distance_planes))
    tries = [_cut(line, int(start), rule, near) for start in generator.permutation(len(line))[:_MOST_TRIES]]
    part_of = min(tries, key=_cost)
    parts = {part: [name for name in line if part_of[name] is part] for part in Part}
    lacking = [part.value for part in _JUDGES if not parts[part]]
    if lacking:
        raise SplitError(
            f"no images are left for {' and '.join(lacking)}: images lie within {rule.distance_planes} planes of "
            "each other; annotate planes further apart, or ask for a smaller distance"
        )
    return _split("z-block", rule, parts)


def _judged_by_annotations(
    samples: Sequence[Sample], rule: SplitRule, divide: Callable[[Sequence[Sample], SplitRule], Split]
) -> Split:
    """Divide what people annotated as if there were nothing else; what networks labelled is learned from, or left out.

    So the parts that judge are the same with and without pseudo-labels, and scores can be compared.
    """
    split = divide([sample for sample in samples if not sample.is_pseudo], rule)
    pseudo = sorted(sample.name for sample in samples if sample.is_pseudo)
    if not pseudo:
        return split
    near = _pseudo_near_judges(split, samples, rule.distance_planes)
    return split.model_copy(
        update={
            "training": tuple(sorted({*split.training, *pseudo} - near)),
            "left_out": tuple(sorted({*split.left_out, *near})),
        }
    )


def _pseudo_near_judges(split: Split, samples: Sequence[Sample], distance_planes: int) -> set[str]:
    """Names of images that networks labelled and that show nearly what an image shows that judges.

    Within the distance along z, even where a split by image lets annotated neighbours leak; where whole nuclei are
    kept together, anywhere in a nucleus that judges.
    """
    judges = {*split.validation, *split.test}
    judged = {s.nucleus for s in samples if s.name in judges} - {None} if split.kind == "nucleus" else set()
    pseudo = {s.name for s in samples if s.is_pseudo}
    near = {s.name for s in samples if s.is_pseudo and s.nucleus in judged}
    for pair in _near_pairs([s for s in samples if s.name in judges | pseudo], distance_planes):
        near |= ({pair.first} & pseudo if pair.second in judges else set()) | (
            {pair.second} & pseudo if pair.first in judges else set()
        )
    return near - judges


def refuse_pseudo_judges(split: Split, samples: Sequence[Sample]) -> None:
    """Refuse a split in which labels that networks proposed judge, or teach too near to images that do.

    Raises
    ------
    PseudoJudgeError
        With the names of the images, and what to do.
    """
    pseudo = {sample.name for sample in samples if sample.is_pseudo}
    if judging := sorted(pseudo & {*split.validation, *split.test}):
        raise PseudoJudgeError(
            f"networks proposed the labels of {judging[:5]}, which are to judge networks: only annotations judge; "
            "divide anew (fibsem-nuclei annotations split)"
        )
    if near := sorted(_pseudo_near_judges(split, samples, split.distance_planes) & {*split.training}):
        raise PseudoJudgeError(
            f"networks proposed the labels of {near[:5]}, which show nearly the same as images that judge: leave them "
            "out, or divide anew (fibsem-nuclei annotations split)"
        )


def leaks(split: Split, samples: Sequence[Sample], distance_planes: int) -> tuple[Leak, ...]:
    """Return pairs of images in different parts that show nearly the same.

    Parameters
    ----------
    split
        Which image is used for what.
    samples
        The images.
    distance_planes
        Images of one nucleus at most so many planes apart show nearly the same.

    Returns
    -------
    tuple of Leak
        In the order of names; empty for a split that keeps that distance.

    Examples
    --------
    >>> samples = [Sample(f"n_z{z}", "n", z) for z in (0, 1, 50, 51, 90, 91)]
    >>> split = split_by_block(samples, SplitRule(test=0.3, validation=0.3, distance_planes=10))
    >>> leaks(split, samples, 10)
    ()
    """
    part_of = split.part_of
    known = {sample.name for sample in samples}
    lacking = sorted(set(part_of) - known)
    if lacking:
        raise SplitError(f"the split names images that are not there: {lacking[:5]}")
    found = []
    for near in _near_pairs(samples, distance_planes):
        first, second = (part_of.get(name, Part.LEFT_OUT) for name in (near.first, near.second))
        if Part.LEFT_OUT not in {first, second} and first is not second:
            found.append(
                Leak(
                    first=near.first,
                    first_part=first,
                    second=near.second,
                    second_part=second,
                    why=near.why,
                    distance_planes=near.planes,
                )
            )
    return tuple(sorted(found, key=lambda leak: (leak.first, leak.second, leak.why)))


def distance_in_planes(distance_nm: float, voxel_z_nm: float | None) -> int:
    """Return a distance along z in planes, rounded up; without a voxel size the reference's 4 nm is taken.

    >>> distance_in_planes(100.0, 16.0), distance_in_planes(100.0, None)
    (7, 25)
    """
    return int(np.ceil(distance_nm / (voxel_z_nm or REFERENCE_VOXEL_NM)))


@dataclass(frozen=True, slots=True)
class _Near:
    """Two images that must not be in different parts, names in order, and why."""

    first: str
    second: str
    why: LeakKind
    planes: int | None = None


def _near(one: str, other: str, why: LeakKind, planes: int | None = None) -> _Near:
    return _Near(min(one, other), max(one, other), why, planes)


def _near_pairs(samples: Sequence[Sample], distance_planes: int) -> Iterator[_Near]:
    """Yield pairs that show nearly the same, or may."""
    for stack in _stacks(samples).values():
        placed = sorted((s.z, s.name) for s in stack if s.z is not None)
        for index, (low, name) in enumerate(placed):
            for high, other in placed[index + 1 :]:
                if high - low > distance_planes:
                    break
                yield _near(name, other, "neighbours", high - low)
        # An image whose plane is not known may lie anywhere in its nucleus.
        lost = {s.name for s in stack if s.z is None}
        yield from (
            _near(name, s.name, "unknown-place")
            for name in sorted(lost)
            for s in stack
            if s.name not in lost or s.name > name
        )
    yield from (_Near(first, second, "same-picture") for first, second in sorted(_similar_pairs(samples)))


def _similar_pairs(samples: Sequence[Sample]) -> set[tuple[str, str]]:
    known = {sample.name for sample in samples}
    pairs = {(sample.name, other) for sample in samples for other in sample.similar if other in known}
    return {(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}


def _cut(line: Sequence[str], start: int, rule: SplitRule, near: Sequence[_Near]) -> dict[str, Part]:
    """Cut the circle of images in three, and leave out of two that are near the one that is judged."""
    turned = [*line[start:], *line[:start]]
    n_test = max(1, round(rule.test * len(line)))
    n_validation = max(1, round(rule.validation * len(line)))
    part_of = dict.fromkeys(turned, Part.TRAINING)
    part_of |= dict.fromkeys(turned[:n_test], Part.TEST)
    part_of |= dict.fromkeys(turned[n_test : n_test + n_validation], Part.VALIDATION)
    # What was left out for the test part costs no others: judges are gone through from the strictest down.
    for judge, judged in ((Part.TEST, Part.VALIDATION), (Part.TEST, Part.TRAINING), (Part.VALIDATION, Part.TRAINING)):
        for pair in near:
            for mine, other in ((pair.first, pair.second), (pair.second, pair.first)):
                if part_of[mine] is judge and part_of[other] is judged:
                    part_of[other] = Part.LEFT_OUT
    return part_of


def _cost(part_of: Mapping[str, Part]) -> tuple[int, int]:
    """How many parts are empty, and how many images are left out."""
    parts = list(part_of.values())
    return sum(part not in parts for part in _JUDGES), parts.count(Part.LEFT_OUT)


def _stacks(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Return samples by nucleus; those of unknown nucleus are in none."""
    stacks: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda s: s.name):
        if sample.nucleus is not None:
            stacks.setdefault(sample.nucleus, []).append(sample)
    return stacks


def _groups(samples: Sequence[Sample]) -> list[list[str]]:
    """Names that must stay together: of one nucleus, or similar, or linked by others; in the order of first names."""
    owner = {sample.name: sample.name for sample in samples}

    def find(name: str) -> str:
        while owner[name] != name:
            owner[name] = owner[owner[name]]
            name = owner[name]
        return name

    links = [(stack[0].name, sample.name) for stack in _stacks(samples).values() for sample in stack[1:]]
    for first, second in [*links, *sorted(_similar_pairs(samples))]:
        low, high = sorted((find(first), find(second)))
        owner[high] = low
    groups: dict[str, list[str]] = {}
    for name in sorted(owner):
        groups.setdefault(find(name), []).append(name)
    return [groups[root] for root in sorted(groups)]


def _along_z(samples: Sequence[Sample], generator: RandomState) -> list[str]:
    """Return the names of all images, nuclei in a random order, planes in theirs."""
    stacks = [
        [s.name for s in sorted(stack, key=lambda s: (s.z is None, s.z or 0, s.name))]
        for stack in _stacks(samples).values()
    ]
    stacks += [[sample.name] for sample in sorted(samples, key=lambda s: s.name) if sample.nucleus is None]
    return [name for index in generator.permutation(len(stacks)) for name in stacks[index]]


def _check_enough(count: int) -> None:
    if count < 3:
        raise SplitError(f"{count} images cannot make three parts: annotate more")


def _split(kind: SplitKind, rule: SplitRule, parts: Mapping[Part, Sequence[str]], *, kept: bool = True) -> Split:
    return Split(
        kind=kind,
        seed=rule.seed,
        distance_planes=rule.distance_planes if kept else 0,
        test_share=rule.test,
        validation_share=rule.validation,
        training=tuple(sorted(parts[Part.TRAINING])),
        validation=tuple(sorted(parts[Part.VALIDATION])),
        test=tuple(sorted(parts[Part.TEST])),
        left_out=tuple(sorted(parts.get(Part.LEFT_OUT, ()))),
    )
