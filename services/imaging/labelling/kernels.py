"""Every compiled loop of the labeller, and the records they take.

One file, because Numba's cache on disk looks only at the file of the function it cached: a callee in another file could
change unnoticed.
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

EIGHT_BYTES = np.uint64(0x0101010101010101)


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
        uint8, shape (runs,): runs join only with the same kind.
    node
        int32, shape (runs,): the element of a union-find that a run stands for.
    """

    y0: int
    row_offset: Indices
    start: Coordinates
    end: Coordinates
    kind: NDArray[np.uint8]
    node: Indices


class RunBuffer(NamedTuple):
    """Room for the runs of a plane being scanned: the arrays of `Runs` of the same names."""

    start: Coordinates
    end: Coordinates
    kind: NDArray[np.uint8]


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
    """

    in_plane: int
    across: int
    diagonal: int


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
        int64, shape (256,): the threshold of each class.
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
def roots_of(parent: Indices, nodes: Indices) -> Indices:
    """Return the root of each node, int32."""
    roots = np.empty(nodes.size, np.int32)
    for i in range(nodes.size):
        roots[i] = find(parent, nodes[i])
    return roots


@compiled
def _turn(buffer: RunBuffer, n: int, x: Integer, left: Integer, right: Integer) -> int:
    """Note that the pixels change from value ``left`` to value ``right`` at column x; return the runs that ended."""
    if left != 0:
        buffer.end[n] = x
        n += 1
    if right != 0:
        buffer.start[n] = x
        buffer.kind[n] = right
    return n


@compiled
def _scan_row(line: NDArray[np.uint8], x0: int, n: int, buffer: RunBuffer) -> int:
    """Write the runs of one row from place n on; return the place after them.

    Eight pixels are compared at once (the compiler makes one load of the eight), so that a uniform stretch costs one
    comparison per eight pixels.
    """
    whole = np.uint64(line.size // 8 * 8)
    current = np.uint64(0)
    x = np.uint64(0)
    while x < whole:
        word = np.uint64(line[x])
        for byte in range(1, 8):
            word |= np.uint64(line[x + np.uint64(byte)]) << np.uint64(8 * byte)
        if word != current * EIGHT_BYTES:
            for byte in range(8):
                value = (word >> np.uint64(8 * byte)) & np.uint64(255)
                if value != current:
                    n = _turn(buffer, n, np.int64(x) + byte + x0, current, value)
                    current = value
        x += np.uint64(8)
    for rest in range(np.int64(whole), line.size):
        value = np.uint64(line[rest])
        if value != current:
            n = _turn(buffer, n, rest + x0, current, value)
            current = value
    return _turn(buffer, n, line.size + x0, current, np.uint64(0))


@compiled
def scan_rows(plane: NDArray[np.uint8], x0: int, row: int, row_offset: Indices, buffer: RunBuffer) -> int:
    """Write the runs of the rows from ``row`` on, as far as the room reaches; return the first row not written."""
    height, width = plane.shape
    n = int(row_offset[row])
    while row < height and n + width <= buffer.start.size:
        n = _scan_row(plane[row], x0, n, buffer)
        row += 1
        row_offset[row] = n
    return row


@compiled
def _unite_rows(parent: Indices, reach: int, a: Runs, row_a: int, b: Runs, row_b: int) -> None:
    """Unite the runs of one row with the runs of the same kind of another row that they touch."""
    j = b.row_offset[row_b]
    stop = b.row_offset[row_b + 1]
    for i in range(a.row_offset[row_a], a.row_offset[row_a + 1]):
        left = np.int64(a.start[i]) - reach
        right = np.int64(a.end[i]) + reach
        while j < stop and b.end[j] <= left:
            j += 1
        k = j
        while k < stop and b.start[k] < right:
            if a.kind[i] == b.kind[k]:
                unite(parent, a.node[i], b.node[k])
            k += 1


@compiled
def unite_in_plane(parent: Indices, runs: Runs, reach: Reach) -> None:
    """Unite the runs of one plane that touch those of the row above."""
    for row in range(1, runs.row_offset.size - 1):
        _unite_rows(parent, reach.in_plane, runs, row, runs, row - 1)


@compiled
def unite_planes(parent: Indices, runs: Runs, previous: Runs, reach: Reach) -> None:
    """Unite the runs of a plane with those of the plane before that they touch."""
    last = previous.row_offset.size - 2
    for row in range(runs.row_offset.size - 1):
        if runs.row_offset[row] == runs.row_offset[row + 1]:
            continue
        same = runs.y0 + row - previous.y0
        for row_before in range(max(same - 1, 0), min(same + 1, last) + 1):
            distance = reach.across if row_before == same else reach.diagonal
            if distance >= 0:
                _unite_rows(parent, distance, runs, row, previous, row_before)


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
def _add_run(row: ObjectRow, start: Integer, end: Integer, y: int) -> None:
    """Add one run to the y and x columns of a section's row."""
    voxels = end - start
    sum_x = voxels * (start + end - 1) // 2
    row.voxels += voxels
    row.sum_y += y * voxels
    row.sum_x += sum_x
    row.sum_yy += y * y * voxels
    row.sum_xx += _sum_of_squares(end) - _sum_of_squares(start)
    row.sum_yx += y * sum_x
    row.x0 = min(row.x0, start)
    row.x1 = max(row.x1, end)
    row.y1 = y + 1


