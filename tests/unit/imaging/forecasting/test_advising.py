"""Advice: what is complete, what stopping loses, which way the field must move, whether the computer keeps up."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.imaging.forecasting.advising import ClosedSoFar, OpenSoFar, Situation, advise
from services.imaging.forecasting.ends import Section, forecast_end
from services.imaging.forecasting.field import (
    NoPlacesError,
    Place,
    SideForecast,
    forecast_field,
    shift_that_keeps,
)
from services.imaging.forecasting.pace import PaceValueError, forecast_disk, forecast_pace
from services.imaging.forecasting.sizes import GERM_LINE, NucleusSize

FIELD_NM = (20_000.0, 10_000.0)
RADIUS_NM = 2050.0
LEAST_NM2 = 4.8e6


def radius_at(z_nm: float) -> float:
    return math.sqrt(max(0.0, RADIUS_NM**2 - z_nm**2))


def ball(
    nucleus_id: str,
    middle_nm: float,
    now_nm: float,
    centre_yx_nm: tuple[float, float] = (10_000.0, 5_000.0),
    lean_yx: tuple[float, float] = (0.0, 0.0),
) -> OpenSoFar:
    """Return a ball as it was seen in slices of 16 nm up to now; its middle moves by `lean_yx` nm per nm of depth."""
    sections, places = [], []
    for z in range(0, int(now_nm) + 1, 16):
        radius = radius_at(z - middle_nm)
        if math.pi * radius**2 < LEAST_NM2:
            continue
        y, x = (c + lean * (z - middle_nm) for c, lean in zip(centre_yx_nm, lean_yx, strict=True))
        sections.append(Section(float(z), math.pi * radius**2))
        places.append(Place(float(z), (y - radius, x - radius), (y + radius, x + radius)))
    missed = now_nm if now_nm - sections[-1].z_nm > 16 else None
    return OpenSoFar(nucleus_id, tuple(sections), tuple(places), missed)


def situation(*open_: OpenSoFar, now_nm: float, closed: tuple[ClosedSoFar, ...] = ()) -> Situation:
    return Situation(now_nm, (16.0, 16.0, 16.0), FIELD_NM, tuple(open_), closed, LEAST_NM2)


def test_going_on_until_the_half_milled_ones_have_ended_is_advised() -> None:
    found = advise(situation(ball("n0001", 2500.0, 4000.0), ball("n0002", 5000.0, 4000.0), now_nm=4000.0))
    assert [forecast.nucleus_id for forecast in found.open] == ["n0001", "n0002"]
    assert found.until is not None
    assert found.until.sure == 1
    assert 2500 + RADIUS_NM < found.until.z_nm < 2500 + RADIUS_NM + 150
    assert found.slices_to(found.until.z_nm) == math.ceil((found.until.z_nm - 4000.0) / 16.0)


def test_where_none_is_half_milled_all_are_waited_for() -> None:
    found = advise(situation(ball("n0001", 5000.0, 4200.0), ball("n0002", 5600.0, 4200.0), now_nm=4200.0))
    assert found.until is not None
    assert found.until.sure == 2


def test_stopping_later_never_completes_fewer_and_all_at_last() -> None:
    found = advise(situation(*(ball(f"n{k}", 3000.0 + 700 * k, 3400.0) for k in range(3)), now_nm=3400.0))
    expected = [stop.expected for stop in found.stops]
    assert expected == sorted(expected)
    assert [stop.z_nm for stop in found.stops] == sorted(stop.z_nm for stop in found.stops)
    assert found.stops[0].z_nm == 3400.0
    assert found.stops[-1].sure == 3
    assert found.stops[-1].lost_um3 < found.stops[0].lost_um3


def test_stopping_at_the_middle_loses_half_a_nucleus() -> None:
    found = advise(situation(ball("n0001", 2500.0, 2500.0), now_nm=2500.0))
    half = 2 / 3 * math.pi * RADIUS_NM**3 / 1e9
    assert found.stops[0].lost_um3 == pytest.approx(half, rel=0.05)
    assert found.stops[0].expected == 0.0


def test_a_nucleus_that_surely_has_ended_is_complete_before_it_is_closed() -> None:
    found = advise(situation(ball("n0001", 2500.0, 5200.0), now_nm=5200.0))
    assert found.complete == ("n0001",)
    assert (found.open, found.until) == ((), None)


def test_cut_nuclei_are_neither_waited_for_nor_complete() -> None:
    cut = dataclasses.replace(ball("n0002", 2500.0, 4000.0), cut_by=("x_max",))
    closed = (
        ClosedSoFar("n0003", NucleusSize(2000.0, 2000.0)),
        ClosedSoFar("n0004", NucleusSize(2000.0, 2000.0), ("z_min",)),
    )
    found = advise(situation(ball("n0001", 2500.0, 4000.0), cut, now_nm=4000.0, closed=closed))
    assert found.complete == ("n0003",)
    assert found.cut == ("n0002", "n0004")
    assert [forecast.nucleus_id for forecast in found.open] == ["n0001"]


def test_nothing_known_is_no_advice() -> None:
    found = advise(situation(now_nm=100.0))
    assert (found.complete, found.open, found.until) == ((), (), None)
    assert found.stops[0].expected == 0


# The field


@pytest.mark.parametrize("lean", [0.4, 0.6])
@pytest.mark.parametrize(
    ("axis", "sign", "side"), [(0, 1, "y_max"), (0, -1, "y_min"), (1, 1, "x_max"), (1, -1, "x_min")]
)
def test_a_leaning_nucleus_is_kept_by_the_shift_that_is_advised(axis: int, sign: int, side: str, lean: float) -> None:
    # Half milled, 100 nm inside the border, and on its way out until its sections have become small enough.
    centre, leans = [10_000.0, 5_000.0], [0.0, 0.0]
    centre[axis] = FIELD_NM[axis] - RADIUS_NM - 100 if sign > 0 else RADIUS_NM + 100
    leans[axis] = sign * lean
    nucleus = ball("n0001", 2500.0, 2500.0, (centre[0], centre[1]), (leans[0], leans[1]))
    found = advise(situation(nucleus, now_nm=2500.0))
    worst = found.open[0].worst_side
    assert worst is not None
    assert worst.side == side
    shift = (found.shift.y_nm, found.shift.x_nm)
    assert found.shift.keeps == ("n0001",)
    assert shift[1 - axis] == 0.0
    # How far it truly comes out: the farthest of all sections still to come.
    out = max(-100 + lean * d - (RADIUS_NM - radius_at(d)) for d in range(0, int(RADIUS_NM), 10))
    assert sign * shift[axis] > out
    assert sign * shift[axis] < out + 700


def test_a_nucleus_in_the_middle_of_the_field_asks_for_nothing() -> None:
    found = advise(situation(ball("n0001", 2500.0, 2600.0), now_nm=2600.0))
    assert found.open[0].worst_side is None
    assert (found.shift.y_nm, found.shift.x_nm, found.shift.keeps, found.shift.loses) == (0.0, 0.0, (), ())


def test_two_nuclei_at_opposite_sides_cannot_both_be_kept() -> None:
    sides = {
        "n0001": (SideForecast("x_max", 0.9, 4000.0, -350.0), SideForecast("x_min", 0.0, None, 5000.0)),
        "n0002": (SideForecast("x_min", 0.8, 4000.0, -200.0), SideForecast("x_max", 0.0, None, 5000.0)),
    }
    shift = shift_that_keeps(sides)
    assert (shift.y_nm, shift.x_nm) == (0.0, 0.0)
    assert shift.loses == ("n0001", "n0002")


def test_a_shift_that_would_lose_another_nucleus_is_not_advised() -> None:
    sides = {
        "n0001": (SideForecast("y_max", 0.9, 4000.0, -350.0),),
        "n0002": (SideForecast("y_min", 0.01, None, 100.0),),
    }
    assert shift_that_keeps(sides).loses == ("n0001",)


@settings(deadline=None, max_examples=20)
@given(st.floats(2300.0, 7700.0), st.floats(-0.2, 0.2))
def test_rooms_at_opposite_sides_add_up_to_no_more_than_the_field(x: float, lean: float) -> None:
    nucleus = ball("n0001", 2500.0, 2600.0, (10_000.0, x), (0.0, lean))
    end = forecast_end(nucleus.sections, GERM_LINE)
    by_side = {side.side: side for side in forecast_field(nucleus.places, end, FIELD_NM)}
    assert by_side["x_min"].room_nm + by_side["x_max"].room_nm < FIELD_NM[1] - 2 * RADIUS_NM + 200
    assert all(0 <= side.chance <= 1 for side in by_side.values())


def test_a_nucleus_seen_nowhere_leads_nowhere() -> None:
    nucleus = ball("n0001", 2500.0, 2600.0)
    with pytest.raises(NoPlacesError):
        forecast_field((), forecast_end(nucleus.sections, GERM_LINE), FIELD_NM)


# The computer


def test_a_backlog_is_worked_off_where_the_computer_is_faster() -> None:
    pace = forecast_pace({"a": 100.0, "b": 150.0}, 10, period_s=75.0, waiting=40, slices_to_go=10)
    # 25 s a slice: 40 wait for 1000 s, of which 10 slices of 75 s give back 500 s.
    assert (pace.seconds_per_slice, pace.backlog_s, pace.keeps_up) == (25.0, 1000.0, True)
    assert pace.done_after_s == pytest.approx(500.0)
    assert [stage.name for stage in pace.stages] == ["b", "a"]


def test_what_works_beside_the_others_does_not_add_to_them() -> None:
    pace = forecast_pace({"a": 100.0, "b": 150.0}, 10, period_s=75.0, at_once=("b",))
    assert pace.seconds_per_slice == 15.0


def test_without_a_period_nothing_is_claimed() -> None:
    pace = forecast_pace({"a": 100.0}, 10, period_s=None)
    assert (pace.keeps_up, pace.done_after_s, pace.stages[0].real_time_factor) == (None, None, None)
    assert forecast_pace({}, 0, period_s=75.0).keeps_up is None


def test_a_disk_of_a_run_that_took_nothing_is_not_forecast() -> None:
    assert forecast_disk(10**9, 0, 5, 75.0).slices is None
    assert forecast_disk(10**9, 10**8, 0, 75.0).slices is None
    assert forecast_disk(10**9, 10**8, 100, None).seconds is None


def test_impossible_times_and_sizes_are_refused() -> None:
    with pytest.raises(PaceValueError):
        forecast_pace({"a": -1.0}, 1, period_s=None)
    with pytest.raises(PaceValueError):
        forecast_disk(-1, 0, 0, None)
