"""Where a nucleus's label planes lie: the canvas of its messages, in pixels of the planes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
import numpy.typing as npt

from services.contracts.messages import CropSegmented, NucleusOpened
from services.contracts.values import Transform, VoxelSize
from services.imaging.geometry import origin_nm
from services.imaging.omezarr import VolumeLayout
from services.imaging.registration.affine import Affine

Plane = npt.NDArray[np.uint8]

LARGEST_BEND_PX = 0.5
"""A slice whose turning or stretching moves the corners of a plane by no more is only shifted."""


def _scaled(pixels: int, from_nm: float, to_nm: float) -> int:
    return round(pixels * from_nm / to_nm)


def canvas_origin(opened: NucleusOpened, plane_voxel: VoxelSize) -> tuple[int, int]:
    """Return the first row and column of the canvas, in pixels of the label planes."""
    return (
        _scaled(opened.canvas.y0_px, opened.voxel_size.y_nm, plane_voxel.y_nm),
        _scaled(opened.canvas.x0_px, opened.voxel_size.x_nm, plane_voxel.x_nm),
    )


def volume_layout(opened: NucleusOpened, plane_voxel: VoxelSize) -> VolumeLayout:
    """Return the layout of the volume: canvas, voxel and place in the acquisition."""
    shape = (
        max(1, _scaled(opened.canvas.height_px, opened.voxel_size.y_nm, plane_voxel.y_nm)),
        max(1, _scaled(opened.canvas.width_px, opened.voxel_size.x_nm, plane_voxel.x_nm)),
    )
    origin = origin_nm(opened.z_first, canvas_origin(opened, plane_voxel), plane_voxel.zyx_nm)
    return VolumeLayout(shape, plane_voxel.zyx_nm, origin)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a label plane lies on its canvas.

    Attributes
    ----------
    origin_yx
        Its first row and column there.
    shape_yx
        Its rows and columns there.
    from_canvas
        Map from its pixels there to those it was segmented at; None where both are the same but for whole pixels.
    """

    origin_yx: tuple[int, int]
    shape_yx: tuple[int, int]
    from_canvas: Affine | None = None


def plane_placement(segmented: CropSegmented, opened: NucleusOpened, shape_yx: tuple[int, int]) -> Placement:
    """Return where a label plane lies on its canvas by its slice's registration (decision 4).

    A plane is moved by whole pixels, at its middle, wherever that puts no corner off by more than half a pixel besides:
    no label changes. Only where the slice is turned or stretched more is the plane straightened, label by label.
    """
    crop, voxel = segmented.crop, segmented.plane_voxel_size
    first = canvas_origin(opened, voxel)
    if crop.transform == Transform():
        y_px = _scaled(crop.window.y0_px, crop.voxel_size.y_nm, voxel.y_nm)
        x_px = _scaled(crop.window.x0_px, crop.voxel_size.x_nm, voxel.x_nm)
        return Placement((y_px - first[0], x_px - first[1]), shape_yx)
    to_canvas = _on_canvas(segmented, first)
    height, width = shape_yx
    middle = ((height - 1) / 2, (width - 1) / 2)
    y, x = to_canvas.point(middle)
    origin = (math.floor(y - middle[0] + 0.5), math.floor(x - middle[1] + 0.5))
    if to_canvas.distortion * math.hypot(*middle) <= LARGEST_BEND_PX:
        return Placement(origin, shape_yx)
    corners = [to_canvas.point(corner) for corner in product((0, height - 1), (0, width - 1))]
    top, left = (math.floor(min(values)) for values in zip(*corners, strict=True))
    bottom, right = (math.ceil(max(values)) for values in zip(*corners, strict=True))
    there = Affine(shift_y=float(top), shift_x=float(left))
    return Placement((top, left), (bottom - top + 1, right - left + 1), to_canvas.inverse().after(there))


def straightened(plane: Plane, placement: Placement, *, smooth: bool = False) -> Plane:
    """Return a plane as it lies on the canvas; what it does not reach is 0.

    Parameters
    ----------
    plane
        uint8, (y, x): labels, or grey.
    placement
        From `plane_placement`.
    smooth
        Whether pixels are mixed, as grey may be; otherwise each takes the nearest.
    """
    back = placement.from_canvas
    if back is None:
        return plane
    matrix = np.array([[back.xx, back.xy, back.shift_x], [back.yx, back.yy, back.shift_y]])
    flags = cv2.WARP_INVERSE_MAP | (cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST)
    return np.asarray(cv2.warpAffine(plane, matrix, placement.shape_yx[::-1], flags=flags, borderValue=0), np.uint8)


def _on_canvas(segmented: CropSegmented, first: tuple[int, int]) -> Affine:
    """Return the map from the pixels of a label plane to those of its canvas."""
    crop, voxel = segmented.crop, segmented.plane_voxel_size
    moved = crop.transform
    place = Affine(moved.yy, moved.yx, moved.xy, moved.xx, moved.shift_y_px, moved.shift_x_px)
    pixel_y, pixel_x = voxel.y_nm / crop.voxel_size.y_nm, voxel.x_nm / crop.voxel_size.x_nm
    # The centre of plane pixel p is at pixel * (p + 1/2) - 1/2 of the crop.
    to_slice = Affine(
        pixel_y, 0.0, 0.0, pixel_x, crop.window.y0_px + (pixel_y - 1) / 2, crop.window.x0_px + (pixel_x - 1) / 2
    )
    shifted = Affine(shift_y=float(-first[0]), shift_x=float(-first[1]))
    to_plane = Affine(pixel_y, 0.0, 0.0, pixel_x, (pixel_y - 1) / 2, (pixel_x - 1) / 2).inverse()
    return shifted.after(to_plane).after(place).after(to_slice)
