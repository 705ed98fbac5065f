"""Nuclei keep their identity through z, whatever happens to slices and detections."""

import dataclasses
import functools
import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.extract.events import Absent, AbsentCrop, Closed, Crop, Event, Opened
from services.extract.following import SliceOrderError, advance, earliest_needed_z, finish, inside_scale
from services.extract.outlines import Outline, make_outline
from services.extract.tracks import (
    FollowerState,
    FollowingParams,
    FollowingValueError,
    OutlineRef,
    StateFormatError,
    state_from_bytes,
    state_to_bytes,
)

VOXEL_NM = 40.0
PARAMS = FollowingParams(voxel_zyx_nm=(VOXEL_NM, VOXEL_NM, VOXEL_NM), confirm_nm=120.0)
GAP, CONFIRM, CAP = PARAMS.gap_slices, PARAMS.confirm_slices, PARAMS.cap_slices
FIELD = (300, 400)
MISSING = Absent("MISSING")

Slices = Mapping[int, Sequence[Outline] | Absent]


@functools.cache
def disc(y_px: float, x_px: float, radius_px: float = 35.0) -> Outline:
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    points = np.stack([y_px + radius_px * np.sin(angle), x_px + radius_px * np.cos(angle)], axis=1)
    inside = np.clip(np.rint(points), 0, np.subtract(FIELD, 1))
    return make_outline(inside.astype(np.int32), FIELD)


@dataclasses.dataclass(frozen=True)
class Ball:
    """A nucleus: centre and radius in voxels; drifts along x by ``drift`` per slice."""

    z: float
    y: float
    x: float
    radius: float = 45.0
    drift: float = 0.0

    def section(self, z: int) -> Outline | None:
        radius = math.sqrt(max(0.0, self.radius**2 - (z - self.z) ** 2))
        return disc(self.y, self.x + self.drift * (z - self.z), radius) if radius > 30 else None


def slices_of(balls: Sequence[Ball], count: int) -> dict[int, Sequence[Outline] | Absent]:
    def found(z: int) -> list[Outline]:
        return [section for ball in balls if (section := ball.section(z)) is not None]

    return {z: found(z) for z in range(count)}


def follow(slices: Slices, params: FollowingParams = PARAMS) -> list[Event]:
    state = FollowerState()
    events: list[Event] = []
    for z in sorted(slices):
        state, new = advance(state, z, slices[z], params)
        events += new
    return [*events, *finish(state, params)[1]]


def closed(events: Sequence[Event]) -> list[Closed]:
    return [event for event in events if isinstance(event, Closed)]


def planes(events: Sequence[Event], nucleus_id: str) -> list[Crop | AbsentCrop]:
    return [event for event in events if isinstance(event, Crop | AbsentCrop) and event.nucleus_id == nucleus_id]


def kinds(events: Sequence[Event], nucleus_id: str) -> dict[int, str]:
    return {event.z: event.kind if isinstance(event, Crop) else event.reason for event in planes(events, nucleus_id)}


def column(
    count: int, *, without: Sequence[int] = (), absent: Sequence[int] = ()
) -> dict[int, Sequence[Outline] | Absent]:
    """One nucleus in every slice from 20 on, but for some."""
    slices: dict[int, Sequence[Outline] | Absent] = {z: [] for z in range(count)}
    slices |= {z: [disc(150, 200)] for z in range(20, count) if z not in without}
    return slices | dict.fromkeys(absent, MISSING)


def test_a_nucleus_has_one_crop_per_slice_from_cap_to_cap() -> None:
    events = follow(slices_of([Ball(70, 150, 200)], 140))
    assert isinstance(events[0], Opened)
    (end,) = closed(events)
    assert end.nucleus_id == "n0001"
    first_seen, last_seen = 70 - 33, 70 + 33
    assert (end.z_first, end.z_last) == (first_seen - CAP, last_seen + CAP)
    seen = kinds(events, "n0001")
    assert list(seen) == list(range(end.z_first, end.z_last + 1))
    assert {z for z, kind in seen.items() if kind == "detected"} == set(range(first_seen, last_seen + 1))
    assert {kind for z, kind in seen.items() if not first_seen <= z <= last_seen} == {"cap"}
    assert end.clipped == ()


