"""The compiled loops that connect runs, and the records that compiled loops take.

A compiled function calls only those of its own file, because Numba's cache on disk looks only at the file of the
function it cached: a callee in another file could change unnoticed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeAlias, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling.rows import AXIS_BITS, ObjectRow, ObjectRows

P = ParamSpec("P")
R = TypeVar("R")

Integer: TypeAlias = int | np.integer[Any]
Coordinates: TypeAlias = NDArray[np.integer[Any]]
"""Canvas columns: uint16, or int32 on a canvas of 2**16 columns or more."""
Indices: TypeAlias = NDArray[np.int32]
Kinds: TypeAlias = NDArray[np.unsignedinteger[Any]]
"""Classes or values: uint8, uint16 or uint32, as the planes are."""


class Runs(NamedTuple):
    """The runs of one plane: ``row_offset[r]:row_offset[r + 1]`` are those of canvas row ``y0 + r``, left to right.

    Attributes
    ----------
    y0
        Canvas row of the first row.
    row_offset
        int32, shape (height + 1,).
    start, end
        Coordinates, shape (runs,): canvas columns, half open.
    kind
        uint8, uint16 or uint32, shape (runs,): class or value of its pixels.
    node
        int32, shape (runs,): the element of a union-find that a run stands for.
    """

    y0: int
    row_offset: Indices
    start: Coordinates
    end: Coordinates
    kind: Kinds
    node: Indices


class BlockRuns(NamedTuple):
    """The runs of several planes; plane p has the entries ``row_base[p]`` to ``row_base[p + 1]`` of ``row_offset``.

    Attributes
    ----------
    z, y0, row_base
        int64, shapes (planes,), (planes,), (planes + 1,): index and first canvas row of each plane, and where its row
        offsets are.
    row_offset
        int32: for each plane height + 1 offsets into the arrays of runs, which all planes share.
    start, end, kind, node
        As in `Runs`, for the runs of all planes.
    """

    z: NDArray[np.int64]
    y0: NDArray[np.int64]
    row_base: NDArray[np.int64]
    row_offset: Indices
    start: Coordinates
    end: Coordinates
    kind: Kinds
    node: Indices


class RunBuffer(NamedTuple):
    """Room for the runs of a plane being scanned: the arrays of `Runs` of the same names."""

    start: Coordinates
    end: Coordinates
    kind: Kinds


class Reach(NamedTuple):
    """How far two runs of neighbouring rows may be apart in x and still touch (0: they overlap; 1: corners count).

    Attributes
    ----------
    in_plane
        Between rows y and y + 1 of one plane.
    across
        Between the same row of two planes.
    diagonal
        Between rows y and y + 1 of two planes; -1: they never touch.
    delta
        How far the kinds of runs that join may be apart.
    """

    in_plane: int
    across: int
    diagonal: int
    delta: int = 0


class Links(NamedTuple):
    """How the sections of a new plane hang together with those of the plane before.

    Attributes
    ----------
    parent
        int32 union-find: first the sections of the plane before, then those of the new plane.
    components, objects
        int32, per section of the plane before: its component and its object.
    same_block
        Whether both planes lie in one block.
    bridged
        Whether absent planes lie between them.
    z
        Index of the new plane.
    """

    parent: Indices
    components: Indices
    objects: Indices
    same_block: bool
    bridged: bool
    z: int


class Forest(NamedTuple):
    """The components of a block or the objects of a labelling: a union-find and a row per root.

    Attributes
    ----------
    parent
        int32 union-find; a root is the oldest of its set.
    rows
        `OBJECT_DTYPE`; only the rows of roots are kept up to date.
    """

    parent: Indices
    rows: ObjectRows


class MergeLog(NamedTuple):
    """Merges of objects that had reached their threshold.

    Attributes
    ----------
    rows
        `MERGE_DTYPE`, with room for more.
    written
        int64, shape (1,): how many entries there are.
    min_voxels
        int64: the threshold of each class, as `threshold_table`.
    """

    rows: NDArray[np.void]
    written: NDArray[np.int64]
    min_voxels: NDArray[np.int64]


class Attached(NamedTuple):
    """The component and the object of each section of a plane, and how many of both there are now."""

    components: Indices
    objects: Indices
    n_components: int
    n_objects: int


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile on first use, cache on disk, run without the interpreter lock."""
    return cast("Callable[P, R]", numba.njit(cache=True, nogil=True, boundscheck=False)(function))


