"""What a label image says of its labels beside their voxels: names, colours, and what the tables hold of each."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.contracts.classes import LABEL_STYLES
from services.imaging.palette import CHROMOSOME_COLOURS

Cell = str | int | float | bool | None
Row = Mapping[str, Cell]
Rgba = tuple[int, int, int, int]

_GOLDEN = 0.618033988749895
_SUMS = ("voxels", "volume_um3")
_NOT_PROPERTIES = frozenset({"nucleus_id"})


@dataclass(frozen=True, slots=True)
class Label:
    """One label: its value, a name to show, a colour, and properties by column.

    Attributes
    ----------
    value
        Value of its voxels.
    name
        What to call it.
    rgba
        Red, green, blue and opacity, 0 to 255.
    properties
        Cells of the tables by column name, whose end is their unit.
    """

    value: int
    name: str
    rgba: Rgba
    properties: Mapping[str, Cell]

    @property
    def class_name(self) -> str:
        """Class of the label, where a table says it."""
        return str(self.properties.get("class") or "")


def distinct_colour(value: int) -> Rgba:
    """Return an opaque colour for a label: those of twelve chromosomes first, then hues far from each other.

    Examples
    --------
    >>> distinct_colour(1), distinct_colour(13) == distinct_colour(14)
    ((214, 68, 74, 255), False)
    """
    if 1 <= value <= len(CHROMOSOME_COLOURS):
        return (*CHROMOSOME_COLOURS[value - 1], 255)
    red, green, blue = colorsys.hsv_to_rgb(value * _GOLDEN % 1.0, 0.45 + 0.15 * (value % 3), 0.95 - 0.1 * (value % 4))
    return round(255 * red), round(255 * green), round(255 * blue), 255


def chromosome_of_object(rows: Iterable[Row]) -> dict[int, int]:
    """Return the chromosome of each object that is one, or is part of one.

    Examples
    --------
    >>> chromosome_of_object([{"object_id": 5, "chromosome": 1}, {"object_id": 6, "chromosome": None}])
    {5: 1}
    """
    return {_whole(row["object_id"]): _whole(row["chromosome"]) for row in rows if row.get("chromosome")}


def rows_by_label(name: str, tables: Mapping[str, Sequence[Row]]) -> dict[int, Row]:
    """Return the row of a table that describes each value of a label image.

    A label image `things` is described by the table `things` (its column `thing_id`, or `thing`). Chromosomes that
    have no table of their own are put together from the table of objects.

    Parameters
    ----------
    name
        Name of the label image.
    tables
        Rows of one nucleus, by table.

    Examples
    --------
    >>> rows_by_label("objects", {"objects": [{"object_id": 7, "class": "nucleolus"}]})
    {7: {'object_id': 7, 'class': 'nucleolus'}}
    """
    single = _single(name)
    rows = tables.get(name, ())
    for key in (f"{single}_id", single):
        if rows and key in rows[0]:
            return {_whole(row[key]): row for row in rows if row.get(key) not in {None, ""}}
    return _chromosomes(tables.get("objects", ())) if name == "chromosomes" else {}


def _chromosomes(objects: Iterable[Row]) -> dict[int, Row]:
    found: dict[int, dict[str, Cell]] = {}
    for row in objects:
        if not row.get("chromosome"):
            continue
        label = _whole(row["chromosome"])
        known = found.get(label)
        if known is None:
            found[label] = dict(row)
        else:  # several pieces: amounts add up, what differs otherwise has no one value
            found[label] = {
                name: _sum(known[name], cell) if name in _SUMS else known[name] if known[name] == cell else None
                for name, cell in row.items()
            }
    return dict(sorted(found.items()))


def describe(name: str, values: Iterable[int], rows: Mapping[int, Row], given: Mapping[int, Label]) -> list[Label]:
    """Return the labels of an image, by value.

    Parameters
    ----------
    name
        Name of the label image.
    values
        Values that occur.
    rows
        Row of the tables for each value that has one.
    given
        Names and colours that the volume itself gives.
    """
    single = _single(name)
    labels = []
    for value in sorted(values):
        row = rows.get(value, {})
        properties = {key: cell for key, cell in row.items() if key not in _NOT_PROPERTIES and cell is not None}
        known = given.get(value)
        class_name = str(row.get("class") or "")
        title = known.name if known else f"{class_name if single == 'object' and class_name else single} {value}"
        labels.append(Label(value, title, known.rgba if known else distinct_colour(value), properties))
    return labels


def _single(name: str) -> str:
    return "class" if name == "classes" else name.removesuffix("s")


def class_labels() -> dict[int, Label]:
    """Return names and colours of the classes, for a volume that gives none of its own."""
    return {value: Label(value, name, rgba, {}) for value, name, rgba in LABEL_STYLES if value}


def _whole(cell: Cell) -> int:
    return int(float(cell)) if cell is not None else 0


def _sum(a: Cell, b: Cell) -> Cell:
    return a + b if isinstance(a, int | float) and isinstance(b, int | float) else None
