"""Following nuclei through z: slice after slice, in order, without looking ahead.

A detection joins the nucleus whose last section it overlaps most. A nucleus opens when enough detections confirm it,
may be missed for a short stretch (its crops there are held back until it is found again, and follow an outline in
between), and is cropped some way beyond its first and last detection. Slices that are absent are not misses.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from services.extract.crops import canvas
from services.extract.events import Absent, AbsentCrop, Closed, Crop, CropKind, Event, Opened, OutlineSource
from services.extract.outlines import Outline, Side
from services.extract.tracks import (
    FollowerState,
    FollowingParams,
    OutlineRef,
    Past,
    Section,
    Severed,
    Track,
    to_sections,
)

_DUPLICATE_RADII = 0.6  # a second outline centred so near the middle of a larger one is the same nucleus
_FORBIDDEN = 1e6

Step = tuple[FollowerState, tuple[Event, ...]]


class SliceOrderError(ValueError):
    """A slice came out of turn."""


def advance(state: FollowerState, z: int, found: Sequence[Outline] | Absent, params: FollowingParams) -> Step:
    """Take in the next slice.

    Parameters
    ----------
    state
        What is remembered; ``FollowerState()`` before the first slice.
    z
        Index of the slice, one more than that of the slice before.
    found
        Its outlines, in one frame for all slices, or the reason for its absence.
    params
        The same for a whole acquisition.

    Returns
    -------
    tuple
        The new state, and what follows from the slice: per nucleus in z order.

    Raises
    ------
    SliceOrderError
        If ``z`` is not the slice that must come next.
    """
    if state.next_z not in (-1, z) or z < 0:
        raise SliceOrderError(f"the follower waits for slice {max(state.next_z, 0)}; slice {z} came")
    if state.next_z == -1:
        state = dataclasses.replace(state, first_z=z)
    if isinstance(found, Absent):
        tracks, past = state.tracks, Past(z, found.reason or "absent", 0, ())
    else:
        tracks, past = _join(state.tracks, to_sections(z, found), params)
        past = dataclasses.replace(past, z=z)
    state = dataclasses.replace(state, next_z=z + 1, past=(*state.past, past))
    state, events = _settle(state, tracks, params)
    return _forget(state, params), events


def finish(state: FollowerState, params: FollowingParams) -> Step:
    """Close what is still open: no more slices will come.

    In an acquisition too short for a confirmation, a single slice say, every detection is a nucleus.
    """
    events: list[Event] = []
    if 0 < state.next_z - state.first_z < params.confirm_slices:
        state, events = _all_confirmed(state, params)
    for track in state.tracks:
        if track.phase != "tentative":
            ending = dataclasses.replace(track, phase="ending")
            emitted, crops = _emit_cap(state, ending, params)
            events += [*crops, _close(emitted, params)]
    return dataclasses.replace(state, tracks=(), severed=()), tuple(events)


def _all_confirmed(state: FollowerState, params: FollowingParams) -> tuple[FollowerState, list[Event]]:
    events: list[Event] = []
    tracks = list(state.tracks)
    for index, track in enumerate(tracks):
        if track.phase == "tentative":
            state, opened, announcement = _open(state, track, params)
            tracks[index], crops = _emit(state, opened, opened.last.ref.z, params)
            events += [announcement, *crops]
    return dataclasses.replace(state, tracks=tuple(tracks)), events


def earliest_needed_z(state: FollowerState, params: FollowingParams) -> int:
    """First slice whose pixels or outlines a later event may still ask for; earlier ones may be let go.

    Examples
    --------
    >>> params = FollowingParams(voxel_zyx_nm=(16.0, 16.0, 16.0))
    >>> earliest_needed_z(FollowerState(first_z=0, next_z=100), params)
    56
    """
    due = _earliest_due_z(state, params)
    stand_ins = [ref.z for past in state.past if past.z >= due for ref in past.missed]
    return max(state.first_z, min([due, *stand_ins]))


def _earliest_due_z(state: FollowerState, params: FollowingParams) -> int:
    due = [state.next_z - params.cap_slices]
    for track in state.tracks:
        first = track.sections[0].ref.z
        due.append(first - params.cap_slices if track.phase == "tentative" else min(first, track.next_z))
    return min(due)


def inside_scale(radius_nm: float, distance_nm: float, nominal_radius_nm: float) -> float:
    """How much smaller than a section a nucleus is, ``distance_nm`` nearer to its pole.

    The nucleus is taken for a sphere of the nominal radius, or for a half of one whose equator the section is when the
    section is larger than that.

    Examples
    --------
    >>> [round(inside_scale(1200.0, distance, 2000.0), 3) for distance in (0.0, 200.0, 400.0)]
    [1.0, 0.726, 0.0]
    """
    sphere = max(radius_nm, nominal_radius_nm)
    height = math.sqrt(sphere**2 - radius_nm**2) + distance_nm
    return math.sqrt(max(0.0, sphere**2 - height**2)) / radius_nm


def _join(
    tracks: tuple[Track, ...], sections: tuple[Section, ...], params: FollowingParams
) -> tuple[tuple[Track, ...], Past]:
    """Give each track at most one section, one section at most one track, and begin a track with each that is left."""
    distinct = _without_duplicates(sections, params)
    seeking = [index for index, track in enumerate(tracks) if track.phase != "ending"]
    pairs = _assign([tracks[index] for index in seeking], distinct, params)
    joined = list(tracks)
    for row, column in pairs:
        joined[seeking[row]] = _extended(tracks[seeking[row]], distinct[column])
    taken = {column for _, column in pairs}
    fresh = [section for column, section in enumerate(distinct) if column not in taken]
    fresh.sort(key=lambda section: (section.centroid_yx_px, section.ref))
    found = {seeking[row] for row, _ in pairs}
    missed = tuple(track.last.ref for index, track in enumerate(tracks) if track.phase == "open" and index not in found)
    begun = [Track("tentative", (section,), sides=section.sides) for section in fresh]
    return (*joined, *begun), Past(0, "", len(sections), missed)


def _without_duplicates(sections: tuple[Section, ...], params: FollowingParams) -> list[Section]:
    kept: list[Section] = []
    for section in sorted(sections, key=lambda section: (-section.area_px, section.ref)):
        reaches = ((other, _DUPLICATE_RADII * math.sqrt(other.area_px / math.pi)) for other in kept)
        if all(_distance(section, other, params) >= reach for other, reach in reaches):
            kept.append(section)
    return sorted(kept, key=lambda section: section.ref)


def _assign(tracks: list[Track], sections: list[Section], params: FollowingParams) -> list[tuple[int, int]]:
    """Pairs of track and section within reach whose overlap is greatest in sum; as many as there can be."""
    if not tracks or not sections:
        return []
    reach_px = params.max_shift_nm / params.pixel_nm
    cost: npt.NDArray[np.float64] = np.full((len(tracks), len(sections)), _FORBIDDEN)
    for row, track in enumerate(tracks):
        for column, section in enumerate(sections):
            distance = _distance(track.last, section, params)
            if distance <= reach_px:
                cost[row, column] = 1 - _overlap(track.last, section, params) + 1e-3 * distance / reach_px
    rows, columns = linear_sum_assignment(cost)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if cost[r, c] < _FORBIDDEN]


def _distance(first: Section, second: Section, params: FollowingParams) -> float:
    """Distance of two middles, in edges of the square that is as large as a pixel, as radii are."""
    (y1, x1), (y2, x2) = first.centroid_yx_px, second.centroid_yx_px
    stretch_y, stretch_x = params.stretch_yx
    return math.hypot((y1 - y2) * stretch_y, (x1 - x2) * stretch_x)


def _overlap(first: Section, second: Section, params: FollowingParams) -> float:
    """Shared part of the smaller of two sections, taken for circles of their area."""
    small, large = sorted(math.sqrt(section.area_px / math.pi) for section in (first, second))
    distance = _distance(first, second, params)
    if distance >= small + large:
        return 0.0
    if distance <= large - small:
        return 1.0
    half_small = math.acos((distance**2 + small**2 - large**2) / (2 * distance * small))
    half_large = math.acos((distance**2 + large**2 - small**2) / (2 * distance * large))
    lens = small**2 * (half_small - math.sin(2 * half_small) / 2) + large**2 * (
        half_large - math.sin(2 * half_large) / 2
    )
    return lens / (math.pi * small**2)


def _extended(track: Track, section: Section) -> Track:
    sides = tuple(sorted(set(track.sides) | set(section.sides)))
    return dataclasses.replace(track, sections=(*track.sections, section), sides=sides)


def _settle(state: FollowerState, tracks: tuple[Track, ...], params: FollowingParams) -> Step:
    """Decide for every track what the slice means for it, and emit what is due."""
    severed = _counted(state, params)
    confirmed = sorted(
        (track for track in tracks if track.phase == "tentative" and len(track.sections) >= params.confirm_slices),
        key=lambda track: (track.sections[0].ref.z, track.sections[0].centroid_yx_px, track.sections[0].ref),
    )
    state = dataclasses.replace(state, severed=severed)
    opened: dict[int, Track] = {}
    events: list[Event] = []
    kept: list[Track] = []
    for track in confirmed:
        state, opened[id(track)], announcement = _open(state, track, params)
        events.append(announcement)
    for track in tracks:
        current = opened.get(id(track), track)
        following, emitted = _follow(state, current, params)
        events += emitted
        if following is not None:
            kept.append(following)
        elif current.phase == "open" and _absent_run(state) > params.max_absent:
            state = dataclasses.replace(state, severed=(*state.severed, _sever(current, emitted)))
    return dataclasses.replace(state, tracks=tuple(kept)), tuple(events)


def _follow(state: FollowerState, track: Track, params: FollowingParams) -> tuple[Track | None, list[Event]]:
    """Take a track past the latest slice; None when it is over."""
    broken = _absent_run(state) > params.max_absent
    if track.phase == "tentative":
        return (None if broken or _misses(state, track) > params.gap_slices else track), []
    if broken:
        ended, events = _emit_cap(state, track, params)
        return None, [*events, _close(ended, params)]
    if state.past[-1].reason:
        return track, []
    if track.phase == "open" and track.last.ref.z == state.next_z - 1:
        track, events = _emit(state, track, track.last.ref.z, params)
        return dataclasses.replace(track, sections=(track.last,)), events
    if track.phase == "open" and _misses(state, track) <= params.gap_slices:
        return track, []
    return _end(state, track, params)


def _end(state: FollowerState, track: Track, params: FollowingParams) -> tuple[Track | None, list[Event]]:
    """Go on with the cap of a nucleus that was lost."""
    ending, events = _emit_cap(state, dataclasses.replace(track, phase="ending"), params)
    if ending.next_z > ending.last.ref.z + params.cap_slices:
        return None, [*events, _close(ending, params)]
    return ending, events


def _open(state: FollowerState, track: Track, params: FollowingParams) -> tuple[FollowerState, Track, Opened]:
    first = track.sections[0]
    nucleus_id = f"n{state.next_number:04d}"
    z_first = _first_of_cap(state, first, params)
    before = _continued(state, first, params)
    sides = set(track.sides)
    if z_first > first.ref.z - min(params.cap_slices, _pole_slices(first, params)):
        sides.add("z_min")
    opened = dataclasses.replace(
        track,
        phase="open",
        nucleus_id=nucleus_id,
        z_first=z_first,
        next_z=z_first,
        sides=tuple(sorted(sides)),
        continues=before.nucleus_id if before else "",
    )
    origin, shape = canvas(first.centroid_yx_px, params.window_yx_px, params.canvas_windows)
    announcement = Opened(nucleus_id, z_first, first.ref.z, first.centroid_yx_px, origin, shape, opened.continues)
    severed = tuple(entry for entry in state.severed if entry is not before)
    return dataclasses.replace(state, next_number=state.next_number + 1, severed=severed), opened, announcement


def _first_of_cap(state: FollowerState, first: Section, params: FollowingParams) -> int:
    """Start the cap within the acquisition, and behind a run of absent slices that is too long to cross."""
    absent = {past.z for past in state.past if past.reason}
    z_first = first.ref.z
    for z in range(first.ref.z - 1, max(state.first_z, first.ref.z - params.cap_slices) - 1, -1):
        if z not in absent:
            z_first = z
        elif z_first - z > params.max_absent:
            break
    return z_first


def _continued(state: FollowerState, first: Section, params: FollowingParams) -> Severed | None:
    """Find the nucleus, ended by a run of absent slices, that ``first`` continues."""
    after = sum(1 for past in state.past if not past.reason and past.z >= first.ref.z)
    reach_px = params.max_shift_nm / params.pixel_nm
    within_z = params.nominal_radius_nm / params.voxel_zyx_nm[0]
    near = [
        entry
        for entry in state.severed
        if entry.seen - after <= params.gap_slices
        and first.ref.z - entry.last.ref.z <= within_z
        and _distance(entry.last, first, params) <= reach_px
    ]
    return min(near, key=lambda entry: (-_overlap(entry.last, first, params), entry.nucleus_id), default=None)


def _counted(state: FollowerState, params: FollowingParams) -> tuple[Severed, ...]:
    """Count the latest slice for nuclei that may be continued; forget those for which it is too late."""
    if state.past[-1].reason:
        return state.severed
    latest = params.gap_slices + params.confirm_slices * (params.gap_slices + 1)
    counted = (dataclasses.replace(entry, seen=entry.seen + 1) for entry in state.severed)
    return tuple(entry for entry in counted if entry.seen <= latest)


def _sever(track: Track, emitted: list[Event]) -> Severed:
    closed = emitted[-1]
    z_last = closed.z_last if isinstance(closed, Closed) else track.last.ref.z
    return Severed(track.nucleus_id, track.last, z_last, 0)


def _emit_cap(state: FollowerState, track: Track, params: FollowingParams) -> tuple[Track, list[Event]]:
    """Emit what is due behind the last detection, as far as the cap and the slices reach."""
    present = max((past.z for past in state.past if not past.reason), default=track.last.ref.z)
    return _emit(state, track, min(present, track.last.ref.z + params.cap_slices), params)


def _emit(state: FollowerState, track: Track, last_z: int, params: FollowingParams) -> tuple[Track, list[Event]]:
    """Emit the crops from the next one due to ``last_z``."""
    pasts = {past.z: past for past in state.past}
    events: list[Event] = []
    absent = list(track.absent)
    for z in range(track.next_z, last_z + 1):
        reason = pasts[z].reason
        if reason:
            absent.append((z, reason))
            events.append(AbsentCrop(track.nucleus_id, z, reason))
        else:
            events.append(_crop(track, pasts[z], params))
    return dataclasses.replace(track, next_z=max(track.next_z, last_z + 1), absent=tuple(absent)), events


def _crop(track: Track, past: Past, params: FollowingParams) -> Crop:
    kind, source = _source(track.sections, past.z, params)
    own = source.before if kind == "detected" else None
    others = [OutlineRef(past.z, index) for index in range(past.outlines)]
    stand_ins = [ref for ref in past.missed if ref not in (source.before, source.after)]
    neighbours = tuple(ref for ref in [*others, *stand_ins] if ref != own)
    return Crop(track.nucleus_id, past.z, kind, source, neighbours)


def _source(sections: tuple[Section, ...], z: int, params: FollowingParams) -> tuple[CropKind, OutlineSource]:
    before = max((section for section in sections if section.ref.z <= z), key=lambda s: s.ref.z, default=None)
    after = min((section for section in sections if section.ref.z >= z), key=lambda s: s.ref.z, default=None)
    if before and after:
        if before is after:
            return "detected", OutlineSource(before.ref, before.ref)
        fraction = (z - before.ref.z) / (after.ref.z - before.ref.z)
        return "bridged", OutlineSource(before.ref, after.ref, fraction)
    nearest = before or after or sections[0]
    distance_nm = abs(z - nearest.ref.z) * params.voxel_zyx_nm[0]
    scale = inside_scale(nearest.radius_px * params.pixel_nm, distance_nm, params.nominal_radius_nm)
    return "cap", OutlineSource(nearest.ref, nearest.ref, 0.0, round(scale, 4))


def _close(track: Track, params: FollowingParams) -> Closed:
    z_last = track.next_z - 1
    sides: set[Side] = set(track.sides)
    if z_last < track.last.ref.z + min(params.cap_slices, _pole_slices(track.last, params)):
        sides.add("z_max")
    return Closed(track.nucleus_id, track.z_first, z_last, track.absent, tuple(sorted(sides)), track.continues)


def _pole_slices(section: Section, params: FollowingParams) -> int:
    """Slices from a section to the pole of the sphere it is taken from."""
    radius_nm = section.radius_px * params.pixel_nm
    sphere = max(radius_nm, params.nominal_radius_nm)
    return int((sphere - math.sqrt(sphere**2 - radius_nm**2)) / params.voxel_zyx_nm[0])


def _misses(state: FollowerState, track: Track) -> int:
    return sum(1 for past in state.past if past.z > track.last.ref.z and not past.reason)


def _absent_run(state: FollowerState) -> int:
    run = 0
    for past in reversed(state.past):
        if not past.reason:
            break
        run += 1
    return run


def _forget(state: FollowerState, params: FollowingParams) -> FollowerState:
    oldest = min(_earliest_due_z(state, params), state.next_z - 1 - params.max_absent)
    return dataclasses.replace(state, past=tuple(past for past in state.past if past.z >= oldest))
