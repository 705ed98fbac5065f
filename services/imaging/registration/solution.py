"""Registration of a whole run at once: places that fit all its links, and the rule of the trend on all of them.

What a stream cannot have, since it looks only so many slices ahead: a slow part that is read from the slices on both
sides of each, and errors that are shared out over the whole run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise

import numpy as np

from services.imaging.registration.affine import Affine
from services.imaging.registration.graph import solved
from services.imaging.registration.pairs import Link
from services.imaging.registration.stream import RegistrationParams, step_between
from services.imaging.registration.trend import line_at, without_jumps

# Of a slice that agrees with none before it, only that it lies where it was thought to lie beside the latest.
_TETHER_NCC = 1e-3


def refined(firsts: Mapping[int, Affine], links: Collection[Link], lever_px: float) -> dict[int, Affine]:
    """Return the places that fit all links of a run best, before the rule of the trend.

    Parameters
    ----------
    firsts
        First places of all slices that are there, by z, as `registered_all` or a stream gave them.
    links
        Between them; a slice without any to earlier ones goes with the slice before it.
    lever_px
        Half the diagonal of a plane.

    Returns
    -------
    dict
        Places by z; the first slice stays where it was.
    """
    zs = sorted(firsts)
    linked = {link.moving_z for link in links}
    tethers = [
        Link(before, z, firsts[before].inverse().after(firsts[z]), _TETHER_NCC)
        for before, z in pairwise(zs)
        if z not in linked
    ]
    return {zs[0]: firsts[zs[0]]} | solved(firsts, [*links, *tethers], zs[1:], lever_px)


def ruled(places: Mapping[int, Affine], params: RegistrationParams) -> dict[int, Affine]:
    """Apply the rule of the trend to all slices of a run.

    As in the stream, but the line that tells what is slow is fitted to the slices around each one, not to those before
    it, and jumps are looked for once in the whole path. A line of n places errs four times as much (in variance) at its
    end as in its middle, so that a quarter of the window around a slice is as steady as the whole one before it, and
    what counts as slow stays the same.

    Parameters
    ----------
    places
        By z, before the rule.
    params
        The rule, the window, and what may be a jump.

    Returns
    -------
    dict
        Final places by z.
    """
    zs = sorted(places)
    steps = [np.zeros(6), *(step_between(places[a], places[b]) for a, b in pairwise(zs))]
    path = np.cumsum(steps, axis=0)
    smooth = without_jumps(path, params.jump_px)
    width = max(3, params.window // 4 | 1)
    found = {}
    for index, z in enumerate(zs):
        start = max(0, min(index - width // 2, len(zs) - width))
        around = slice(start, start + width)
        slow = line_at(smooth[around], zs[around], index - start)
        if params.trend == "zero":
            slow[4:] = 0
        yy, yx, xy, xx, shift_y, shift_x = (float(value) for value in path[index] - slow)
        found[z] = Affine(1 + yy, yx, xy, 1 + xx, shift_y, shift_x)
    return found
