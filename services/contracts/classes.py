"""The classes of a fused label plane: their ids, names and colours, said once for everybody."""

from __future__ import annotations

from enum import IntEnum

Rgba = tuple[int, int, int, int]


class LabelClass(IntEnum):
    """Class id of a voxel of a label volume.

    Examples
    --------
    >>> LabelClass(4).label
    'synaptonemal_complex'
    >>> LabelClass.from_label("chromosome")
    <LabelClass.CHROMOSOME: 2>
    """

    EXTERIOR = 0
    NUCLEOPLASM = 1
    CHROMOSOME = 2
    NUCLEOLUS = 3
    SYNAPTONEMAL_COMPLEX = 4
    NUCLEAR_MEMBRANE = 5

    @property
    def label(self) -> str:
        """Name in tables, scores and volume metadata."""
        return self.name.lower()

    @property
    def rgba(self) -> Rgba:
        """Colour, 0 to 255 each: the manuscript's for nucleolus, chromosome and synaptonemal complex."""
        return _COLOURS[self]

    @classmethod
    def from_label(cls, label: str) -> LabelClass:
        """Return the class of that name.

        Raises
        ------
        UnknownLabelError
            If no class has that name.
        """
        for member in cls:
            if member.label == label:
                return member
        raise UnknownLabelError(f"no class is called {label!r}; classes: {', '.join(c.label for c in cls)}")


class UnknownLabelError(ValueError):
    """No class has that name."""


_COLOURS: dict[LabelClass, Rgba] = {
    LabelClass.EXTERIOR: (0, 0, 0, 0),
    LabelClass.NUCLEOPLASM: (226, 232, 240, 64),
    LabelClass.CHROMOSOME: (250, 204, 21, 255),
    LabelClass.NUCLEOLUS: (34, 197, 94, 255),
    LabelClass.SYNAPTONEMAL_COMPLEX: (37, 99, 235, 255),
    LabelClass.NUCLEAR_MEMBRANE: (148, 163, 184, 160),
}


def class_name(label: int) -> str:
    """Return the name of a class id, also of one that only a model of other tissues knows.

    >>> class_name(3), class_name(9)
    ('nucleolus', 'class_9')
    """
    return LabelClass(label).label if label in set(LabelClass) else f"class_{label}"


LABEL_STYLES: tuple[tuple[int, str, Rgba], ...] = tuple((int(c), c.label, c.rgba) for c in LabelClass)
"""Id, name and colour of every class, as plain values for code that must not import this package."""
