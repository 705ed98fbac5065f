"""Crops and canvases from slices: which pixels belong to a nucleus's window, and whose they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from services.contracts.messages import AcquisitionOpened, SliceIngested
from services.contracts.values import PixelWindow, VoxelSize
from services.extract.crops import window
from services.extract.events import Crop, Opened
from services.extract.masks import INSIDE, Mask, mask_plane, resolve_outline
from services.extract.outlines import Outline
from services.extract.tracks import OutlineRef

Grey = npt.NDArray[np.uint8]


class Cutter:
    """Cuts nuclei, or the whole field, out of slices.

    Parameters
    ----------
    window_yx_px
        Rows and columns of a crop.
    plane_voxel_nm
        Pixel edge of the label planes: windows begin on its grid, so that planes resampled to it fit together.
    whole_field
        Whether the window is the field and all of it inside.
    """

    def __init__(self, window_yx_px: tuple[int, int], plane_voxel_nm: float, *, whole_field: bool) -> None:
        self._window_yx_px = window_yx_px
        self._plane_voxel_nm = plane_voxel_nm
        self._whole_field = whole_field

    def cut(
        self, grey: Grey, event: Crop, load: Callable[[OutlineRef], Outline], place: SliceIngested
    ) -> tuple[PixelWindow, Grey, Mask]:
        """Return window, pixels and mask of one crop.

        Parameters
        ----------
        grey
            The slice, uint8 (y, x).
        event
            Which nucleus, by which outline, beside which neighbours.
        load
            Gives an outline by its reference.
        place
            The slice's message.
        """
        field_shape = (grey.shape[0], grey.shape[1])
        if self._whole_field:
            whole = PixelWindow(y0_px=0, x0_px=0, height_px=field_shape[0], width_px=field_shape[1])
            return whole, grey, np.full(field_shape, INSIDE, np.uint8)
        outline = resolve_outline(event.source, load, field_shape)
        origin, shape = window(outline.centroid_yx_px, self._window_yx_px, field_shape)
        origin = self._snapped(origin, place.voxel_size)
        neighbours = [load(ref) for ref in event.neighbours]
        mask = mask_plane(outline, neighbours, (origin, shape), inside_scale=event.source.inside_scale)
        pixels = grey[origin[0] : origin[0] + shape[0], origin[1] : origin[1] + shape[1]]
        return PixelWindow(y0_px=origin[0], x0_px=origin[1], height_px=shape[0], width_px=shape[1]), pixels, mask

    def canvas(self, event: Opened, opened: AcquisitionOpened) -> PixelWindow:
        """Return the canvas of a nucleus, fixed when it opens."""
        if self._whole_field:
            return PixelWindow(y0_px=0, x0_px=0, height_px=opened.height_px, width_px=opened.width_px)
        origin = self._snapped(event.canvas_origin_yx_px, opened.voxel_size)
        height, width = event.canvas_shape_yx_px
        return PixelWindow(y0_px=origin[0], x0_px=origin[1], height_px=height, width_px=width)

    def _snapped(self, origin: tuple[int, int], voxel: VoxelSize) -> tuple[int, int]:
        y_px, x_px = (max(1, round(self._plane_voxel_nm / edge_nm)) for edge_nm in (voxel.y_nm, voxel.x_nm))
        return origin[0] // y_px * y_px, origin[1] // x_px * x_px
