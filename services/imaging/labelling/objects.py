"""The objects of a labelling that grows: born, merged, summed up."""

import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling.blocks import grown
from services.imaging.labelling.kernels import Forest, Indices, MergeLog, roots_of
from services.imaging.labelling.planes import empty_rows
from services.imaging.labelling.rows import MERGE_DTYPE, ObjectRows
from services.imaging.labelling.tables import is_kept


class GrowingObjects:
    """Every object ever born, numbered by age; one that merged into an older one points there.

    Parameters
    ----------
    min_voxels
        int64: the threshold of each class, as `threshold_table`.
    """

    def __init__(self, min_voxels: NDArray[np.int64]) -> None:
        self.forest = Forest(np.empty(64, np.int32), empty_rows(64))
        self.count = 0
        self.log = MergeLog(np.zeros(16, MERGE_DTYPE), np.zeros(1, np.int64), min_voxels)

    def restore(self, rows: ObjectRows, merges: NDArray[np.void]) -> None:
        """Begin with the objects and merges of tables."""
        self.count = rows.size
        self.forest = Forest(np.arange(rows.size, dtype=np.int32), rows.copy())
        self.forest.rows["is_open"] = False
        self.log = self.log._replace(rows=merges.copy(), written=np.array([merges.size], np.int64))

    def reserve(self, n_objects: int, n_merges: int) -> None:
        """Make room for so many more objects and merges."""
        parent, rows = self.forest
        room = self.count + n_objects
        self.forest = Forest(grown(parent, self.count, room), grown(rows, self.count, room))
        n_logged = int(self.log.written[0])
        self.log = self.log._replace(rows=grown(self.log.rows, n_logged, n_logged + n_merges))

    def merges(self) -> NDArray[np.void]:
        """Return the merges logged, in order."""
        return self.log.rows[: self.log.written[0]].copy()

    def present(self, *, kept_only: bool = False) -> Indices:
        """Return the objects that did not merge into an older one, and of those only the kept ones when asked."""
        numbers = np.arange(self.count, dtype=np.int32)
        chosen: NDArray[np.bool_] = self.forest.parent[: self.count] == numbers
        if kept_only:
            chosen &= is_kept(self.forest.rows[: self.count], self.log.min_voxels)
        return numbers[chosen]

    def now(self, numbers: Indices) -> Indices:
        """Return what each object is part of now."""
        return roots_of(self.forest.parent, numbers)

    def rows(self, numbers: Indices, front: Indices) -> ObjectRows:
        """Return the rows of present objects; those among ``front`` are marked open."""
        rows = self.forest.rows[numbers]
        rows["is_open"] = np.isin(numbers, self.now(front))
        return rows

    def cleaned_values(self, numbers: Indices, removed_value: int) -> NDArray[np.uint8]:
        """Return the class of each object, uint8, or ``removed_value`` when it is below its threshold."""
        rows = self.forest.rows[self.now(numbers)]
        return np.where(is_kept(rows, self.log.min_voxels), rows["class_id"], removed_value).astype(np.uint8)
