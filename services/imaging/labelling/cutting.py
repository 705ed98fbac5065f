"""A labelling cut down to some of its objects."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling.blocks import ZBlock, joined
from services.imaging.labelling.errors import InvalidParametersError
from services.imaging.labelling.kernels import Indices
from services.imaging.labelling.planes import PlaneRuns
from services.imaging.labelling.rows import MERGE_DTYPE
from services.imaging.labelling.tables import LabelTables


def cut_out(tables: LabelTables, chosen: NDArray[np.bool_]) -> LabelTables:
    """Return tables of some objects alone: the planes that they reach, the rows of pixels that they have there.

    A closed object has the same runs however far the labelling went on after it, so that a cut of closed objects has
    the same bytes whenever it is made.

    Parameters
    ----------
    tables
        Tables of a labelling, finished or not.
    chosen
        Bool, shape (objects,): what to keep, at least one object.

    Returns
    -------
    LabelTables
        Finished when none of the objects is open. Planes between the first and the last that hold none of them are
        there and empty; merges are left out.

    Raises
    ------
    InvalidParametersError
        When no object is chosen.

    Examples
    --------
    >>> from services.imaging.labelling import LabellingParameters, label_volume
    >>> volume = np.array([[[2, 0, 3]], [[0, 0, 3]]], np.uint8)
    >>> cut = cut_out(label_volume(volume, LabellingParameters(canvas_shape_yx=(1, 3))), np.array([True, False]))
    >>> cut.first_z, cut.next_z, cut.cleaned_plane(0).tolist()
    (0, 1, [[2, 0, 0]])
    """
    objects = tables.objects[chosen]
    if not objects.size:
        raise InvalidParametersError("A cut has at least one object")
    first_z, next_z = int(objects["z0"].min()), int(objects["z1"].max())
    place = np.cumsum(chosen, dtype=np.int32) - np.int32(1)
    blocks: list[ZBlock] = []
    object_of: list[Indices] = []
    before = np.empty(0, np.bool_)
    for block, objects_of_block in zip(tables.blocks, tables.object_of, strict=True):
        keep = chosen[objects_of_block]
        cut = _cut_block(block, keep, before, (first_z, next_z))
        if cut.windows:
            blocks.append(cut)
            object_of.append(place[objects_of_block[keep]])
        before = keep
    return replace(
        tables,
        first_z=first_z,
        next_z=next_z,
        finished=not objects["is_open"].any(),
        blocks=tuple(blocks),
        object_of=tuple(object_of),
        objects=objects,
        merges=np.zeros(0, MERGE_DTYPE),
    )


def _cut_block(block: ZBlock, keep: NDArray[np.bool_], before: NDArray[np.bool_], reach_z: tuple[int, int]) -> ZBlock:
    """Return a block with the components to ``keep``; ``before`` says which of the last block are kept."""
    cut = [_cut_plane(plane, keep) for plane in block.planes() if reach_z[0] <= plane.window.z < reach_z[1]]
    runs = [plane.runs for plane in cut]
    number = np.cumsum(keep, dtype=np.int32) - np.int32(1)
    first, second = block.joins.T
    both = before[first] & keep[second] if block.joins.size else np.empty(0, np.bool_)
    number_before = np.cumsum(before, dtype=np.int32) - np.int32(1)
    with_kind = runs if block.kind.size else []
    return ZBlock(
        index=block.index,
        windows=tuple(plane.window for plane in cut),
        row_offset=joined([r.row_offset for r in runs], np.int32),
        start=joined([r.start for r in runs], block.start.dtype),
        end=joined([r.end for r in runs], block.end.dtype),
        component=number[joined([r.node for r in runs], np.int32)],
        components=block.components[keep],
        joins=np.stack([number_before[first[both]], number[second[both]]], axis=1).astype(np.int32).reshape(-1, 2),
        kind=joined([r.kind for r in with_kind], block.kind.dtype),
    )


def _cut_plane(plane: PlaneRuns, keep: NDArray[np.bool_]) -> PlaneRuns:
    """Return a plane with the runs of some components, its window as high as they are, and a row at least."""
    window, runs = plane.window, plane.runs
    taken = keep[runs.node]
    offset = np.concatenate([[0], np.cumsum(taken)]).astype(np.int32)[runs.row_offset]
    rows = np.flatnonzero(np.diff(offset))
    first, stop = (int(rows[0]), int(rows[-1]) + 1) if rows.size else (0, min(1, window.height))
    y0 = window.y0 + first
    return PlaneRuns(
        replace(window, y0=y0, height=stop - first),
        runs._replace(
            y0=y0,
            row_offset=offset[first : stop + 1],
            start=runs.start[taken],
            end=runs.end[taken],
            kind=runs.kind[taken],
            node=runs.node[taken],
        ),
    )
