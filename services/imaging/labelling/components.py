"""Connected components of several classes taken as one, and the largest of them, from finished run tables."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling.errors import InvalidParametersError
from services.imaging.labelling.kernels import (
    Indices,
    merge_rows,
    roots_of,
    select_runs,
    unite,
    unite_in_plane,
    unite_planes,
)
from services.imaging.labelling.parameters import LabellingParameters
from services.imaging.labelling.planes import PlaneRuns
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
    """Unite the members that touch one another; return, bool, one member of each union across absent planes."""
    crossed = np.zeros(members.size, np.bool_)
    before: PlaneRuns | None = None
    for plane in _chosen_planes(tables, members, parent):
        unite_in_plane(parent, plane.runs, tables.parameters.reach)
        if before is not None:
            _unite_with_plane_before(tables.parameters, parent, plane, before, crossed)
        before = plane
    return crossed


def _unite_with_plane_before(
    parameters: LabellingParameters,
    parent: Indices,
    plane: PlaneRuns,
    before: PlaneRuns,
    crossed: NDArray[np.bool_],
) -> None:
    """Unite the members of two present planes in a row; if absent ones lie between, mark one member of each union."""
    absent = plane.window.z - before.window.z - 1
    if absent == 0:
        unite_planes(parent, plane.runs, before.runs, parameters.reach)
    elif absent <= parameters.max_bridged:
        linked = np.arange(parent.size, dtype=np.int32)
        unite_planes(linked, plane.runs, before.runs, parameters.reach)
        for member in np.flatnonzero(linked != np.arange(parent.size)):
            crossed[member] = True
            unite(parent, member, linked[member])


def _chosen_planes(tables: LabelTables, members: NDArray[np.intp], parent: Indices) -> Iterator[PlaneRuns]:
    """Yield the present planes with the runs of the members only, and the member as ``node``."""
    member_of_object = np.full(tables.objects.size, -1, np.int32)
    member_of_object[members] = np.arange(members.size)
    for block, object_of in zip(tables.blocks, tables.object_of, strict=True):
        member_of_component = member_of_object[object_of]
        for plane in block.planes():
            yield PlaneRuns(plane.window, select_runs(plane.runs, member_of_component, parent))
