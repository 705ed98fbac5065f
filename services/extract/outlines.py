"""The outline of one nucleus in one slice, and its bytes."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from services.extract.contours import fit_ellipse
from services.extract.polygons import centroid, signed_area

Side = Literal["z_min", "z_max", "y_min", "y_max", "x_min", "x_max"]
PixelPoints = npt.NDArray[np.int32]
FORMAT = "fibsem-outlines/1"
_DECIMALS = 4
_BORDER_PX = 1


class OutlineFormatError(ValueError):
    """Bytes that are not the outlines of a slice."""


class OutlineShapeError(ValueError):
    """A polygon that encloses nothing or has another shape than (n, 2)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Outline:
    """A nucleus found in one slice.

    Parameters
    ----------
    polygon_yx_px
        int32, (n, 2), (y, x): the closed outline, on the outer side of the membrane, pixels of the slice.
    area_px
        Area of the polygon, pixels.
    centroid_yx_px
        Centre of gravity of the polygon.
    bbox_yx_px
        y and x of the first pixel, y and x after the last.
    border_sides
        Sides of the field that cut the nucleus, sorted.
    semi_axes_px
        Semi-axes of the fitted ellipse (longer, shorter); of the fitted circle, twice the same, where the border cuts.
    angle_rad
        Direction of the longer axis, from +x towards +y, in [0, pi).
    centre_yx_px
        Centre of that ellipse: the nucleus's middle even where the border cuts most of it off.
    """

    polygon_yx_px: PixelPoints
    area_px: float
    centroid_yx_px: tuple[float, float]
    bbox_yx_px: tuple[int, int, int, int]
    border_sides: tuple[Side, ...]
    semi_axes_px: tuple[float, float]
    angle_rad: float
    centre_yx_px: tuple[float, float]

    @property
    def touches_border(self) -> bool:
        """Whether the border of the field cuts the nucleus."""
        return bool(self.border_sides)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Outline) and _to_json(self) == _to_json(other)

    def __hash__(self) -> int:
        return hash((self.centroid_yx_px, self.area_px))


@dataclasses.dataclass(frozen=True)
class Circle:
    """The circle fitted to the visible part of a nucleus that the border cuts; pixels of the slice."""

    centre_yx_px: tuple[float, float]
    radius_px: float


def make_outline(polygon_yx_px: PixelPoints, field_shape: tuple[int, int], circle: Circle | None = None) -> Outline:
    """Measure a polygon.

    Parameters
    ----------
    polygon_yx_px
        int32, (n, 2), inside the field.
    field_shape
        Rows and columns of the slice.
    circle
        What to report instead of the fitted ellipse.

    Raises
    ------
    OutlineShapeError
        If the polygon encloses no area.

    Examples
    --------
    >>> outline = make_outline(np.array([[0, 2], [4, 2], [4, 8], [0, 8], [0, 5]], np.int32), (10, 20))
    >>> outline.area_px, outline.centroid_yx_px, outline.bbox_yx_px, outline.border_sides
    (24.0, (2.0, 5.0), (0, 2, 5, 9), ('y_min',))
    """
    if polygon_yx_px.ndim != 2 or polygon_yx_px.shape[1] != 2 or len(polygon_yx_px) < 3:
        raise OutlineShapeError(f"an outline needs at least three points (y, x); got shape {polygon_yx_px.shape}")
    area = abs(float(signed_area(polygon_yx_px)))
    if area <= 0:
        raise OutlineShapeError("an outline must enclose an area; all its points lie on a line")
    low, high = polygon_yx_px.min(axis=0), polygon_yx_px.max(axis=0)
    centre, axes, angle = _fit(polygon_yx_px, circle)
    return Outline(
        polygon_yx_px=np.ascontiguousarray(polygon_yx_px, np.int32),
        area_px=round(area, _DECIMALS),
        centroid_yx_px=_pair(centroid(polygon_yx_px)),
        bbox_yx_px=(int(low[0]), int(low[1]), int(high[0]) + 1, int(high[1]) + 1),
        border_sides=_border_sides(low, high, field_shape),
        semi_axes_px=_pair(axes),
        angle_rad=round(angle, _DECIMALS),
        centre_yx_px=_pair(centre),
    )


