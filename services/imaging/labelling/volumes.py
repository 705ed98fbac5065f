"""Volumes, or blocks of them, whose planes are all there: labelled block by block, joined, painted in place."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling.blocks import ZBlock
from services.imaging.labelling.errors import InvalidPlaneError
from services.imaging.labelling.faces import joined_to
from services.imaging.labelling.kernels import (
    BlockRuns,
    Indices,
    Kinds,
    mark_border,
    measure_block,
    merge_rows,
    number_sections,
    roots_of,
    unite_block,
    unite_pairs,
)
from services.imaging.labelling.painting import paint_chosen
from services.imaging.labelling.parameters import LabellingParameters
from services.imaging.labelling.planes import PlaneWindow, Scanner, empty_rows
from services.imaging.labelling.rows import MERGE_DTYPE
from services.imaging.labelling.tables import LabelTables

MapBlocks: TypeAlias = Callable[[Callable[[slice], ZBlock], Iterable[slice]], Iterable[ZBlock]]
"""Calls a function for each part of a volume and gives the results in order: `map`, or that of a thread pool."""


def label_volume(volume: Kinds, parameters: LabellingParameters, map_blocks: MapBlocks = map) -> LabelTables:
    """Label a volume that is there as a whole.

    The tables are those of `StreamingLabeller` fed plane by plane, but for ``merges``, which are empty: nobody looked
    while it grew.

    Parameters
    ----------
    volume
        Shape (z, y, x), of the type that the parameters say: a class per voxel, 0 = background. The planes must fill
        the canvas. Memory-mapped arrays are read block by block.
    parameters
        Canvas, thresholds, connectivity.
    map_blocks
        How blocks are labelled: one after the other, or side by side with ``ThreadPoolExecutor(2).map`` (the loops run
        without the interpreter lock). The result is the same.

    Raises
    ------
    InvalidPlaneError
        When the volume is of another type or shape.

    Examples
    --------
    >>> volume = np.array([[[2, 0, 2]], [[2, 2, 2]]], np.uint8)
    >>> label_volume(volume, LabellingParameters(canvas_shape_yx=(1, 3))).objects["voxels"].tolist()
    [5]
    """
    if volume.ndim != 3:
        raise InvalidPlaneError(f"A volume has three axes, z, y and x. Got: {volume.shape}")

    idle: list[Scanner] = []

    def labelled(part: slice) -> ZBlock:
        scanner = _one_of(idle, parameters)
        block = label_block(parameters, part.start, volume[part], scanner)
        idle.append(scanner)
        return block

    step = parameters.block_planes
    parts = [slice(z, min(z + step, len(volume))) for z in range(0, len(volume), step)]
    return join_blocks(parameters, list(map_blocks(labelled, parts)), (0, len(volume)))


def _one_of(idle: list[Scanner], parameters: LabellingParameters) -> Scanner:
    """Return a scanner that nobody works with; its buffers were paid for before."""
    try:
        return idle.pop()
    except IndexError:
        return new_scanner(parameters)


def new_scanner(parameters: LabellingParameters) -> Scanner:
    """Return a scanner of the planes of a labelling."""
    return Scanner(parameters.canvas_shape_yx, parameters.coordinate_dtype, parameters.plane_dtype)


def label_block(parameters: LabellingParameters, first_z: int, planes: Kinds, scanner: Scanner | None = None) -> ZBlock:
    """Label the canvas planes of one block, shape (planes, y, x), from plane ``first_z`` on, without its joins.

    Raises
    ------
    InvalidPlaneError
        When they are of another type or shape, or not of one block.
    """
    index = first_z // parameters.block_planes
    if not 1 <= len(planes) <= (index + 1) * parameters.block_planes - first_z:
        raise InvalidPlaneError(
            f"{len(planes)} planes from z = {first_z} on are not of one block of {parameters.block_planes}"
        )
    runs = (scanner or new_scanner(parameters)).scan_planes(first_z, planes)
    windows = [PlaneWindow(z, 0, 0, *parameters.canvas_shape_yx) for z in runs.z.tolist()]
    return block_of_runs(parameters, windows, runs)


def block_of_runs(parameters: LabellingParameters, windows: Sequence[PlaneWindow], runs: BlockRuns) -> ZBlock:
    """Label the runs of the planes of one block, without its joins; ``runs.node`` counts the runs."""
    parent = runs.node.copy()
    bridged = np.zeros(parent.size, np.bool_)
    unite_block(parent, runs, parameters.reach, parameters.max_bridged, bridged)
    component, count = number_sections(parent)
    components = empty_rows(count)
    measure_block(components, runs._replace(node=component))
    mark_border(components, *parameters.canvas_shape_yx)
    components["bridged"][component[bridged]] = True
    if parameters.delta:
        components["class_id"] = 0
    first_run = runs.row_offset[runs.row_base[:-1]]
    return ZBlock(
        index=windows[0].z // parameters.block_planes,
        windows=tuple(windows),
        row_offset=runs.row_offset - np.repeat(first_run, np.diff(runs.row_base)),
        start=runs.start,
        end=runs.end,
        component=component,
        components=components,
        joins=np.empty((0, 2), np.int32),
        kind=runs.kind if parameters.delta else np.empty(0, parameters.plane_dtype),
    )


def join_blocks(
    parameters: LabellingParameters, blocks: Iterable[ZBlock], z_range: tuple[int, int], *, finished: bool = True
) -> LabelTables:
    """Join blocks that were labelled one by one into the tables of the volume.

    Parameters
    ----------
    parameters
        Of the labelling.
    blocks
        In z order; joins that they have are made again.
    z_range
        The planes labelled, half open.
    finished
        Whether every object is closed; otherwise those that reach the newest plane are open.
    """
    joined: list[ZBlock] = []
    for block in blocks:
        joined.append(joined_to(block, joined[-1] if joined else None, parameters))
    offsets = np.cumsum([0, *(block.components.size for block in joined)])
    parent = np.arange(offsets[-1], dtype=np.int32)
    for block, before, here in zip(joined[1:], offsets[:-2].tolist(), offsets[1:-1].tolist(), strict=True):
        unite_pairs(parent, block.joins, before, here)
    rows = np.concatenate([empty_rows(0), *(block.components for block in joined)])
    if joined and not finished:
        rows["is_open"][_at_the_front(parameters, joined, z_range[1]) + offsets[-2]] = True
    merge_rows(rows, parent)
    root = roots_of(parent, np.arange(parent.size, dtype=np.int32))
    is_root = root == np.arange(parent.size)
    number = (np.cumsum(is_root, dtype=np.int32) - np.int32(1))[root]
    return LabelTables(
        parameters=parameters,
        first_z=z_range[0],
        next_z=z_range[1],
        finished=finished,
        blocks=tuple(joined),
        object_of=tuple(np.split(number, offsets[1:-1])) if joined else (),
        objects=rows[is_root],
        merges=np.zeros(0, MERGE_DTYPE),
    )


def _at_the_front(parameters: LabellingParameters, blocks: Sequence[ZBlock], next_z: int) -> Indices:
    """Return the components of the last block that may still grow."""
    if next_z - blocks[-1].windows[-1].z - 1 > parameters.max_bridged:
        return np.empty(0, np.int32)
    return np.unique(blocks[-1].planes(-1)[0].runs.node)


def clean_volume(tables: LabelTables, volume: Kinds, removed_value: int = 0) -> None:
    """Replace the voxels of removed objects in the volume that was labelled, in place; nothing else is written."""
    if tables.kept.all():
        return
    value = np.full(tables.objects.size, removed_value, volume.dtype)
    paint_volume(tables, volume, value, ~tables.kept)


def paint_volume(tables: LabelTables, volume: NDArray[Any], value: NDArray[Any], chosen: NDArray[np.bool_]) -> None:
    """Write a value under every voxel of the chosen objects, in place; nothing else is written.

    Parameters
    ----------
    tables
        Of a volume whose planes fill the canvas.
    volume
        Shape (planes from ``tables.first_z`` on, y, x).
    value, chosen
        Shape (objects,): what to write, of the volume's type, and for which objects.
    """
    for block, object_of in zip(tables.blocks, tables.object_of, strict=True):
        chosen_here = chosen[object_of]
        if chosen_here.any():
            first = block.windows[0].z - tables.first_z
            paint_chosen(volume[first:], block.block_runs(), value[object_of], chosen_here)
