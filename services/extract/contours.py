"""Everything here that has coordinates and calls OpenCV: its (x, y) is turned round to (y, x) in this module only."""

import math

import cv2
import numpy as np
import numpy.typing as npt

GreyImage = npt.NDArray[np.uint8]
PixelPoints = npt.NDArray[np.int32]
Ellipse = tuple[tuple[float, float], tuple[float, float], float]


def trace_contours(binary: GreyImage, least_area_px: float = 0.0) -> list[PixelPoints]:
    """Every contour of the non-zero pixels, outer ones and those of holes, with all their points.

    Parameters
    ----------
    binary
        uint8, (y, x).
    least_area_px
        Contours that have too few points to enclose so much are left out; some that enclose less are not.

    Returns
    -------
    list of numpy.ndarray
        int32, (n, 2), (y, x), in OpenCV's order (RETR_TREE, CHAIN_APPROX_NONE).

    Notes
    -----
    From point to point it is at most the square root of 2, and no closed line of a length encloses more than a circle:
    ``n`` points enclose at most ``n**2 / (2 pi)``.

    Examples
    --------
    >>> spot = np.zeros((4, 6), np.uint8)
    >>> spot[1:3, 2:5] = 255
    >>> trace_contours(spot)[0].tolist()
    [[1, 2], [2, 2], [2, 3], [2, 4], [1, 4], [1, 3]]
    """
    found, _ = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    fewest = math.sqrt(2 * math.pi * least_area_px)
    return [contour.reshape(-1, 2)[:, ::-1].astype(np.int32) for contour in found if len(contour) >= fewest]


def count_vertices(points_yx: PixelPoints, tolerance: float) -> int:
    """Vertices that are left when a closed contour is simplified to ``tolerance`` times its perimeter.

    Examples
    --------
    >>> count_vertices(np.array([[0, 0], [0, 5], [0, 9], [9, 9], [9, 0]], np.int32), 0.01)
    4
    """
    contour = _to_opencv(points_yx)
    return len(cv2.approxPolyDP(contour, tolerance * cv2.arcLength(contour, closed=True), closed=True))


def solidity(points_yx: PixelPoints) -> float:
    """Part of its convex hull that a closed contour fills, 0 to 1.

    Examples
    --------
    >>> round(solidity(np.array([[0, 0], [0, 8], [8, 8], [8, 4], [4, 4], [4, 0]], np.int32)), 3)
    0.857
    """
    contour = _to_opencv(points_yx)
    hull_area = cv2.contourArea(cv2.convexHull(contour))
    return float(cv2.contourArea(contour) / hull_area) if hull_area > 0 else 0.0


def fit_ellipse(points_yx: npt.NDArray[np.float64]) -> Ellipse:
    """Fit an ellipse to at least five points.

    Returns
    -------
    tuple
        Centre (y, x), semi-axes (longer, shorter), and the angle in radians in [0, pi) from +x towards +y of the
        longer one.

    Examples
    --------
    >>> angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    >>> points = np.stack([5 + 4 * np.sin(angle), 9 + 2 * np.cos(angle)], axis=1)
    >>> centre, axes, direction = fit_ellipse(points)
    >>> [round(v, 3) for v in (*centre, *axes, direction)]
    [5.0, 9.0, 4.0, 2.0, 1.571]
    """
    (x, y), (width, height), degrees = cv2.fitEllipse(points_yx[:, None, ::-1].astype(np.float32))
    longer, shorter = max(width, height) / 2, min(width, height) / 2
    direction = np.deg2rad(degrees if width >= height else degrees + 90.0) % np.pi
    return (float(y), float(x)), (float(longer), float(shorter)), float(direction)


