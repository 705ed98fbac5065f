"""The run tables of one block of planes: growing, and frozen once the front has left it."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from services.imaging.labelling.errors import AbsentPlaneError
from services.imaging.labelling.kernels import BlockRuns, Coordinates, Forest, Indices, Kinds, Runs, roots_of
from services.imaging.labelling.packing import Unpacked, pack
from services.imaging.labelling.parameters import LabellingParameters
from services.imaging.labelling.planes import PlaneRuns, PlaneWindow, Value, empty_rows
from services.imaging.labelling.rows import OBJECT_DTYPE, ObjectRows

BLOCK_MAGIC = b"fnblk\0\0\2"


@dataclass(frozen=True, eq=False)
class ZBlock:
    """The runs of a block of planes and the components they form within the block.

    A frozen block depends on its own planes only, apart from ``joins``, so that a changed plane means one block and its
    two faces to be made again.

    Attributes
    ----------
    index
        Block i has the planes from ``i * block_planes`` on.
    windows
        The present planes, in z order.
    row_offset
        int32: for each plane in turn its height + 1 offsets into the plane's own runs.
    start, end
        uint16 (int32 on a canvas of 2**16 columns or more), shape (runs,): canvas columns, half open.
    component
        int32, shape (runs,): component of each run, numbered within the block in raster order of first voxels.
    components
        `OBJECT_DTYPE`, shape (components,): what each component has within the block.
    kind
        Of the type of the planes. Shape (runs,): the value of each run, where components join several (``delta``);
        otherwise shape (0,), as the class of the component says it.
    joins
        int32, shape (n, 2): a component of the last block before that has planes, and a component of this one, that
        belong together. Unions over these pairs give the joins of the face; the pairs are not all the contacts.
    """

    index: int
    windows: tuple[PlaneWindow, ...]
    row_offset: Indices
    start: Coordinates
    end: Coordinates
    component: Indices
    components: ObjectRows
    joins: Indices
    kind: Kinds

    def plane(self, z: int) -> PlaneRuns:
        """Return the runs of a plane, with the component of each as ``node``.

        Raises
        ------
        AbsentPlaneError
            When the block has no such plane.
        """
        at = position_of(z, self.windows)
        return self.planes(at, at + 1)[0]

    def planes(self, first: int = 0, stop: int | None = None) -> list[PlaneRuns]:
        """Return the runs of the present planes number ``first`` to ``stop`` (all without it)."""
        found = []
        for i in range(len(self.windows))[first:stop]:
            runs = slice(self._run_ends[i], self._run_ends[i + 1])
            rows = slice(self._row_ends[i], self._row_ends[i + 1])
            found.append(
                PlaneRuns(
                    self.windows[i],
                    Runs(
                        y0=self.windows[i].y0,
                        row_offset=self.row_offset[rows],
                        start=self.start[runs],
                        end=self.end[runs],
                        kind=self.kinds(runs),
                        node=self.component[runs],
                    ),
                )
            )
        return found

    def kinds(self, runs: slice = slice(None)) -> Kinds:
        """Return the class or value of each run, or of some, of the type of the planes."""
        if self.kind.size == self.start.size:
            return self.kind[runs]
        return self._class_of_component[self.component[runs]]

    def block_runs(self) -> BlockRuns:
        """Return the runs of all planes, with the component of each as ``node`` and without their kinds (`kinds`)."""
        row_base = np.array(self._row_ends, np.int64)
        offset = np.repeat(np.array(self._run_ends[:-1], np.int32), np.diff(row_base))
        return BlockRuns(
            np.array([window.z for window in self.windows], np.int64),
            np.array([window.y0 for window in self.windows], np.int64),
            row_base,
            self.row_offset + offset,
            self.start,
            self.end,
            self.kind[:0],
            self.component,
        )

    def to_bytes(self) -> bytes:
        """Return the block as bytes, the same for the same planes."""
        windows = np.array([astuple(window) for window in self.windows], np.int32).reshape(-1, 5)
        runs = [self.row_offset, self.start, self.end, self.component]
        return pack(BLOCK_MAGIC, {"index": self.index}, [windows, *runs, self.components, self.joins, self.kind])

    @classmethod
    def from_bytes(cls, data: bytes) -> "ZBlock":
        """Return the block that `to_bytes` wrote.

        Raises
        ------
        CorruptTablesError
            When the bytes are not a block.
        """
        unpacked = Unpacked(BLOCK_MAGIC, data)
        windows = unpacked.take(np.int32)
        row_offset = unpacked.take(np.int32)
        ends = unpacked.next_dtype()
        return cls(
            index=unpacked.header["index"],
            windows=tuple(PlaneWindow(*window) for window in windows.tolist()),
            row_offset=row_offset,
            start=unpacked.take(ends),
            end=unpacked.take(ends),
            component=unpacked.take(np.int32),
            components=unpacked.take(OBJECT_DTYPE),
            joins=unpacked.take(np.int32),
            kind=unpacked.take(unpacked.next_dtype()),
        )

    @cached_property
    def _class_of_component(self) -> Kinds:
        return self.components["class_id"].astype(self.kind.dtype)

    @cached_property
    def _row_ends(self) -> list[int]:
        return list(accumulate((window.height + 1 for window in self.windows), initial=0))

    @cached_property
    def _run_ends(self) -> list[int]:
        return list(accumulate((int(self.row_offset[row - 1]) for row in self._row_ends[1:]), initial=0))


class OpenBlock:
    """The block that the front is in; ``node`` of its planes is a component that later planes may have merged.

    Parameters
    ----------
    index
        Block index.
    parameters
        Of the labelling.
    """

    def __init__(self, index: int, parameters: LabellingParameters) -> None:
        self.index = index
        self.planes: list[PlaneRuns] = []
        self.components = Forest(np.empty(64, np.int32), empty_rows(64))
        self.object_of: Indices = np.empty(64, np.int32)
        self.count = 0
        self.joins: Indices = np.empty((0, 2), np.int32)
        self._parameters = parameters

    @classmethod
    def reopened(cls, block: ZBlock, object_of: Indices, parameters: LabellingParameters) -> "OpenBlock":
        """Return a frozen block as one that grows on; ``object_of`` has the object of each component."""
        opened = cls(block.index, parameters)
        opened.planes = block.planes()
        opened.reserve(block.components.size)
        opened.count = block.components.size
        opened.components.parent[: opened.count] = np.arange(opened.count)
        opened.components.rows[: opened.count] = block.components
        opened.object_of[: opened.count] = object_of
        opened.joins = block.joins
        return opened

    def reserve(self, count: int) -> None:
        """Make room for so many more components."""
        room = self.count + count
        self.components = Forest(
            grown(self.components.parent, self.count, room), grown(self.components.rows, self.count, room)
        )
        self.object_of = grown(self.object_of, self.count, room)

    def plane(self, z: int) -> PlaneRuns:
        """Return the runs of a plane.

        Raises
        ------
        AbsentPlaneError
            When the block has no such plane.
        """
        return self.planes[position_of(z, [plane.window for plane in self.planes])]

    def frozen(self) -> tuple[ZBlock, Indices, Indices]:
        """Return the block as it stands, the object of each of its components, and the new number of each old one."""
        root = roots_of(self.components.parent, np.arange(self.count, dtype=np.int32))
        is_root = root == np.arange(self.count)
        number = (np.cumsum(is_root, dtype=np.int32) - np.int32(1))[root]
        joins = np.stack([self.joins[:, 0], number[self.joins[:, 1]]], axis=1)
        runs = [plane.runs for plane in self.planes]
        ends = self._parameters.coordinate_dtype
        with_kind = runs if self._parameters.delta else []
        block = ZBlock(
            index=self.index,
            windows=tuple(plane.window for plane in self.planes),
            row_offset=joined([r.row_offset for r in runs], np.int32),
            start=joined([r.start for r in runs], ends),
            end=joined([r.end for r in runs], ends),
            component=number[joined([r.node for r in runs], np.int32)],
            components=self.components.rows[: self.count][is_root],
            joins=np.unique(joins, axis=0),
            kind=joined([r.kind for r in with_kind], self._parameters.plane_dtype),
        )
        return block, self.object_of[: self.count][is_root], number


def position_of(z: int, windows: Sequence[PlaneWindow]) -> int:
    """Return where plane z stands among the windows of a block.

    Raises
    ------
    AbsentPlaneError
        When it is not among them.
    """
    for i, window in enumerate(windows):
        if window.z == z:
            return i
    raise AbsentPlaneError(z)


def grown(array: NDArray[Value], used: int, room: int) -> NDArray[Value]:
    """Return the array, or a copy of its used part with at least the room asked for, and twice what it had."""
    if array.size >= room:
        return array
    larger = np.empty(max(room, 2 * array.size), array.dtype)
    larger[:used] = array[:used]
    return larger


def joined(arrays: Sequence[NDArray[Any]], dtype: DTypeLike) -> NDArray[Any]:
    """Return the arrays end to end; also when there is none."""
    return np.concatenate([np.empty(0, dtype), *arrays])
