"""What is known about an object: one row of a structured array, the same for sections, components and objects."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

AXIS_BITS = 21
"""Bits of each axis in an identity; no axis may be longer than ``2 ** AXIS_BITS``."""

OBJECT_DTYPE = np.dtype(
    [
        ("identity", "<i8"),
        ("voxels", "<i8"),
        ("sum_z", "<i8"),
        ("sum_y", "<i8"),
        ("sum_x", "<i8"),
        ("sum_zz", "<i8"),
        ("sum_yy", "<i8"),
        ("sum_xx", "<i8"),
        ("sum_zy", "<i8"),
        ("sum_zx", "<i8"),
        ("sum_yx", "<i8"),
        ("z0", "<i4"),
        ("y0", "<i4"),
        ("x0", "<i4"),
        ("z1", "<i4"),
        ("y1", "<i4"),
        ("x1", "<i4"),
        ("class_id", "<u4"),
        ("touches_border", "?"),
        ("bridged", "?"),
        ("is_open", "?"),
    ],
    align=True,
)
"""One object. All positions are canvas pixels and plane indices.

``identity``: the first voxel in raster order, packed (see `first_voxels`); it never changes while the object grows, and
of two objects that merge the smaller one survives. ``voxels``: their number. ``sum_z`` .. ``sum_yx``: first and second
moments about the origin, exact in int64 for any object that fits a canvas of 2**16 px a side and 10**9 voxels.
``z0 y0 x0 z1 y1 x1``: bounding box, half open, so ``z1 - 1`` is the last plane. ``class_id``: its class, 0 when it was
made of several. ``touches_border``: it reaches an edge of the canvas in y or x. ``bridged``: it was followed across an
absent plane. ``is_open``: it reaches the newest plane and may still grow.
"""

MERGE_DTYPE = np.dtype([("older", "<i8"), ("younger", "<i8"), ("z", "<i4")], align=True)
"""A merge: the object with identity ``younger`` went into the one with identity ``older`` when plane ``z`` came."""

ObjectRows: TypeAlias = NDArray[np.void]
"""A one-dimensional array of `OBJECT_DTYPE`."""

ObjectRow: TypeAlias = Any
"""One element of `ObjectRows` inside compiled code, where its fields are attributes."""


def first_voxels(identities: NDArray[np.int64]) -> NDArray[np.int64]:
    """Unpack identities into the positions of the first voxels in raster order.

    Parameters
    ----------
    identities
        int64, shape (n,), the ``identity`` column of object rows.

    Returns
    -------
    int64, shape (n, 3): z (plane index), y, x (canvas pixels).

    Examples
    --------
    >>> first_voxels(np.array([(5 << 42) | (3 << 21) | 7])).tolist()
    [[5, 3, 7]]
    """
    mask = (1 << AXIS_BITS) - 1
    return np.stack([identities >> (2 * AXIS_BITS), (identities >> AXIS_BITS) & mask, identities & mask], axis=-1)
