"""Closed dark rings: the nuclear membrane traced round a centre, as the best closed path in polar coordinates."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]

_BACKWARD_RIDGE = 0.5  # a line brighter than its sides counts against a path by at most this part of the ridge limit


class Probe(NamedTuple):
    """What is looked for along each ray, all lengths in pixels of the image that is searched.

    Parameters
    ----------
    step_px
        Distance between two samples of a ray.
    samples
        Samples a ray has: the radii among which the path chooses.
    offset, half_band
        In samples: how far inside and outside a radius the two bands lie that it is compared with, and half the width
        of a band.
    step_weight
        Weight of "the inside is brighter than the outside" against "the line is darker than both sides".
    ridge_limit, step_limit
        Grey levels at which the two are cut off, so that one black granule does not outweigh a whole membrane.
    turn_cost, max_turn
        Cost of moving by one sample between neighbouring rays, and the most samples it may move.
    unseen_score
        Score of a radius outside the image: what a path gains there that cannot be seen.
    """

    step_px: float
    samples: int
    offset: int
    half_band: int
    step_weight: float
    ridge_limit: float
    step_limit: float
    turn_cost: float
    max_turn: int
    unseen_score: float


class Traces(NamedTuple):
    """The best closed path round each of ``n`` centres, on ``t`` rays that start along +x and turn towards +y.

    Parameters
    ----------
    radius_px
        float32, (n, t), pixels of the image that was searched.
    evidence
        float32, (n, t), grey levels: how dark the line and how bright its inside is; 0 outside the image.
    visible
        bool, (n, t): whether the path lies inside the image on that ray.
    """

    radius_px: FloatArray
    evidence: FloatArray
    visible: BoolArray


def ray_directions(rays: int) -> FloatArray:
    """Give unit vectors of ``rays`` directions, float32 (rays, 2), (y, x).

    Examples
    --------
    >>> ray_directions(4).round().tolist()
    [[0.0, 1.0], [1.0, 0.0], [0.0, -1.0], [-1.0, -0.0]]
    """
    angle = np.arange(rays) * (2 * np.pi / rays)
    return np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def trace_rings(
    image: FloatArray, pad_px: int, centres_yx_px: npt.NDArray[np.float64], start_px: FloatArray, probe: Probe
) -> Traces:
    """Trace the best closed path round each centre.

    Parameters
    ----------
    image
        float32, (y, x): grey, smoothed, with ``pad_px`` replicated pixels added on every side.
    pad_px
        The padding; no ray may leave it.
    centres_yx_px
        float64, (n, 2), pixels of the image without its padding; may lie outside.
    start_px
        float32, (n, t): the first radius of each ray.
    probe
        What is looked for.
    """
    n, rays = start_px.shape
    shape = (n, rays)
    choice, evidence, visible = np.empty(shape, np.int32), np.empty(shape, np.float32), np.empty(shape, np.bool_)
    centres = (centres_yx_px + pad_px).astype(np.float32)
    _trace_all(image, pad_px, centres, start_px, probe, (choice, evidence, visible))
    radius = start_px + choice.astype(np.float32) * np.float32(probe.step_px)
    return Traces(radius.astype(np.float32), evidence, visible)


@njit(cache=True, nogil=True)
def _trace_all(
    image: FloatArray,
    pad_px: int,
    centres: FloatArray,
    start_px: FloatArray,
    probe: Probe,
    out: tuple[IntArray, FloatArray, BoolArray],
) -> None:
    choice, evidence, visible = out
    n, rays = start_px.shape
    score = np.empty((rays, probe.samples), np.float32)
    inside = np.empty((rays, probe.samples), np.bool_)
    grey = np.empty(probe.samples + 2 * (probe.offset + probe.half_band), np.float32)
    angle = 2.0 * np.pi / rays
    for i in range(n):
        for t in range(rays):
            direction = (np.float32(np.sin(t * angle)), np.float32(np.cos(t * angle)))
            _sample_ray(image, (centres[i, 0], centres[i, 1], start_px[i, t]), direction, probe, grey)
            _score_ray(grey, probe, score[t])
            _leave_field(
                image.shape,
                pad_px,
                (centres[i, 0], centres[i, 1], start_px[i, t]),
                direction,
                probe,
                (score[t], inside[t]),
            )
        _best_closed_path(score, probe, choice[i])
        for t in range(rays):
            evidence[i, t] = score[t, choice[i, t]]
            visible[i, t] = inside[t, choice[i, t]]


@njit(cache=True, nogil=True)
def _sample_ray(
    image: FloatArray,
    origin: tuple[np.float32, np.float32, np.float32],
    direction: tuple[np.float32, np.float32],
    probe: Probe,
    grey: FloatArray,
) -> None:
    """Grey values along a ray, bilinear, from as far inside its first radius as a band reaches."""
    reach = probe.offset + probe.half_band
    for k in range(grey.size):
        radius = origin[2] + np.float32(k - reach) * np.float32(probe.step_px)
        y, x = origin[0] + direction[0] * radius, origin[1] + direction[1] * radius
        iy, ix = int(y), int(x)
        fy, fx = y - np.float32(iy), x - np.float32(ix)
        upper = image[iy, ix] + (image[iy, ix + 1] - image[iy, ix]) * fx
        lower = image[iy + 1, ix] + (image[iy + 1, ix + 1] - image[iy + 1, ix]) * fx
        grey[k] = upper + (lower - upper) * fy


@njit(cache=True, nogil=True)
def _score_ray(grey: FloatArray, probe: Probe, score: FloatArray) -> None:
    """Score every radius of a ray: darker than the bands on both sides, and brighter inside than outside."""
    band, reach = 2 * probe.half_band + 1, probe.offset + probe.half_band
    weight = np.float32(1.0 / band)
    lowest = np.float32(-_BACKWARD_RIDGE * probe.ridge_limit)
    for k in range(probe.samples):
        within, beyond = np.float32(0.0), np.float32(0.0)
        for j in range(band):
            within += grey[k + j]
            beyond += grey[k + 2 * probe.offset + j]
        ridge = min(within, beyond) * weight - grey[k + reach]
        step = (within - beyond) * weight
        ridge = min(max(ridge, lowest), np.float32(probe.ridge_limit))
        step = min(max(step, np.float32(-probe.step_limit)), np.float32(probe.step_limit))
        score[k] = ridge + np.float32(probe.step_weight) * step


@njit(cache=True, nogil=True)
def _leave_field(
    shape: tuple[int, int],
    pad_px: int,
    origin: tuple[np.float32, np.float32, np.float32],
    direction: tuple[np.float32, np.float32],
    probe: Probe,
    out: tuple[FloatArray, BoolArray],
) -> None:
    """Give radii outside the field the score of a path that is neither good nor bad."""
    score, inside = out
    low, bottom, right = np.float32(pad_px), np.float32(shape[0] - pad_px - 1), np.float32(shape[1] - pad_px - 1)
    for k in range(probe.samples):
        radius = origin[2] + np.float32(k) * np.float32(probe.step_px)
        y, x = origin[0] + direction[0] * radius, origin[1] + direction[1] * radius
        inside[k] = low <= y <= bottom and low <= x <= right
        if not inside[k]:
            score[k] = np.float32(probe.unseen_score)


@njit(cache=True, nogil=True)
def _best_closed_path(score: FloatArray, probe: Probe, choice: IntArray) -> None:
    """Choose a sample per ray so that the sum of scores less the cost of turns is greatest.

    The path goes round one and a half times and the middle turn is kept, so that its two ends meet.
    """
    rays, samples = score.shape
    lead = rays // 4
    steps = rays + 2 * lead
    best = np.empty((steps, samples), np.float32)
    best[0] = score[(-lead) % rays]
    for u in range(1, steps):
        _reach(best[u - 1], best[u], probe)
        best[u] += score[(u - lead) % rays]
    k = int(best[steps - 1].argmax())
    for u in range(steps - 1, -1, -1):
        if lead <= u < lead + rays:
            choice[u - lead] = k
        if u > 0:
            k = _came_from(best[u - 1], k, probe)


@njit(cache=True, nogil=True)
def _reach(before: FloatArray, after: FloatArray, probe: Probe) -> None:
    """Best sum with which each sample can be reached from the ray before."""
    samples = before.size
    after[:] = before
    for s in range(1, probe.max_turn + 1):
        cost = np.float32(s * probe.turn_cost)
        for k in range(samples - s):
            offer = before[k + s] - cost
            after[k] = offer if offer > after[k] else after[k]
        for k in range(samples - s):
            offer = before[k] - cost
            after[k + s] = offer if offer > after[k + s] else after[k + s]


@njit(cache=True, nogil=True)
def _came_from(before: FloatArray, k: int, probe: Probe) -> int:
    """Sample of the ray before from which sample ``k`` is best reached; the nearer, then the smaller, where equal."""
    source, top = k, before[k]
    for s in range(1, probe.max_turn + 1):
        cost = np.float32(s * probe.turn_cost)
        if k >= s and before[k - s] - cost > top:
            source, top = k - s, before[k - s] - cost
        if k + s < before.size and before[k + s] - cost > top:
            source, top = k + s, before[k + s] - cost
    return source
