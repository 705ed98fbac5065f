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


@dataclass(frozen=True, kw_only=True)
class LabellingParameters:
    """What a labelling is told before its first plane.

    Attributes
    ----------
    canvas_shape_yx
        Height and width of the fixed canvas that every window lies in, in pixels.
    min_voxels
        By class: an object with fewer voxels is removed. A class that is not named keeps all its objects.
    connectivity
        6 (faces), 18 (and edges) or 26 (and corners).
    max_bridged
        Absent planes in a row across which objects are connected; a longer gap ends them.
    block_planes
        Planes of a block; block i has the planes from ``i * block_planes`` on.

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
        check_thresholds(self.min_voxels)

    @property
    def reach(self) -> Reach:
        """How far runs of neighbouring rows may be apart in x."""
        return REACH[self.connectivity]

    @property
    def coordinate_dtype(self) -> np.dtype[np.integer[Any]]:
        """The smallest type that holds a canvas column."""
        return np.dtype(np.uint16) if self.canvas_shape_yx[1] < 1 << 16 else np.dtype(np.int32)

    def thresholds(self) -> NDArray[np.int64]:
        """Return the least number of voxels of an object that is kept, int64, shape (256,), by class."""
        return threshold_table(self.min_voxels)


def check_thresholds(thresholds: Mapping[int, int]) -> None:
    """Refuse a class outside 1 to 255 and a threshold below 0.

    Raises
    ------
    InvalidParametersError
        When there is one.
    """
    for class_id, least in thresholds.items():
        if not 1 <= class_id <= 255 or least < 0:
            raise InvalidParametersError(
                f"A threshold is class 1 to 255 = size of at least 0. Got: {class_id} = {least}"
            )


def threshold_table(thresholds: Mapping[int, int]) -> NDArray[np.int64]:
    """Return thresholds as a table by class, int64, shape (256,); 0 for a class that is not named.

    Examples
    --------
    >>> threshold_table({2: 2000})[:4].tolist()
    [0, 0, 2000, 0]
    """
    table = np.zeros(256, np.int64)
    for class_id, least in thresholds.items():
        table[class_id] = least
    return table
