"""Places of slices from how they lie on one another: a graph of links, solved for the places that fit them best.

Every link says how one slice lies on another; many say more than a chain, whose errors add up. Places are found by
Gauss-Newton on the residual maps, each of their six numbers by a banded system of its own, with weights that let a
wrong link say less (Cauchy). The same links give the same places whatever order they came in.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from services.imaging.registration.affine import IDENTITY, Affine
from services.imaging.registration.pairs import Link

_ROUNDS = 4
_ODD_PX = 0.7
_SUREST = 20.0


def weight_of(link: Link) -> float:
    """Return how much a link counts: its power of signal over that of noise, by the slices that it spans.

    A chain of short links errs by each of them, a long one once; and what leans through the field pulls at the links of
    neighbours most, where it cannot be told from the rest.

    Examples
    --------
    >>> weight_of(Link(0, 1, Affine(), 0.5)), weight_of(Link(0, 4, Affine(), 0.5)), weight_of(Link(0, 1, Affine(), 1.0))
    (1.0, 4.0, 20.0)
    """
    return min(link.ncc / max(1e-6, 1 - link.ncc), _SUREST) * (link.moving_z - link.fixed_z)


def extended(places: Mapping[int, Affine], links: Iterable[Link]) -> Affine | None:
    """Return the place of a slice by its links to placed ones, which stay where they are; None without any.

    Of places that disagree the one that most weight is near to counts most.
    """
    held = [(places[link.fixed_z].after(link.to_fixed), weight_of(link)) for link in links if link.fixed_z in places]
    if not held:
        return None
    place = max(held, key=lambda one: sum(w * _trust(_apart(one[0], other)) for other, w in held))[0]
    for _ in range(_ROUNDS):
        place = _mean([(one, weight * _trust(_apart(place, one))) for one, weight in held])
    return place


def solved(
    places: Mapping[int, Affine], links: Collection[Link], free: Collection[int], lever_px: float
) -> dict[int, Affine]:
    """Return better places of the free slices.

    Parameters
    ----------
    places
        Where slices are, or are thought to be: from their pixels to those of the acquisition.
    links
        Between any of them; others are left out.
    free
        Slices that may move; the others hold them.
    lever_px
        Half the diagonal of a slice: how much a number of the matrix counts beside a shift.

    Returns
    -------
    dict
        Places of the free slices that hang on one that is not free; the others' are as before.
    """
    found = dict(places)
    order = {z: index for index, z in enumerate(sorted(set(free) & set(found)))}
    used = sorted(
        (link for link in links if {link.fixed_z, link.moving_z} <= set(found) and
         (link.fixed_z in order or link.moving_z in order)),
        key=lambda link: (link.moving_z, link.fixed_z),
    )  # fmt: skip
    if order and used:
        for _ in range(_ROUNDS):
            steps = _steps(found, used, order, lever_px)
            for z, index in order.items():
                found[z] = _moved(found[z], steps[index], lever_px)
    return {z: found[z] for z in order}


def _steps(
    places: Mapping[int, Affine], links: Collection[Link], order: Mapping[int, int], lever_px: float
) -> NDArray[np.float64]:
    reach = max([abs(order[link.moving_z] - order[link.fixed_z])
                 for link in links if link.moving_z in order and link.fixed_z in order], default=0)  # fmt: skip
    banded = np.zeros((reach + 1, len(order)))
    right = np.zeros((len(order), 6))
    for link in links:
        residual = _residual(places, link, lever_px)
        # A link that turns or stretches otherwise than all others do is as wrong as one that lies elsewhere.
        weight = weight_of(link) * _trust(float(np.sqrt((residual**2).sum())))
        moving, fixed = order.get(link.moving_z), order.get(link.fixed_z)
        if moving is not None:
            banded[0, moving] += weight
            right[moving] += weight * residual
        if fixed is not None:
            banded[0, fixed] += weight
            right[fixed] -= weight * residual
        if moving is not None and fixed is not None:
            banded[abs(moving - fixed), min(moving, fixed)] -= weight
    # A slice that nothing holds stays where it is.
    banded[0] += 1e-9
    return np.asarray(solveh_banded(banded, right, lower=True))


def _residual(places: Mapping[int, Affine], link: Link, lever_px: float) -> NDArray[np.float64]:
    """Return how far a link would move its later slice: the matrix as pixels at the corners, and y, x."""
    off = places[link.fixed_z].after(link.to_fixed).after(places[link.moving_z].inverse())
    matrix = (off.yy - 1, off.yx, off.xy, off.xx - 1)
    return np.array([*(value * lever_px for value in matrix), off.shift_y, off.shift_x])


def _moved(place: Affine, step: NDArray[np.float64], lever_px: float) -> Affine:
    yy, yx, xy, xx, shift_y, shift_x = (float(value) for value in step)
    return Affine(1 + yy / lever_px, yx / lever_px, xy / lever_px, 1 + xx / lever_px, shift_y, shift_x).after(place)


def _apart(first: Affine, second: Affine) -> float:
    return math.hypot(first.shift_y - second.shift_y, first.shift_x - second.shift_x)


def _trust(distance_px: float) -> float:
    return 1 / (1 + (distance_px / _ODD_PX) ** 2)


def _mean(held: list[tuple[Affine, float]]) -> Affine:
    total = sum(weight for _, weight in held)
    if total <= 0:
        return IDENTITY
    rows = zip(*(one.numbers for one, _ in held), strict=True)
    return Affine(*(sum(w * v for (_, w), v in zip(held, row, strict=True)) / total for row in rows))
