"""What can be wrong with annotations: one kind for each fact, with the file and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints

from services.contracts.values import Text, Value

FileName = Annotated[str, StringConstraints(max_length=1000)]


class Severity(StrEnum):
    """Whether a file can be used."""

    ERROR = "error"
    WARNING = "warning"


class FindingKind(StrEnum):
    """The facts that are looked for."""

    UNREADABLE = "unreadable"
    IMAGE_WITHOUT_MASK = "image_without_mask"
    MASK_WITHOUT_IMAGE = "mask_without_image"
    OUTLINE_MISSING = "outline_missing"
    NAME_COLLISION = "name_collision"
    SHAPE_MISMATCH = "shape_mismatch"
    PLANE_COUNT_MISMATCH = "plane_count_mismatch"
    NOT_A_NUMBER = "not_a_number"
    UNKNOWN_VALUE = "unknown_value"
    LOSSY_MASK = "lossy_mask"
    JPEG_DAMAGE = "jpeg_damage"
    EMPTY_MASK = "empty_mask"
    BLANK_IMAGE = "blank_image"
    CLASS_WITHOUT_PIXELS = "class_without_pixels"
    MISSING_CLASS = "missing_class"
    SWAPPED_CLASSES = "swapped_classes"
    DUPLICATE_IMAGE = "duplicate_image"
    NEAR_DUPLICATE_IMAGE = "near_duplicate_image"
    WRONG_ORIENTATION = "wrong_orientation"
    SPECKS = "specks"
    OVERLAP = "overlap"
    LABEL_OUTSIDE_NUCLEUS = "label_outside_nucleus"
    LOSSY_IMAGE = "lossy_image"
    REMARK = "remark"
    HASH_MISMATCH = "hash_mismatch"
    STRAY_FILE = "stray_file"
    UNKNOWN_PLACE = "unknown_place"


class Finding(Value):
    """One fact about one file, or about the whole data set when `file` is empty."""

    kind: FindingKind
    severity: Severity
    file: FileName = ""
    message: Text

    def line(self) -> str:
        """Return the finding as one line of text.

        >>> error(FindingKind.EMPTY_MASK, "a.tif", "nothing is labelled").line()
        'error empty_mask a.tif: nothing is labelled'
        """
        return f"{self.severity} {self.kind} {self.file or 'data set'}: {self.message}"


def error(kind: FindingKind, file: str, message: str) -> Finding:
    """Return a finding because of which a file cannot be used."""
    return Finding(kind=kind, severity=Severity.ERROR, file=file, message=message[:4000])


def warning(kind: FindingKind, file: str, message: str) -> Finding:
    """Return a finding that a person should look at; the file is used."""
    return Finding(kind=kind, severity=Severity.WARNING, file=file, message=message[:4000])


def errors_of(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings because of which files cannot be used."""
    return tuple(finding for finding in findings if finding.severity is Severity.ERROR)


class AnnotationsRefusedError(ValueError):
    """Annotations have faults that would teach a network something false.

    Attributes
    ----------
    findings
        All that was found, errors first.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(sorted(findings, key=lambda finding: finding.severity is Severity.WARNING))
        faults = errors_of(self.findings)
        shown = "\n".join(f"  {finding.line()}" for finding in faults[:20])
        more = f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
        super().__init__(
            f"{len(faults)} faults, nothing was written; mend the files, or leave bad ones out with --skip-bad:\n"
            f"{shown}{more}"
        )


class UnreadableAnnotationError(ValueError):
    """A file cannot be read as an image or as a mask; the message says what to do."""


class NotANumberError(UnreadableAnnotationError):
    """Pixels are NaN or infinite."""


class LabelsExistError(ValueError):
    """The folder for a data set is there already."""


class NotADatasetError(ValueError):
    """A folder is no annotated data set, or not a whole one."""
