"""One plane of a mask judged against its image: labels, or the reasons why there are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.imaging.grey import histogram, is_blank
from services.trainer.annotations.checks import count_specks, jpeg_damage, wrong_orientation
from services.trainer.annotations.class_map import (
    BACKGROUND,
    UNLABELLED,
    ClassMap,
    Keys,
    nearest_values,
    translate,
)
from services.trainer.annotations.exterior import (
    OpenMembraneError,
    Sides,
    derive_exterior,
    derive_exterior_by_grey,
    enclosed_by,
    labelled_outside,
)
from services.trainer.annotations.findings import Finding, FindingKind, error, warning

Plane = NDArray[np.uint8]
_MOST_SPECKS = 0.6


@dataclass(frozen=True, eq=False)
class Case:
    """What is judged.

    Attributes
    ----------
    file
        Name of the mask, for findings.
    grey_yx
        The image, uint8.
    values_yx
        The mask as stored, whole numbers; colours as 0xRRGGBB.
    keys
        Codes by value.
    is_colour
        Whether values are colours.
    lossy
        Name of a lossy compression, or empty.
    inside_yx
        Inside of the nucleus, where outlines were given.
    """

    file: str
    grey_yx: Plane
    values_yx: NDArray[np.integer]
    keys: Keys
    is_colour: bool = False
    lossy: str = ""
    inside_yx: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class Verdict:
    """Labels, uint8 (y, x), or None when an error says why there are none."""

    labels_yx: Plane | None
    findings: tuple[Finding, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nobody labelled a pixel."""
        return self.labels_yx is not None and bool((self.labels_yx == UNLABELLED).all())


def judge(case: Case, class_map: ClassMap) -> Verdict:
    """Return the labels of a plane with everything that a person should know of it."""
    mismatch = _shape_fault(case)
    if mismatch is not None:
        return Verdict(None, (mismatch,))
    values, findings = case.values_yx, []
    loss = _loss_of(case)
    if loss is not None:
        if class_map.lossy_masks == "refuse":
            return Verdict(None, (loss,))
        values = nearest_values(values, case.keys, colour=case.is_colour)
        findings.append(warning(loss.kind, case.file, f"{loss.message}; each pixel got the nearest value of the map"))
    translated = translate(values, case.keys)
    if translated.unknown:
        return Verdict(None, (_unknown_fault(case, translated.unknown),))
    labels, more = _with_exterior(case, translated.labels_yx, class_map)
    if labels is None:
        return Verdict(None, (*findings, *more))
    return Verdict(labels, (*findings, *more, *_doubts(case, labels, class_map)))


def _shape_fault(case: Case) -> Finding | None:
    image, mask = case.grey_yx.shape, case.values_yx.shape
    if image == mask:
        return None
    hint = ": it is transposed" if mask == image[::-1] else ": export both at one size, uncropped"
    return error(FindingKind.SHAPE_MISMATCH, case.file, f"mask has {mask} rows and columns, its image {image}{hint}")


def _loss_of(case: Case) -> Finding | None:
    if case.lossy:
        said = f"is compressed by {case.lossy}, which invents values at edges: export it without loss (PNG or TIFF)"
        return error(FindingKind.LOSSY_MASK, case.file, said)
    damage = jpeg_damage(case.values_yx, case.keys)
    if damage is None:
        return None
    said = (
        f"was JPEG once: {damage.values} rare values that the class map does not know, in {damage.pixels} pixels; "
        "export it again without loss, or say lossy_masks = 'nearest'"
    )
    return error(FindingKind.JPEG_DAMAGE, case.file, said)


def _unknown_fault(case: Case, unknown: Mapping[int, int]) -> Finding:
    commonest = sorted(unknown.items(), key=lambda item: (-item[1], item[0]))[:8]
    said = ", ".join(f"{_spelled(value, colour=case.is_colour)} ({count} px)" for value, count in commonest)
    y, x = (int(index) for index in np.argwhere(case.values_yx == commonest[0][0])[0])
    more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
    known = ", ".join(_spelled(value, colour=case.is_colour) for value in sorted(case.keys.singles)[:16])
    return error(
        FindingKind.UNKNOWN_VALUE,
        case.file,
        f"values that the class map does not know: {said}{more}, first at y {y}, x {x}; it knows {known}",
    )


def _spelled(value: int, *, colour: bool) -> str:
    return f"#{value:06x}" if colour else str(value)


def _with_exterior(case: Case, labels: Plane, class_map: ClassMap) -> tuple[Plane | None, list[Finding]]:
    rule, ids = class_map.exterior, class_map.class_ids
    if rule is None or not (labels == BACKGROUND).any():
        return labels, []
    sides = Sides(ids["exterior"], ids["nucleoplasm"])
    if rule.source == "grey":
        return derive_exterior_by_grey(labels, case.grey_yx, rule.grey_at_most, sides), []
    if rule.source == "membrane":
        try:
            inside = enclosed_by(labels == ids["nuclear_membrane"])
        except OpenMembraneError as fault:
            return None, [error(FindingKind.OUTLINE_MISSING, case.file, str(fault))]
        return derive_exterior(labels, inside, sides), []
    if case.inside_yx is None or case.inside_yx.shape != labels.shape:
        said = "no nucleus outline of its shape: give outlines of every image (--outlines)"
        return None, [error(FindingKind.OUTLINE_MISSING, case.file, said)]
    outside = labelled_outside(labels, case.inside_yx, sides)
    said = f"{outside} pixels are labelled outside of the nucleus's outline, and stay labelled"
    doubts = [warning(FindingKind.LABEL_OUTSIDE_NUCLEUS, case.file, said)] if outside else []
    return derive_exterior(labels, case.inside_yx, sides), doubts


def _doubts(case: Case, labels: Plane, class_map: ClassMap) -> list[Finding]:
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    drawn = [int(value) for value in present if value != UNLABELLED]
    doubts = []
    if is_blank(histogram(case.grey_yx)):
        doubts.append(warning(FindingKind.BLANK_IMAGE, case.file, "its image shows nothing: one grey all over"))
    if len(drawn) == 1 and len(present) == 1:
        name = next(name for name, class_id in class_map.class_ids.items() if class_id == drawn[0])
        doubts.append(warning(FindingKind.EMPTY_MASK, case.file, f"all of it is {name}"))
    if len(drawn) > 1:
        doubts += _doubts_about_many(case, labels, drawn)
    return doubts


def _doubts_about_many(case: Case, labels: Plane, drawn: list[int]) -> list[Finding]:
    doubts = []
    lying = wrong_orientation(case.grey_yx, labels)
    if lying is not None:
        doubts.append(
            warning(
                FindingKind.WRONG_ORIENTATION,
                case.file,
                f"the mask fits its image better {lying.transform}: classes then explain {lying.explained_best:.0%} of "
                f"the variance of grey, as it lies {lying.explained:.0%}",
            )
        )
    specks, pieces = count_specks(labels, drawn)
    if specks > max(_MOST_SPECKS * pieces, 20):
        said = f"{specks} of its {pieces} pieces have three pixels or fewer: was it resampled, or JPEG once?"
        doubts.append(warning(FindingKind.SPECKS, case.file, said))
    return doubts
