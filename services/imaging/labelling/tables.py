"""The tables of a labelling: runs by block, objects, merges; everything else is read from them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling.blocks import ZBlock
from services.imaging.labelling.errors import AbsentPlaneError, CorruptTablesError, PlaneNotFinalError
from services.imaging.labelling.kernels import Indices
from services.imaging.labelling.packing import Unpacked, pack
from services.imaging.labelling.parameters import LabellingParameters
from services.imaging.labelling.planes import PlaneRuns, PlaneWindow, Value, paint
from services.imaging.labelling.rows import MERGE_DTYPE, OBJECT_DTYPE, ObjectRows

TABLES_MAGIC = b"fntab\0\0\2"


@dataclass(frozen=True, eq=False)
class LabelTables:
    """A labelled volume as run tables, finished or as it stood at one plane.

    Attributes
    ----------
    parameters
        What the labelling was told.
    first_z, next_z
        The planes labelled, half open.
    finished
        Whether every object is closed.
    blocks
        The blocks that have planes, in z order.
    object_of
        For each block int32, shape (components,): the object that each component belongs to, as a row of ``objects``.
    objects
        `OBJECT_DTYPE`, in the order of identities; those below their threshold are among them.
    merges
        `MERGE_DTYPE`, in order: the merges whose younger object had reached its threshold.
    """

    parameters: LabellingParameters
    first_z: int
    next_z: int
    finished: bool
    blocks: tuple[ZBlock, ...]
    object_of: tuple[Indices, ...]
    objects: ObjectRows
    merges: NDArray[np.void]

    @cached_property
    def kept(self) -> NDArray[np.bool_]:
        """Bool, shape (objects,): which objects have reached the threshold of their class."""
        return is_kept(self.objects, self.parameters.thresholds())

    @cached_property
    def _classes(self) -> NDArray[np.uint8]:
        """The class of each object, in one piece: read for every plane."""
        return self.objects["class_id"].astype(np.uint8)

    @cached_property
    def clean_final_z(self) -> int:
        """The first plane in which an object may still be removed or kept; ``next_z`` when there is none."""
        undecided = self.objects["z0"][self.objects["is_open"] & ~self.kept]
        return int(undecided.min(initial=self.next_z))

    def object_numbers(self) -> NDArray[np.uint32]:
        """Return the number of each object, uint32: 1, 2, ... over the kept ones by identity, 0 for a removed one."""
        kept = self.kept
        return np.where(kept, np.cumsum(kept), 0).astype(np.uint32)

    def to_bytes(self, *, blocks_apart: int = 0) -> bytes:
        """Return the tables as bytes, the same for the same planes.

        Parameters
        ----------
        blocks_apart
            Leave out so many of the first blocks, which `ZBlock.to_bytes` stored before: a block that the front has
            left never changes.
        """
        parameters = asdict(self.parameters)
        parameters["min_voxels"] = sorted(self.parameters.min_voxels.items())
        header = {
            "parameters": parameters,
            "first_z": self.first_z,
            "next_z": self.next_z,
            "finished": self.finished,
            "blocks_apart": blocks_apart,
        }
        counts = np.array([objects.size for objects in self.object_of], np.int64)
        object_of = np.concatenate([np.empty(0, np.int32), *self.object_of])
        blocks = [np.frombuffer(block.to_bytes(), np.uint8) for block in self.blocks[blocks_apart:]]
        return pack(TABLES_MAGIC, header, [counts, object_of, self.objects, self.merges, *blocks])

    @classmethod
    def from_bytes(cls, data: bytes, blocks_apart: Sequence[ZBlock] = ()) -> "LabelTables":
        """Return the tables that `to_bytes` wrote.

        Parameters
        ----------
        data
            The bytes.
        blocks_apart
            The blocks that were left out.

        Raises
        ------
        CorruptTablesError
            When the bytes are not tables, or other blocks were left out.
        """
        unpacked = Unpacked(TABLES_MAGIC, data)
        header = unpacked.header
        counts = unpacked.take(np.int64)
        object_of = unpacked.take(np.int32)
        objects = unpacked.take(OBJECT_DTYPE)
        merges = unpacked.take(MERGE_DTYPE)
        n_here = counts.size - header["blocks_apart"]
        here = [ZBlock.from_bytes(unpacked.take(np.uint8).tobytes()) for _ in range(n_here)]
        blocks = (*blocks_apart, *here)
        if [block.components.size for block in blocks] != counts.tolist() or object_of.size != counts.sum():
            raise CorruptTablesError("The blocks are not those that the tables were made with")
        if object_of.size and not 0 <= object_of.min() <= object_of.max() < objects.size:
            raise CorruptTablesError("A component belongs to an object that is not there")
        parameters = header["parameters"]
        parameters["min_voxels"] = dict(parameters["min_voxels"])
        parameters["canvas_shape_yx"] = tuple(parameters["canvas_shape_yx"])
        return cls(
            parameters=LabellingParameters(**parameters),
            first_z=header["first_z"],
            next_z=header["next_z"],
            finished=header["finished"],
            blocks=blocks,
            object_of=tuple(np.split(object_of, np.cumsum(counts)[:-1])) if counts.size else (),
            objects=objects,
            merges=merges,
        )

    def windows(self) -> tuple[PlaneWindow, ...]:
        """Return where the present planes lie on the canvas, in z order."""
        return tuple(window for block in self.blocks for window in block.windows)

    def block_of(self, z: int) -> int:
        """Return the position in ``blocks`` of the block that has a plane.

        Raises
        ------
        AbsentPlaneError
            When no block has it.
        """
        index = z // self.parameters.block_planes
        for i, block in enumerate(self.blocks):
            if block.index == index:
                return i
        raise AbsentPlaneError(z)

    def object_plane(self, z: int) -> PlaneRuns:
        """Return the runs of a plane, with the object of each (a row of ``objects``) as ``node``.

        Raises
        ------
        AbsentPlaneError
            When the plane was skipped or has not come.
        """
        i = self.block_of(z)
        plane = self.blocks[i].plane(z)
        return PlaneRuns(plane.window, plane.runs._replace(node=self.object_of[i][plane.runs.node]))

    def paint_plane(self, z: int, value: NDArray[Value], out: NDArray[Value] | None = None) -> NDArray[Value]:
        """Return the window plane at z with a value per object, and 0 where there is none.

        Parameters
        ----------
        z
            Plane index.
        value
            Shape (objects,): what to paint for each row of ``objects``; its type is the plane's.
        out
            Written and returned when given: the type of ``value``, shape of the window, C order.

        Raises
        ------
        AbsentPlaneError
            When the plane was skipped or has not come.
        """
        i = self.block_of(z)
        return paint(self.blocks[i].plane(z), value[self.object_of[i]], out)

    def labels_plane(
        self, z: int, lut: NDArray[np.uint32] | None = None, out: NDArray[np.uint32] | None = None
    ) -> NDArray[np.uint32]:
        """Return the object numbers of the window plane at z, uint32; ``lut`` replaces `object_numbers`.

        Raises
        ------
        AbsentPlaneError
            When the plane was skipped or has not come.
        """
        return self.paint_plane(z, self.object_numbers() if lut is None else lut, out)

    def cleaned_plane(
        self, z: int, removed_value: int = 255, out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Return a plane as it came, uint8, with the pixels of removed objects replaced by ``removed_value``.

        Raises
        ------
        InvalidParametersError
            When the planes are not of classes.
        PlaneNotFinalError
            When the plane is not final.
        AbsentPlaneError
            When the plane was skipped.
        """
        self.parameters.check_classes()
        if z >= self.clean_final_z:
            raise PlaneNotFinalError(z, self.clean_final_z)
        i = self.block_of(z)
        objects = self.object_of[i]
        value = np.where(self.kept[objects], self._classes[objects], np.uint8(removed_value))
        return paint(self.blocks[i].plane(z), value, out)


def is_kept(rows: ObjectRows, min_voxels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return, bool, which objects have reached the threshold of their class."""
    voxels: NDArray[np.int64] = rows["voxels"]
    kept: NDArray[np.bool_] = voxels >= min_voxels[np.minimum(rows["class_id"], min_voxels.size - 1)]
    return kept
