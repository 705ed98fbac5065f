"""Notices: what changes in the advice is said once, in order, and taken back when it no longer holds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from services.imaging.forecasting.advising import ClosedSoFar, OpenSoFar, advise
from services.imaging.forecasting.notices import Notice, NoticeKind, notices
from services.imaging.forecasting.sizes import NucleusSize
from tests.unit.imaging.forecasting.test_advising import FIELD_NM, RADIUS_NM, ball, situation

VOXEL_NM = 16.0
TO_THE_RIGHT = 0.75


def noticed(*open_: OpenSoFar, now_nm: float, said: list[Notice], closed: tuple[ClosedSoFar, ...] = ()) -> list[Notice]:
    return said + notices(advise(situation(*open_, now_nm=now_nm, closed=closed)), said)


def kinds(said: list[Notice]) -> list[NoticeKind]:
    return [notice.kind for notice in said]


def at_the_border(now_nm: float) -> OpenSoFar:
    """Return a ball that leans towards the right border, and is cut by it if it goes on."""
    centre = (FIELD_NM[0] / 2, FIELD_NM[1] - RADIUS_NM - 500)
    return ball("n0001", 2500.0, now_nm, centre, (0.0, TO_THE_RIGHT))


def test_where_a_nucleus_ends_is_said_once_its_middle_was_milled() -> None:
    said: list[Notice] = []
    for now_nm in range(1200, 4400, 40):
        said = noticed(ball("n0001", 2500.0, now_nm), now_nm=now_nm, said=said)
    (told,) = said
    assert told.kind is NoticeKind.END_FORECAST
    assert abs(told.z * VOXEL_NM - 2500) < 800
    assert told.end_z is not None
    assert told.end_z[0] <= (2500 + RADIUS_NM) / VOXEL_NM <= told.end_z[2]
    assert f"near z {told.end_z[1]}" in told.text


def test_a_nucleus_about_to_leave_the_field_is_said_and_taken_back_when_it_stays() -> None:
    said: list[Notice] = []
    for now_nm in range(1200, 2000, 40):
        said = noticed(at_the_border(now_nm), now_nm=now_nm, said=said)
    assert kinds(said) == [NoticeKind.LEAVES_FIELD]
    assert "at the right" in said[0].text
    # The operator moves the field, so that it lies in the middle.
    moved = ball("n0001", 2500.0, 2000.0)
    said = noticed(moved, now_nm=2000.0, said=said)
    assert kinds(said) == [NoticeKind.LEAVES_FIELD, NoticeKind.STAYS_IN_FIELD]
    # And back again: it is said anew.
    assert kinds(noticed(at_the_border(2000.0), now_nm=2000.0, said=said))[2:] == [NoticeKind.LEAVES_FIELD]


def test_what_was_closed_is_complete_or_cut() -> None:
    size = NucleusSize(RADIUS_NM, RADIUS_NM)
    closed = (ClosedSoFar("n0001", size), ClosedSoFar("n0002", size, ("z_min",)))
    said = noticed(now_nm=9000.0, said=[], closed=closed)
    assert [(notice.nucleus_id, notice.kind) for notice in said] == [
        ("n0001", NoticeKind.COMPLETE),
        ("n0002", NoticeKind.CUT),
    ]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(1500, 6000), st.floats(2000, 18_000), st.floats(-0.8, 0.8)), max_size=4),
    st.floats(3000, 7000),
)
def test_the_same_advice_says_nothing_twice(places: list[tuple[float, float, float]], now_nm: float) -> None:
    nuclei = [
        ball(f"n{k:04d}", middle, now_nm, (y, 5000.0), (lean, 0.0))
        for k, (middle, y, lean) in enumerate(places)
        if middle - 1500 < now_nm
    ]
    said = noticed(*nuclei, now_nm=now_nm, said=[])
    assert noticed(*nuclei, now_nm=now_nm, said=said) == said
