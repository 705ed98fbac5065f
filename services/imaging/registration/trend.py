"""Which part of a slow movement is drift, and which is the specimen: a declared rule.

Linear drift of the stage and a specimen that leans look alike from slice to slice. `zero`: what the whole field does in
common is drift, so that its mean slope becomes zero. `kept`: whatever is slower than a window of slices belongs to the
specimen; jitter is taken out, and so are jumps, which no specimen makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Trend = Literal["zero", "kept"]
Path = NDArray[np.float64]

_ODD = 3.5


def jumps_of(path_yx_px: Path, least_px: float) -> NDArray[np.bool_]:
    """Return before which places of a path it jumps: bool of shape (n,).

    Parameters
    ----------
    path_yx_px
        Places one after another, float64 (n, 2), or more columns of which the last two are y and x.
    least_px
        A smaller step is never a jump. A larger one is if it is several times the usual and the slices behind it stay.

    Examples
    --------
    >>> jumps_of(np.array([[0, 0], [0, 1], [0, 90], [0, 91], [0, 90]], float), 20.0).tolist()
    [False, False, True, False, False]
    >>> jumps_of(np.array([[0, 0], [0, 1], [0, 90], [0, 1], [0, 0]], float), 20.0).tolist()
    [False, False, False, False, False]
    """
    found = np.zeros(len(path_yx_px), bool)
    if len(path_yx_px) < 2:
        return found
    shifts = path_yx_px[:, -2:]
    steps = np.diff(shifts, axis=0)
    sizes = np.hypot(steps[:, 0], steps[:, 1])
    odd = sizes > max(least_px, _ODD * float(np.median(sizes)))
    for index in np.flatnonzero(odd):
        lasting = [shifts[max(0, index - 2) : index + 1], shifts[index + 1 : index + 4]]
        before, after = (np.median(part, axis=0) for part in lasting)
        found[index + 1] = bool(np.hypot(*(after - before)) > 0.5 * sizes[index])
    return found


def parted(path_yx_px: Path, z: Sequence[int], at: int, least_jump_px: float) -> tuple[Path, Path]:
    """Part a path, at one of its places, into what is slow and what jumped.

    The slow part is the line that fits the path best once its jumps are closed (a Savitzky-Golay filter of order 1), so
    that a straight slope is slow in whole.

    Parameters
    ----------
    path_yx_px
        Places one after another, float64 (n, 2), or more columns of which the last two are y and x.
    z
        Their slices.
    at
        Index of the place that is asked for.
    least_jump_px
        As in `jumps_of`.

    Returns
    -------
    tuple of numpy.ndarray
        The slow part there, and the sum of the jumps up to there, of each column.

    Examples
    --------
    >>> path = np.array([[0, 0], [2, 1], [4, 2], [46, 3], [48, 4]], float)
    >>> slow, jumped = parted(path, range(5), 4, 20.0)
    >>> slow.round(6).tolist(), jumped.tolist()
    ([8.0, 4.0], [40.0, 0.0])
    """
    smooth = without_jumps(path_yx_px, least_jump_px)
    return line_at(smooth, z, at), path_yx_px[at] - smooth[at]


def line_at(path_yx_px: Path, z: Sequence[int], at: int) -> Path:
    """Return the line that fits a path best, at one of its places; the place itself where fewer than three are known.

    Examples
    --------
    >>> line_at(np.array([[0, 1], [3, 1], [3, 1], [6, 1]], float), range(4), 1).round(6).tolist()
    [2.1, 1.0]
    """
    if len(z) < 3:
        return np.array(path_yx_px[at])
    depth = np.asarray(z, np.float64)
    from_mean = depth - depth.mean()
    slope = (from_mean[:, None] * path_yx_px).sum(axis=0) / float((from_mean * from_mean).sum())
    return np.asarray(path_yx_px.mean(axis=0) + slope * from_mean[at])


def without_jumps(path_yx_px: Path, least_px: float) -> Path:
    """Return a path with its jumps closed: behind each it goes on where it was, by its usual step."""
    steps = np.diff(path_yx_px, axis=0, prepend=path_yx_px[:1])
    jumps = jumps_of(path_yx_px, least_px)
    still = ~jumps
    still[:1] = False
    usual = np.median(steps[still], axis=0) if still.any() else np.zeros(path_yx_px.shape[1])
    steps[jumps] = usual
    return np.asarray(path_yx_px[:1] + np.cumsum(steps, axis=0))
