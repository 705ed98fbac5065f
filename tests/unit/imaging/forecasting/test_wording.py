"""Advice in words says what the numbers say."""

from __future__ import annotations

import math

from services.imaging.forecasting.advising import Advice, ClosedSoFar, OpenSoFar, Situation, advise
from services.imaging.forecasting.ends import Section
from services.imaging.forecasting.field import Place
from services.imaging.forecasting.pace import forecast_disk, forecast_pace
from services.imaging.forecasting.sizes import NucleusSize
from services.imaging.forecasting.wording import as_json, sentences

RADIUS_NM = 2050.0


def advice(*middles_nm: float, now_nm: float = 4000.0, x_nm: float = 5000.0, lean: float = 0.0) -> Advice:
    found = []
    for number, middle in enumerate(middles_nm, start=1):
        sections, places = [], []
        for z in range(0, int(now_nm) + 1, 16):
            radius = math.sqrt(max(0.0, RADIUS_NM**2 - (z - middle) ** 2))
            if radius > 1240:
                x = x_nm + lean * (z - middle)
                sections.append(Section(float(z), math.pi * radius**2))
                places.append(Place(float(z), (5000 - radius, x - radius), (5000 + radius, x + radius)))
        found.append(OpenSoFar(f"n{number:04d}", tuple(sections), tuple(places)))
    closed = (ClosedSoFar("n0009", NucleusSize(2000.0, 2000.0)),)
    return advise(Situation(now_nm, (16.0, 16.0, 16.0), (10_000.0, 10_000.0), tuple(found), closed))


def test_nothing_open_is_no_reason_to_go_on() -> None:
    assert sentences(advice()) == [
        "No nucleus is open that could still be completed: stopping now loses none (1 nucleus complete)."
    ]


def test_one_open_nucleus_is_spoken_of_as_one() -> None:
    said = sentences(advice(3500.0))
    assert said[0].endswith("the open nucleus ends by then with 90 %.")
    assert " at " not in said[0]


def test_later_nuclei_are_told_of_beside_the_recommendation() -> None:
    said = " ".join(sentences(advice(3000.0, 5200.0), period_s=75.0))
    assert "1 of 2 open nuclei end by then" in said
    assert "All 2 open ones end within" in said


def test_a_plan_that_cuts_nuclei_is_said_to() -> None:
    said = sentences(advice(3500.0), planned_last_z=300)
    assert said[1].startswith("It is set to end at z 300: 0.0 of 1 open nuclei end by then; ")
    assert said[1].endswith(" more would complete all with 90 %.")


def test_the_shift_says_how_far_and_which_way() -> None:
    found = advice(4000.0, x_nm=10_000 - RADIUS_NM - 80, lean=0.5)
    said = " ".join(sentences(found))
    assert "n0001 is about to leave the field at the right" in said
    assert "towards greater x (right): it keeps n0001." in said
    assert as_json(found)["shift"]["x_nm"] == round(found.shift.x_nm) > 0


def test_the_computer_is_spoken_of_in_the_same_breath() -> None:
    slow = forecast_pace({"inference": 1000.0}, 10, period_s=75.0, slices_to_go=400)
    said = sentences(advice(), slow, forecast_disk(10**12, 10**9, 100, 75.0), period_s=75.0)
    assert said[1] == (
        "The computer needs 100 s for a slice, the microscope 75 s (slowest: inference, 0.8 x real time): "
        "it does not keep up, and ends 2 h 47 min after the last slice."
    )
    assert said[2] == "The disk has room for 100000 slices (86 d 19 h): 1000 GB free, 10 MB a slice."