def test_ids_follow_the_order_of_first_appearance_then_of_place() -> None:
    events = follow(slices_of([Ball(60, 220, 80), Ball(60, 80, 300), Ball(55, 230, 300), Ball(60, 80, 90)], 130))
    opened = [event for event in events if isinstance(event, Opened)]
    assert [event.nucleus_id for event in opened] == ["n0001", "n0002", "n0003", "n0004"]
    places = [tuple(round(v / 10) * 10 for v in event.centroid_yx_px) for event in opened]
    assert places == [(230, 300), (80, 90), (80, 300), (220, 80)]


def test_a_false_alarm_opens_no_nucleus() -> None:
    slices = column(60)
    for z in range(30, 30 + CONFIRM - 1):
        slices[z] = [*slices[z], disc(60, 60)]  # type: ignore[misc]
    assert [event.nucleus_id for event in closed(follow(slices))] == ["n0001"]


def test_false_alarms_far_apart_in_z_do_not_add_up_to_a_nucleus() -> None:
    slices = {z: [disc(150, 200)] if z % (GAP + 2) == 0 else [] for z in range(CONFIRM * (GAP + 2) + 40)}
    assert follow(slices) == []


def test_of_two_nuclei_within_reach_each_takes_the_outline_it_overlaps() -> None:
    low, high = disc(150, 180, 16), disc(150, 214, 16)
    slices = {z: [low, high] if z % 2 else [high, low] for z in range(40)}
    for event in follow(slices):
        if isinstance(event, Crop) and event.kind == "detected":
            outline = slices[event.z][event.source.before.index]
            assert outline is (low if event.nucleus_id == "n0001" else high)


def test_missed_slices_are_bridged_between_the_detections_round_them() -> None:
    events = follow(column(70, without=[40, 41, 42]))
    crops = {event.z: event for event in planes(events, "n0001") if isinstance(event, Crop)}
    assert [crops[z].kind for z in (39, 40, 41, 42, 43)] == ["detected", "bridged", "bridged", "bridged", "detected"]
    assert crops[41].source.before == OutlineRef(39, 0)
    assert crops[41].source.after == OutlineRef(43, 0)
    assert crops[41].source.fraction == pytest.approx(0.5)
    assert crops[41].neighbours == ()


def test_bridged_crops_are_held_back_until_the_nucleus_is_found_again() -> None:
    state = FollowerState()
    for z, found in column(43, without=[40, 41, 42]).items():
        state, events = advance(state, z, found, PARAMS)
        if z >= 40:
            assert events == ()
    _, events = advance(state, 43, [disc(150, 200)], PARAMS)
    assert [event.z for event in events if isinstance(event, Crop)] == [40, 41, 42, 43]


def test_a_gap_longer_than_allowed_ends_a_nucleus_and_what_comes_behind_is_another() -> None:
    short = follow(column(120, without=range(50, 50 + GAP)))
    assert len(closed(short)) == 1
    long = follow(column(120, without=range(50, 51 + GAP)))
    assert [(event.nucleus_id, event.continues) for event in closed(long)] == [("n0001", ""), ("n0002", "")]


def test_nuclei_stacked_along_z_stay_separate_and_their_caps_may_overlap() -> None:
    events = follow(slices_of([Ball(60, 150, 200), Ball(152, 150, 205)], 220))
    first, second = closed(events)
    assert first.z_last >= second.z_first
    assert {z for z, kind in kinds(events, "n0001").items() if kind == "detected"} == set(range(27, 94))
    assert {z for z, kind in kinds(events, "n0002").items() if kind == "detected"} == set(range(119, 186))


def test_a_cap_names_the_other_nucleus_of_its_slice_as_a_neighbour() -> None:
    events = follow(slices_of([Ball(60, 150, 200), Ball(138, 150, 205)], 200))
    shared = next(e for e in planes(events, "n0001") if isinstance(e, Crop) and e.z == 106)
    assert shared.kind == "cap"
    assert shared.neighbours == (OutlineRef(106, 0),)


def test_neighbours_keep_their_identities_when_one_moves_towards_the_place_of_the_other() -> None:
    slices = slices_of([Ball(60, 120, 120, drift=0.9), Ball(60, 215, 180, drift=-0.9)], 130)
    reversed_slices = {z: list(reversed(found)) if z % 2 else found for z, found in slices.items()}  # type: ignore[arg-type]
    events = follow(reversed_slices)
    assert len(closed(events)) == 2
    for event in events:
        if isinstance(event, Crop) and event.kind == "detected":
            outline = reversed_slices[event.z][event.source.before.index]  # type: ignore[index]
            assert (outline.centroid_yx_px[0] > 170) == (event.nucleus_id == "n0002")


