"""Which bodies of a nucleus are worth a mesh or a middle line, and what they are called in files."""

from __future__ import annotations

from dataclasses import dataclass

from services.exports.reading import CHROMOSOMES, Image, Nucleus
from services.exports.styles import Label

CLASSES, OBJECTS = "classes", "objects"
SMALLEST_BODY = 30
THIN_CLASS = "synaptonemal_complex"
_SHOWN_CLASSES = ("nucleolus", THIN_CLASS, "nuclear_membrane")
_CHROMOSOME_CLASS = "chromosome"


class NothingToExportError(ValueError):
    """A nucleus holds nothing that this format can show."""


@dataclass(frozen=True, eq=False)
class Part:
    """A label of a label image, with the name of its file."""

    image: Image
    label: Label
    stem: str


def bodies(image: Image) -> list[Label]:
    """Return the labels of at least 30 voxels: smaller specks have no shape."""
    return [label for label in image.labels if image.extents[label.value].voxels >= SMALLEST_BODY]


def parts_of(nucleus: Nucleus, label: str | None = None) -> list[Part]:
    """Return the bodies to make meshes of: those of one label image, or what the manuscript's figures show.

    These are each chromosome (or the class, where none was told apart), the nucleolus, the synaptonemal complex and
    the nuclear membrane.

    Raises
    ------
    UnknownLabelError
        If there is no such label image.
    NothingToExportError
        If nothing is labelled.
    """
    if label is not None:
        image = nucleus.label(label)
        found = [Part(image, body, f"{_single(image.name)}-{body.value:03d}") for body in bodies(image)]
    else:
        found = _as_in_figures(nucleus)
    if not found:
        raise NothingToExportError(f"nucleus {nucleus.nucleus_id}: nothing is labelled that a mesh could be made of")
    return found


def thin_parts(nucleus: Nucleus, label: str | None = None) -> list[Part]:
    """Return the bodies to trace: those of one label image, or the objects of the synaptonemal complex.

    Raises
    ------
    UnknownLabelError
        If there is no such label image.
    NothingToExportError
        If there are none.
    """
    image = nucleus.label(label) if label is not None else nucleus.image(OBJECTS)
    found = []
    if image is not None:
        is_thin = label is not None
        found = [
            Part(image, body, f"{_single(image.name) if is_thin else 'sc'}-{body.value:03d}")
            for body in bodies(image)
            if is_thin or body.class_name == THIN_CLASS
        ]
    classes = nucleus.image(CLASSES)
    if not found and label is None and classes is not None:
        found = [Part(classes, body, "sc") for body in bodies(classes) if body.name == THIN_CLASS]
    if not found:
        raise NothingToExportError(f"nucleus {nucleus.nucleus_id}: there is no synaptonemal complex to trace")
    return found


def _as_in_figures(nucleus: Nucleus) -> list[Part]:
    chromosomes, classes = nucleus.image(CHROMOSOMES), nucleus.image(CLASSES)
    found = []
    if chromosomes is not None:
        found += [Part(chromosomes, body, f"chromosome-{body.value:02d}") for body in bodies(chromosomes)]
    if classes is not None:
        wanted = _SHOWN_CLASSES if found else (_CHROMOSOME_CLASS, *_SHOWN_CLASSES)
        found += [Part(classes, body, body.name) for name in wanted for body in bodies(classes) if body.name == name]
    return found


def _single(name: str) -> str:
    return name.removesuffix("s")
