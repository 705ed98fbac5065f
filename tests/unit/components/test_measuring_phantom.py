"""The phantom's own truth against what is measured on its labels."""

from __future__ import annotations

import pytest

from services.simulator.anatomy import Anatomy
from tests.support.phantom_nucleus import MeasuredPhantom, measured_phantom

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def phantom() -> MeasuredPhantom:
    # Two thirds of a nucleus's radius, and complexes to fit it, keep this to a minute.
    small = Anatomy(
        nucleus_radius_nm=1500, nucleus_radius_sd_nm=50, nucleolus_radius_nm=650, nucleolus_radius_sd_nm=40,
        sc_lengths_nm=(3200.0, 3200.0, 3200.0, 3200.0, 3200.0, 1800.0),
    )  # fmt: skip
    return measured_phantom(16.0, seed=3, anatomy=small)


def test_every_complex_is_as_long_as_it_was_made(phantom: MeasuredPhantom) -> None:
    found = {track.chromosome: track.length_um for track in phantom.measured.tracks}
    # The painted complex goes 16 nm beyond the first and the last sample of its line.
    exact = {number: length + 0.032 for number, length in enumerate(phantom.sc_lengths_um, start=1)}
    assert found == pytest.approx(exact, abs=0.035)


def test_the_nucleus_has_the_volume_of_its_formula(phantom: MeasuredPhantom) -> None:
    row = phantom.measured
    assert row.volume_low_um3 is not None
    assert row.volume_high_um3 is not None
    assert row.volume_low_um3 < phantom.volume_um3 < row.volume_high_um3
    assert row.nucleolus_fraction == pytest.approx(phantom.nucleolus_um3 / phantom.volume_um3, rel=0.02)
    assert row.envelope_thickness_um == pytest.approx(phantom.anatomy.envelope_nm / 1000, abs=0.003)


def test_the_complexes_are_the_ribbons_of_the_anatomy(phantom: MeasuredPhantom) -> None:
    for track in phantom.measured.tracks:
        assert track.width_um == pytest.approx(phantom.anatomy.sc_width_nm / 1000, abs=0.005)
        assert track.thickness_um == pytest.approx(phantom.anatomy.sc_thickness_nm / 1000, abs=0.005)
        assert track.twist_pitch_um == pytest.approx(2 * phantom.anatomy.twist_nm / 1000, rel=0.05)


def test_each_complex_has_its_knob(phantom: MeasuredPhantom) -> None:
    assert [track.swellings for track in phantom.measured.tracks] == [1] * 6


def test_the_nucleus_is_told_to_be_pachytene_and_its_envelope_closed(phantom: MeasuredPhantom) -> None:
    assert phantom.measured.stage == "pachytene"
    states = {check.check: check.state for check in phantom.measured.checks}
    assert states["envelope_closed"] == states["nucleolus_inside"] == states["sc_in_chromatin"] == "passed"
