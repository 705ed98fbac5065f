"""Which pixels of a crop belong to its nucleus."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from services.extract.contours import distance_outside, fill_polygon, overlap_areas, signed_distance
from services.extract.events import OutlineSource
from services.extract.outlines import Outline, make_outline
from services.extract.polygons import Points
from services.extract.tracks import OutlineRef

OUTSIDE, MARGIN, INSIDE = 0, 1, 2
_RAYS = 96
_RING_PX = 3  # round every outline's box, free of it: a step of the distance transform leaps over one pixel
_SAME_NUCLEUS = 0.5  # two outlines of a slice that share more than this part of the smaller are one nucleus found twice

Mask = npt.NDArray[np.uint8]
Part = tuple[slice, slice]
SignedDistance = npt.NDArray[np.float32]


def resolve_outline(
    source: OutlineSource, load: Callable[[OutlineRef], Outline], field_shape: tuple[int, int]
) -> Outline:
    """Give the outline that a crop follows.

    Parameters
    ----------
    source
        From the crop's event.
    load
        Gives an outline by its reference.
    field_shape
        Rows and columns of the slice.
    """
    before = load(source.before)
    if source.after == source.before or source.fraction == 0:
        return before
    return interpolate_outlines(before, load(source.after), source.fraction, field_shape)


def interpolate_outlines(before: Outline, after: Outline, fraction: float, field_shape: tuple[int, int]) -> Outline:
    """Outline between two others: its centroid and its radius in every direction lie between theirs.

    Parameters
    ----------
    before, after
        Outlines of one nucleus in two slices.
    fraction
        0 gives the shape of ``before``, 1 that of ``after``.
    field_shape
        Rows and columns of the slice.
    """
    centre = (1 - fraction) * np.asarray(before.centroid_yx_px) + fraction * np.asarray(after.centroid_yx_px)
    radius = (1 - fraction) * _radii(before) + fraction * _radii(after)
    angle = np.arange(_RAYS) * (2 * np.pi / _RAYS)
    points = centre + radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    inside = np.clip(np.rint(points), 0, np.subtract(field_shape, 1))
    return make_outline(inside.astype(np.int32), field_shape)


def _radii(outline: Outline) -> Points:
    """Distance of the outline from its centroid in ``_RAYS`` directions, the outermost crossing of each."""
    start = outline.polygon_yx_px - np.asarray(outline.centroid_yx_px)
    edge = np.roll(start, -1, axis=0) - start
    angle = np.arange(_RAYS)[:, None] * (2 * np.pi / _RAYS)
    sine, cosine = np.sin(angle), np.cos(angle)
    across, along = cosine * edge[:, 0] - sine * edge[:, 1], cosine * start[:, 0] - sine * start[:, 1]
    part = -along / np.where(across == 0, np.inf, across)
    hit = (across != 0) & (part >= 0) & (part <= 1)
    distance = sine * (start[:, 0] + part * edge[:, 0]) + cosine * (start[:, 1] + part * edge[:, 1])
    return np.asarray(np.where(hit & (distance > 0), distance, 0.0).max(axis=1))


def mask_plane(
    outline: Outline,
    neighbours: Sequence[Outline],
    window: tuple[tuple[int, int], tuple[int, int]],
    widen: float = 1.1,
    inside_scale: float = 1.0,
) -> Mask:
    """Say of every pixel of a crop whether it belongs to the nucleus.

    Parameters
    ----------
    outline
        The nucleus in this slice, or, in a cap, its first or last detection.
    neighbours
        Other outlines of the slice.
    window
        Origin and shape of the crop, (y, x).
    widen
        How much larger than the outline, in radii, the area is that counts as the nucleus's surroundings.
    inside_scale
        Size of the nucleus's own section relative to the outline; below 1 in a cap.

    Returns
    -------
    numpy.ndarray
        uint8, (y, x): 0 outside the widened outline or nearer to a neighbour, 1 inside the widened outline, 2 inside
        the outline itself. A pixel between two nuclei goes to the one whose outline is nearer, and every pixel goes to
        one nucleus at most.

    Examples
    --------
    >>> square = make_outline(np.array([[1, 1], [1, 7], [7, 7], [7, 1]], np.int32), (9, 12))
    >>> mask_plane(square, [], ((0, 0), (9, 12)), widen=1.5)[4].tolist()
    [1, 2, 2, 2, 2, 2, 2, 2, 1, 0, 0, 0]
    """
    radius = math.sqrt(outline.area_px / math.pi)
    reach, shrunk = (widen - 1) * radius, (1 - inside_scale) * radius
    whole = np.zeros(window[1], np.uint8)
    part = _surroundings(outline, window, math.ceil(2 * reach + shrunk) + _RING_PX)
    mask = whole[part]
    if not mask.size:
        return whole
    origin = window[0][0] + part[0].start, window[0][1] + part[1].start
    section = _Section(outline, origin, (mask.shape[0], mask.shape[1]), shrunk)
    mask[section.distance <= reach] = MARGIN
    mask[(section.own if inside_scale < 1 else section.distance) <= 0] = INSIDE
    if inside_scale <= 0:
        mask[mask == INSIDE] = MARGIN
    for neighbour in neighbours:
        if _gap(outline, neighbour) <= 2 * reach + shrunk and not (inside_scale == 1 and _is_same(outline, neighbour)):
            section.leave_to(neighbour, mask, math.ceil(reach + shrunk) + _RING_PX)
    return whole


class _Section:
    """A nucleus's own section in part of a crop, by the distance of every pixel from it.

    How deep a pixel lies inside an outline decides nothing where the section is the outline itself and no other
    outline crosses it: then only distances from outside are taken, which are half the work.
    """

    def __init__(self, outline: Outline, origin: tuple[int, int], shape: tuple[int, int], shrunk: float) -> None:
        self._outline, self._origin, self._shape, self._shrunk = outline, origin, shape, np.float32(shrunk)
        self.distance = self._distance_of(outline, has_depth=shrunk > 0)
        self.own = self.distance + self._shrunk

    def leave_to(self, neighbour: Outline, mask: Mask, margin_px: int) -> None:
        """Take from the mask what is nearer to a neighbour; both are nearer than the margin to whatever is at stake."""
        at_stake = _common_box(self._outline, neighbour, self._origin, self._shape, margin_px)
        if at_stake is None:
            return
        first = _order(self._outline) < _order(neighbour)
        rows, columns = at_stake
        origin = self._origin[0] + rows.start, self._origin[1] + columns.start
        shape = rows.stop - rows.start, columns.stop - columns.start
        crossing = fill_polygon(neighbour.polygon_yx_px, origin, shape)
        crossing &= fill_polygon(self._outline.polygon_yx_px, origin, shape)
        if crossing.any():
            own = self._distance_of(self._outline, has_depth=True) + self._shrunk
            theirs = self._distance_of(neighbour, has_depth=True)
        else:
            mask, own = mask[at_stake], self.own[at_stake]
            theirs = distance_outside(neighbour.polygon_yx_px, origin, shape)
        mask[theirs < own if first else theirs <= own] = OUTSIDE

    def _distance_of(self, outline: Outline, *, has_depth: bool) -> SignedDistance:
        measure = signed_distance if has_depth else distance_outside
        return measure(outline.polygon_yx_px, self._origin, self._shape)


def _order(outline: Outline) -> tuple[tuple[float, float], float]:
    return outline.centroid_yx_px, outline.area_px


def _common_box(
    first: Outline, second: Outline, origin: tuple[int, int], shape: tuple[int, int], margin_px: int
) -> Part | None:
    """Give the part of an array in which a pixel may be within a margin of both outlines.

    Their nearest pixels are in it as well, with the rectangle between, so that distances within it are those of the
    whole array: a step of the distance transform costs no less than the larger of its two offsets.
    """
    boxes = np.array([first.bbox_yx_px, second.bbox_yx_px])
    low = np.maximum(boxes[:, :2].max(axis=0) - 2 * margin_px, origin) - origin
    high = np.minimum(boxes[:, 2:].min(axis=0) + 2 * margin_px, np.add(origin, shape)) - origin
    if (low >= high).any():
        return None
    return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))


def _surroundings(outline: Outline, window: tuple[tuple[int, int], tuple[int, int]], margin_px: int) -> Part:
    """Give the part of a window, in its own rows and columns, that holds an outline's box and a margin round it.

    Beyond twice the reach nothing decides: what lies there is outside, and a neighbour that far away takes no pixel.
    Distances within are those of the whole window, since the rectangle between two pixels of the part is in it.
    """
    (y0, x0), (height, width) = window
    top, left, bottom, right = outline.bbox_yx_px
    rows = slice(max(0, top - y0 - margin_px), max(0, min(height, bottom - y0 + margin_px)))
    columns = slice(max(0, left - x0 - margin_px), max(0, min(width, right - x0 + margin_px)))
    return rows, columns


def _gap(first: Outline, second: Outline) -> float:
    """Distance between two bounding boxes, pixels; 0 where they overlap."""
    a, b = first.bbox_yx_px, second.bbox_yx_px
    return math.hypot(max(0, a[0] - b[2], b[0] - a[2]), max(0, a[1] - b[3], b[1] - a[3]))


def _is_same(first: Outline, second: Outline) -> bool:
    if _gap(first, second) > 0:
        return False
    shared, one, other = overlap_areas(first.polygon_yx_px, second.polygon_yx_px)
    return shared > _SAME_NUCLEUS * min(one, other)
