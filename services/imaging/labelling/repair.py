"""A slice that came late, was replaced or was removed: its block is labelled again, and the joins of its two faces."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling.blocks import ZBlock
from services.imaging.labelling.errors import PlaneOrderError
from services.imaging.labelling.kernels import Indices, Kinds
from services.imaging.labelling.planes import PlaneRuns, Scanner, stacked
from services.imaging.labelling.tables import LabelTables
from services.imaging.labelling.volumes import block_of_runs, join_blocks

CONTINUATION_DTYPE = np.dtype([("before", "<i8"), ("after", "<i8"), ("voxels", "<i8")])
"""Two identities and the voxels that both objects have, those of the changed plane not counted."""


@dataclass(frozen=True, eq=False)
class Amended:
    """Tables after a plane was changed, and what became of the objects.

    Attributes
    ----------
    tables
        Those of a labelling that had the plane from the beginning, but for ``merges``, which are empty: what merged is
        told by the other members.
    overlaps
        `CONTINUATION_DTYPE`, by ``before`` and ``after``: every pair of an old and a new object that share voxels. An
        old object with several entries was split, a new one with several was merged.
    """

    tables: LabelTables
    overlaps: NDArray[np.void]

    def id_map(self) -> dict[int, int]:
        """Return for each old identity that lives on the new one: the object that most of its voxels went to.

        Of two with as many voxels it is the older. Several old ones may have one new one (they merged).

        Examples
        --------
        >>> from services.imaging.labelling import LabellingParameters, label_volume
        >>> volume = np.array([[[0, 2, 0]], [[2, 0, 2]], [[2, 0, 2]]], np.uint8)
        >>> tables = label_volume(volume, LabellingParameters(canvas_shape_yx=(1, 3)))
        >>> amended_with(tables, 0, np.zeros((1, 3), np.uint8)).id_map() == {1: 1 << 42}
        True
        """
        order = np.lexsort((self.overlaps["after"], -self.overlaps["voxels"], self.overlaps["before"]))
        best = self.overlaps[order]
        first = np.flatnonzero(np.diff(best["before"], prepend=-1))
        return dict(zip(best["before"][first].tolist(), best["after"][first].tolist(), strict=True))


def amended_with(tables: LabelTables, z: int, plane: Kinds | None, origin_yx: tuple[int, int] = (0, 0)) -> Amended:
    """Put a plane in, or in the place of another, or take one out, after the front has passed.

    Only the runs of the plane's block are connected again; other blocks are taken as they are, and objects are joined
    from the tables of components. `StreamingLabeller.resumed` goes on from the result.

    Parameters
    ----------
    tables
        Finished or not.
    z
        Plane index, one of those labelled.
    plane
        Shape (y, x), of the type of the labelling; None makes the plane absent.
    origin_yx
        Canvas position of the plane's first pixel.

    Raises
    ------
    PlaneOrderError
        When z is not among the planes labelled, present or absent.
    InvalidPlaneError, WindowOutsideCanvasError
        As `StreamingLabeller.add`.
    """
    if not tables.first_z <= z < tables.next_z:
        raise PlaneOrderError(f"Planes {tables.first_z} to {tables.next_z - 1} were labelled; z = {z} was not")
    index = z // tables.parameters.block_planes
    old = next((block for block in tables.blocks if block.index == index), None)
    planes = [present for present in (old.planes() if old else []) if present.window.z != z]
    if plane is not None:
        parameters = tables.parameters
        scanner = Scanner(parameters.canvas_shape_yx, parameters.coordinate_dtype, parameters.plane_dtype)
        planes.append(scanner.scan(z, plane, origin_yx))
    new = _labelled_again(tables, sorted(planes, key=lambda present: present.window.z))
    blocks = [block for block in tables.blocks if block.index != index] + ([new] if new else [])
    blocks.sort(key=lambda block: block.index)
    unjoined = (_without_joins(tables, block) for block in blocks)
    amended = join_blocks(tables.parameters, unjoined, (tables.first_z, tables.next_z), finished=tables.finished)
    return Amended(amended, _overlaps(tables, amended, z))


def _labelled_again(tables: LabelTables, planes: list[PlaneRuns]) -> ZBlock | None:
    if not planes:
        return None
    runs = stacked(planes)
    counted = runs._replace(node=np.arange(runs.start.size, dtype=np.int32))
    return block_of_runs(tables.parameters, [present.window for present in planes], counted)


def _without_joins(tables: LabelTables, block: ZBlock) -> ZBlock:
    """Return a block as it was before it was joined to the one before it.

    Only an absent plane at the face leaves a trace in a component, its flag; those blocks are connected again.
    """
    if block.joins.size and block.components["bridged"][block.joins[:, 1]].any():
        again = _labelled_again(tables, block.planes())
        if again is not None:
            return again
    return replace(block, joins=np.empty((0, 2), np.int32))


def _overlaps(before: LabelTables, after: LabelTables, z: int) -> NDArray[np.void]:
    """Count the voxels that an old and a new object share outside the changed plane."""
    new_blocks = {block.index: (block, object_of) for block, object_of in _with_objects(after)}
    parts = []
    for block, old_object_of in _with_objects(before):
        if block.index not in new_blocks:
            continue
        new_block, new_object_of = new_blocks[block.index]
        here, there = _runs_elsewhere(block, z), _runs_elsewhere(new_block, z)
        length = block.end[here].astype(np.int64) - block.start[here]
        old_object = old_object_of[block.component[here]]
        new_object = new_object_of[new_block.component[there]]
        parts.append(_summed(old_object, new_object, length))
    return _as_overlaps(before, after, np.concatenate([np.empty((0, 3), np.int64), *parts]))


def _with_objects(tables: LabelTables) -> Iterable[tuple[ZBlock, Indices]]:
    return zip(tables.blocks, tables.object_of, strict=True)


def _runs_elsewhere(block: ZBlock, z: int) -> NDArray[np.bool_]:
    """Return, bool, shape (runs,), which runs of a block are not of plane z."""
    runs = block.block_runs()
    counts = runs.row_offset[runs.row_base[1:] - 1] - runs.row_offset[runs.row_base[:-1]]
    elsewhere: NDArray[np.bool_] = np.repeat(runs.z != z, counts)
    return elsewhere


def _summed(old_object: Indices, new_object: Indices, length: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return rows (old object, new object, voxels), each pair once."""
    pairs, place = np.unique(old_object.astype(np.int64) << 32 | new_object, return_inverse=True)
    voxels = np.zeros(pairs.size, np.int64)
    np.add.at(voxels, place, length)
    return np.stack([pairs >> 32, pairs & 0xFFFFFFFF, voxels], axis=1)


def _as_overlaps(before: LabelTables, after: LabelTables, rows: NDArray[np.int64]) -> NDArray[np.void]:
    total = _summed(rows[:, 0].astype(np.int32), rows[:, 1].astype(np.int32), rows[:, 2])
    overlaps = np.zeros(len(total), CONTINUATION_DTYPE)
    overlaps["before"] = before.objects["identity"][total[:, 0]]
    overlaps["after"] = after.objects["identity"][total[:, 1]]
    overlaps["voxels"] = total[:, 2]
    return overlaps
