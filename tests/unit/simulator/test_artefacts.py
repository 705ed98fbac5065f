from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.simulator.artefacts import (
    ARTEFACT_NAMES,
    FAULT_NAMES,
    SPOILING_NAMES,
    Artefacts,
    ArtefactStrengthError,
    UnknownArtefactError,
    artefacts_from,
    parse_artefact,
)
from services.simulator.faults import planned_faults
from services.simulator.phantom import Phantom, PhantomSpec
from services.simulator.spoiling import planned_spoiling
from services.simulator.stage import stage_table

MakeSpec = Callable[..., PhantomSpec]

OF_THE_IMAGE = ("noise", "blur", "brightness", "defocus", "curtaining", "charging")
OF_THE_PLACE = ("drift", "jitter", "thickness", "glitches")
OF_FILES = ("missed", "out_of_order", "half_written", "blank")
OF_ONE_IMAGE = (
    "defocused",
    "astigmatic",
    "curtained",
    "charged",
    "saturated",
    "striped",
    "torn",
    "debris",
    "frozen",
)
FROM_ONE_SLICE_ON = ("brightness_step", "field_shift", "z_jump")


def test_every_artefact_is_of_one_kind() -> None:
    kinds = {*OF_THE_IMAGE, *OF_THE_PLACE, *OF_FILES, "restart", "repeated", *OF_ONE_IMAGE, *FROM_ONE_SLICE_ON}
    assert kinds == set(ARTEFACT_NAMES)
    assert {*OF_ONE_IMAGE, *FROM_ONE_SLICE_ON} == set(SPOILING_NAMES)
    assert set(FAULT_NAMES) == {*OF_FILES, "repeated"}


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(UnknownArtefactError, match=r"'wobble'.*all, spoilt, noise, blur, .*blank"):
        parse_artefact("wobble=2")


@pytest.mark.parametrize("text", ["drift=", "drift=much", "drift=-1", "drift=nan", "drift=inf"])
def test_a_strength_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ArtefactStrengthError, match="drift"):
        parse_artefact(text)


@given(st.sampled_from(ARTEFACT_NAMES), st.floats(0, 100))
def test_a_written_strength_is_read_back(name: str, strength: float) -> None:
    assert parse_artefact(f"{name}={strength!r}") == (name, strength)
    assert getattr(artefacts_from([f"{name}={strength!r}"]), name) == strength


def test_later_words_win_over_earlier_ones() -> None:
    assert artefacts_from(["all=0", "drift"]) == dataclasses.replace(artefacts_from(["all=0"]), drift=1.0)


def off_and_on(make_spec: MakeSpec, name: str) -> tuple[Phantom, Phantom]:
    off = make_spec(f"{name}=0", n_slices=60)
    on = dataclasses.replace(off, artefacts=dataclasses.replace(off.artefacts, **{name: 1.0}))
    return Phantom(off), Phantom(on)


def changed(off: Phantom, on: Phantom, z: int) -> tuple[bool, bool]:
    image = bool((off.slice(z) != on.slice(z)).any())
    return image, bool((off.truth(z).classes != on.truth(z).classes).any())


@pytest.mark.parametrize("name", OF_THE_IMAGE)
def test_artefacts_of_the_image_leave_the_truth_alone(make_spec: MakeSpec, name: str) -> None:
    off, on = off_and_on(make_spec, name)
    assert [changed(off, on, z) for z in (20, 40)] == [(True, False)] * 2


@pytest.mark.parametrize("name", OF_THE_PLACE)
def test_artefacts_of_the_place_change_what_is_seen_and_the_truth_with_it(make_spec: MakeSpec, name: str) -> None:
    off, on = off_and_on(make_spec, name)
    results = [changed(off, on, z) for z in range(20, 40)]
    assert (True, True) in results
    assert (False, True) not in results


@pytest.mark.parametrize("name", OF_FILES)
def test_faults_of_files_change_no_slice_of_the_phantom(make_spec: MakeSpec, name: str) -> None:
    off, on = off_and_on(make_spec, name)
    fault = next(z for z in range(60) if on.faults.of(z))
    assert on.faults.of(fault) == (name,)
    assert changed(off, on, fault) == (False, False)