@compiled
def find(parent: Indices, node: Integer) -> Integer:
    """Return the root of a node, halving the path to it."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@compiled
def unite(parent: Indices, a: Integer, b: Integer) -> None:
    """Join two trees; the smaller root stays, so that the oldest member names the set."""
    if parent[a] == parent[b]:
        return
    a = find(parent, a)
    b = find(parent, b)
    if a < b:
        parent[b] = a
    elif b < a:
        parent[a] = b


@compiled
def _threshold(min_voxels: NDArray[np.int64], class_id: Integer) -> Integer:
    """Return the threshold of a class."""
    last = np.int64(min_voxels.size - 1)
    threshold: np.int64 = min_voxels[min(np.int64(class_id), last)]
    return threshold


@compiled
def roots_of(parent: Indices, nodes: Indices) -> Indices:
    """Return the root of each node, int32."""
    roots = np.empty(nodes.size, np.int32)
    for i in range(nodes.size):
        roots[i] = find(parent, nodes[i])
    return roots


@compiled
def _same(a: Integer, b: Integer, delta: int) -> bool:
    """Return whether two kinds join."""
    return bool(abs(np.int64(a) - np.int64(b)) <= delta)


@compiled
def _unite_rows(parent: Indices, a: Runs, b: Runs, shift: int, touch: tuple[int, int]) -> None:
    """Unite the runs of each row r of ``a`` with the runs of row r + ``shift`` of ``b`` that they touch and join.

    ``touch``: how far they may be apart in x, and in kind. The runs of two rows are passed in the order of their ends;
    of two that end together each may yet touch the next one of the other row by a corner. The arrays have names of
    their own, for to reach them through the tuples takes longer than all the rest.
    """
    reach, delta = touch
    start_a, end_a, kind_a, node_a = a.start, a.end, a.kind, a.node
    start_b, end_b, kind_b, node_b = b.start, b.end, b.kind, b.node
    rows_a, rows_b = a.row_offset, b.row_offset
    for row in range(max(0, -shift), min(rows_a.size - 1, rows_b.size - 1 - shift)):
        i, i_stop = rows_a[row], rows_a[row + 1]
        j, j_stop = rows_b[row + shift], rows_b[row + shift + 1]
        while i < i_stop and j < j_stop:
            i_end, j_end = np.int64(end_a[i]), np.int64(end_b[j])
            near = np.int64(start_a[i]) < j_end + reach and np.int64(start_b[j]) < i_end + reach
            if near and _same(kind_a[i], kind_b[j], delta):
                unite(parent, node_a[i], node_b[j])
            if i_end < j_end:
                i += 1
            elif j_end < i_end:
                j += 1
            else:
                next_a = reach > 0 and i + 1 < i_stop and start_a[i + 1] == i_end
                next_b = reach > 0 and j + 1 < j_stop and start_b[j + 1] == j_end
                if next_a and _same(kind_a[i + 1], kind_b[j], delta):
                    unite(parent, node_a[i + 1], node_b[j])
                if next_b and _same(kind_a[i], kind_b[j + 1], delta):
                    unite(parent, node_a[i], node_b[j + 1])
                i += 1
                j += 1


@compiled
def _unite_in_rows(parent: Indices, runs: Runs, delta: int) -> None:
    """Unite the runs that abut in a row and join; with a delta of 0 there are none."""
    start, end, kind, node = runs.start, runs.end, runs.kind, runs.node
    for row in range(runs.row_offset.size - 1):
        for i in range(runs.row_offset[row] + 1, runs.row_offset[row + 1]):
            if start[i] == end[i - 1] and _same(kind[i], kind[i - 1], delta):
                unite(parent, node[i - 1], node[i])


@compiled
def unite_in_plane(parent: Indices, runs: Runs, reach: Reach) -> None:
    """Unite the runs of one plane that touch those of the row above, and those beside them where kinds may differ."""
    if reach.delta > 0:
        _unite_in_rows(parent, runs, reach.delta)
    _unite_rows(parent, runs, runs, -1, (reach.in_plane, reach.delta))


@compiled
def unite_planes(parent: Indices, runs: Runs, previous: Runs, reach: Reach) -> None:
    """Unite the runs of a plane with those of the plane before that they touch."""
    same_row = runs.y0 - previous.y0
    _unite_rows(parent, runs, previous, same_row, (reach.across, reach.delta))
    if reach.diagonal >= 0:
        _unite_rows(parent, runs, previous, same_row - 1, (reach.diagonal, reach.delta))
        _unite_rows(parent, runs, previous, same_row + 1, (reach.diagonal, reach.delta))


@compiled
def plane_of(block: BlockRuns, p: int) -> Runs:
    """Return plane number p of a block; its row offsets point into the arrays of the block."""
    row_offset = block.row_offset[block.row_base[p] : block.row_base[p + 1]]
    return Runs(block.y0[p], row_offset, block.start, block.end, block.kind, block.node)


@compiled
def unite_block(parent: Indices, block: BlockRuns, reach: Reach, max_bridged: int, bridged: NDArray[np.bool_]) -> None:
    """Unite all runs of a block that hang together; mark in ``bridged`` those that touch across absent planes.

    ``block.node`` counts the runs.
    """
    for p in range(block.z.size):
        runs = plane_of(block, p)
        unite_in_plane(parent, runs, reach)
        if p == 0:
            continue
        absent = block.z[p] - block.z[p - 1] - 1
        if absent == 0:
            unite_planes(parent, runs, plane_of(block, p - 1), reach)
        elif absent <= max_bridged:
            linked = np.arange(parent.size).astype(np.int32)
            unite_planes(linked, runs, plane_of(block, p - 1), reach)
            for run in range(parent.size):
                root = find(linked, run)
                if root != run:
                    unite(parent, root, run)
                    bridged[run] = True


@compiled
def number_sections(parent: Indices) -> tuple[Indices, int]:
    """Return the section of each run, int32, numbered from 0 in raster order, and how many there are.

    ``parent`` must hold smaller or equal indices only, as `unite` leaves it.
    """
    section = np.empty(parent.size, np.int32)
    count = 0
    for i in range(parent.size):
        if parent[i] == i:
            section[i] = count
            count += 1
        else:
            section[i] = section[parent[i]]
    return section, count


@compiled
def _sum_of_squares(n: Integer) -> Integer:
    """Return 0 + 1 + 4 + ... + (n - 1) ** 2."""
    return (n - 1) * n * (2 * n - 1) // 6


@compiled
def _add_run(row: ObjectRow, start: Integer, end: Integer, y: Integer, z: Integer) -> None:
    """Add one run to a row."""
    voxels = end - start
    sum_x = voxels * (start + end - 1) // 2
    sum_y = y * voxels
    sum_z = z * voxels
    row.voxels += voxels
    row.sum_z += sum_z
    row.sum_y += sum_y
    row.sum_x += sum_x
    row.sum_zz += z * sum_z
    row.sum_yy += y * sum_y
    row.sum_xx += _sum_of_squares(end) - _sum_of_squares(start)
    row.sum_zy += z * sum_y
    row.sum_zx += z * sum_x
    row.sum_yx += y * sum_x
    row.y0 = min(row.y0, y)
    row.x0 = min(row.x0, start)
    row.z1 = z + 1
    row.y1 = max(row.y1, y + 1)
    row.x1 = max(row.x1, end)


@compiled
def measure_plane(rows: ObjectRows, runs: Runs, z: int) -> None:
    """Add the runs of plane z to the rows (zeros at first) that ``runs.node`` says; planes come in z order."""
    for row in range(runs.row_offset.size - 1):
        y = np.int64(runs.y0) + row
        for i in range(runs.row_offset[row], runs.row_offset[row + 1]):
            member = rows[runs.node[i]]
            start = np.int64(runs.start[i])
            if member.voxels == 0:
                member.identity = (((z << AXIS_BITS) | y) << AXIS_BITS) | start
                member.class_id = runs.kind[i]
                member.z0 = z
                member.y0 = y
                member.x0 = start
            _add_run(member, start, np.int64(runs.end[i]), y, z)


@compiled
def mark_border(rows: ObjectRows, canvas_height: int, canvas_width: int) -> None:
    """Set ``touches_border`` of every row."""
    for i in range(rows.size):
        row = rows[i]
        row.touches_border = row.y0 == 0 or row.x0 == 0 or row.y1 == canvas_height or row.x1 == canvas_width


@compiled
def measure_block(rows: ObjectRows, block: BlockRuns) -> None:
    """Add the runs of a block to the rows (zeros before) that ``block.node`` says."""
    for p in range(block.z.size):
        measure_plane(rows, plane_of(block, p), block.z[p])


@compiled
def _absorb(older: ObjectRow, younger: ObjectRow) -> None:
    """Add the younger row to the older one, which keeps its identity and class."""
    older.voxels += younger.voxels
    older.sum_z += younger.sum_z
    older.sum_y += younger.sum_y
    older.sum_x += younger.sum_x
    older.sum_zz += younger.sum_zz
    older.sum_yy += younger.sum_yy
    older.sum_xx += younger.sum_xx
    older.sum_zy += younger.sum_zy
    older.sum_zx += younger.sum_zx
    older.sum_yx += younger.sum_yx
    older.z0 = min(older.z0, younger.z0)
    older.y0 = min(older.y0, younger.y0)
    older.x0 = min(older.x0, younger.x0)
    older.z1 = max(older.z1, younger.z1)
    older.y1 = max(older.y1, younger.y1)
    older.x1 = max(older.x1, younger.x1)
    older.touches_border |= younger.touches_border
    older.bridged |= younger.bridged
    older.is_open |= younger.is_open


@compiled
def _merge(forest: Forest, a: Integer, b: Integer) -> tuple[Integer, Integer]:
    """Merge two members' sets; return the roots that were, older first (equal when they were one set already)."""
    a = find(forest.parent, a)
    b = find(forest.parent, b)
    older, younger = min(a, b), max(a, b)
    if older != younger:
        forest.parent[younger] = older
        _absorb(forest.rows[older], forest.rows[younger])
    return older, younger


