"""The class map: what the values, colours or names of an annotation tool stand for, said by a person."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, field_validator, model_validator

from services.contracts.classes import LabelClass
from services.contracts.values import Identifier, Value

UNLABELLED = 255
"""Label of a pixel that nobody annotated: ignored in losses and scores."""
BACKGROUND = 254
"""Stands for background until it is divided into exterior and nucleoplasm; never in a data set."""
UNLABELLED_NAME, BACKGROUND_NAME = "unlabelled", "background"

ClassNumber = Annotated[int, Field(ge=0, le=253)]
_VALUE = re.compile(r"(\d+)(?:(-)(\d*))?")
_COLOUR = re.compile(r"#([0-9a-fA-F]{6})")
_EXTERIOR, _INTERIOR = LabelClass.EXTERIOR.label, LabelClass.NUCLEOPLASM.label
_MEMBRANE = LabelClass.NUCLEAR_MEMBRANE.label


class ClassMapError(ValueError):
    """A class map contradicts itself or lacks something; the message says what."""


class ExteriorRule(Value):
    """How background is divided into exterior and nucleoplasm.

    Attributes
    ----------
    source
        `outline`: nucleus outlines are given (masks or polygons); `membrane`: what a closed ring of labelled
        membrane encloses is inside; `grey`: dark background is exterior, the manuscript's way.
    grey_at_most
        Largest grey of exterior, for `grey` only.
    """

    source: Annotated[Literal["outline", "membrane", "grey"], Field(alias="from")]
    grey_at_most: Annotated[int, Field(ge=0, le=255)] = 150


class WebKnossosPlace(Value):
    """Where the images lie in a webKnossos data set, and which volume layer is meant."""

    offset_zyx_px: tuple[int, int, int] = (0, 0, 0)
    layer: str | None = None


@dataclass(frozen=True, slots=True)
class Keys:
    """Codes by source value.

    Attributes
    ----------
    singles
        Code of single values; a colour is the value 0xRRGGBB.
    ranges
        First value, last value (included; None: no end), code.
    other
        Code of everything else, or None when anything else is an error.
    """

    singles: Mapping[int, int]
    ranges: tuple[tuple[int, int | None, int], ...] = ()
    other: int | None = None

    def code(self, value: int) -> int | None:
        """Return the code of a value, or None if the map does not know it.

        >>> Keys({0: 255}, ((1, None, 2),)).code(77)
        2
        """
        if value in self.singles:
            return self.singles[value]
        for first, last, code in self.ranges:
            if first <= value and (last is None or value <= last):
                return code
        return self.other


class ClassMap(Value):
    """What a class map file says; see docs/annotations.md.

    Attributes
    ----------
    profile
        `manuscript` allows `exterior.from = "grey"`, nothing else differs.
    classes
        Id by name; left out, the names of this program's tissue classes that the map uses, with their ids.
    values, colours, categories
        Class name by source value or range (`7`, `1-200`, `1-`), by colour (`#rrggbb`), by name of a COCO
        category or a webKnossos segment. Besides classes: `unlabelled`, and `background`.
    unannotated
        What pixels are that no COCO polygon covers.
    other
        What values are that the map does not name; left out, they are errors.
    exterior
        How background is divided.
    lossy_masks
        `refuse`, or `nearest`: give each pixel of a damaged mask the nearest value of the map.
    name_pattern
        Regular expression with the groups `nucleus` and `z` (or one of them) for file names without suffix.
    webknossos
        Place of the images.
    """

    profile: Literal["recommended", "manuscript"] = "recommended"
    classes: dict[Identifier, ClassNumber] = Field(default_factory=dict)
    values: dict[str, str] = Field(default_factory=dict)
    colours: dict[str, str] = Field(default_factory=dict)
    categories: dict[str, str] = Field(default_factory=dict)
    unannotated: str = UNLABELLED_NAME
    other: str | None = None
    exterior: ExteriorRule | None = None
    lossy_masks: Literal["refuse", "nearest"] = "refuse"
    name_pattern: str | None = None
    webknossos: WebKnossosPlace = WebKnossosPlace()

    @field_validator("values")
    @classmethod
    def _values_are_numbers_or_ranges(cls, values: dict[str, str]) -> dict[str, str]:
        for key in values:
            found = _VALUE.fullmatch(key)
            if found is None or (found[3] and int(found[3]) < int(found[1])):
                raise ValueError(f"values: {key!r} is no value; give 7, a range 1-200, or 1- for all from 1")
        return values

    @field_validator("colours")
    @classmethod
    def _colours_are_hexadecimal(cls, colours: dict[str, str]) -> dict[str, str]:
        wrong = [key for key in colours if _COLOUR.fullmatch(key) is None]
        if wrong:
            raise ValueError(f"colours: {wrong[0]!r} is no colour; give #rrggbb")
        return colours

    @field_validator("name_pattern")
    @classmethod
    def _pattern_names_nucleus_or_z(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                groups = re.compile(pattern).groupindex
            except re.error as fault:
                raise ValueError(f"name_pattern: {fault}") from fault
            if not {"nucleus", "z"} & set(groups):
                raise ValueError("name_pattern names neither (?P<nucleus>...) nor (?P<z>...)")
        return pattern

    @model_validator(mode="after")
    def _something_is_mapped(self) -> Self:
        if not (self.values or self.colours or self.categories):
            raise ValueError("nothing is mapped: give [values], [colours] or [categories]")
        if self.exterior and self.exterior.source == "grey" and self.profile != "manuscript":
            raise ValueError(
                "exterior by grey takes dark membrane for exterior: give outlines (from = 'outline'), "
                "or say profile = 'manuscript' to repeat the manuscript"
            )
        return self

    @model_validator(mode="after")
    def _every_name_is_a_class(self) -> Self:
        ids = self.class_ids
        known = {*ids, UNLABELLED_NAME} | ({BACKGROUND_NAME} if self.exterior else set())
        for name in self._named():
            if name not in known:
                hint = "add an [exterior] table or a class of that name" if name == BACKGROUND_NAME else "see [classes]"
                raise ValueError(f"{name!r} is no class; classes: {', '.join(ids)}, unlabelled ({hint})")
        if len(set(ids.values())) < len(ids):
            raise ValueError(f"two classes have one id: {ids}")
        needed = {_EXTERIOR, _INTERIOR} if self.exterior else set()
        if self.exterior and self.exterior.source == "membrane":
            needed.add(_MEMBRANE)
        if needed - set(ids):
            raise ValueError(f"[exterior] needs the classes {sorted(needed - set(ids))}")
        return self

    def _named(self) -> list[str]:
        names = [*self.values.values(), *self.colours.values(), *self.categories.values()]
        names += [self.unannotated] if self.categories else []
        return names + ([self.other] if self.other is not None else [])

    @property
    def class_ids(self) -> dict[str, int]:
        """Id of every class of the data set by name, in the order of ids."""
        ids = dict(self.classes)
        if not ids:
            used = {*self._named(), *((_EXTERIOR, _INTERIOR) if self.exterior else ())}
            ids = {member.label: int(member) for member in LabelClass if member.label in used}
        return dict(sorted(ids.items(), key=lambda item: item[1]))

    def code(self, name: str) -> int:
        """Return what a name becomes in a label plane: a class id, `UNLABELLED` or `BACKGROUND`."""
        if name == UNLABELLED_NAME:
            return UNLABELLED
        if name == BACKGROUND_NAME and self.exterior:
            return BACKGROUND
        return self.class_ids[name]

    def value_keys(self) -> Keys:
        """Return the codes of source values."""
        singles: dict[int, int] = {}
        ranges: list[tuple[int, int | None, int]] = []
        for key, name in self.values.items():
            found = _VALUE.fullmatch(key)
            assert found is not None
            if found[2]:
                ranges.append((int(found[1]), int(found[3]) if found[3] else None, self.code(name)))
            else:
                singles[int(found[1])] = self.code(name)
        return Keys(singles, tuple(ranges), self._other)

    def colour_keys(self) -> Keys:
        """Return the codes of colours, as values 0xRRGGBB."""
        return Keys({int(key[1:], 16): self.code(name) for key, name in self.colours.items()}, (), self._other)

    def category_keys(self, names: Mapping[int, str]) -> Keys:
        """Return the codes of numbered names; 0 stands for pixels that nothing covers.

        Raises
        ------
        ClassMapError
            If the map lacks one of the names.
        """
        unknown = sorted({name for name in names.values() if name not in self.categories})
        if unknown and self.other is None:
            raise ClassMapError(
                f"[categories] lacks {unknown}; it has {sorted(self.categories)}: add them, or give `other`"
            )
        codes = {
            number: self.code(self.categories.get(name, self.other or UNLABELLED_NAME))
            for number, name in names.items()
        }
        return Keys({**codes, 0: self.code(self.unannotated)}, (), self._other)

    @property
    def _other(self) -> int | None:
        return None if self.other is None else self.code(self.other)


def parse_class_map(text: str) -> ClassMap:
    r"""Return the class map that a TOML text says.

    Raises
    ------
    ClassMapError
        If it is no TOML, or says something unknown or contradictory.

    Examples
    --------
    >>> parse_class_map('[values]\n0 = "unlabelled"\n2 = "chromosome"\n').class_ids
    {'chromosome': 2}
    """
    try:
        return ClassMap.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as fault:
        raise ClassMapError(f"the class map is no TOML: {fault}") from fault
    except ValidationError as fault:
        said = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'class map'}: {item['msg'].removeprefix('Value error, ')}"
            for item in fault.errors()
        )
        raise ClassMapError(said) from fault


@dataclass(frozen=True, slots=True)
class Translated:
    """A mask in the codes of a class map.

    Attributes
    ----------
    labels_yx
        uint8, class ids, `UNLABELLED` or `BACKGROUND`; unknown values are `UNLABELLED`.
    unknown
        Pixels by value that the map does not know, in the order of values.
    """

    labels_yx: NDArray[np.uint8]
    unknown: Mapping[int, int]


def translate(values_yx: NDArray[np.integer], keys: Keys) -> Translated:
    """Replace source values by codes.

    Parameters
    ----------
    values_yx
        (y, x) whole numbers; colours as 0xRRGGBB.
    keys
        Codes by value.

    Examples
    --------
    >>> done = translate(np.array([[0, 3, 9]], np.uint8), Keys({0: 255, 3: 2}))
    >>> done.labels_yx.tolist(), dict(done.unknown)
    ([[255, 2, 255]], {9: 1})
    """
    found, inverse, counts = _distinct(values_yx)
    codes = [keys.code(int(value)) for value in found]
    table = np.array([UNLABELLED if code is None else code for code in codes], np.uint8)
    unknown = {int(v): int(n) for v, n, code in zip(found, counts, codes, strict=True) if code is None}
    return Translated(table[inverse].reshape(values_yx.shape), unknown)


def _distinct(
    values: NDArray[np.integer],
) -> tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.integer]]:
    """Return the values that occur, the index of each pixel's among them, and how often each occurs."""
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        counts = np.bincount(values.ravel(), minlength=1)
        found = np.flatnonzero(counts)
        index = np.zeros(len(counts), np.intp)
        index[found] = np.arange(len(found))
        return found, index[values], counts[found]
    found, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return found, inverse, counts


def nearest_values(values_yx: NDArray[np.integer], keys: Keys, *, colour: bool) -> NDArray[np.integer]:
    """Replace every value that the map does not know by the nearest that it names singly; ties to the smaller.

    Examples
    --------
    >>> nearest_values(np.array([[0, 3, 250]]), Keys({0: 255, 255: 2}), colour=False).tolist()
    [[0, 0, 255]]
    """
    known = np.array(sorted(keys.singles), np.int64)
    found, inverse, _ = _distinct(values_yx)
    distance = _squared_distance(found.astype(np.int64), known, colour=colour)
    table = np.where(
        [keys.code(int(value)) is not None for value in found], found.astype(np.int64), known[distance.argmin(axis=1)]
    )
    return np.asarray(table[inverse].reshape(values_yx.shape))


def _squared_distance(first: NDArray[np.int64], second: NDArray[np.int64], *, colour: bool) -> NDArray[np.int64]:
    if not colour:
        return np.asarray((first[:, None] - second[None, :]) ** 2)
    shifts = np.array([16, 8, 0])
    a, b = ((values[:, None] >> shifts) & 255 for values in (first, second))
    return np.asarray(((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2))