def test_a_repeated_slice_shows_the_same_place_with_new_noise(make_spec: MakeSpec) -> None:
    phantom = Phantom(make_spec("repeated", "brightness=0", n_slices=60))
    z = min(phantom.faults.repeated)
    assert np.array_equal(phantom.truth(z).classes, phantom.truth(z - 1).classes)
    difference = phantom.slice(z).astype(float) - phantom.slice(z - 1)
    assert 8 < difference.std() < 16
    assert abs(difference.mean()) < 0.5
    assert phantom.stage.z_nm[z + 1] - phantom.stage.z_nm[z] == pytest.approx(64.0)


def test_a_restart_jumps_and_what_was_before_it_stays(make_spec: MakeSpec) -> None:
    off, on = off_and_on(make_spec, "restart")
    z = int(np.flatnonzero(on.stage.restarted)[0])
    assert changed(off, on, z - 1) == (False, False)
    assert changed(off, on, z) == (True, True)
    assert np.hypot(on.stage.dy_nm[z], on.stage.dx_nm[z]) > 10
    assert on.stage.beam_x_nm[z] > on.stage.beam_x_nm[min(z + 60, 59)] >= 4.0


def test_switching_one_artefact_on_moves_no_other() -> None:
    alone = stage_table(3, 200, 16.0, Artefacts(jitter=1.0))
    both = stage_table(3, 200, 16.0, Artefacts(jitter=1.0, thickness=1.0, defocus=1.0, charging=1.0))
    assert np.array_equal(alone.dx_nm, both.dx_nm)
    assert not np.array_equal(alone.z_nm, both.z_nm)
    assert np.array_equal(alone.gain, both.gain)


def test_strength_scales_the_size() -> None:
    once, twice = (stage_table(3, 200, 16.0, Artefacts(jitter=strength)) for strength in (1.0, 2.0))
    assert np.allclose(2 * once.dx_nm, twice.dx_nm)


def test_slices_are_thicker_and_thinner_but_never_go_back() -> None:
    table = stage_table(3, 4000, 16.0, Artefacts(thickness=1.0))
    steps = np.diff(table.z_nm)
    assert steps.min() >= 0
    assert steps.mean() == pytest.approx(16.0, rel=0.05)
    assert 2.0 < steps[50:].std() < 4.0


@given(st.integers(0, 2**32), st.integers(1, 400))
def test_no_slice_has_two_faults_and_each_kind_that_is_on_happens(seed: int, n_slices: int) -> None:
    faults = planned_faults(seed, n_slices, artefacts_from(["all"]))
    per_slice = [faults.of(z) for z in range(n_slices)]
    assert max(map(len, per_slice)) <= 1
    if n_slices >= 12:
        assert {name for names in per_slice for name in names} == set(FAULT_NAMES)


def test_nothing_goes_wrong_unless_asked_for() -> None:
    faults = planned_faults(1, 400, Artefacts())
    assert not any(faults.of(z) for z in range(400))


def unwarped(plane: NDArray[np.uint8], phantom: Phantom, z: int) -> NDArray[np.uint8]:
    """Put the pixels of a raw plane back where the stage's table says they belong."""
    pose, voxel = phantom.stage.pose(z), phantom.spec.voxel_nm
    height, width = plane.shape
    middle = np.array([(height - 1) / 2, (width - 1) / 2])[:, None]
    turn = pose.scale * np.array(
        [
            [np.cos(pose.rotation), np.sin(pose.rotation)],
            [pose.shear / pose.scale - np.sin(pose.rotation), np.cos(pose.rotation)],
        ]
    )
    places = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij")).reshape(2, -1)
    shift = np.array([pose.dy_nm, pose.dx_nm])[:, None] / voxel
    y, x = np.rint(np.linalg.inv(turn) @ (places - middle - shift) + middle).astype(int)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    out = np.full(height * width, 255, dtype=np.uint8)
    out[inside] = plane[y[inside], x[inside]]
    return out.reshape(height, width)


