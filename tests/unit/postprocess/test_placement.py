"""Label planes lie where the registration of their slice puts them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from services.contracts.messages import CropExtracted, CropSegmented, NucleusOpened
from services.contracts.values import PixelWindow, Transform, VoxelSize
from services.postprocess.layout import plane_placement, straightened
from tests.support.messages import example

VOXEL = VoxelSize(z_nm=4, y_nm=4, x_nm=4)
PLANE = VoxelSize(z_nm=4, y_nm=16, x_nm=16)
OPENED = example(NucleusOpened, voxel_size=VOXEL, canvas=PixelWindow(y0_px=-80, x0_px=40, height_px=800, width_px=960))
WINDOW = PixelWindow(y0_px=160, x0_px=240, height_px=400, width_px=480)
SHAPE = (100, 120)


def segmented(transform: Transform) -> CropSegmented:
    crop = example(CropExtracted, voxel_size=VOXEL, window=WINDOW, transform=transform)
    return example(CropSegmented, crop=crop, plane_voxel_size=PLANE)


def test_without_registration_a_plane_lies_where_its_window_does() -> None:
    placement = plane_placement(segmented(Transform()), OPENED, SHAPE)
    assert (placement.origin_yx, placement.shape_yx, placement.from_canvas) == ((60, 50), SHAPE, None)


@pytest.mark.parametrize(("shift", "pixels"), [(-7.0, -2), (5.0, 1), (9.9, 2), (10.1, 3), (0.4, 0)])
def test_a_shift_moves_a_plane_by_whole_pixels_of_its_own(shift: float, pixels: int) -> None:
    placement = plane_placement(segmented(Transform(shift_y_px=shift, shift_x_px=3 * shift)), OPENED, SHAPE)
    assert placement.origin_yx[0] == 60 + pixels
    assert placement.origin_yx[1] == 50 + math.floor(3 * shift / 4 + 0.5)
    assert placement.from_canvas is None


def test_a_slice_that_is_hardly_stretched_is_moved_at_the_middle_of_its_planes() -> None:
    # The middle of the plane is at 359.5 and 479.5 of the slice: half a per mille of it is less than a pixel.
    placement = plane_placement(segmented(Transform(yy=1.0005, xx=1.0005, shift_y_px=8)), OPENED, SHAPE)
    assert placement.origin_yx == (62, 50)
    assert placement.from_canvas is None


def test_a_turned_slice_is_straightened_label_by_label() -> None:
    angle = 0.1
    turned = Transform(yy=math.cos(angle), yx=-math.sin(angle), xy=math.sin(angle), xx=math.cos(angle))
    placement = plane_placement(segmented(turned), OPENED, SHAPE)
    assert placement.from_canvas is not None
    labels = np.zeros(SHAPE, np.uint8)
    labels[20:23, 90:93] = 4
    found = straightened(labels, placement)
    assert found.shape == placement.shape_yx
    assert set(np.unique(found)) == {0, 4}
    # Where the middle of the marked pixels lies by hand: pixel p of a plane is at 4 p + 1.5 of its window.
    y, x = 160 + 4 * 21 + 1.5, 240 + 4 * 91 + 1.5
    there_y = (math.cos(angle) * y - math.sin(angle) * x - 1.5) / 4 + 20
    there_x = (math.sin(angle) * y + math.cos(angle) * x - 1.5) / 4 - 10
    rows, columns = np.nonzero(found)
    assert rows.mean() + placement.origin_yx[0] == pytest.approx(there_y, abs=0.5)
    assert columns.mean() + placement.origin_yx[1] == pytest.approx(there_x, abs=0.5)


def test_grey_is_mixed_where_labels_are_not() -> None:
    stretched = plane_placement(segmented(Transform(yy=1.1)), OPENED, SHAPE)
    ramp = np.repeat(np.arange(0, 200, 2, dtype=np.uint8)[:, None], SHAPE[1], 1)
    assert set(np.unique(straightened(ramp, stretched))) <= set(range(0, 200, 2))
    assert not set(np.unique(straightened(ramp, stretched, smooth=True))) <= set(range(0, 200, 2))
