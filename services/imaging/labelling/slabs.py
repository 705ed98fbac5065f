"""Labels a volume that is read some planes at a time, and paints it again in the same steps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling.holes import HoleFiller, background_parameters
from services.imaging.labelling.kernels import Kinds
from services.imaging.labelling.painting import paint_chosen
from services.imaging.labelling.parameters import LabellingParameters
from services.imaging.labelling.tables import LabelTables
from services.imaging.labelling.volumes import join_blocks, label_block, new_scanner

ReadPlanes = Callable[[int, int], Kinds]
"""Returns the planes from a first z up to a z, shape (planes, y, x), of the type that the parameters say."""
Progress = Callable[[int], object]
"""Is told how many planes were done since it was told last."""

_LABEL_TYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.uint32))


def label_slabs(
    read: ReadPlanes, n_planes: int, parameters: LabellingParameters, told: Progress = lambda _: None
) -> LabelTables:
    """Label a volume block by block; the tables are those of `label_volume`.

    Parameters
    ----------
    read
        Reads planes.
    n_planes
        Planes of the volume.
    parameters
        Canvas, thresholds, connectivity; ``block_planes`` are held at a time.
    told
        Is told of progress.
    """
    scanner = new_scanner(parameters)
    blocks = []
    for first, stop in spans(n_planes, parameters.block_planes):
        blocks.append(label_block(parameters, first, read(first, stop), scanner))
        told(stop - first)
    return join_blocks(parameters, blocks, (0, n_planes))


def filled(
    read: ReadPlanes, n_planes: int, parameters: LabellingParameters, told: Progress = lambda _: None
) -> tuple[ReadPlanes, int]:
    """Return how to read the volume, once and in order, with its holes filled, and the voxels that are filled."""
    step = parameters.block_planes
    background = background_parameters(parameters)
    tables = label_slabs(lambda first, stop: (read(first, stop) == 0).view(np.uint8), n_planes, background, told)
    filler = HoleFiller(tables, parameters.plane_dtype)
    return lambda first, stop: filler.fill(first // step, read(first, stop).copy()), filler.voxels


@dataclass(frozen=True, eq=False)
class Selection:
    """The objects of tables that are wanted, numbered 1, 2, ... by their first voxel.

    Attributes
    ----------
    tables
        Of a volume whose planes fill the canvas.
    number
        uint32, shape (objects,): number of each object, 0 for those that are not wanted.
    """

    tables: LabelTables
    number: NDArray[np.uint32]

    @classmethod
    def of(cls, tables: LabelTables, largest: int | None = None) -> "Selection":
        """Select the objects that reached their threshold, and of those at most the largest.

        Of two of one size the older one, whose first voxel comes first, is the larger.
        """
        chosen = tables.kept.copy()
        if largest is not None:
            members = np.flatnonzero(chosen)
            order = np.argsort(-tables.objects["voxels"][members], kind="stable")
            chosen[members[order[largest:]]] = False
        return cls(tables, np.where(chosen, np.cumsum(chosen), 0).astype(np.uint32))

    @property
    def count(self) -> int:
        """How many objects are wanted."""
        return int(self.number.max(initial=0))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest of uint8, uint16 and uint32 that holds every number."""
        return next(dtype for dtype in _LABEL_TYPES if self.count <= np.iinfo(dtype).max)

    def slabs(self, told: Progress = lambda _: None) -> Iterator[NDArray[Any]]:
        """Yield the numbers of the voxels block by block, shape (planes, y, x), of `dtype`."""
        value, chosen = self.number.astype(self.dtype), self.number > 0
        for block, object_of in zip(self.tables.blocks, self.tables.object_of, strict=True):
            slab = np.zeros((len(block.windows), *self.tables.parameters.canvas_shape_yx), self.dtype)
            paint_chosen(slab, block.block_runs(), value[object_of], chosen[object_of])
            yield slab
            told(len(slab))


def spans(n_planes: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield the first plane of each block and the one after its last.

    >>> list(spans(5, 2))
    [(0, 2), (2, 4), (4, 5)]
    """
    for first in range(0, n_planes, step):
        yield first, min(first + step, n_planes)
