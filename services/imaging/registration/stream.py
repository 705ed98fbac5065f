"""Registration slice after slice, without looking further ahead than a fixed number of slices.

A slice is linked to several before it (1, 2, 4 and 8 good slices back), so that errors do not add up as in a chain, and
a bad slice is stepped over. Its first place follows at once from those links; its final one some slices later, when the
links of the slices behind it have had their say too. What is remembered is small, and the same slices give the same
places wherever a run was stopped and taken up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.imaging.registration.affine import IDENTITY, Affine
from services.imaging.registration.graph import extended, solved
from services.imaging.registration.pairs import Link, Registrable, register_pair
from services.imaging.registration.refinement import Model
from services.imaging.registration.trend import Trend, parted

Six = tuple[float, float, float, float, float, float]

BACK = (1, 2, 4, 8)
"""How many good slices back a slice is linked to."""


class RegistrationOrderError(ValueError):
    """A slice came out of turn."""


class RegistrationValueError(ValueError):
    """A setting of registration lies outside its range."""


@dataclass(frozen=True)
class RegistrationParams:
    """Settings of registration.

    Attributes
    ----------
    model
        What may differ between slices: a shift; rotation too; an affine map, drawn towards a rotation.
    trend
        `zero`: all movement that the field has in common is drift. `kept`: what of it is slower than the window belongs
        to the specimen. Of rotation and stretch only what is faster than the window is ever taken out: nuclei that grow
        from their poles look like a field that is magnified.
    delay
        Slices after which a place is final; 0: at once.
    window
        Slices, at most, that the slow part of the movement is read from; the longer, the less of a wandering stage is
        taken for specimen.
    jump_px
        Least step that may be a jump, in pixels of the reduced plane.
    """

    model: Model = "affine"
    trend: Trend = "kept"
    delay: int = 4
    window: int = 64
    jump_px: float = 6.0

    def __post_init__(self) -> None:
        if self.delay < 0 or self.window < 3 or not self.jump_px > 0:
            raise RegistrationValueError("delay must be at least 0, window at least 3 slices, and jump_px above 0")

    @property
    def memory(self) -> int:
        """Slices that are remembered."""
        return max(self.delay + 2 * max(BACK), self.window)


@dataclass(frozen=True)
class Placed:
    """A slice that was placed.

    Attributes
    ----------
    z
        Its index.
    first
        Its place when it came: from its pixels to those of the acquisition, counted from the middles of planes.
    place
        Its place now, before the rule of the trend; in its last form once it is final.
    path, jumped
        Once it is final: the sum of the steps from slice to slice up to it, as six numbers of a map (those of the
        matrix first, as differences from 1 and 0), and what of it were jumps.
    linked
        Whether it agreed with a slice before it.
    ncc
        Correlation with the nearest good slice before it; 0 without any.
    """

    z: int
    first: Affine
    place: Affine
    path: Six = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    jumped: Six = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    linked: bool = True
    ncc: float = 0.0


@dataclass(frozen=True)
class RegistrarState:
    """All that registration remembers of the slices up to `next_z`.

    Attributes
    ----------
    next_z
        The slice that must come next; -1 before the first.
    final_z
        Slices below this have their final place.
    recent
        The latest slices that are there, in z order.
    links
        Between them.
    """

    next_z: int = -1
    final_z: int = -1
    recent: tuple[Placed, ...] = ()
    links: tuple[Link, ...] = ()


@dataclass(frozen=True)
class Registered:
    """A slice whose place is final.

    Attributes
    ----------
    z
        Its index.
    first
        Its place when it came, by what came before it alone: what is cut out follows this one.
    final
        Its place now, after the rule of the trend: what is assembled follows this one.
    linked, ncc
        As in `Placed`.
    """

    z: int
    first: Affine
    final: Affine
    linked: bool
    ncc: float


Step = tuple[RegistrarState, tuple[Registered, ...]]


def references(state: RegistrarState) -> tuple[int, ...]:
    """Return the slices that the next one is to be linked with, the nearest first."""
    good = [placed.z for placed in state.recent if placed.linked][::-1]
    return tuple(good[back - 1] for back in BACK if back <= len(good))


def link_slice(
    state: RegistrarState, z: int, plane: Registrable, planes: Callable[[int], Registrable | None], model: Model
) -> tuple[Link, ...]:
    """Link a slice with earlier ones.

    Parameters
    ----------
    state
        Before the slice.
    z, plane
        The slice.
    planes
        Gives an earlier slice; None for one that cannot be compared with anything.
    model
        What may differ.

    Returns
    -------
    tuple of Link
        With those of `references` that it agrees with, or with the latest slice if with none of them.
    """
    places = {placed.z: placed.first for placed in state.recent}
    found: list[Link] = []
    for fixed_z in references(state):
        known = extended(places, found)
        start = None if known is None else places[fixed_z].inverse().after(known)
        found += _linked(fixed_z, z, planes(fixed_z), plane, model, start)
    stray = state.recent[-1] if state.recent else None
    if not found and stray is not None and not stray.linked:
        # Something lasting may have changed, a restart say: then at least the slices behind it agree.
        found += _linked(stray.z, z, planes(stray.z), plane, model, None)
    return tuple(found)


def _linked(
    fixed_z: int, moving_z: int, fixed: Registrable | None, moving: Registrable, model: Model, start: Affine | None
) -> list[Link]:
    fit = None if fixed is None else register_pair(fixed, moving, model, start)
    return [] if fit is None else [Link(fixed_z, moving_z, fit[0].to_fixed, fit[0].ncc, fit[1])]


def place(state: RegistrarState, z: int, links: Collection[Link], params: RegistrationParams, lever_px: float) -> Step:
    """Take in the next slice by its links.

    Parameters
    ----------
    state
        What is remembered; ``RegistrarState()`` before the first slice.
    z
        One more than the slice before.
    links
        As `link_slice` gave them; none for a slice that agrees with nothing, which lies where the one before it does.
    params, lever_px
        The same for a whole acquisition; half the diagonal of a plane.

    Returns
    -------
    tuple
        The new state, and the slices that are final now.

    Raises
    ------
    RegistrationOrderError
        If `z` is not the slice that must come next.
    """
    state = _expected(state, z)
    latest = state.recent[-1] if state.recent else None
    first = extended({placed.z: placed.first for placed in state.recent}, links)
    now = extended({placed.z: placed.place for placed in state.recent}, links)
    linked = latest is None or now is not None
    nearest = max(links, key=lambda link: link.fixed_z, default=None)
    placed = Placed(
        z,
        first or (latest.first if latest else IDENTITY),
        now or (latest.place if latest else IDENTITY),
        linked=linked,
        ncc=nearest.ncc if nearest else 0.0,
    )
    state = dataclasses.replace(state, recent=(*state.recent, placed), links=(*state.links, *links))
    return _settled(_improved(state, lever_px), params, state.next_z - params.delay)


def skip(state: RegistrarState, z: int, params: RegistrationParams) -> Step:
    """Take in the next slice as absent."""
    state = _expected(state, z)
    return _settled(state, params, state.next_z - params.delay)


def finish(state: RegistrarState, params: RegistrationParams) -> Step:
    """No more slices will come: all that is left becomes final."""
    return _settled(state, params, state.next_z)


def _expected(state: RegistrarState, z: int) -> RegistrarState:
    if state.next_z not in (-1, z) or z < 0:
        raise RegistrationOrderError(f"registration waits for slice {max(state.next_z, 0)}; slice {z} came")
    return dataclasses.replace(state, next_z=z + 1, final_z=z if state.final_z == -1 else state.final_z)


def _improved(state: RegistrarState, lever_px: float) -> RegistrarState:
    """Let the links of the latest slice move those that are not final."""
    free = [placed.z for placed in state.recent if placed.z >= state.final_z]
    better = solved({placed.z: placed.place for placed in state.recent}, state.links, free, lever_px)
    recent = tuple(dataclasses.replace(one, place=better.get(one.z, one.place)) for one in state.recent)
    return dataclasses.replace(state, recent=recent)


def _settled(state: RegistrarState, params: RegistrationParams, stop_z: int) -> Step:
    """Make the slices below `stop_z` final, and forget what nothing needs any more."""
    ready: list[Registered] = []
    for index, placed in enumerate(state.recent):
        if state.final_z <= placed.z < stop_z:
            state, final = _ruled(state, index, params)
            ready.append(Registered(placed.z, placed.first, final, placed.linked, placed.ncc))
    state = dataclasses.replace(state, final_z=max(state.final_z, stop_z))
    return _forgotten(state, params), tuple(ready)


def _ruled(state: RegistrarState, index: int, params: RegistrationParams) -> tuple[RegistrarState, Affine]:
    """Apply the rule of the trend to a slice whose place is final."""
    placed = state.recent[index]
    stop = min(len(state.recent), index + 1 + params.delay)
    start = max(0, stop - params.window)
    path = _path(state.recent, index, stop)[start:]
    before = np.array(state.recent[index - 1].jumped if index else (0.0,) * 6)
    # Jumps of final slices are closed by what they are known to be, later ones are still to be found.
    known = [one.jumped if start + i < index else before for i, one in enumerate(state.recent[start:stop])]
    closed = path - np.array(known)
    slow, jumped = parted(closed, [one.z for one in state.recent[start:stop]], index - start, params.jump_px)
    here = path[index - start]
    if params.trend == "zero":
        slow[4:] = 0
    recent = list(state.recent)
    recent[index] = dataclasses.replace(placed, path=_six(here), jumped=_six(before + jumped))
    yy, yx, xy, xx, shift_y, shift_x = _six(here - slow)
    return dataclasses.replace(state, recent=tuple(recent)), Affine(1 + yy, yx, xy, 1 + xx, shift_y, shift_x)


def _path(recent: tuple[Placed, ...], index: int, stop: int) -> NDArray[np.float64]:
    """Return the path up to `stop`: known below `index`, from there on summed up from slice to slice.

    Steps are counted in the pixels of the slices, so that a matrix that wanders far does not turn them.
    """
    path = [np.array(one.path) for one in recent[:index]]
    for number in range(index, stop):
        step = step_between(recent[number - 1].place, recent[number].place) if number else np.zeros(6)
        path.append(step + (path[-1] if path else 0.0))
    return np.array(path)


def step_between(before: Affine, after: Affine) -> NDArray[np.float64]:
    """Return the step from place to place as six numbers, in pixels of the first; those of the matrix less 1 and 0."""
    step = before.inverse().after(after)
    return np.array([now - still for now, still in zip(step.numbers, IDENTITY.numbers, strict=True)])


def _six(values: NDArray[np.float64]) -> Six:
    yy, yx, xy, xx, y, x = (float(value) for value in values)
    return (yy, yx, xy, xx, y, x)


def _forgotten(state: RegistrarState, params: RegistrationParams) -> RegistrarState:
    kept = set(references(state))
    recent = tuple(
        placed
        for index, placed in enumerate(state.recent)
        if placed.z in kept or index >= len(state.recent) - params.memory or placed.z >= state.final_z
    )
    known = {placed.z for placed in recent[-(params.delay + 2 * max(BACK)) :]} | kept
    links = tuple(link for link in state.links if link.moving_z >= state.final_z and link.fixed_z in known)
    return dataclasses.replace(state, recent=recent, links=links)


def needed(state: RegistrarState) -> frozenset[int]:
    """Return the slices whose planes the next one may be linked with; others may be let go."""
    latest = {state.recent[-1].z} if state.recent else set()
    return frozenset({*references(state), *latest})


def registered_all(
    planes: Mapping[int, Registrable], params: RegistrationParams
) -> tuple[dict[int, Registered], tuple[Link, ...]]:
    """Register a whole stack as a stream would; absent slices are those that are not in `planes`.

    Returns
    -------
    tuple
        The slices by z, and all their links.
    """
    state = RegistrarState()
    found: dict[int, Registered] = {}
    links: list[Link] = []
    for z in range(min(planes), max(planes) + 1):
        if z not in planes:
            state, ready = skip(state, z, params)
        else:
            lever = float(np.hypot(*planes[z].pyramid.centre_yx))
            fresh = link_slice(state, z, planes[z], planes.get, params.model)
            links += fresh
            state, ready = place(state, z, fresh, params, lever)
        found |= {one.z: one for one in ready}
    _, ready = finish(state, params)
    return found | {one.z: one for one in ready}, tuple(links)