def test_a_second_outline_of_a_nucleus_in_a_slice_is_not_another_nucleus() -> None:
    slices = {z: [disc(150, 200, 30), disc(151, 201, 40)] for z in range(60)}
    events = follow(slices)
    assert len(closed(events)) == 1
    assert all(len(event.neighbours) == 1 for event in planes(events, "n0001") if isinstance(event, Crop))


def test_a_detection_too_far_away_in_the_plane_is_not_the_same_nucleus() -> None:
    reach_px = PARAMS.max_shift_nm / VOXEL_NM
    near = column(40) | {z: [disc(150, 200 + reach_px - 1)] for z in range(40, 80)}
    far = column(40) | {z: [disc(150, 200 + reach_px + 2)] for z in range(40, 80)}
    assert len(closed(follow(near))) == 1
    assert len(closed(follow(far))) == 2


def test_three_absent_slices_are_crossed_and_listed() -> None:
    events = follow(column(70, absent=[40, 41, 42]))
    (end,) = closed(events)
    assert end.absent == ((40, "MISSING"), (41, "MISSING"), (42, "MISSING"))
    assert [kinds(events, "n0001")[z] for z in (39, 40, 42, 43)] == ["detected", "MISSING", "MISSING", "detected"]


def test_absent_slices_are_no_misses() -> None:
    missed = range(40, 40 + GAP)
    crossed = column(90, without=missed, absent=[41])
    assert len(closed(follow(crossed))) == 1


def test_a_fourth_absent_slice_ends_the_nucleus_and_its_continuation_names_it() -> None:
    events = follow(column(100, absent=[50, 51, 52, 53]))
    first, second = closed(events)
    assert (first.z_last, first.clipped) == (49, ("z_max",))
    assert (second.z_first, second.continues) == (54, "n0001")
    assert "z_min" in second.clipped
    assert [event.continues for event in events if isinstance(event, Opened)] == ["", "n0001"]


def test_a_nucleus_elsewhere_behind_a_run_of_absent_slices_continues_nothing() -> None:
    slices = column(50, absent=range(46, 50)) | {z: [disc(60, 60)] for z in range(50, 80)}
    assert [event.continues for event in closed(follow(slices))] == ["", ""]


def test_a_nucleus_long_behind_a_run_of_absent_slices_continues_nothing() -> None:
    later = column(120, absent=range(50, 54), without=range(54, 55 + GAP))
    deeper = column(160, absent=range(50, 52 + round(PARAMS.nominal_radius_nm / VOXEL_NM)))
    assert [event.continues for event in closed(follow(later))] == ["", ""]
    assert [event.continues for event in closed(follow(deeper))] == ["", ""]


def test_absent_slices_in_a_cap_are_listed_too() -> None:
    events = follow(slices_of([Ball(70, 150, 200)], 140) | {30: Absent("BLANK"), 110: Absent("DEAD_LETTERED")})
    (end,) = closed(events)
    assert end.absent == ((30, "BLANK"), (110, "DEAD_LETTERED"))


def test_the_border_and_the_ends_of_the_acquisition_clip_a_nucleus() -> None:
    cut = {z: [disc(150, 10)] for z in range(60)}
    (end,) = closed(follow(cut))
    assert end.clipped == ("x_min", "z_max", "z_min")
    assert (end.z_first, end.z_last) == (0, 59)


def test_a_nucleus_whose_pole_lies_in_the_acquisition_is_not_clipped_although_its_cap_is_shorter() -> None:
    ball = Ball(60, 150, 200, radius=50)
    (end,) = closed(follow(slices_of([ball], 60 + 40 + 13), dataclasses.replace(PARAMS, nominal_radius_nm=2000.0)))
    assert end.z_last == 112
    assert "z_max" not in end.clipped


