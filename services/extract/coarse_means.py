"""Gaussian means of every pixel from a coarse grid, with a proven bound of how far off they can be.

A wide Gaussian varies little from pixel to pixel. So pixels are gathered on every fourth one by the weights of cubic
interpolation, the window is laid over those, and its means are spread to all pixels again by the same weights. What
that does is a window too, of other weights; the sum of the differences to the true ones bounds the error for any image.
"""

import dataclasses
import functools

import cv2
import numpy as np
import numpy.typing as npt
from numba import njit

GreyImage = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

_NODES = 4  # of cubic interpolation
_WIDE_WINDOW_PX = 300  # from here on every fourth pixel will do


@dataclasses.dataclass(frozen=True)
class Grid:
    """How one direction of a window is laid over a coarse grid.

    Attributes
    ----------
    step
        Distance of the nodes, pixels.
    spread
        float32, (step, 4): weights of the nodes -1, 0, 1 and 2 for the pixels from node 0 on.
    gather
        float32, (4 step - 1,): weights of the pixels round a node, from ``1 - 2 step`` on.
    weights
        float32, (n,): the window's weights at distances of whole steps.
    total
        Sum of the true weights.
    lack
        Greatest sum over a window of the absolute differences between the weights this comes to and the true ones.
    operations
        Rounded operations on the way of a value.
    gain
        Bound of the sum of absolute weights on that way.
    """

    step: int
    spread: FloatArray
    gather: FloatArray
    weights: FloatArray
    total: float
    lack: float
    operations: int
    gain: float


def grid_of(weights: FloatArray) -> Grid:
    """Lay the weights of a window, float32 (odd number,), over a coarse grid."""
    return _grid(weights.tobytes())


@functools.lru_cache(maxsize=16)
def _grid(content: bytes) -> Grid:
    weights = np.frombuffer(content, np.float32)
    reach = len(weights) // 2
    step = 4 if len(weights) >= _WIDE_WINDOW_PX else 2
    spread = _cubic(np.arange(step) / step).astype(np.float32)
    gather = np.zeros(4 * step - 1, np.float32)
    for phase in range(step):
        for node in range(_NODES):
            at = phase - (node - 1) * step + 2 * step - 1
            if 0 <= at < len(gather):
                gather[at] = spread[phase, node]
    coarse = weights[reach::step].copy()
    widths = np.abs(gather).sum(), np.abs(coarse).sum() * 2, np.abs(spread).sum(axis=1).max()
    return Grid(
        step=step,
        spread=spread,
        gather=gather,
        weights=coarse,
        total=float(weights.sum(dtype=np.float64)),
        lack=_lack(weights, spread, coarse),
        operations=2 * (len(gather) + len(coarse) + _NODES + 1),
        gain=float(np.prod(np.asarray(widths, np.float64))),
    )


