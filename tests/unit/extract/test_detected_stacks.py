"""Drawn slices, one behind the other: what touches, leans, leaves or jumps is still one nucleus each."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from services.extract.contours import fill_polygon
from services.extract.crops import window
from services.extract.detection import detect
from services.extract.events import Absent, Closed, Crop, Event
from services.extract.following import advance, finish
from services.extract.masks import INSIDE, mask_plane, resolve_outline
from services.extract.outlines import Outline
from services.extract.profiles import PROFILES
from services.extract.tracks import FollowerState, FollowingParams, OutlineRef

VOXEL_NM = 40.0
FIELD = (250, 320)
RADIUS_NM = 2000.0
PARAMS = FollowingParams(voxel_zyx_nm=(VOXEL_NM, VOXEL_NM, VOXEL_NM), confirm_nm=120.0)

Draw = Callable[..., npt.NDArray[np.uint8]]
Make = Callable[..., object]
Place = tuple[float, float, float]
Found = list[Sequence[Outline] | Absent]


def section_nm(depth_nm: float) -> float:
    """Radius of a ball's section at a distance from its middle."""
    return math.sqrt(max(0.0, RADIUS_NM**2 - depth_nm**2))


def found_in(draw: Draw, make_nucleus: Make, places: Sequence[Sequence[Place]]) -> Found:
    """Detect in slices drawn with nuclei at (y, x, radius) nm."""
    stack: Found = []
    for seed, nuclei in enumerate(places):
        discs = [make_nucleus(*place) for place in nuclei if place[2] > 1000]
        grey = draw(*discs, shape=FIELD, voxel_nm=VOXEL_NM, noise=5.0, seed=seed)
        stack.append(detect(grey, PROFILES["recommended"], (VOXEL_NM, VOXEL_NM)))
    return stack


def followed(stack: Found) -> list[Event]:
    state = FollowerState()
    events: list[Event] = []
    for z, found in enumerate(stack):
        state, new = advance(state, z, found, PARAMS)
        events += new
    return [*events, *finish(state, PARAMS)[1]]


def ids(events: Sequence[Event]) -> list[str]:
    return [event.nucleus_id for event in events if isinstance(event, Closed)]


def outline_of(event: Crop, stack: Found) -> Outline:
    def load(ref: OutlineRef) -> Outline:
        found = stack[ref.z]
        assert not isinstance(found, Absent)
        return found[ref.index]

    return resolve_outline(event.source, load, FIELD)


def detected(events: Sequence[Event], nucleus_id: str) -> list[Crop]:
    return [e for e in events if isinstance(e, Crop) and e.nucleus_id == nucleus_id and e.kind == "detected"]


def leaning(lean: float, count: int = 66) -> list[list[Place]]:
    """Places of a ball whose middle moves by ``lean`` nm along x for every nm of depth."""
    depths = [(z - count / 2) * VOXEL_NM for z in range(count)]
    return [[(5000.0, 6000.0 + lean * depth, section_nm(depth))] for depth in depths]


def test_volume_and_window_follow_a_nucleus_that_leans(draw: Draw, make_nucleus: Make) -> None:
    lean = 0.9
    upright = found_in(draw, make_nucleus, leaning(0.0))
    stack = found_in(draw, make_nucleus, leaning(lean))
    straight, events = followed(upright), followed(stack)
    assert ids(straight) == ids(events) == ["n0001"]
    areas = [
        sum(outline_of(e, s).area_px for e in detected(ev, "n0001")) for ev, s in ((straight, upright), (events, stack))
    ]
    assert areas[1] == pytest.approx(areas[0], rel=0.03)
    for event in detected(events, "n0001"):
        outline = outline_of(event, stack)
        origin, shape = window(outline.centroid_yx_px, (130, 130), FIELD)
        true_x = 6000.0 / VOXEL_NM + lean * (event.z - 33)
        assert origin[1] + shape[1] / 2 == pytest.approx(true_x, abs=4)
        box = outline.bbox_yx_px
        assert origin[0] <= box[0]
        assert origin[1] <= box[1]
        assert box[2] <= origin[0] + shape[0]
        assert box[3] <= origin[1] + shape[1]
        inside = mask_plane(outline, [], (origin, shape)) == INSIDE
        assert inside.sum() == fill_polygon(outline.polygon_yx_px, (0, 0), FIELD).sum()


def test_nuclei_that_touch_all_the_way_are_two(draw: Draw, make_nucleus: Make) -> None:
    depths = [(z - 12) * 2 * VOXEL_NM for z in range(24)]
    places = [[(5000.0, 4200.0, section_nm(d)), (5000.0, 4200.0 + 2 * RADIUS_NM + 30, section_nm(d))] for d in depths]
    stack = found_in(draw, make_nucleus, places)
    assert ids(followed(stack)) == ["n0001", "n0002"]