def test_the_section_inside_a_cap_shrinks_towards_the_pole() -> None:
    events = follow(slices_of([Ball(70, 150, 200)], 140))
    scales = [event.source.inside_scale for event in planes(events, "n0001") if isinstance(event, Crop)]
    assert scales[CAP : CAP + 67] == [1.0] * 67
    assert all(a <= b for a, b in itertools.pairwise(scales[: CAP + 1]))
    assert scales[0] == scales[-1] == 0.0
    assert inside_scale(1200.0, 0.0, 2000.0) == 1.0
    assert inside_scale(3000.0, 1.0, 2000.0) < 1.0


def test_an_open_nucleus_that_was_missed_stands_in_for_itself_as_a_neighbour() -> None:
    slices = {z: [disc(150, 100), disc(150, 190)] for z in range(40)}
    slices[30] = [disc(150, 100)]
    crop = next(e for e in planes(follow(slices), "n0001") if e.z == 30)
    assert isinstance(crop, Crop)
    assert crop.neighbours == (OutlineRef(29, 1),)


def test_slices_must_come_in_order() -> None:
    state, _ = advance(FollowerState(), 5, [], PARAMS)
    for z in (5, 7, 4):
        with pytest.raises(SliceOrderError, match="slice 6"):
            advance(state, z, [], PARAMS)
    with pytest.raises(SliceOrderError):
        advance(FollowerState(), -1, [], PARAMS)


def stretched(slices: Slices, rows: float) -> dict[int, Sequence[Outline] | Absent]:
    """Return slices as pixels show them that are so many times less high."""
    field = (round(FIELD[0] * rows), FIELD[1])

    def seen(outline: Outline) -> Outline:
        return make_outline(np.rint(outline.polygon_yx_px * (rows, 1)).astype(np.int32), field)

    return {z: found if isinstance(found, Absent) else [seen(one) for one in found] for z, found in slices.items()}


@pytest.mark.parametrize("rows", [0.5, 0.8, 1.25, 2.0])
def test_pixels_that_are_not_square_change_no_identity(rows: float) -> None:
    balls = [Ball(60, 100, 100), Ball(66, 100, 196, drift=0.4), Ball(70, 205, 150), Ball(150, 110, 110)]
    slices = slices_of(balls, 200) | dict.fromkeys((40, 41, 90), MISSING)
    lower = dataclasses.replace(PARAMS, voxel_zyx_nm=(VOXEL_NM, VOXEL_NM / rows, VOXEL_NM))
    assert lower.window_yx_px == (round(170 * rows), 170)

    def told(events: Sequence[Event]) -> list[tuple[str, str, int]]:
        crops = [(event.nucleus_id, event.kind, event.z) for event in events if isinstance(event, Crop)]
        return sorted([*crops, *((event.nucleus_id, "closed", event.z_last) for event in closed(events))])

    square = told(follow(slices))
    assert len({nucleus_id for nucleus_id, _, _ in square}) == 4
    assert told(follow(stretched(slices, rows), lower)) == square


@pytest.mark.parametrize("content", [b"", b"[]", b'{"first_z": "x"}', b'{"tracks": [1]}', b"\xff"])
def test_bytes_that_are_no_state_are_refused(content: bytes) -> None:
    with pytest.raises(StateFormatError):
        state_from_bytes(content)