def _cubic(place: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Weights of the nodes -1, 0, 1 and 2 for places between 0 and 1 (Lagrange)."""
    t = place[:, None]
    return np.concatenate(
        [
            -t * (t - 1) * (t - 2) / 6,
            (t + 1) * (t - 1) * (t - 2) / 2,
            -(t + 1) * t * (t - 2) / 2,
            (t + 1) * t * (t - 1) / 6,
        ],
        axis=1,
    )


def _lack(weights: FloatArray, spread: FloatArray, coarse: FloatArray) -> float:
    """Compare what a pixel counts in a mean with what it should, for every place of the mean on the grid."""
    step, reach = len(spread), len(weights) // 2
    span = reach // step + 4
    nodes = np.arange(-span - 2, span + 3)
    apart = np.abs(nodes[:, None] - nodes[None])
    window = np.where(apart < len(coarse), coarse[np.minimum(apart, len(coarse) - 1)], 0).astype(np.float64)
    pixels = np.arange(-span * step, span * step)
    onto = np.zeros((len(pixels), len(nodes)))
    for node in range(_NODES):
        onto[np.arange(len(pixels)), pixels // step + node - 1 + span + 2] = spread[pixels % step, node]
    means = np.arange(step)
    found = onto[means + span * step] @ window @ onto.T
    distance = np.abs(pixels[None] - means[:, None])
    true = np.where(distance <= reach, weights[np.minimum(reach + distance, 2 * reach)], 0).astype(np.float64)
    return float(np.abs(found - true).sum(axis=1).max()) + 1e-9


def coarse_means(grey: GreyImage, grid: Grid) -> tuple[FloatArray, float]:
    """Give Gaussian means on a coarse grid of rows, and how far off they can be.

    Parameters
    ----------
    grey
        uint8, (y, x); beyond its border the outermost pixels go on.
    grid
        The window.

    Returns
    -------
    rows
        float32, (ceil(y / step) + 3, x): means of the rows -1, 0, 1, ... in steps; :attr:`Grid.spread` gives those
        between.
    error
        Bound, in grey levels, of the distance between such a mean and the exact one.
    """
    low, high, _, _ = cv2.minMaxLoc(grey)
    middle, half = (low + high) / 2, (high - low) / 2 + 1
    gathered = _gathered(grey, grid, np.float32(middle))
    both = _gathered(_turned(gathered), grid, np.float32(0))
    nodes = _windowed(_turned(_windowed(both, grid)), grid)
    rows = _turned(_spread_out(_turned(nodes), grid, grey.shape[1]))
    rows += np.float32(middle * grid.total**2)
    unit = float(np.finfo(np.float32).eps) / 2
    rounding = half * grid.gain**2 * 2 * grid.operations * unit * 1.01 + 4 * 255 * unit
    return rows, half * grid.lack * (2 + 2 * grid.lack) + rounding


def _turned(image: FloatArray) -> FloatArray:
    return np.asarray(cv2.transpose(image), np.float32)


def _gathered(image: npt.NDArray[np.generic], grid: Grid, middle: np.float32) -> FloatArray:
    """Gather rows on nodes, from -2 until all pixels that count lie beyond the border."""
    nodes = -(-image.shape[0] // grid.step) + 5
    out = np.zeros((nodes, image.shape[1]), np.float32)
    _gather_rows(image, middle, grid.gather, grid.step, out)
    return out


def _windowed(nodes: FloatArray, grid: Grid) -> FloatArray:
    """Lay the window over rows of nodes; all beyond the outermost are like those. One node fewer at either end."""
    reach = len(grid.weights) - 1
    padded = np.asarray(cv2.copyMakeBorder(nodes, reach, reach, 0, 0, cv2.BORDER_REPLICATE), np.float32)[1:-1]
    out = np.empty((nodes.shape[0] - 2, nodes.shape[1]), np.float32)
    _window_rows(padded, grid.weights, out)
    return out


def _spread_out(nodes: FloatArray, grid: Grid, length: int) -> FloatArray:
    out = np.empty((length, nodes.shape[1]), np.float32)
    _spread_rows(nodes, grid.spread, out)
    return out


@njit(cache=True, nogil=True)
def _gather_rows(
    image: npt.NDArray[np.generic], middle: np.float32, gather: FloatArray, step: int, out: FloatArray
) -> None:
    last, width = image.shape[0] - 1, image.shape[1]
    for node in range(out.shape[0]):
        for k in range(gather.size):
            weight = gather[k]
            row = image[min(max((node - 2) * step + k + 1 - 2 * step, 0), last)]
            for x in range(width):
                out[node, x] += weight * (np.float32(row[x]) - middle)


@njit(cache=True, nogil=True)
def _window_rows(padded: FloatArray, weights: FloatArray, out: FloatArray) -> None:
    reach = weights.size - 1
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = padded[y + reach, x] * weights[0]
        for k in range(1, reach + 1):
            weight = weights[k]
            before, after = padded[y + reach - k], padded[y + reach + k]
            for x in range(out.shape[1]):
                out[y, x] += weight * (before[x] + after[x])


@njit(cache=True, nogil=True)
def _spread_rows(nodes: FloatArray, spread: FloatArray, out: FloatArray) -> None:
    """Interpolate rows: row 0 of ``nodes`` is node -1."""
    step = spread.shape[0]
    for y in range(out.shape[0]):
        node, phase = y // step, y % step
        a, b, c, d = spread[phase, 0], spread[phase, 1], spread[phase, 2], spread[phase, 3]
        for x in range(out.shape[1]):
            out[y, x] = a * nodes[node, x] + b * nodes[node + 1, x] + c * nodes[node + 2, x] + d * nodes[node + 3, x]