def test_a_nucleus_that_leaves_the_field_is_followed_to_the_end_and_marked(draw: Draw, make_nucleus: Make) -> None:
    places = [[(5000.0, 3000.0 - 110.0 * z, RADIUS_NM - 100)] for z in range(40)]
    stack = found_in(draw, make_nucleus, places)
    events = followed(stack)
    (end,) = [event for event in events if isinstance(event, Closed)]
    assert "x_min" in end.clipped
    assert "z_min" in end.clipped
    last = detected(events, "n0001")[-1]
    assert outline_of(last, stack).border_sides == ("x_min",)
    assert last.z > 25  # by then its middle has been outside the field for some slices


def test_a_nucleus_that_becomes_two_goes_on_in_one_of_them_and_the_other_is_new(draw: Draw, make_nucleus: Make) -> None:
    """Two nuclei one above the other whose ends overlap: no outline of either is given to the other."""
    whole = [[(5000.0, 6000.0, 1900.0)] for _ in range(15)]
    halves = [[(5000.0, 4800.0, 1500.0), (5000.0, 7900.0, 1500.0)] for _ in range(20)]
    events = followed(found_in(draw, make_nucleus, [*whole, *halves]))
    assert sorted(ids(events)) == ["n0001", "n0002"]
    by_slice: dict[int, list[str]] = {}
    for name in ("n0001", "n0002"):
        for event in detected(events, name):
            by_slice.setdefault(event.z, []).append(name)
    assert all(names == ["n0001"] for z, names in by_slice.items() if z < 15)
    assert all(sorted(names) == ["n0001", "n0002"] for z, names in by_slice.items() if z >= 15)


def test_a_vacuole_or_nucleolus_within_a_nucleus_is_not_a_second_one(
    draw: Draw, make_nucleus: Make, make_disc: Make
) -> None:
    for inside in (130.0, 235.0):
        within = make_disc(5200.0, 6200.0, 900.0, 950.0, inside)
        grey = draw(make_nucleus(5000.0, 6000.0, 2100.0), within, shape=FIELD, voxel_nm=VOXEL_NM, noise=5.0)
        found = detect(grey, PROFILES["recommended"], (VOXEL_NM, VOXEL_NM))
        assert len(found) == 1
        assert found[0].area_px == pytest.approx(math.pi * (2123 / VOXEL_NM) ** 2, rel=0.1)


def test_the_two_sides_of_a_printed_edge_are_one_nucleus_after_following(draw: Draw, make_nucleus: Make) -> None:
    """The manuscript's chain draws edges, and every edge has an outer and an inner contour."""
    profile = PROFILES["manuscript"]
    stack: Found = []
    for seed in range(8):
        grey = draw(make_nucleus(3000.0, 3200.0), shape=(380, 400), noise=4.0, seed=seed)
        stack.append(detect(grey, profile, (16.0, 16.0)))
    assert max(len(found) for found in stack if not isinstance(found, Absent)) >= 2
    params = FollowingParams(voxel_zyx_nm=(40.0, 16.0, 16.0), confirm_nm=120.0)
    state = FollowerState()
    events: list[Event] = []
    for z, found in enumerate(stack):
        state, new = advance(state, z, found, params)
        events += new
    events += finish(state, params)[1]
    assert ids(events) == ["n0001"]


def _neighbours(count: int, shift: Callable[[int], tuple[float, float]]) -> list[list[Place]]:
    places = []
    for z in range(count):
        dy, dx = shift(z)
        places.append([(5000.0 + dy, 3500.0 + dx, 1800.0), (5000.0 + dy, 8400.0 + dx, 1800.0)])
    return places


@pytest.mark.parametrize(
    "shift",
    [
        pytest.param(lambda z: (0.0, 20.0 * z), id="drift of half a voxel per slice"),
        pytest.param(lambda z: (400.0 * (z >= 12), 800.0 * (z >= 12)), id="a jump of 0.9 um"),
        pytest.param(lambda z: (60.0 * (-1) ** z, 40.0 * math.sin(z)), id="jitter"),
    ],
)
def test_neighbours_keep_their_ids_when_the_whole_field_moves(
    draw: Draw, make_nucleus: Make, shift: Callable[[int], tuple[float, float]]
) -> None:
    stack = found_in(draw, make_nucleus, _neighbours(22, shift))
    events = followed(stack)
    assert ids(events) == ["n0001", "n0002"]
    for name in ("n0001", "n0002"):
        seen = [(event.z, outline_of(event, stack).centroid_yx_px[1]) for event in detected(events, name)]
        assert [z for z, _ in seen] == list(range(22))
        start_px = seen[0][1] - shift(0)[1] / VOXEL_NM
        for z, x in seen:
            assert x - shift(z)[1] / VOXEL_NM == pytest.approx(start_px, abs=4)


def test_ids_stay_when_slices_are_lost_at_the_very_jump(draw: Draw, make_nucleus: Make) -> None:
    stack = found_in(draw, make_nucleus, _neighbours(22, lambda z: (0.0, 800.0 * (z >= 14))))
    stack[12:15] = [Absent("MISSING")] * 3
    stack[18:20] = [(), ()]  # and nothing is found in two more
    events = followed(stack)
    assert ids(events) == ["n0001", "n0002"]
    kinds = [e.kind for e in events if isinstance(e, Crop) and e.nucleus_id == "n0001" and e.z in (18, 19)]
    assert kinds == ["bridged", "bridged"]
