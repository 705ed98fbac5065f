"""Connected components of several classes taken as one, and the largest of them, from finished run tables."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling.errors import InvalidParametersError
from services.imaging.labelling.kernels import (
    Indices,
    merge_rows,
    roots_of,
    select_block,
    unite_block,
)
from services.imaging.labelling.planes import PlaneRuns, stacked
from services.imaging.labelling.rows import ObjectRows
from services.imaging.labelling.tables import LabelTables


@dataclass(frozen=True, eq=False)
class Components:
    """Components of one or several classes, the largest first.

    Attributes
    ----------
    tables
        The tables they were made from.
    rows
        `OBJECT_DTYPE`, shape (components,): component with label i is row i - 1. ``class_id`` is 0 when there are
        several classes.
    label_of_object
        uint32, shape (objects,): label of each object of the tables, 0 for those that are in no component.
    """

    tables: LabelTables
    rows: ObjectRows
    label_of_object: NDArray[np.uint32]

    def paint_plane(self, z: int, out: NDArray[np.uint32] | None = None) -> NDArray[np.uint32]:
        """Return the labels of the window plane at z, uint32, shape (y, x), 0 where there is no component.

        Raises
        ------
        AbsentPlaneError
            When the plane was skipped or has not come.
        """
        return self.tables.paint_plane(z, self.label_of_object, out)

    def labels_of_runs(self) -> tuple[NDArray[np.uint32], ...]:
        """Return for each block of the tables the label of each run, uint32, shape (runs,)."""
        return tuple(
            self.label_of_object[object_of[block.component]]
            for block, object_of in zip(self.tables.blocks, self.tables.object_of, strict=True)
        )


def components_of(tables: LabelTables, classes: Collection[int], k: int | None = None) -> Components:
    """Return the components that the kept objects of some classes form when they are taken as one class.

    The partition and the counts are those of ``cc3d.largest_k`` on the binary volume of those classes after small
    objects were removed. Labels go by size, 1 is the largest; of two of one size the older has the smaller label (there
    cc3d chooses as its sorting falls).

    Parameters
    ----------
    tables
        Tables of a labelling; open objects take part and stay marked.
    classes
        Class ids.
    k
        How many to return at most; all without it.

    Raises
    ------
    InvalidParametersError
        When k is negative.

    Examples
    --------
    >>> from services.imaging.labelling import LabellingParameters, StreamingLabeller
    >>> labeller = StreamingLabeller(LabellingParameters(canvas_shape_yx=(1, 6)))
    >>> labeller.add(0, np.array([[2, 0, 0, 2, 4, 0]], np.uint8))
    >>> components = components_of(labeller.finish(), {2, 4})
    >>> components.paint_plane(0).tolist()
    [[2, 0, 0, 1, 1, 0]]
    >>> components.rows["voxels"].tolist()
    [2, 1]
    """
    if k is not None and k < 0:
        raise InvalidParametersError(f"The number of components is at least 0. Got: {k}")
    members = np.flatnonzero(tables.kept & np.isin(tables.objects["class_id"], sorted(classes)))
    rows = tables.objects[members]
    parent = np.arange(members.size, dtype=np.int32)
    if np.unique(rows["class_id"]).size > 1:
        rows["bridged"] |= _unite_touching(tables, members, parent)
    merge_rows(rows, parent)
    if len(set(classes)) > 1:
        rows["class_id"] = 0
    root = roots_of(parent, np.arange(members.size, dtype=np.int32))
    order = _largest(rows["voxels"], root, k)
    label_of_member = np.zeros(members.size, np.uint32)
    label_of_member[order] = np.arange(1, order.size + 1)
    label_of_object = np.zeros(tables.objects.size, np.uint32)
    label_of_object[members] = label_of_member[root]
    return Components(tables, rows[order], label_of_object)


def _largest(voxels: NDArray[np.int64], root: Indices, k: int | None) -> NDArray[np.intp]:
    """Return the roots, largest first and among equals the oldest first, at most k."""
    roots = np.flatnonzero(root == np.arange(root.size))
    return roots[np.argsort(-voxels[roots], kind="stable")][:k]


def _unite_touching(tables: LabelTables, members: NDArray[np.intp], parent: Indices) -> NDArray[np.bool_]:
    """Unite the members that touch one another; return, bool, members of each union across absent planes."""
    crossed = np.zeros(members.size, np.bool_)
    member_of_object = np.full(tables.objects.size, -1, np.int32)
    member_of_object[members] = np.arange(members.size)
    # Of one kind, so that runs beside one another join as those of a grey volume do.
    reach = tables.parameters.reach._replace(delta=1)
    last: PlaneRuns | None = None
    for block, object_of in zip(tables.blocks, tables.object_of, strict=True):
        member_of_component = member_of_object[object_of]
        chosen = select_block(block.block_runs(), member_of_component)
        unite_block(parent, chosen, reach, tables.parameters.max_bridged, crossed)
        if last is not None:
            face = stacked([last, _with_members(block.planes(0, 1)[0], member_of_component)])
            chosen = select_block(face, np.arange(-1, members.size, dtype=np.int32))
            unite_block(parent, chosen, reach, tables.parameters.max_bridged, crossed)
        last = _with_members(block.planes(-1)[0], member_of_component)
    return crossed


def _with_members(plane: PlaneRuns, member_of_component: Indices) -> PlaneRuns:
    """Return a plane with the member of each run, counted from 1, as ``node``; 0 where there is none."""
    node = member_of_component[plane.runs.node] + np.int32(1)
    return PlaneRuns(plane.window, plane.runs._replace(node=node))
