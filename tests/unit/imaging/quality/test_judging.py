from __future__ import annotations

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from services.imaging.quality.judging import GIVE_UP, RECENT, REMEMBERED, WARM_UP, Verdict
from services.imaging.quality.kinds import Trouble
from services.imaging.quality.reducing import reduced
from services.imaging.quality.sequence import SliceOrderError, Standing, judge_next
from services.imaging.quality.single import measured
from tests.unit.imaging.quality.conftest import VOXEL_NM, Stack, imaged, tissue

FAULTY = 40
VOXEL = (VOXEL_NM, VOXEL_NM)
Planes = NDArray[np.float32]


def judged(stack: Stack, zs: list[int] | None = None) -> dict[int, Verdict]:
    standing, verdicts = Standing(), {}
    for z, grey in zip(zs or range(len(stack)), stack, strict=True):
        standing, verdicts[z] = judge_next(standing, z, measured(grey, VOXEL), reduced(grey, VOXEL), VOXEL_NM)
    return verdicts


def flagged(stack: Stack) -> dict[int, set[Trouble]]:
    return {z: set(verdict.troubles) for z, verdict in judged(stack).items() if not verdict.reliable}


def blurred(plane: Planes, sigma_y: float, sigma_x: float) -> Planes:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma_x, None, sigma_y), dtype=np.float32)


def with_spot(plane: Planes) -> Planes:
    spot = plane.copy()
    cv2.circle(spot, (150, 120), 60, 60.0, thickness=-1)
    return spot


def charged(plane: Planes) -> Planes:
    bright = blurred(np.clip(blurred(plane, 6, 6) - 155, 0, None), 10, 10)
    return plane - 3 * np.roll(bright, 50, axis=1)


FAULTS: dict[Trouble, Callable[[Planes], Planes]] = {
    Trouble.DEFOCUS: lambda plane: blurred(plane, 3, 3),
    Trouble.ASTIGMATISM: lambda plane: blurred(plane, 0.01, 3),
    Trouble.CURTAINING: lambda plane: plane + 8 * np.sin(np.arange(320) * 0.4).astype(np.float32)[None, :],
    Trouble.CHARGING: charged,
    Trouble.BRIGHTNESS_STEP: lambda plane: plane + 12,
    Trouble.SATURATION: lambda plane: plane * 2,
    Trouble.BLANK: lambda plane: np.full_like(plane, 90),
    Trouble.FIELD_SHIFT: lambda plane: np.roll(plane, (25, 12), (0, 1)),
    Trouble.DEBRIS: with_spot,
}


@pytest.mark.parametrize("trouble", FAULTS)
def test_a_fault_is_told_in_its_slice_and_nowhere_else(planes: Planes, good: Stack, trouble: Trouble) -> None:
    stack = good.copy()
    stack[FAULTY] = imaged(FAULTS[trouble](planes[FAULTY]), FAULTY)
    found = flagged(stack)
    assert trouble in found.pop(FAULTY)
    # A field that jumps for one slice jumps back in the next.
    assert set(found) == ({FAULTY + 1} if trouble is Trouble.FIELD_SHIFT else set())


def test_good_slices_are_not_flagged(good: Stack) -> None:
    assert flagged(good) == {}


@pytest.mark.parametrize("shift_px", [0, 12])
def test_bad_lines_are_told(good: Stack, shift_px: int) -> None:
    stack = good.copy()
    lines = stack[FAULTY, 100:104]
    stack[FAULTY, 100:104] = np.roll(lines, shift_px, axis=1) if shift_px else np.clip(lines.astype(int) + 25, 0, 255)
    assert flagged(stack) == {FAULTY: {Trouble.DETECTOR_STRIPE}}


def test_a_repeated_frame_is_told_even_among_the_first_slices(good: Stack) -> None:
    stack = good.copy()
    stack[3], stack[FAULTY] = stack[2], stack[FAULTY - 1]
    assert flagged(stack) == {3: {Trouble.REPEATED_FRAME}, FAULTY: {Trouble.REPEATED_FRAME}}