def fill_polygon(points_yx: PixelPoints, origin_yx: tuple[int, int], shape_yx: tuple[int, int]) -> GreyImage:
    """Draw a filled polygon, its boundary included.

    Parameters
    ----------
    points_yx
        int32, (n, 2).
    origin_yx
        Position of the drawing's first pixel.
    shape_yx
        Shape of the drawing.

    Returns
    -------
    numpy.ndarray
        uint8, (y, x): 1 inside and on the polygon, 0 elsewhere.

    Examples
    --------
    >>> fill_polygon(np.array([[1, 2], [1, 4], [2, 4], [2, 2]], np.int32), (0, 1), (3, 4)).tolist()
    [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1]]
    """
    drawing = np.zeros(shape_yx, np.uint8)
    if len(points_yx):
        shifted = points_yx - np.asarray(origin_yx, np.int32)
        cv2.fillPoly(drawing, [_to_opencv(shifted)], 1)
    return drawing


def overlap_areas(first: PixelPoints, second: PixelPoints, step_px: int = 4) -> tuple[float, float, float]:
    """Area that two polygons share, and the area of each, estimated on every ``step_px``-th pixel.

    Returns
    -------
    tuple of float
        Shared, first, second, in pixels. Polygons whose bounding boxes are apart give 0 for the share.

    Examples
    --------
    >>> square = np.array([[0, 0], [0, 9], [9, 9], [9, 0]], np.int32)
    >>> overlap_areas(square, square + np.array([0, 5], np.int32), step_px=1)
    (50.0, 100.0, 100.0)
    """
    small = [np.floor_divide(points, step_px).astype(np.int32) for points in (first, second)]
    low = np.minimum(small[0].min(axis=0), small[1].min(axis=0))
    high = np.maximum(small[0].max(axis=0), small[1].max(axis=0))
    origin, shape = (int(low[0]), int(low[1])), (int(high[0] - low[0]) + 1, int(high[1] - low[1]) + 1)
    a, b = (fill_polygon(points, origin, shape) for points in small)
    unit = float(step_px**2)
    return unit * int(np.count_nonzero(a & b)), unit * int(np.count_nonzero(a)), unit * int(np.count_nonzero(b))


def distance_outside(
    points_yx: PixelPoints, origin_yx: tuple[int, int], shape_yx: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Distance of every pixel from a filled polygon: 0 inside, positive outside, pixels.

    Returns
    -------
    numpy.ndarray
        float32, (y, x); infinite everywhere when the polygon does not reach the drawing.

    Examples
    --------
    >>> square = np.array([[0, 1], [0, 3], [2, 3], [2, 1]], np.int32)
    >>> distance_outside(square, (0, 0), (3, 6))[1].round().tolist()
    [1.0, 0.0, 0.0, 0.0, 1.0, 2.0]
    """
    filled = fill_polygon(points_yx, origin_yx, shape_yx)
    if not filled.any():
        return np.full(shape_yx, np.inf, np.float32)
    return np.asarray(cv2.distanceTransform(1 - filled, cv2.DIST_L2, cv2.DIST_MASK_5), np.float32)


def signed_distance(
    points_yx: PixelPoints, origin_yx: tuple[int, int], shape_yx: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Distance of every pixel from a filled polygon: negative inside, positive outside, pixels.

    The edge of the drawing is no boundary: a polygon that it cuts goes on behind it.

    Returns
    -------
    numpy.ndarray
        float32, (y, x); infinite everywhere when the polygon does not reach the drawing.

    Examples
    --------
    >>> square = np.array([[0, 1], [0, 3], [2, 3], [2, 1]], np.int32)
    >>> signed_distance(square, (0, 0), (3, 6))[1].round().tolist()
    [1.0, -1.0, -2.0, -1.0, 1.0, 2.0]
    """
    filled = fill_polygon(points_yx, origin_yx, shape_yx)
    if not filled.any():
        return np.full(shape_yx, np.inf, np.float32)
    outside = cv2.distanceTransform(1 - filled, cv2.DIST_L2, cv2.DIST_MASK_5)
    if filled.all():
        return np.full(shape_yx, -np.inf, np.float32)
    return np.asarray(outside - cv2.distanceTransform(filled, cv2.DIST_L2, cv2.DIST_MASK_5), np.float32)


def _to_opencv(points_yx: PixelPoints) -> PixelPoints:
    return np.ascontiguousarray(points_yx[:, None, ::-1])
