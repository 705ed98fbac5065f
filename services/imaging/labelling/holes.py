"""Holes: background that an object encloses, filled plane by plane from run tables of the background."""

import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling.kernels import Kinds
from services.imaging.labelling.painting import paint_chosen
from services.imaging.labelling.parameters import LabellingParameters
from services.imaging.labelling.rows import ObjectRows, first_voxels
from services.imaging.labelling.tables import LabelTables

DUAL_CONNECTIVITY = {26: 6, 18: 6, 6: 26}
"""How the background hangs together, by the connectivity of the objects."""


def background_parameters(parameters: LabellingParameters) -> LabellingParameters:
    """Return what the labelling of the background is told, whose planes are ``(plane == 0)`` as uint8."""
    return LabellingParameters(
        canvas_shape_yx=parameters.canvas_shape_yx,
        connectivity=DUAL_CONNECTIVITY[parameters.connectivity],
        block_planes=parameters.block_planes,
    )


def enclosed(tables: LabelTables) -> NDArray[np.bool_]:
    """Return, bool, shape (objects,), which objects reach no side of the canvas, nor the first or last plane."""
    rows: ObjectRows = tables.objects
    inside: NDArray[np.bool_] = (rows["z0"] > tables.first_z) & (rows["z1"] < tables.next_z) & ~rows["touches_border"]
    return inside


class HoleFiller:
    """Fills the holes of a volume block by block, in z order.

    A hole is a component of the background (6-connected, or 26-connected where objects are 6-connected) that reaches no
    side of the volume, as for `scipy.ndimage.binary_fill_holes`. It is filled with the value before its first voxel
    along z, which lies on the wall that encloses it and not on an island within.

    Parameters
    ----------
    background
        Finished tables of the background, labelled with `background_parameters`.
    plane_dtype
        Type of the planes.

    Examples
    --------
    >>> from services.imaging.labelling import LabellingParameters, label_volume
    >>> volume = np.full((3, 3, 3), 7, np.uint8)
    >>> volume[1, 1, 1] = 0
    >>> parameters = background_parameters(LabellingParameters(canvas_shape_yx=(3, 3)))
    >>> filler = HoleFiller(label_volume((volume == 0).astype(np.uint8), parameters), volume.dtype)
    >>> bool(filler.fill(0, volume).all()), filler.voxels
    (True, 1)
    """

    def __init__(self, background: LabelTables, plane_dtype: np.dtype[np.unsignedinteger]) -> None:
        self._tables = background
        self._hole = enclosed(background)
        self._first_voxel = first_voxels(background.objects["identity"])
        self._value = np.zeros(background.objects.size, plane_dtype)
        self._last_plane: Kinds | None = None

    @property
    def voxels(self) -> int:
        """Voxels of all holes."""
        return int(self._tables.objects["voxels"][self._hole].sum())

    def fill(self, block: int, planes: Kinds) -> Kinds:
        """Fill the holes of block number ``block``, shape (planes, y, x), in place; return the planes.

        Blocks must come in order.
        """
        runs = self._tables.blocks[block].block_runs()
        of_component = self._tables.object_of[block]
        last = planes[-1].copy()
        self._find_values(int(runs.z[0]), planes)
        paint_chosen(planes, runs, self._value[of_component], self._hole[of_component])
        self._last_plane = last
        return planes

    def _find_values(self, first_z: int, planes: Kinds) -> None:
        """Read the values of the holes that begin in these planes."""
        z_of = self._first_voxel[:, 0]
        begin = np.arange(*np.searchsorted(z_of, [first_z, first_z + len(planes)]))
        begin = begin[self._hole[begin]]
        z, y, x = self._first_voxel[begin].T
        inside = z > first_z
        self._value[begin[inside]] = planes[z[inside] - 1 - first_z, y[inside], x[inside]]
        if self._last_plane is not None:
            self._value[begin[~inside]] = self._last_plane[y[~inside], x[~inside]]
