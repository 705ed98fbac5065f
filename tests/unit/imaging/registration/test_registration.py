"""Slices are laid on one another to a fraction of a pixel, whatever is wrong with some of them."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.imaging.registration.affine import IDENTITY, Affine, SingularMapError
from services.imaging.registration.features import matched
from services.imaging.registration.graph import extended, solved
from services.imaging.registration.pairs import Link, Registrable, register_pair
from services.imaging.registration.planes import EmptyPlaneError, Pyramid, reduced, reduction_of
from services.imaging.registration.refinement import refine
from services.imaging.registration.solution import refined, ruled
from services.imaging.registration.stream import (
    Registered,
    RegistrarState,
    RegistrationOrderError,
    RegistrationParams,
    RegistrationValueError,
    place,
    registered_all,
    skip,
)
from services.imaging.registration.trend import jumps_of, parted

Plane = npt.NDArray[np.uint8]
SHAPE = (110, 150)
MARGIN = 40


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(1)


def tissue(seed: int = 0, mix: float = 0.0) -> npt.NDArray[np.float32]:
    """Draw texture of several sizes, wider than a slice; `mix` of it is other tissue."""
    shape = (SHAPE[0] + 2 * MARGIN, SHAPE[1] + 2 * MARGIN)
    drawn = np.zeros(shape, np.float32)
    for size in (1.5, 4.0, 9.0):
        layers = [np.random.default_rng([seed + k, int(10 * size)]).normal(0, 1, shape) for k in (0, 1)]
        smooth = cv2.GaussianBlur((1 - mix) * layers[0] + mix * layers[1], (0, 0), size)
        drawn += (smooth / smooth.std()).astype(np.float32)
    return 128 + 22 * drawn


def seen(wide: npt.NDArray[np.float32], stage: Affine, noise: int | None = None) -> Plane:
    """Show tissue as a slice whose pixel p lies at stage(p) of it, both counted from the middle."""
    to_wide = stage.about(((SHAPE[0] - 1) / 2, (SHAPE[1] - 1) / 2))
    matrix = np.array(
        [[to_wide.xx, to_wide.xy, to_wide.shift_x + MARGIN], [to_wide.yx, to_wide.yy, to_wide.shift_y + MARGIN]]
    )
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    shown = cv2.warpAffine(wide, matrix, SHAPE[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT)
    if noise is not None:
        shown = shown + np.random.default_rng(noise).normal(0, 8, SHAPE)
    return np.clip(np.rint(shown), 0, 255).astype(np.uint8)


def off_px(found: Affine, stage: Affine) -> float:
    """Return how far a place is from the truth at the corners, at most."""
    y, x = (SHAPE[0] - 1) / 2, (SHAPE[1] - 1) / 2
    corners = np.array([[-y, -x], [-y, x], [y, -x], [y, x]])
    return float(np.hypot(*(found.points(corners) - stage.points(corners)).T).max())


maps = st.builds(
    Affine,
    *(st.floats(0.8, 1.2), st.floats(-0.2, 0.2), st.floats(-0.2, 0.2), st.floats(0.8, 1.2)),
    *(st.floats(-50, 50), st.floats(-50, 50)),
)


@given(maps, maps, st.tuples(st.floats(-9, 9), st.floats(-9, 9)))
def test_a_map_after_another_is_one_after_the_other(one: Affine, other: Affine, point: tuple[float, float]) -> None:
    assert one.after(other).point(point) == pytest.approx(one.point(other.point(point)))
    assert one.inverse().point(one.point(point)) == pytest.approx(point, abs=1e-6)


@given(maps, st.integers(1, 9), st.tuples(st.integers(0, 50), st.integers(0, 50)))
def test_a_map_of_blocks_moves_their_middles_alike(one: Affine, factor: int, block: tuple[int, int]) -> None:
    def middle(place: tuple[float, float]) -> tuple[float, float]:
        return (factor * place[0] + (factor - 1) / 2, factor * place[1] + (factor - 1) / 2)

    assert one.magnified(factor).point(middle(block)) == pytest.approx(middle(one.point(block)), abs=1e-6)


def test_a_map_onto_a_line_has_no_inverse() -> None:
    with pytest.raises(SingularMapError, match="no inverse"):
        Affine(yy=0.0).inverse()


def test_large_slices_are_reduced_to_one_size() -> None:
    assert reduction_of((5000, 2500)) == 6
    assert reduced(np.zeros((5000, 2500), np.uint8), 6).shape == (833, 416)


def test_a_slice_of_one_grey_or_of_no_size_is_refused() -> None:
    with pytest.raises(EmptyPlaneError, match="one grey"):
        Pyramid(np.full((64, 64), 7, np.uint8))
    with pytest.raises(EmptyPlaneError, match="too small"):
        Pyramid(np.zeros((8, 64), np.uint8))


@settings(max_examples=12, deadline=None)
@given(st.floats(-6, 6), st.floats(-6, 6), st.integers(0, 3))
def test_a_known_shift_is_found_to_a_twentieth_of_a_pixel(y: float, x: float, seed: int) -> None:
    stage = Affine(shift_y=y, shift_x=x)
    fixed, moving = (Pyramid(seen(tissue(seed), where, noise=k)) for k, where in enumerate((IDENTITY, stage)))
    assert off_px(refine(fixed, moving, "translation").to_fixed, stage) < 0.05


@pytest.mark.parametrize(
    ("model", "stage"),
    [
        ("rigid", Affine(0.9998, -0.02, 0.02, 0.9998, 2.0, -3.5)),
        ("affine", Affine(1.01, 0.004, -0.006, 0.992, -2.5, 3.0)),
    ],
)
def test_turned_and_stretched_slices_are_found(model: str, stage: Affine) -> None:
    fixed, moving = (Pyramid(seen(tissue(), where, noise=k)) for k, where in enumerate((IDENTITY, stage)))
    assert off_px(refine(fixed, moving, model).to_fixed, stage) < 0.3  # type: ignore[arg-type]
    assert off_px(refine(fixed, moving, "translation").to_fixed, stage) > 0.5


def test_features_find_a_jump_that_looking_near_by_does_not() -> None:
    stage = Affine(0.995, -0.1, 0.1, 0.995, 31.0, -34.0)
    fixed, moving = (Registrable(seen(tissue(), where, noise=k)) for k, where in enumerate((IDENTITY, stage)))
    found = register_pair(fixed, moving, "rigid")
    assert found is not None
    fit, by_features = found
    assert by_features
    assert off_px(fit.to_fixed, stage) < 1.0


def test_slices_of_different_tissue_agree_nowhere() -> None:
    first, second = (Registrable(seen(tissue(seed), IDENTITY, noise=seed)) for seed in (0, 40))
    assert register_pair(first, second, "affine") is None
    assert matched(first.features, second.features) is None


def test_other_brightness_and_contrast_change_no_place() -> None:
    stage = Affine(shift_y=2.25, shift_x=-1.5)
    bright = np.clip(0.6 * seen(tissue(), stage).astype(float) + 70, 0, 255).astype(np.uint8)
    found = refine(Pyramid(seen(tissue(), IDENTITY)), Pyramid(bright), "translation")
    assert off_px(found.to_fixed, stage) < 0.05


# Stacks


def stack(stages: list[Affine], change: float = 0.02, bad: dict[int, Plane] | None = None) -> dict[int, Registrable]:
    planes = {z: seen(tissue(0, min(0.4, change * z)), stage, noise=z) for z, stage in enumerate(stages)}
    return {z: Registrable(plane) for z, plane in (planes | (bad or {})).items()}


def wandering(n: int, seed: int = 2, jump_z: int | None = None) -> list[Affine]:
    steps = np.random.default_rng(seed).normal(0, 2.5, (n, 2)) + np.outer(np.arange(n), (0.2, -0.1))
    steps -= steps[0]
    if jump_z is not None:
        steps[jump_z:] += (22.0, -27.0)
    return [Affine(shift_y=float(y), shift_x=float(x)) for y, x in steps]


def rms_px(found: dict[int, Affine], stages: list[Affine], without: tuple[int, ...] = ()) -> float:
    zs = [z for z in found if z not in without]
    off = np.array([
        (found[z].shift_y - stages[z].shift_y, found[z].shift_x - stages[z].shift_x) for z in zs
    ])  # fmt: skip
    off -= off.mean(axis=0)
    return float(np.sqrt((off**2).sum(axis=1).mean()))


ZERO = RegistrationParams(model="translation", trend="zero", delay=3)


def test_a_stack_with_drift_jitter_and_a_jump_is_straightened_to_half_a_pixel() -> None:
    stages = wandering(24, jump_z=13)
    found, _ = registered_all(stack(stages), ZERO)
    assert rms_px({z: one.final for z, one in found.items()}, stages) < 0.3
    assert rms_px({z: one.first for z, one in found.items()}, stages) < 0.3


def test_blank_repeated_and_foreign_slices_are_stepped_over() -> None:
    stages = wandering(16)
    planes = stack(stages, bad={6: seen(tissue(90), IDENTITY), 10: seen(tissue(0, 0.18), stages[9], noise=9)})
    del planes[3]
    found, _ = registered_all(planes, ZERO)
    assert sorted(found) == sorted(planes)
    assert not found[6].linked
    assert found[6].final == pytest.approx(found[5].final) or found[6].ncc == 0
    assert rms_px({z: one.final for z, one in found.items()}, stages, without=(6, 10)) < 0.3
    assert rms_px({9: found[9].final, 10: found[10].final}, [IDENTITY] * 16) < 0.3


def test_after_a_lasting_change_slices_agree_with_one_another_again() -> None:
    stages = wandering(14)
    other = {z: seen(tissue(70), stages[z], noise=z) for z in range(7, 14)}
    found, _ = registered_all(stack(stages, bad=other), ZERO)
    assert [z for z, one in found.items() if not one.linked] == [7]
    assert rms_px({z: found[z].final for z in range(7, 14)}, stages) < 0.3


def test_the_same_slices_give_the_same_places_wherever_the_state_was_kept() -> None:
    stages = wandering(10)
    once, _ = registered_all(stack(stages), ZERO)
    again, _ = registered_all(stack(stages), ZERO)
    assert once == again


def test_the_number_of_threads_changes_no_place() -> None:
    planes = stack(wandering(6, jump_z=3))
    once, links = registered_all(planes, ZERO)
    cv2.setNumThreads(4)
    again, same_links = registered_all(stack(wandering(6, jump_z=3)), ZERO)
    assert once == again
    assert links == same_links
    assert any(link.by_features for link in links)


def test_a_longer_delay_changes_no_first_place() -> None:
    stages = wandering(12)
    soon, late = (
        registered_all(stack(stages), RegistrationParams("translation", "zero", delay=delay))[0] for delay in (0, 5)
    )
    assert {z: one.first for z, one in soon.items()} == {z: one.first for z, one in late.items()}


def test_a_slope_is_kept_where_the_rule_says_so_and_taken_out_where_it_does_not() -> None:
    leaning = [Affine(shift_y=-0.5 * z, shift_x=0.25 * z) for z in range(40)]
    planes = stack(leaning, change=0.005)
    kept, _ = registered_all(planes, RegistrationParams("translation", "kept", delay=2))
    drift, _ = registered_all(planes, RegistrationParams("translation", "zero", delay=2))
    assert rms_px({z: one.final for z, one in kept.items()}, [IDENTITY] * 40) < 0.2
    slope = (drift[39].final.shift_y - drift[0].final.shift_y) / 39
    assert slope == pytest.approx(-0.5, rel=0.02)


def test_a_jump_is_taken_out_although_the_slope_is_kept() -> None:
    stages = [Affine(shift_y=0.3 * z + (20.0 if z >= 15 else 0.0)) for z in range(30)]
    found, _ = registered_all(stack(stages), RegistrationParams("translation", "kept", delay=4))
    jumped = [Affine(shift_y=20.0 if z >= 15 else 0.0) for z in range(30)]
    assert rms_px({z: one.final for z, one in found.items()}, jumped) < 0.4


def test_slices_must_come_in_turn() -> None:
    state, _ = skip(RegistrarState(), 4, ZERO)
    with pytest.raises(RegistrationOrderError, match="waits for slice 5"):
        place(state, 7, (), ZERO, 90.0)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(RegistrationValueError, match="delay"):
        RegistrationParams(delay=-1)


def firsts_of(found: dict[int, Registered]) -> dict[int, Affine]:
    return {z: one.first for z, one in found.items()}


def test_the_solution_of_the_end_holds_every_link_at_once() -> None:
    stages = wandering(20, jump_z=9)
    found, links = registered_all(stack(stages), ZERO)
    places = refined(firsts_of(found), links, 90.0)
    assert sorted(places) == list(range(20))
    assert rms_px(places, stages) < 0.3
    before = sum(off_px(found[link.fixed_z].first.after(link.to_fixed), found[link.moving_z].first) for link in links)
    after = sum(off_px(places[link.fixed_z].after(link.to_fixed), places[link.moving_z]) for link in links)
    assert after <= before + 1e-6


def test_in_the_solution_of_the_end_a_slice_that_agrees_with_none_goes_with_the_one_before_it() -> None:
    truth, links = chain(12, back=(1, 2, 4))
    firsts = truth | {z: Affine(shift_y=9.0).after(truth[z]) for z in range(5, 12)} | {7: Affine(shift_y=33.0)}
    places = refined(firsts, [link for link in links if 7 not in (link.fixed_z, link.moving_z)], 90.0)
    assert off_px(places[7], places[6].after(firsts[6].inverse().after(firsts[7]))) < 0.01
    assert all(off_px(places[z], truth[z]) < 0.1 for z in places if z != 7)


def test_in_the_solution_of_the_end_the_slow_part_is_read_from_both_sides() -> None:
    bend = {z: Affine(shift_y=0.05 * (z - 40) ** 2 / 4) for z in range(80)}
    jitter = {z: Affine(shift_y=1.5 * (-1) ** z).after(bend[z]) for z in bend}
    params = RegistrationParams("translation", "kept", window=36, jump_px=20.0)
    left = {z: place.inverse().after(jitter[z]) for z, place in ruled(jitter, params).items()}
    assert max(abs(left[z].shift_y - bend[z].shift_y) for z in range(4, 76)) < 0.4


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 90), st.floats(-3, 3), st.floats(-3, 3), st.integers(0, 99), st.integers(3, 64))
def test_by_the_rule_kept_a_straight_slope_stays_and_by_zero_it_goes(
    count: int, slope_y: float, slope_x: float, first_z: int, window: int
) -> None:
    leaning = {first_z + z: Affine(shift_y=slope_y * z, shift_x=slope_x * z) for z in range(count)}
    kept = ruled(leaning, RegistrationParams("translation", "kept", window=window))
    drift = ruled(leaning, RegistrationParams("translation", "zero", window=window))
    assert all(off_px(kept[z], IDENTITY) < 1e-6 for z in leaning)
    assert all(off_px(drift[z], leaning[z]) < 1e-6 for z in leaning)


# The graph


def chain(n: int, back: tuple[int, ...] = (1, 2)) -> tuple[dict[int, Affine], list[Link]]:
    truth = {z: Affine(shift_y=1.5 * z, shift_x=float(z % 3)) for z in range(n)}
    links = [Link(z - k, z, truth[z - k].inverse().after(truth[z]), 0.8) for z in range(n) for k in back if z - k >= 0]
    return truth, links


def test_links_that_agree_give_the_places_they_were_made_of() -> None:
    truth, links = chain(12)
    start = dict.fromkeys(truth, IDENTITY)
    found = solved(start, links, [z for z in truth if z], 100.0)
    assert all(off_px(found[z], truth[z]) < 1e-3 for z in found)


def test_one_wrong_link_hardly_moves_a_place_that_others_hold() -> None:
    truth, links = chain(12, back=(1, 2, 4))
    wrong = Link(6, 8, Affine(shift_y=40.0), 0.8)
    start = {z: truth[z] for z in truth}
    found = solved(start, [*(link for link in links if (link.fixed_z, link.moving_z) != (6, 8)), wrong], [7, 8, 9], 100)
    assert off_px(found[8], truth[8]) < 0.2


def test_a_slice_without_links_to_placed_ones_has_no_place() -> None:
    assert extended({}, [Link(0, 1, IDENTITY, 0.9)]) is None
    assert extended({0: Affine(shift_y=2.0)}, [Link(0, 1, Affine(shift_x=1.0), 0.9)]) == Affine(
        shift_y=2.0, shift_x=1.0
    )


def test_a_step_that_the_next_slice_takes_back_is_no_jump() -> None:
    path = np.zeros((20, 2))
    path[8] = (0.0, 50.0)
    path[12:] += (40.0, 0.0)
    assert np.flatnonzero(jumps_of(path + 0.1 * np.arange(20)[:, None], 10.0)).tolist() == [12]


def test_the_slow_part_of_a_straight_path_is_the_path() -> None:
    path = np.outer(np.arange(9), (0.5, -2.0))
    slow, jumped = parted(path, range(9), 6, 100.0)
    assert slow == pytest.approx(path[6])
    assert jumped == pytest.approx([0, 0])
