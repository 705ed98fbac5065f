"""Where a nucleus's label planes lie: the canvas of its messages, in pixels of the planes."""

from __future__ import annotations

from services.contracts.messages import CropSegmented, NucleusOpened
from services.contracts.values import VoxelSize
from services.imaging.geometry import origin_nm
from services.imaging.omezarr import VolumeLayout


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


def plane_origin(segmented: CropSegmented, opened: NucleusOpened) -> tuple[int, int]:
    """Return where a label plane lies on its canvas, moved by its slice's registration (decision 4)."""
    crop, voxel = segmented.crop, segmented.plane_voxel_size
    first = canvas_origin(opened, voxel)
    y_px = _scaled(crop.window.y0_px + round(crop.transform.shift_y_px), crop.voxel_size.y_nm, voxel.y_nm)
    x_px = _scaled(crop.window.x0_px + round(crop.transform.shift_x_px), crop.voxel_size.x_nm, voxel.x_nm)
    return (y_px - first[0], x_px - first[1])
