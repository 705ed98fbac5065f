"""Reading the OME-Zarr of a nucleus for its pictures, in slabs, so that memory does not grow with the volume."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import NDArray

from services.report.content import NucleusArrays, ObjectRow, Pixels, ResultsFormatError, Section, Zyx

MAX_VOXELS = 24_000_000
SERIES_PLANES = 8
_SLAB_BYTES = 32_000_000
_CONTEXT_NM = 320.0
_MAX_PLANE_PX = 1400

ZarrArray = zarr.Array[Any]
Span = tuple[int, int]
Box = tuple[Span, Span, Span]


@dataclass(frozen=True, eq=False)
class _Volume:
    grey: ZarrArray
    classes: ZarrArray
    objects: ZarrArray | None
    chromosomes: ZarrArray | None
    voxel_nm: Zyx


def read_voxel_nm(path: Path) -> Zyx:
    """Return the (z, y, x) edge of a voxel in nanometres from the metadata of an OME-Zarr.

    Raises
    ------
    ResultsFormatError
        When the metadata do not say it.
    """
    return _scale_nm(_group(path), path)


def read_arrays(path: Path, chromosomes: Sequence[ObjectRow], limit: int = MAX_VOXELS) -> NucleusArrays | None:
    """Return what the pictures of a nucleus are drawn from, or None when nothing is labelled in it.

    Parameters
    ----------
    path
        `volume.ome.zarr` of the nucleus: array `0`, `labels/classes/0`, and, once its chromosomes are known,
        `labels/objects/0` and `labels/chromosomes/0`.
    chromosomes
        Ranked chromosomes of the nucleus; `object_id` is their value in `labels/objects`. They tell whose a voxel is
        in results that have no `labels/chromosomes`.
    limit
        Most voxels of a returned volume; a larger one is thinned by whole steps.

    Raises
    ------
    ResultsFormatError
        When the arrays are not there, differ in shape, or have no scale.
    """
    volume = _open(path)
    box = _labelled_box(volume.classes)
    if box is None:
        return None
    steps = _steps(box, volume.voxel_nm, limit)
    classes, ranks = _thinned(volume, box, steps, chromosomes)
    z, y, x = (v * s for v, s in zip(volume.voxel_nm, steps, strict=True))
    wide = _widened(box, volume)
    return NucleusArrays(classes, ranks, (z, y, x), _orthogonal(volume, box, wide), _series(volume, box, wide))


def _group(path: Path) -> zarr.Group:
    try:
        return zarr.open_group(path, mode="r")
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise ResultsFormatError(f"{path.name}: not a Zarr group: {error}") from error


def _open(path: Path) -> _Volume:
    group = _group(path)
    names = ("0", "labels/classes/0", "labels/objects/0", "labels/chromosomes/0")
    grey, classes, objects, chromosomes = (_array(group, name) for name in names)
    if grey is None or classes is None:
        raise ResultsFormatError(f"{path.name}: there is no (z, y, x) array '0' or 'labels/classes/0'")
    others = (grey, *(labels for labels in (objects, chromosomes) if labels is not None))
    if any(array.shape != classes.shape for array in others):
        raise ResultsFormatError(f"{path.name}: the shapes of image and labels differ")
    return _Volume(grey, classes, objects, chromosomes, _scale_nm(group, path))


def _array(group: zarr.Group, name: str) -> ZarrArray | None:
    member = group.get(name)
    return member if isinstance(member, zarr.Array) and member.ndim == 3 else None


def _scale_nm(group: zarr.Group, path: Path) -> Zyx:
    try:
        ome = cast("dict[str, Any]", group.attrs["ome"])
        transforms = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"]
        z, y, x = next([float(v) for v in t["scale"]] for t in transforms if t["type"] == "scale")
    except (KeyError, IndexError, TypeError, ValueError, StopIteration) as error:
        raise ResultsFormatError(f"{path.name}: its metadata hold no scale: {error!r}") from error
    if min(z, y, x) <= 0:
        raise ResultsFormatError(f"{path.name}: its scale {(z, y, x)} is not positive")
    return z, y, x


def _slabs(array: ZarrArray, span: Span) -> Iterator[Span]:
    """Ranges of z that fit into memory and, where they can, end at the ends of chunks."""
    plane_bytes = max(1, int(np.prod(array.shape[1:])) * array.dtype.itemsize)
    planes = max(1, _SLAB_BYTES // plane_bytes)
    chunk = array.chunks[0]
    planes = planes // chunk * chunk if planes >= chunk else planes
    start = span[0]
    while start < span[1]:
        stop = min(span[1], (start // planes + 1) * planes)
        yield start, stop
        start = stop


def _labelled_box(classes: ZarrArray) -> Box | None:
    """First and last-but-one index of what is labelled, on each axis."""
    lows, highs = [], []
    for first, last in _slabs(classes, (0, classes.shape[0])):
        labelled = np.asarray(classes[first:last]) > 0
        if not labelled.any():
            continue
        low, high = [], []
        for axes in ((1, 2), (0, 2), (0, 1)):
            where = np.flatnonzero(labelled.any(axis=axes))
            low.append(int(where[0]))
            high.append(int(where[-1]) + 1)
        lows.append([low[0] + first, *low[1:]])
        highs.append([high[0] + first, *high[1:]])
    if not lows:
        return None
    starts, stops = np.min(lows, axis=0).tolist(), np.max(highs, axis=0).tolist()
    return (starts[0], stops[0]), (starts[1], stops[1]), (starts[2], stops[2])


def _steps(box: Box, voxel_nm: Zyx, limit: int) -> tuple[int, int, int]:
    """Whole steps, about equal in nanometres, that bring a box below a number of voxels."""
    steps = [1, 1, 1]
    sizes = [stop - start for start, stop in box]
    while np.prod([-(-n // s) for n, s in zip(sizes, steps, strict=True)]) > limit:
        finest = min(range(3), key=lambda axis: steps[axis] * voxel_nm[axis])
        steps[finest] += 1
    return steps[0], steps[1], steps[2]


def _thinned(
    volume: _Volume, box: Box, steps: tuple[int, int, int], chromosomes: Sequence[ObjectRow]
) -> tuple[Pixels, Pixels]:
    """Classes and chromosome ranks of a box, every so many voxels."""
    (_, _), (top, bottom), (left, right) = box
    ranks = {c.object_id: c.chromosome or 0 for c in chromosomes}
    class_slabs, rank_slabs = [], []
    for first, last in _slabs(volume.classes if volume.objects is None else volume.objects, box[0]):
        offset = -(first - box[0][0]) % steps[0]
        thin = (slice(offset, None, steps[0]), slice(None, None, steps[1]), slice(None, None, steps[2]))
        where = (slice(first, last), slice(top, bottom), slice(left, right))
        class_slabs.append(np.asarray(volume.classes[where], np.uint8)[thin].copy())
        if volume.chromosomes is not None:
            rank_slabs.append(np.asarray(volume.chromosomes[where], np.uint8)[thin].copy())
        elif volume.objects is None:
            rank_slabs.append(np.zeros_like(class_slabs[-1]))
        else:
            rank_slabs.append(_ranked(np.asarray(volume.objects[where])[thin], ranks))
    return np.concatenate(class_slabs), np.concatenate(rank_slabs)


def _ranked(objects: NDArray[np.integer], ranks: Mapping[int, int]) -> Pixels:
    """Rank of each voxel's object; 0 for objects that are no chromosome."""
    ids = np.array(sorted(ranks), np.int64)
    by_position = np.array([ranks[int(i)] for i in ids], np.uint8)
    found = np.zeros(objects.shape, np.uint8)
    labelled = objects > 0  # most voxels are not: look up the others alone
    values = objects[labelled]
    if ids.size and values.size:
        position = np.minimum(np.searchsorted(ids, values), ids.size - 1)
        found[labelled] = np.where(ids[position] == values, by_position[position], 0)
    return found