def test_milling_that_was_skipped_or_done_twice_is_told_with_the_depth(planes: Planes) -> None:
    depths = [*range(20), 19, *range(20, 30), *range(31, 55)]
    stack = np.stack([imaged(planes[depth], number) for number, depth in enumerate(depths)])
    verdicts = judged(stack)
    assert {z: verdict.troubles for z, verdict in verdicts.items() if verdict.findings} == {
        20: (Trouble.SKIPPED_MILLING,),
        31: (Trouble.Z_JUMP,),
    }
    assert verdicts[20].thickness < 0.3
    assert verdicts[31].thickness == pytest.approx(2, abs=0.3)
    usual = [verdict.thickness for z, verdict in verdicts.items() if z > WARM_UP and z not in (20, 31)]
    assert np.mean(usual) == pytest.approx(1, abs=0.1)


def test_an_absent_slice_is_no_z_jump(good: Stack) -> None:
    present = [z for z in range(60) if z not in (30, 31)]
    verdicts = judged(good[present], present)
    assert all(verdict.reliable for verdict in verdicts.values())
    assert verdicts[32].thickness == pytest.approx(1, abs=0.3)


def test_a_step_that_stays_is_told_once(planes: Planes, good: Stack) -> None:
    stack = good.copy()
    for z in range(FAULTY, 60):
        stack[z] = imaged(planes[z] + 12, z)
    assert flagged(stack) == {FAULTY: {Trouble.BRIGHTNESS_STEP}}


def test_a_state_that_lasts_is_flagged_until_it_is_taken_for_usual() -> None:
    planes = tissue(20 + 2 * GIVE_UP, 256, 5)
    stack = np.stack([imaged(p if z < 20 else blurred(p, 3, 3), z) for z, p in enumerate(planes)])
    found = flagged(stack)
    assert sorted(found) == list(range(20, 20 + GIVE_UP))
    assert all(Trouble.DEFOCUS in troubles for troubles in found.values())


def test_a_spoilt_slice_is_not_what_the_next_is_compared_with(planes: Planes, good: Stack) -> None:
    stack = good.copy()
    stack[FAULTY] = imaged(blurred(planes[FAULTY], 4, 4), FAULTY)
    standing = Standing()
    for z in range(FAULTY + 1):
        standing, _ = judge_next(standing, z, measured(stack[z], VOXEL), reduced(stack[z], VOXEL), VOXEL_NM)
    assert [z for z, _ in standing.references] == [FAULTY - 2, FAULTY - 1]


def test_memory_does_not_grow_with_the_run(good: Stack) -> None:
    standing = Standing()
    for z in range(3 * len(good)):
        grey = good[z % len(good)]
        standing, _ = judge_next(standing, z, measured(grey, VOXEL), reduced(grey, VOXEL), VOXEL_NM)
    assert max(len(known.values) for known in standing.memory.learned.values()) == RECENT
    assert max(len(known.deviations) for known in standing.memory.learned.values()) <= REMEMBERED
    assert len(standing.references) == 2


def test_judging_does_not_change_what_it_was_given(good: Stack) -> None:
    standing, _ = judge_next(Standing(), 0, measured(good[0], VOXEL), reduced(good[0], VOXEL), VOXEL_NM)
    before = dataclasses.asdict(standing.memory)
    again = [judge_next(standing, 1, measured(good[1], VOXEL), reduced(good[1], VOXEL), VOXEL_NM)[1] for _ in range(2)]
    assert again[0].quantities == again[1].quantities
    assert dataclasses.asdict(standing.memory) == before


def test_slices_out_of_order_are_refused(good: Stack) -> None:
    standing, _ = judge_next(Standing(), 5, measured(good[0], VOXEL), reduced(good[0], VOXEL), VOXEL_NM)
    with pytest.raises(SliceOrderError, match="slice 5 came to be judged after slice 5"):
        judge_next(standing, 5, measured(good[1], VOXEL), reduced(good[1], VOXEL), VOXEL_NM)


def test_a_slice_of_another_size_is_judged_by_itself(good: Stack) -> None:
    standing = Standing()
    for z in range(20):
        standing, _ = judge_next(standing, z, measured(good[z], VOXEL), reduced(good[z], VOXEL), VOXEL_NM)
    smaller = np.ascontiguousarray(good[20, :280])
    _, verdict = judge_next(standing, 20, measured(smaller, VOXEL), reduced(smaller, VOXEL), VOXEL_NM)
    assert np.isnan(verdict.thickness)