@pytest.mark.parametrize(
    "change",
    [
        {"voxel_zyx_nm": (0.0, 4.0, 4.0)},
        {"max_shift_nm": 0.0},
        {"max_gap_nm": math.inf},
        {"confirm_nm": -1.0},
        {"cap_nm": math.nan},
        {"max_absent": -1},
        {"canvas_windows": 0},
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(FollowingValueError):
        dataclasses.replace(PARAMS, **change)  # type: ignore[arg-type]


def test_the_state_stays_small_however_many_slices_go_by() -> None:
    balls = [Ball(60 + 100 * k, 150, 200 + 5 * (k % 3)) for k in range(12)]
    state, sizes = FollowerState(), []
    for z, found in slices_of(balls, 1200).items():
        state, _ = advance(state, z, found, PARAMS)
        sizes.append(len(state_to_bytes(state)))
    assert max(sizes[600:]) <= 1.05 * max(sizes[:600])


@st.composite
def stacks(draw: st.DrawFn) -> dict[int, Sequence[Outline] | Absent]:
    """Balls on a lattice, so that they never overlap, with missed detections, false alarms and absent slices."""
    balls = [
        Ball(50 + 110 * k + draw(st.integers(-5, 5)), 90 + 110 * j, 90 + 110 * i, draw(st.integers(40, 50)))
        for k in range(draw(st.integers(1, 2)))
        for j in range(2)
        for i in range(draw(st.integers(1, 3)))
    ]
    count = 100 + 110 * draw(st.integers(0, 1))
    slices = slices_of(balls, count)
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    loss = draw(st.sampled_from([0.0, 0.1, 0.3]))
    for z, found in slices.items():
        assert not isinstance(found, Absent)
        kept = [outline for outline in found if rng.random() >= loss]
        if rng.random() < 0.05:
            kept.append(disc(rng.uniform(40, 260), rng.uniform(40, 360), 32.0))
        slices[z] = [kept[k] for k in rng.permutation(len(kept))]
    for z in draw(st.lists(st.integers(0, count - 5), max_size=4)):
        slices |= dict.fromkeys(range(z, z + draw(st.integers(1, 5))), MISSING)
    return slices


@settings(max_examples=10, deadline=None)
@given(stacks())
def test_every_slice_of_a_nucleus_is_answered_once_and_in_order(slices: Slices) -> None:
    events = follow(slices)
    opened = {event.nucleus_id: event for event in events if isinstance(event, Opened)}
    ends = {event.nucleus_id: event for event in closed(events)}
    assert list(opened) == [f"n{k + 1:04d}" for k in range(len(opened))]
    assert set(opened) == set(ends)
    for nucleus_id, end in ends.items():
        answered = planes(events, nucleus_id)
        assert [event.z for event in answered] == list(range(end.z_first, end.z_last + 1))
        assert opened[nucleus_id].z_first == end.z_first
        assert [(e.z, e.reason) for e in answered if isinstance(e, AbsentCrop)] == list(end.absent)
        assert events.index(opened[nucleus_id]) < events.index(answered[0])
        assert events.index(end) > events.index(answered[-1])
    used: dict[OutlineRef, str] = {}
    for event in events:
        if isinstance(event, Crop) and event.kind == "detected":
            assert used.setdefault(event.source.before, event.nucleus_id) == event.nucleus_id


@settings(max_examples=10, deadline=None)
@given(stacks())
def test_a_state_written_and_read_at_every_slice_gives_the_same_events(slices: Slices) -> None:
    state = FollowerState()
    events: list[Event] = []
    for z in sorted(slices):
        written = state_to_bytes(state)
        assert state_to_bytes(state_from_bytes(written)) == written
        state, new = advance(state_from_bytes(written), z, slices[z], PARAMS)
        events += new
    events += finish(state_from_bytes(state_to_bytes(state)), PARAMS)[1]
    assert events == follow(slices)


@settings(max_examples=10, deadline=None)
@given(stacks(), st.integers(0, 99))
def test_what_is_said_up_to_a_slice_does_not_depend_on_later_ones(slices: Slices, end: int) -> None:
    until = {z: found for z, found in slices.items() if z <= end}
    events: dict[bool, list[Event]] = defaultdict(list)
    for whole in (True, False):
        state = FollowerState()
        for z in sorted(slices if whole else until):
            state, new = advance(state, z, slices[z], PARAMS)
            if z <= end:
                events[whole] += new
    assert events[True] == events[False]


@settings(max_examples=10, deadline=None)
@given(stacks())
def test_no_event_asks_for_a_slice_that_was_said_to_be_needed_no_more(slices: Slices) -> None:
    state = FollowerState()
    for z in sorted(slices):
        needed = earliest_needed_z(state, PARAMS) if z else 0
        state, events = advance(state, z, slices[z], PARAMS)
        for event in events:
            if isinstance(event, Crop):
                refs = [event.source.before, event.source.after, *event.neighbours]
                assert min([event.z, *(ref.z for ref in refs)]) >= needed


@settings(max_examples=10, deadline=None)
@given(stacks())
def test_the_order_of_the_outlines_in_a_slice_does_not_matter(slices: Slices) -> None:
    turned = {z: found if isinstance(found, Absent) else list(reversed(found)) for z, found in slices.items()}

    def summary(events: Sequence[Event]) -> list[object]:
        return [e if isinstance(e, Opened | Closed | AbsentCrop) else (e.nucleus_id, e.z, e.kind) for e in events]

    assert summary(follow(turned)) == summary(follow(slices))
