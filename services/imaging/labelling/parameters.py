"""What a labelling is told before its first plane."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling.errors import InvalidParametersError
from services.imaging.labelling.kernels import Reach
from services.imaging.labelling.rows import AXIS_BITS

REACH = {6: Reach(0, 0, -1), 18: Reach(1, 1, 0), 26: Reach(1, 1, 1)}
"""How far runs of neighbouring rows may be apart in x, by connectivity."""


LARGEST_CLASS = {"uint8": 255, "uint16": 65535, "uint32": 65535}
"""The largest class that may have a threshold of its own, by type of the planes."""


@dataclass(frozen=True, kw_only=True)
class LabellingParameters:
    """What a labelling is told before its first plane.

    Attributes
    ----------
    canvas_shape_yx
        Height and width of the fixed canvas that every window lies in, in pixels.
    min_voxels
        By class: an object with fewer voxels is removed.
    connectivity
        6 (faces), 18 (and edges) or 26 (and corners).
    max_bridged
        Absent planes in a row across which objects are connected; a longer gap ends them.
    block_planes
        Planes of a block; block i has the planes from ``i * block_planes`` on.
    min_voxels_else
        The threshold of every class that ``min_voxels`` does not name.
    plane_type
        Type of the planes: ``uint8`` (classes), ``uint16`` or ``uint32`` (volumes of many labels).
    delta
        0: neighbours join when they have the same class. Above 0 the planes are grey: neighbours other than 0 join when
        their values differ by at most that much, as in cc3d; an object has class 0 then, "made of several", and
        ``min_voxels_else`` is its threshold.

    Raises
    ------
    InvalidParametersError
        When one of them is out of its range.
    """

    canvas_shape_yx: tuple[int, int]
    min_voxels: Mapping[int, int] = field(default_factory=dict)
    connectivity: int = 26
    max_bridged: int = 3
    block_planes: int = 32
    min_voxels_else: int = 0
    plane_type: str = "uint8"
    delta: int = 0

    def __post_init__(self) -> None:
        """Refuse values that no labelling could follow."""
        if not all(1 <= length <= 1 << AXIS_BITS for length in self.canvas_shape_yx):
            raise InvalidParametersError(f"A canvas side is 1 to {1 << AXIS_BITS} px. Got: {self.canvas_shape_yx}")
        if self.connectivity not in REACH:
            raise InvalidParametersError(f"Connectivity is 6, 18 or 26. Got: {self.connectivity}")
        if self.max_bridged < 0 or self.block_planes < 1:
            raise InvalidParametersError(
                f"max_bridged is at least 0 and block_planes at least 1. Got: {self.max_bridged}, {self.block_planes}"
            )
        if self.plane_type not in LARGEST_CLASS:
            raise InvalidParametersError(f"Planes are of one of {', '.join(LARGEST_CLASS)}. Got: {self.plane_type}")
        if self.delta < 0 or self.min_voxels_else < 0:
            raise InvalidParametersError(
                f"delta and min_voxels_else are at least 0. Got: {self.delta}, {self.min_voxels_else}"
            )
        check_thresholds(self.min_voxels, LARGEST_CLASS[self.plane_type])

    @property
    def plane_dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """Type of the planes."""
        return np.dtype(self.plane_type)

    @property
    def reach(self) -> Reach:
        """How far runs of neighbouring rows may be apart in x."""
        return REACH[self.connectivity]._replace(delta=self.delta)

    @property
    def coordinate_dtype(self) -> np.dtype[np.integer[Any]]:
        """The smallest type that holds a canvas column."""
        return np.dtype(np.uint16) if self.canvas_shape_yx[1] < 1 << 16 else np.dtype(np.int32)

    def check_classes(self) -> None:
        """Refuse what only planes of classes (uint8, ``delta`` of 0) have.

        Raises
        ------
        InvalidParametersError
            When the planes are something else.
        """
        if self.plane_type != "uint8" or self.delta:
            raise InvalidParametersError(
                f"Only planes of classes (uint8, delta 0) come back cleaned, not {self.plane_type} with delta"
                f" {self.delta}: paint the objects with paint_plane"
            )

    def thresholds(self) -> NDArray[np.int64]:
        """Return the least number of voxels of an object that is kept, as `threshold_table`."""
        return threshold_table(self.min_voxels, self.min_voxels_else)


def check_thresholds(thresholds: Mapping[int, int], largest_class: int = 255) -> None:
    """Refuse a class outside 1 to the largest and a threshold below 0.

    Raises
    ------
    InvalidParametersError
        When there is one.
    """
    for class_id, least in thresholds.items():
        if not 1 <= class_id <= largest_class or least < 0:
            raise InvalidParametersError(
                f"A threshold is class 1 to {largest_class} = size of at least 0. Got: {class_id} = {least}"
            )


def threshold_table(thresholds: Mapping[int, int], otherwise: int = 0) -> NDArray[np.int64]:
    """Return thresholds as a table by class, int64; the last entry is that of every class from there on.

    Examples
    --------
    >>> threshold_table({2: 2000}, otherwise=5)[:4].tolist()
    [5, 5, 2000, 5]
    """
    table = np.full(max(255, *thresholds) + 2 if thresholds else 257, otherwise, np.int64)
    for class_id, least in thresholds.items():
        table[class_id] = least
    return table
