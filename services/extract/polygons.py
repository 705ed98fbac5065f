"""Plane geometry of closed polygons whose vertices are (y, x)."""

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
_SMALL = 1e-9


def signed_area(points_yx: npt.NDArray[np.number]) -> npt.NDArray[np.float64]:
    """Area of each polygon, positive when its vertices turn from +x towards +y.

    Parameters
    ----------
    points_yx
        (..., n, 2), (y, x); the last vertex joins the first.

    Returns
    -------
    numpy.ndarray
        float64, the leading shape of ``points_yx``; the square of its unit.

    Examples
    --------
    >>> float(signed_area(np.array([[0, 0], [0, 3], [2, 3], [2, 0]])))
    6.0
    """
    return np.asarray(_cross(points_yx).sum(axis=-1) / 2)


def centroid(points_yx: npt.NDArray[np.number]) -> Points:
    """Centre of gravity of each polygon, float64 (..., 2), (y, x); the mean vertex where the area vanishes.

    Examples
    --------
    >>> centroid(np.array([[0, 0], [0, 3], [2, 3], [2, 0]])).tolist()
    [1.0, 1.5]
    """
    points = np.asarray(points_yx, np.float64)
    middle = points.mean(axis=-2)
    local = points - middle[..., None, :]
    cross = _cross(local)
    area = cross.sum(axis=-1) / 2
    moment = ((local + np.roll(local, -1, axis=-2)) * cross[..., None]).sum(axis=-2)
    flat = np.abs(area) < _SMALL
    shift = moment / (6 * np.where(flat, 1.0, area))[..., None]
    return np.asarray(middle + np.where(flat[..., None], 0.0, shift))


def _cross(points_yx: npt.NDArray[np.number]) -> Points:
    points = np.asarray(points_yx, np.float64)
    following = np.roll(points, -1, axis=-2)
    return np.asarray(points[..., 1] * following[..., 0] - following[..., 1] * points[..., 0])


def fit_circles(points_yx: Points, weights: Points) -> tuple[Points, Points, Points]:
    """Fit a circle to each set of points, by weighted least squares (Kasa), whole or an arc.

    Parameters
    ----------
    points_yx
        float64, (n, t, 2).
    weights
        float64, (n, t), not negative; 0 leaves a point out.

    Returns
    -------
    tuple of numpy.ndarray
        Centres (n, 2), radii (n,), and the root mean square distance of the points from the circle as a part of its
        radius (n,).

    Examples
    --------
    >>> square = np.array([[[0.0, 1.0], [1.0, 0.0], [0.0, -1.0], [-1.0, 0.0]]])
    >>> [a.round(6).tolist() for a in fit_circles(square, np.ones((1, 4)))]
    [[[0.0, 0.0]], [1.0], [0.0]]
    """
    total = np.maximum(weights.sum(axis=1), _SMALL)
    middle = (points_yx * weights[..., None]).sum(axis=1) / total[:, None]
    local = points_yx - middle[:, None, :]
    design = np.concatenate([2 * local, np.ones((*local.shape[:2], 1))], axis=2)
    squared = (local**2).sum(axis=2)
    normal = np.einsum("nti,ntj,nt->nij", design, design, weights) + 1e-6 * np.eye(3)
    solution = np.linalg.solve(normal, np.einsum("nti,nt,nt->ni", design, squared, weights)[..., None])[..., 0]
    radius = np.sqrt(np.maximum(solution[:, 2] + (solution[:, :2] ** 2).sum(axis=1), _SMALL))
    distance = np.linalg.norm(local - solution[:, None, :2], axis=2) - radius[:, None]
    residual = np.sqrt((weights * distance**2).sum(axis=1) / total) / radius
    return middle + solution[:, :2], radius, residual


def clip_to_rectangle(points_yx: Points, upper_yx: tuple[float, float]) -> Points:
    """Part of a polygon that lies in ``0 <= y <= upper_y`` and ``0 <= x <= upper_x`` (Sutherland and Hodgman).

    Returns
    -------
    numpy.ndarray
        float64, (m, 2); m is 0 when nothing is left.

    Examples
    --------
    >>> clip_to_rectangle(np.array([[-1.0, 1.0], [1.0, 1.0], [1.0, 2.0], [-1.0, 2.0]]), (5.0, 5.0)).tolist()
    [[0.0, 1.0], [1.0, 1.0], [1.0, 2.0], [0.0, 2.0]]
    """
    clipped = points_yx
    for axis in (0, 1):
        clipped = _clip_side(clipped, axis, 0.0, 1.0)
        clipped = _clip_side(clipped, axis, upper_yx[axis], -1.0)
    return clipped


def _clip_side(points: Points, axis: int, bound: float, sign: float) -> Points:
    if not len(points):
        return points
    following = np.roll(points, -1, axis=0)
    here, there = sign * (points[:, axis] - bound), sign * (following[:, axis] - bound)
    crossing = (here >= 0) != (there >= 0)
    part = np.where(crossing, here / np.where(crossing, here - there, 1.0), 0.0)
    meeting = points + part[:, None] * (following - points)
    meeting[crossing, axis] = bound
    both = np.stack([points, meeting], axis=1)
    return np.asarray(both[np.stack([here >= 0, crossing], axis=1)])