@compiled
def _merge_objects(objects: Forest, log: MergeLog, a: Integer, b: Integer, z: int) -> None:
    """Merge two objects, and log it when the younger one had reached its threshold and may have been seen."""
    older, younger = _merge(objects, a, b)
    if older == younger:
        return
    lost = objects.rows[younger]
    if lost.voxels >= _threshold(log.min_voxels, lost.class_id):
        entry = log.rows[log.written[0]]
        entry.older = objects.rows[older].identity
        entry.younger = lost.identity
        entry.z = z
        log.written[0] += 1


@compiled
def merge_linked(links: Links, components: Forest, objects: Forest, log: MergeLog) -> None:
    """Merge the components and objects of the plane before that the new plane joins."""
    for section in range(links.components.size):
        root = find(links.parent, section)
        if root != section:
            _merge_objects(objects, log, links.objects[root], links.objects[section], links.z)
            if links.same_block:
                _merge(components, links.components[root], links.components[section])


@compiled
def _place(forest: Forest, count: int, member: Integer, section: ObjectRow) -> tuple[Integer, int]:
    """Add a section to the set of ``member``, or to a new one when that is -1; return the root and the new count."""
    if member >= 0:
        root = find(forest.parent, member)
        _absorb(forest.rows[root], section)
        return root, count
    forest.parent[count] = count
    forest.rows[count] = section
    return count, count + 1