def test_truth_lies_in_the_raw_frame_within_a_pixel(make_spec: MakeSpec) -> None:
    straight = Phantom(make_spec(n_slices=60))
    moved = Phantom(make_spec("drift=3", "jitter=6", n_slices=60))
    shifts = []
    for z in range(20, 40, 4):
        still, raw = straight.truth(z).nuclei > 0, moved.truth(z).nuclei > 0
        back = unwarped(raw.astype(np.uint8), moved, z)
        wrong = (back != still) & (back != 255)
        # Only pixels next to the envelope may differ, by the rounding to whole pixels.
        spread = np.zeros_like(still)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                spread |= np.roll(still, (dy, dx), axis=(0, 1)) != still
        assert not (wrong & ~spread).any()
        shifts.append((raw != still).mean())
    assert max(shifts) > 0.01


def correlation(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.corrcoef(one.ravel().astype(float), other.ravel().astype(float))[0, 1])


@pytest.mark.slow
def test_neighbours_at_4_nm_correlate_as_in_real_acquisitions() -> None:
    spec = PhantomSpec(seed=12, voxel_nm=4.0, n_nuclei=1, shape_yx_px=(900, 1700), n_slices=1600)
    aligned, shaken = Phantom(spec), Phantom(dataclasses.replace(spec, artefacts=Artefacts(jitter=1.0)))
    still = [aligned.slice(z) for z in (700, 701, 702)]
    assert np.mean([correlation(a, b) for a, b in itertools.pairwise(still)]) == pytest.approx(0.87, abs=0.02)
    raw = [shaken.slice(z) for z in range(600, 626)]
    values = [correlation(a, b) for a, b in itertools.pairwise(raw)]
    assert np.mean(values) == pytest.approx(0.61, abs=0.05)
    assert np.std(values) == pytest.approx(0.085, abs=0.03)


@pytest.mark.parametrize("name", OF_ONE_IMAGE)
def test_a_fault_of_one_image_changes_no_other(make_spec: MakeSpec, name: str) -> None:
    off, on = off_and_on(make_spec, name)
    (z,) = on.spoilt.of(name)
    assert on.spoilt.at(z) == name
    assert [changed(off, on, k)[0] for k in (z - 1, z, z + 1)] == [False, True, False]


@pytest.mark.parametrize("name", FROM_ONE_SLICE_ON)
def test_what_begins_at_a_slice_stays(make_spec: MakeSpec, name: str) -> None:
    off, on = off_and_on(make_spec, name)
    (z,) = on.spoilt.of(name)
    assert [changed(off, on, k)[0] for k in (z - 1, z, z + 1, 59)] == [False, True, True, True]


def test_a_frozen_slice_is_the_one_before_it_to_the_last_pixel(make_spec: MakeSpec) -> None:
    phantom = Phantom(make_spec("frozen", n_slices=60))
    (z,) = phantom.spoilt.of("frozen")
    assert np.array_equal(phantom.slice(z), phantom.slice(z - 1))
    assert not np.array_equal(phantom.truth(z).classes, phantom.truth(z - 1).classes)


def test_the_word_all_means_what_it_meant_before_there_were_faults_of_single_slices() -> None:
    strengths = artefacts_from(["all"])
    assert {name for name in ARTEFACT_NAMES if getattr(strengths, name) == 0} == set(SPOILING_NAMES)
    assert all(getattr(artefacts_from(["spoilt=0.5"]), name) == 0.5 for name in SPOILING_NAMES)


def test_a_slice_is_spoilt_in_one_way_only() -> None:
    phantom_slices = [planned_spoiling(seed, 200, artefacts_from(["spoilt"])).slices for seed in range(5)]
    assert all(len({z for _, z in slices}) == len(slices) >= len(SPOILING_NAMES) for slices in phantom_slices)
    assert all(0 < z < 199 for slices in phantom_slices for _, z in slices)
