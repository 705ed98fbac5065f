"""Checks that need all images: copies, swapped classes, classes that only some images lack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.annotations.checks import TRANSFORMS, Looks, swapped_classes
from services.trainer.annotations.class_map import ClassMap
from services.trainer.annotations.dataset import ImageEntry
from services.trainer.annotations.duplicates import Fingerprint, candidate_pairs, likeness, same_pixels
from services.trainer.annotations.findings import Finding, FindingKind, error, warning

SAME_PICTURE = 0.95
"""Least correlation at full resolution of two copies of one picture; slices 4 nm apart have about 0.88 (domain.md)."""
_USUAL_ONE_IN = 10
_FEWEST_FOR_USUAL = 5


@dataclass(frozen=True, eq=False)
class Collection:
    """All images that were imported, in one order.

    Attributes
    ----------
    entries
        What is known of each.
    prints, looks
        Fingerprint, and how its classes look.
    image
        Gives an image by name, uint8 (y, x); only images that may be copies are asked for.
    """

    entries: Sequence[ImageEntry]
    prints: Sequence[Fingerprint]
    looks: Sequence[Mapping[int, Looks]]
    image: Callable[[str], NDArray[np.uint8]]


def with_warnings(seen: Collection, class_map: ClassMap) -> list[ImageEntry]:
    """Return the entries with the warnings that need all images, and with the names of images that show the same."""
    return _with_doubts(with_similar(seen), seen.looks, class_map)


def with_similar(seen: Collection, known: int = 0) -> list[ImageEntry]:
    """Return the entries with the names of images that show the same, and a warning for each.

    Parameters
    ----------
    seen
        All images.
    known
        So many of the first were compared with each other before.
    """
    entries = list(seen.entries)
    same = same_pixels([entry.image_sha256 for entry in entries])
    for first, second in same:
        if second < known:
            continue
        labels = "the same labels" if entries[first].label_sha256 == entries[second].label_sha256 else "OTHER labels"
        _tie(entries, first, second, FindingKind.DUPLICATE_IMAGE, f"shows the same image as {{}}, with {labels}")
    exact = set(same)
    for first, second, move in candidate_pairs(seen.prints):
        if second < known or (first, second) in exact or entries[first].image_sha256 == entries[second].image_sha256:
            continue
        one, other = (seen.image(entries[index].name) for index in (first, second))
        alike = likeness(one, TRANSFORMS[move](other))
        if alike >= SAME_PICTURE:
            how = "" if move == "as it is" else f", {move}"
            said = f"shows nearly the same image as {{}} (correlation {alike:.3f}{how})"
            _tie(entries, first, second, FindingKind.NEAR_DUPLICATE_IMAGE, said)
    return entries


def _tie(entries: list[ImageEntry], first: int, second: int, kind: FindingKind, said: str) -> None:
    for mine, other in ((first, second), (second, first)):
        entry, partner = entries[mine], entries[other].name
        entries[mine] = entry.model_copy(
            update={
                "similar": tuple(sorted({*entry.similar, partner})),
                "warnings": (*entry.warnings, warning(kind, entry.name, said.format(partner))),
            }
        )


def _with_doubts(
    entries: Sequence[ImageEntry], looks: Sequence[Mapping[int, Looks]], class_map: ClassMap
) -> list[ImageEntry]:
    """Return the entries with warnings of swapped classes, and of classes that only they lack."""
    names = {class_id: name for name, class_id in class_map.class_ids.items()}
    doubts: dict[int, list[Finding]] = {}
    for index, first, second in swapped_classes(looks):
        said = f"{names[first]} and {names[second]} look swapped: in this image each looks like the other one elsewhere"
        doubts.setdefault(index, []).append(warning(FindingKind.SWAPPED_CLASSES, entries[index].name, said))
    for index, name in _lacking(entries, class_map):
        said = f"has no {name}, and nearly all other images have"
        doubts.setdefault(index, []).append(warning(FindingKind.MISSING_CLASS, entries[index].name, said))
    return [
        entry.model_copy(update={"warnings": (*entry.warnings, *doubts.get(index, ()))})
        for index, entry in enumerate(entries)
    ]


def _lacking(entries: Sequence[ImageEntry], class_map: ClassMap) -> Iterator[tuple[int, str]]:
    if len(entries) < _FEWEST_FOR_USUAL:
        return
    for name in class_map.class_ids:
        without = [index for index, entry in enumerate(entries) if not entry.pixels.get(name)]
        if 0 < len(without) * _USUAL_ONE_IN <= len(entries):
            yield from ((index, name) for index in without)


def absent_classes(entries: Sequence[ImageEntry], class_map: ClassMap, *, is_fault: bool) -> list[Finding]:
    """Return a finding for each class that no image has a pixel of, a fault or a warning; none without images."""
    make = error if is_fault else warning
    said = "no image has a pixel of it: mend the class map, or say --allow-empty-classes if that is meant"
    return [
        make(FindingKind.CLASS_WITHOUT_PIXELS, "", f"class {name}: {said}")
        for name in class_map.class_ids
        if entries and not any(entry.pixels.get(name) for entry in entries)
    ]