@compiled
def attach_sections(
    sections: ObjectRows, links: Links, components: Forest, n_components: int, objects: Forest, n_objects: int
) -> Attached:
    """Add the sections of a new plane to the components and objects they hang on, or begin new ones.

    Call `merge_linked` before; the forests need room for one more component and object per section.
    """
    n_previous = links.components.size
    component = np.empty(sections.size, np.int32)
    object_ = np.empty(sections.size, np.int32)
    for i in range(sections.size):
        root = find(links.parent, n_previous + i)
        linked = root < n_previous
        sections[i].bridged = linked and links.bridged
        in_block = linked and links.same_block
        component[i], n_components = _place(
            components, n_components, links.components[root] if in_block else -1, sections[i]
        )
        object_[i], n_objects = _place(objects, n_objects, links.objects[root] if linked else -1, sections[i])
    return Attached(component, object_, n_components, n_objects)


@compiled
def undecided_from(objects: Forest, front: Indices, min_voxels: NDArray[np.int64], next_z: int) -> int:
    """Return the first plane of the objects at the front that are still below their threshold, or ``next_z``."""
    z = next_z
    for i in range(front.size):
        row = objects.rows[find(objects.parent, front[i])]
        if row.voxels < _threshold(min_voxels, row.class_id):
            z = min(z, row.z0)
    return z


@compiled
def merge_rows(rows: ObjectRows, parent: Indices) -> None:
    """Add every row to the row of its root, in place; a root comes before its members."""
    for i in range(parent.size):
        root = find(parent, i)
        if root != i:
            _absorb(rows[root], rows[i])


@compiled
def unite_pairs(parent: Indices, pairs: Indices, offset_a: int, offset_b: int) -> None:
    """Unite the two members of each pair, int32, shape (n, 2), after the offsets were added to them."""
    for i in range(len(pairs)):
        unite(parent, pairs[i, 0] + offset_a, pairs[i, 1] + offset_b)


@compiled
def select_block(block: BlockRuns, value: Indices) -> BlockRuns:
    """Keep the runs whose ``value[node]`` is not negative, as one kind, with that value as node."""
    row_offset = np.empty_like(block.row_offset)
    start = np.empty_like(block.start)
    end = np.empty_like(block.end)
    node = np.empty(block.start.size, np.int32)
    n = 0
    run = 0
    for row in range(row_offset.size):
        while run < block.row_offset[row]:
            chosen = value[block.node[run]]
            if chosen >= 0:
                start[n] = block.start[run]
                end[n] = block.end[run]
                node[n] = chosen
                n += 1
            run += 1
        row_offset[row] = n
    one_kind = np.ones(n, np.uint8)
    return BlockRuns(block.z, block.y0, block.row_base, row_offset, start[:n], end[:n], one_kind, node[:n])