def _widened(box: Box, volume: _Volume) -> Box:
    """Box with some surroundings, within the volume."""
    spans = []
    for (start, stop), size, voxel_nm in zip(box, volume.classes.shape, volume.voxel_nm, strict=True):
        margin = round(_CONTEXT_NM / voxel_nm)
        spans.append((max(0, start - margin), min(size, stop + margin)))
    return spans[0], spans[1], spans[2]


def _orthogonal(volume: _Volume, box: Box, wide: Box) -> tuple[Section, ...]:
    """Planes through the middle of the labelled box."""
    sections = []
    for axis, name in ((0, "xy"), (1, "xz"), (2, "yz")):
        middle = (box[axis][0] + box[axis][1] - 1) // 2
        sections.append(_section(volume, wide, axis, middle, name))
    return tuple(sections)


def _series(volume: _Volume, box: Box, wide: Box) -> tuple[Section, ...]:
    """Planes along z in the middles of equal parts."""
    start, stop = box[0]
    count = min(SERIES_PLANES, stop - start)
    planes = [start + int((i + 0.5) * (stop - start) / count) for i in range(count)]
    return tuple(_section(volume, wide, 0, z, "xy", start) for z in planes)


def _section(volume: _Volume, wide: Box, axis: int, index: int, name: str, origin: int | None = None) -> Section:
    """Plane across an axis, thinned to what a picture needs."""
    (za, zb), (ya, yb), (xa, xb) = wide
    window: list[slice | int] = [slice(za, zb), slice(ya, yb), slice(xa, xb)]
    window[axis] = index
    grey, classes = (np.asarray(a[tuple(window)], np.uint8) for a in (volume.grey, volume.classes))
    step = max(1, -(-max(grey.shape) // _MAX_PLANE_PX))
    height_nm, width_nm = (v for i, v in enumerate(volume.voxel_nm) if i != axis)
    return Section(
        grey=np.ascontiguousarray(grey[::step, ::step]),
        classes=np.ascontiguousarray(classes[::step, ::step]),
        pixel_nm=(height_nm * step, width_nm * step),
        name=name,
        position_nm=(index - (wide[axis][0] if origin is None else origin)) * volume.voxel_nm[axis],
    )
