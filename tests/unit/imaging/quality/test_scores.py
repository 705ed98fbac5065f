from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from services.imaging.quality.pairs import OtherSizeError, compared
from services.imaging.quality.reducing import TooSmallSliceError, reduced
from services.imaging.quality.single import measured
from tests.unit.imaging.quality.conftest import VOXEL_NM, Stack, imaged, tissue

VOXEL = (VOXEL_NM, VOXEL_NM)
Planes = NDArray[np.float32]


def test_noise_alone_has_no_structure() -> None:
    flat = imaged(np.full((512, 512), 120, np.float32), 1)
    small = reduced(flat, VOXEL)
    assert small.structure_grey2 < 0.05 * small.noise_grey2


def test_more_noise_leaves_the_structure_as_it_is(planes: Planes) -> None:
    quiet, loud = (reduced(imaged(planes[5], 1, noise), VOXEL) for noise in (8.0, 24.0))
    assert loud.structure_grey2 == pytest.approx(quiet.structure_grey2, rel=0.05)
    # What is finer than the squares of the chessboard counts as noise too.
    assert 6 * quiet.noise_grey2 < loud.noise_grey2 < 9 * quiet.noise_grey2


def test_a_slice_of_a_few_pixels_is_refused() -> None:
    with pytest.raises(TooSmallSliceError, match="too small"):
        reduced(np.zeros((40, 400), np.uint8), VOXEL)


def test_pixels_that_are_not_square_are_averaged_to_blocks_that_nearly_are(good: Stack) -> None:
    small = reduced(good[0], (16.0, 4.0))
    assert small.plane.shape == (160, 40)
    assert small.block_yx_nm == (32.0, 32.0)


def test_a_shift_is_found_to_a_part_of_a_pixel() -> None:
    large = tissue(1, 400, 8)[0]
    here, there = imaged(large[40:360, 40:360], 1), imaged(large[47:367, 29:349], 2)
    pair = compared(reduced(here, VOXEL), reduced(there, VOXEL))
    assert pair.shift_y_nm == pytest.approx(7 * VOXEL_NM, abs=0.3 * VOXEL_NM)
    assert pair.shift_x_nm == pytest.approx(-11 * VOXEL_NM, abs=0.3 * VOXEL_NM)
    assert pair.decorrelation < 0.02


def test_the_same_surface_differs_by_its_noise_alone(planes: Planes) -> None:
    pair = compared(reduced(imaged(planes[5], 1), VOXEL), reduced(imaged(planes[5], 2), VOXEL))
    assert pair.sameness == pytest.approx(1.0, abs=0.1)
    assert pair.decorrelation < 0.005


def test_the_same_image_does_not_differ_at_all(good: Stack) -> None:
    pair = compared(reduced(good[3], VOXEL), reduced(good[3], VOXEL))
    assert pair.sameness == pytest.approx(0.0, abs=1e-6)


def test_what_is_deeper_is_less_alike_whatever_the_noise(planes: Planes) -> None:
    depths = [
        compared(reduced(imaged(planes[10 + d], d, noise), VOXEL), reduced(imaged(planes[10], 99, noise), VOXEL))
        for noise in (4.0, 16.0)
        for d in (1, 2, 3)
    ]
    found = [pair.decorrelation for pair in depths]
    assert found[0] < found[1] < found[2]
    assert found[3:] == pytest.approx(found[:3], rel=0.15)


def test_contrast_and_brightness_do_not_count_as_depth(planes: Planes) -> None:
    brighter = imaged((planes[5] - 150) * 0.7 + 170, 1, 5.6)
    pair = compared(reduced(brighter, VOXEL), reduced(imaged(planes[5], 2), VOXEL))
    assert pair.decorrelation < 0.01
    assert pair.new_um2 == 0


def test_a_new_spot_has_its_area(planes: Planes) -> None:
    spot = planes[6].copy()
    cv2.circle(spot, (150, 120), 60, 90.0, thickness=-1)
    pair = compared(reduced(imaged(spot, 1), VOXEL), reduced(imaged(planes[6], 2), VOXEL))
    area_um2 = np.pi * (60 * VOXEL_NM / 1000) ** 2
    assert 0.7 * area_um2 < pair.new_um2 < 1.6 * area_um2


def test_new_stripes_along_y_are_told_from_stripes_along_x(planes: Planes) -> None:
    stripes = 6 * np.sin(np.arange(320) * 0.4).astype(np.float32)
    reference = reduced(imaged(planes[6], 2), VOXEL)
    along_y = compared(reduced(imaged(planes[6] + stripes[None, :], 1), VOXEL), reference)
    along_x = compared(reduced(imaged(planes[6] + stripes[:, None], 1), VOXEL), reference)
    assert along_y.curtain_change_pct > 5 * abs(along_x.curtain_change_pct)


def test_slices_of_other_sizes_are_not_compared(good: Stack) -> None:
    with pytest.raises(OtherSizeError, match="cannot be compared"):
        compared(reduced(good[0], VOXEL), reduced(good[0, :300], VOXEL))


@pytest.mark.parametrize("axis", [0, 1])
def test_blur_along_an_axis_takes_sharpness_from_that_axis(planes: Planes, axis: int) -> None:
    sigma = [0.01, 0.01]
    sigma[axis] = 2.5
    sharp = measured(imaged(planes[5], 1), VOXEL)
    blurred = measured(imaged(np.asarray(cv2.GaussianBlur(planes[5], (0, 0), sigma[1], None, sigma[0])), 1), VOXEL)
    change = (blurred.sharpness_y / sharp.sharpness_y, blurred.sharpness_x / sharp.sharpness_x)
    assert change[axis] < 0.8
    assert change[1 - axis] > 0.9


def test_more_noise_is_no_loss_of_sharpness(planes: Planes) -> None:
    quiet, loud = (measured(imaged(planes[5], 1, noise), VOXEL) for noise in (2.0, 16.0))
    assert loud.sharpness_y == pytest.approx(quiet.sharpness_y, rel=0.05)


def test_a_stripe_and_a_tear_are_two_things(good: Stack) -> None:
    striped, torn = good[4].copy(), good[4].copy()
    striped[100:103] = np.clip(striped[100:103].astype(int) + 25, 0, 255)
    torn[200:204] = np.roll(torn[200:204], 12, axis=1)
    plain, stripe, tear = (measured(grey, VOXEL) for grey in (good[4], striped, torn))
    assert stripe.stripe_ratio > 3 * plain.stripe_ratio
    assert tear.stripe_ratio < 1.5 * plain.stripe_ratio
    assert plain.tear_ratio < 1
    assert tear.tear_ratio > 1.5
    assert stripe.tear_ratio < 1


def test_clipped_pixels_are_counted() -> None:
    grey = np.full((64, 64), 100, np.uint8)
    grey[0, :32], grey[1, :32] = 0, 255
    assert measured(grey, VOXEL).clipped_pct == pytest.approx(100 * 64 / 4096)


def test_a_trail_behind_bright_places_has_a_sign() -> None:
    grey = np.full((320, 320), 120, np.uint8)
    grey[100:200, 100:140] = 220
    trailing = grey.copy()
    trailing[100:200, 140:190] = 90
    assert measured(grey, VOXEL).tail_pct == pytest.approx(0, abs=0.5)
    assert measured(trailing, VOXEL).tail_pct > 3
    assert measured(np.ascontiguousarray(trailing[:, ::-1]), VOXEL).tail_pct < -3