@compiled
def measure_sections(sections: ObjectRows, runs: Runs, z: int, canvas_height: int, canvas_width: int) -> None:
    """Fill the rows (zeros before) of the sections of plane z; ``runs.node`` has the section of each run."""
    for row in range(runs.row_offset.size - 1):
        y = runs.y0 + row
        for i in range(runs.row_offset[row], runs.row_offset[row + 1]):
            section = sections[runs.node[i]]
            start = np.int64(runs.start[i])
            if section.voxels == 0:
                section.identity = (((z << AXIS_BITS) | y) << AXIS_BITS) | start
                section.class_id = runs.kind[i]
                section.y0 = y
                section.x0 = start
            _add_run(section, start, np.int64(runs.end[i]), y)
    for i in range(sections.size):
        section = sections[i]
        section.sum_z = z * section.voxels
        section.sum_zz = z * section.sum_z
        section.sum_zy = z * section.sum_y
        section.sum_zx = z * section.sum_x
        section.z0 = z
        section.z1 = z + 1
        section.touches_border = (
            section.y0 == 0 or section.x0 == 0 or section.y1 == canvas_height or section.x1 == canvas_width
        )


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
    if lost.voxels >= log.min_voxels[lost.class_id]:
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
        if row.voxels < min_voxels[row.class_id]:
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
def select_runs(runs: Runs, value: Indices, parent: Indices) -> Runs:
    """Keep the runs whose ``value[node]`` is not negative, as one kind, with that value as node.

    Kept runs that abut in a row are united in ``parent``.
    """
    row_offset = np.empty_like(runs.row_offset)
    start = np.empty_like(runs.start)
    end = np.empty_like(runs.end)
    node = np.empty(runs.start.size, np.int32)
    n = 0
    row_offset[0] = 0
    for row in range(row_offset.size - 1):
        first = n
        for i in range(runs.row_offset[row], runs.row_offset[row + 1]):
            chosen = value[runs.node[i]]
            if chosen < 0:
                continue
            start[n] = runs.start[i]
            end[n] = runs.end[i]
            node[n] = chosen
            if n > first and end[n - 1] == start[n]:
                unite(parent, node[n - 1], chosen)
            n += 1
        row_offset[row + 1] = n
    return Runs(runs.y0, row_offset, start[:n], end[:n], np.ones(n, np.uint8), node[:n])


@compiled
def paint_runs(plane: NDArray[np.generic], x0: int, runs: Runs, value: NDArray[np.generic]) -> None:
    """Write ``value[node]`` under every run and 0 everywhere else; ``x0`` is the canvas column of the first pixel."""
    height, width = plane.shape
    for row in range(height):
        line = plane[row]
        x = np.int64(0)
        for i in range(runs.row_offset[row], runs.row_offset[row + 1]):
            start = np.int64(runs.start[i]) - x0
            end = np.int64(runs.end[i]) - x0
            line[x:start] = 0
            line[start:end] = value[runs.node[i]]
            x = end
        line[x:width] = 0
