"""Profiles of detection hold the printed numbers, and refuse impossible ones."""

import dataclasses
import math

import pytest

from services.extract.profiles import (
    EXAMPLES,
    PROFILES,
    REFERENCE_VOXEL_NM,
    SOURCES,
    DetectionProfile,
    ProfileValueError,
    UnknownProfileError,
    get_profile,
)

PRINTED = PROFILES["manuscript"]


def test_the_printed_numbers_are_those_of_the_manuscript_at_its_voxel_size() -> None:
    assert PRINTED.blur_kernel_nm / REFERENCE_VOXEL_NM == 11
    assert PRINTED.gradient_kernel_nm / REFERENCE_VOXEL_NM == 7
    assert PRINTED.threshold_window_nm / REFERENCE_VOXEL_NM == 627
    assert PRINTED.min_area_um2 * 1e6 / REFERENCE_VOXEL_NM**2 == pytest.approx(300_000)
    assert PRINTED.max_area_um2 * 1e6 / REFERENCE_VOXEL_NM**2 == pytest.approx(800_000)


def test_what_was_printed_and_what_was_run_differ_in_the_gradient_alone() -> None:
    assert dataclasses.replace(PROFILES["as-run"], name="manuscript", gradient_repeats=1) == PRINTED


def test_the_source_of_every_number_of_the_printed_chain_is_said() -> None:
    assert set(SOURCES) <= {field.name for field in dataclasses.fields(DetectionProfile)}
    assert {"blur_kernel_nm", "threshold_offset_grey", "gradient_repeats", "max_area_um2"} <= set(SOURCES)


def test_profiles_are_found_by_the_name_they_bear() -> None:
    for name, profile in {**PROFILES, **EXAMPLES}.items():
        assert profile.name == name
        assert get_profile(name) is profile


def test_an_unknown_name_is_refused_and_the_known_ones_are_listed() -> None:
    with pytest.raises(UnknownProfileError, match="as-run, hela-40nm, hela-learned, manuscript, recommended"):
        get_profile("best")


@pytest.mark.parametrize(
    "change",
    [
        {"method": "guess"},
        {"method": "network"},
        {"network": "hela-40nm"},
        {"min_area_um2": 0.0},
        {"min_area_um2": 13.0, "max_area_um2": 12.0},
        {"smoothing_nm": -1.0},
        {"band_nm": math.nan},
        {"threshold_window_nm": math.inf},
        {"gradient_repeats": 0},
    ],
)
def test_impossible_settings_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ProfileValueError):
        dataclasses.replace(PRINTED, **change)  # type: ignore[arg-type]