def outlines_to_bytes(outlines: Sequence[Outline]) -> bytes:
    """Write outlines as JSON: the same outlines always give the same bytes.

    Examples
    --------
    >>> outlines_to_bytes(())
    b'{"format":"fibsem-outlines/1","outlines":[]}'
    """
    content = {"format": FORMAT, "outlines": [_to_json(outline) for outline in outlines]}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def outlines_from_bytes(content: bytes) -> tuple[Outline, ...]:
    """Read what :func:`outlines_to_bytes` wrote.

    Raises
    ------
    OutlineFormatError
        If the bytes are anything else.
    """
    try:
        parsed = json.loads(content)
        if parsed["format"] != FORMAT:
            raise OutlineFormatError(f"outlines of format {parsed['format']!r}; this program reads {FORMAT!r}")
        return tuple(outline_from_json(entry) for entry in parsed["outlines"])
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, IndexError) as error:
        raise OutlineFormatError(f"not the outlines of a slice: {error!r}") from error


def outline_to_json(outline: Outline) -> dict[str, object]:
    """Give an outline as plain lists and numbers."""
    return _to_json(outline)


def outline_from_json(entry: dict[str, object]) -> Outline:
    """Make an outline of what :func:`outline_to_json` gave.

    Raises
    ------
    OutlineFormatError
        If a number is missing or has another kind.
    """
    try:
        numbers = {name: [float(value) for value in cast("list[float]", entry[name])] for name in _NUMBER_FIELDS}
        box = [int(value) for value in numbers["bbox"]]
        sides = tuple(cast("list[Side]", entry["sides"]))
        polygon = np.asarray(entry["polygon"], np.int32).reshape(-1, 2)
        scalars = numbers["scalars"]
        if len(box) != 4 or len(scalars) != 2 or not set(sides) <= set(get_args(Side)):
            raise OutlineFormatError("an outline has a box of four numbers, two scalars and known sides")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise OutlineFormatError(f"not an outline: {error!r}") from error
    return Outline(
        polygon_yx_px=polygon,
        area_px=scalars[0],
        centroid_yx_px=_two(numbers["centroid"]),
        bbox_yx_px=(box[0], box[1], box[2], box[3]),
        border_sides=sides,
        semi_axes_px=_two(numbers["axes"]),
        angle_rad=scalars[1],
        centre_yx_px=_two(numbers["centre"]),
    )


_NUMBER_FIELDS = ("bbox", "scalars", "centroid", "axes", "centre")


def _to_json(outline: Outline) -> dict[str, object]:
    return {
        "axes": list(outline.semi_axes_px),
        "bbox": list(outline.bbox_yx_px),
        "centre": list(outline.centre_yx_px),
        "centroid": list(outline.centroid_yx_px),
        "polygon": outline.polygon_yx_px.ravel().tolist(),
        "scalars": [outline.area_px, outline.angle_rad],
        "sides": list(outline.border_sides),
    }


def _fit(polygon: PixelPoints, circle: Circle | None) -> tuple[tuple[float, float], tuple[float, float], float]:
    if circle is not None:
        return circle.centre_yx_px, (circle.radius_px, circle.radius_px), 0.0
    if len(polygon) >= 5:
        return fit_ellipse(polygon.astype(np.float64))
    radius = float(np.sqrt(abs(float(signed_area(polygon))) / np.pi))
    return _pair(centroid(polygon)), (radius, radius), 0.0


def _border_sides(low: PixelPoints, high: PixelPoints, field_shape: tuple[int, int]) -> tuple[Side, ...]:
    reached: list[Side] = []
    if high[1] >= field_shape[1] - 1 - _BORDER_PX:
        reached.append("x_max")
    if low[1] <= _BORDER_PX:
        reached.append("x_min")
    if high[0] >= field_shape[0] - 1 - _BORDER_PX:
        reached.append("y_max")
    if low[0] <= _BORDER_PX:
        reached.append("y_min")
    return tuple(reached)


def _pair(values: Sequence[float] | npt.NDArray[np.float64]) -> tuple[float, float]:
    return round(float(values[0]), _DECIMALS), round(float(values[1]), _DECIMALS)


def _two(values: list[float]) -> tuple[float, float]:
    if len(values) != 2:
        raise OutlineFormatError(f"two numbers (y, x) are needed; got {len(values)}")
    return values[0], values[1]
