"""What a labelling must give, the plain and slow way, and volumes that are hard to label."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import remove_small_objects

from services.imaging.labelling import LabellingParameters, LabelTables, StreamingLabeller

RANK = {4: 1, 8: 2, 6: 1, 18: 2, 26: 3}
MIN_VOXELS = {1: 3, 2: 7, 3: 15}

Maker: TypeAlias = Callable[[tuple[int, int, int], np.random.Generator], NDArray[np.uint8]]


@dataclass(frozen=True)
class Stack:
    """Planes with their places on a canvas; ``None`` where one is absent."""

    canvas_shape_yx: tuple[int, int]
    planes: tuple[NDArray[np.uint8] | None, ...]
    origins_yx: tuple[tuple[int, int], ...]
    first_z: int = 0
    min_voxels: Mapping[int, int] = field(default_factory=lambda: MIN_VOXELS)
    connectivity: int = 26
    max_bridged: int = 3
    block_planes: int = 4

    @property
    def parameters(self) -> LabellingParameters:
        return LabellingParameters(
            canvas_shape_yx=self.canvas_shape_yx,
            min_voxels=self.min_voxels,
            connectivity=self.connectivity,
            max_bridged=self.max_bridged,
            block_planes=self.block_planes,
        )

    def feed(self, labeller: StreamingLabeller) -> Iterator[int]:
        """Give the labeller the planes it lacks; yield z after each."""
        for z in range(labeller.next_z, self.first_z + len(self.planes)):
            plane = self.planes[z - self.first_z]
            if plane is None:
                labeller.skip(z)
            else:
                labeller.add(z, plane, self.origins_yx[z - self.first_z])
            yield z

    def labelled(self) -> LabelTables:
        labeller = StreamingLabeller(self.parameters, self.first_z)
        for _ in self.feed(labeller):
            pass
        return labeller.finish()

    def until(self, z: int) -> "Stack":
        """The same stack without the planes after z."""
        n = z + 1 - self.first_z
        return Stack(
            self.canvas_shape_yx,
            self.planes[:n],
            self.origins_yx[:n],
            self.first_z,
            self.min_voxels,
            self.connectivity,
            self.max_bridged,
            self.block_planes,
        )

    def present(self) -> list[int]:
        return [self.first_z + i for i, plane in enumerate(self.planes) if plane is not None]

    def on_canvas(self, z: int) -> NDArray[np.uint8]:
        canvas = np.zeros(self.canvas_shape_yx, np.uint8)
        plane = self.planes[z - self.first_z]
        assert plane is not None
        y, x = self.origins_yx[z - self.first_z]
        canvas[y : y + plane.shape[0], x : x + plane.shape[1]] = plane
        return canvas

    def window_of(self, z: int, canvas: NDArray[np.generic]) -> NDArray[np.generic]:
        plane = self.planes[z - self.first_z]
        assert plane is not None
        y, x = self.origins_yx[z - self.first_z]
        return canvas[y : y + plane.shape[0], x : x + plane.shape[1]]


def segments(stack: Stack) -> list[list[int]]:
    """The present planes, cut where more are absent in a row than are bridged."""
    found: list[list[int]] = []
    for z in stack.present():
        if found and z - found[-1][-1] - 1 <= stack.max_bridged:
            found[-1].append(z)
        else:
            found.append([z])
    return found


def reference_labels(stack: Stack) -> dict[int, NDArray[np.int64]]:
    """A label per object on each present canvas plane, from `scipy.ndimage.label` class by class."""
    labels: dict[int, NDArray[np.int64]] = {}
    n_before = 0
    structure = ndimage.generate_binary_structure(3, RANK[stack.connectivity])
    for zs in segments(stack):
        volume = np.stack([stack.on_canvas(z) for z in zs])
        found = np.zeros(volume.shape, np.int64)
        for class_id in np.unique(volume[volume > 0]):
            of_class, n = ndimage.label(volume == class_id, structure)
            found += np.where(of_class > 0, of_class + n_before, 0)
            n_before += n
        labels.update(zip(zs, found, strict=True))
    return labels


def reference_cleaned(stack: Stack, removed_value: int) -> dict[int, NDArray[np.uint8]]:
    """The canvas planes after `skimage.morphology.remove_small_objects` class by class."""
    cleaned: dict[int, NDArray[np.uint8]] = {}
    for zs in segments(stack):
        volume = np.stack([stack.on_canvas(z) for z in zs])
        result = volume.copy()
        for class_id, least in stack.min_voxels.items():
            of_class = volume == class_id
            left = remove_small_objects(of_class, max_size=least - 1, connectivity=RANK[stack.connectivity])
            result[of_class & ~left] = removed_value
        cleaned.update(zip(zs, result, strict=True))
    return cleaned


def reference_rows(stack: Stack, labels: Mapping[int, NDArray[np.int64]]) -> list[dict[str, int]]:
    """The statistics of every object from the list of its voxels, by first voxel."""
    if not labels:
        return []
    zs = np.array(sorted(labels))
    volume = np.stack([labels[z] for z in zs])
    classes = np.stack([stack.on_canvas(z) for z in zs])
    crossing = reference_bridged(stack, labels)
    at, y, x = np.nonzero(volume)
    of_voxel = volume[at, y, x]
    rows = []
    for label in np.unique(of_voxel):
        mine = of_voxel == label
        points = {"z": zs[at[mine]], "y": y[mine], "x": x[mine]}
        row = {f"sum_{axis}": int(values.sum()) for axis, values in points.items()}
        for a, b in ("zz", "yy", "xx", "zy", "zx", "yx"):
            row[f"sum_{a}{b}"] = int((points[a] * points[b]).sum())
        for axis, values in points.items():
            row[f"{axis}0"], row[f"{axis}1"] = int(values.min()), int(values.max()) + 1
        row["first_z"], row["first_y"], row["first_x"] = (int(values[0]) for values in points.values())
        row["voxels"] = int(mine.sum())
        row["class_id"] = int(classes[at[mine][0], y[mine][0], x[mine][0]])
        height, width = stack.canvas_shape_yx
        row["touches_border"] = row["y0"] == 0 or row["x0"] == 0 or row["y1"] == height or row["x1"] == width
        row["bridged"] = int(label) in crossing
        rows.append(row)
    return sorted(rows, key=lambda row: (row["first_z"], row["first_y"], row["first_x"]))


def reference_bridged(stack: Stack, labels: Mapping[int, NDArray[np.int64]]) -> set[int]:
    """The objects that touch themselves across absent planes."""
    crossing: set[int] = set()
    offsets = np.argwhere(ndimage.generate_binary_structure(3, RANK[stack.connectivity])[0]) - 1
    for zs in segments(stack):
        for z_before, z in pairwise(zs):
            if z - z_before == 1:
                continue
            before = np.pad(labels[z_before], 1)
            height, width = labels[z].shape
            for dy, dx in offsets:
                moved = before[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
                crossing |= set(labels[z][(labels[z] > 0) & (labels[z] == moved)].tolist())
    return crossing


def same_partition(a: NDArray[np.integer], b: NDArray[np.integer]) -> bool:
    """Whether two label arrays have the same foreground and are equal up to numbers."""
    if not np.array_equal(a > 0, b > 0):
        return False
    pairs = np.unique(np.stack([a.ravel().astype(np.int64), b.ravel().astype(np.int64)]), axis=1)
    return all(np.unique(side).size == side.size for side in pairs)


def noise(shape: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    return rng.integers(0, 4, shape).astype(np.uint8)


def sparse_noise(shape: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    return np.where(rng.random(shape) < rng.uniform(0.1, 0.5), rng.integers(1, 4, shape), 0).astype(np.uint8)


def blobs(shape: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 1.5, mode="wrap")
    return np.array(np.digitize(field, np.quantile(field, [0.5, 0.7, 0.9])), np.uint8)


def checkerboard(shape: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    z, y, x = np.indices(shape)
    return np.array((z + y + x) % int(rng.integers(2, 5)), np.uint8)


def one_voxel_per_label(shape: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Every voxel differs from its 26 neighbours."""
    z, y, x = np.indices(shape)
    return np.array(1 + z % 2 + 2 * (y % 2) + 4 * (x % 2) + 8 * int(rng.integers(0, 2)), np.uint8)


def combs(shape: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Teeth that only the last row, column or plane joins."""
    volume = np.zeros(shape, np.uint8)
    axis = int(rng.integers(0, 3))
    np.moveaxis(volume, axis, 0)[:: int(rng.integers(2, 4))] = 2
    np.moveaxis(volume, (axis + 1) % 3, 0)[-1] = 2
    return volume


def spirals(shape: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A square spiral, one pixel wide, in a random plane of axes, with another class between its turns."""
    thin, rows, columns = sorted(range(3), key=lambda axis: (shape[axis], rng.random()))
    spiral = np.zeros((shape[rows], shape[columns]), np.uint8)
    top, left, bottom, right = 0, 0, shape[rows] - 1, shape[columns] - 1
    while top <= bottom and left <= right:
        spiral[top, max(left - 2, 0) : right + 1] = 3
        spiral[top : bottom + 1, right] = 3
        spiral[bottom, left : right + 1] = 3
        spiral[top + 2 : bottom + 1, left] = 3
        top, left, bottom, right = top + 2, left + 2, bottom - 2, right - 2
    spiral[(spiral == 0) & (rng.random() < 0.5)] = 1
    volume = np.zeros(shape, np.uint8)
    moved = np.moveaxis(volume, (thin, rows, columns), (0, 1, 2))
    moved[:: int(rng.integers(1, 3))] = spiral
    return volume


MAKERS: Sequence[Maker] = (
    noise,
    sparse_noise,
    blobs,
    checkerboard,
    one_voxel_per_label,
    combs,
    spirals,
)


@st.composite
def stacks(
    draw: st.DrawFn, *, absent: bool = True, moving: bool = True, connectivities: Sequence[int] = (26,)
) -> Stack:
    """Stacks of every kind of volume, with absent planes, moving windows, and blocks of any size."""
    shape = (draw(st.integers(1, 14)), draw(st.integers(1, 12)), draw(st.integers(1, 20)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    volume = draw(st.sampled_from(MAKERS))(shape, rng)
    margin = draw(st.integers(0, 4)) if moving else 0
    chance_absent = draw(st.sampled_from([0.0, 0.2, 0.6])) if absent else 0.0
    planes = tuple(
        None if gone else plane for plane, gone in zip(volume, rng.random(shape[0]) < chance_absent, strict=True)
    )
    return Stack(
        canvas_shape_yx=(shape[1] + margin, shape[2] + margin),
        planes=planes,
        origins_yx=tuple((int(y), int(x)) for y, x in rng.integers(0, margin + 1, (shape[0], 2))),
        first_z=draw(st.integers(0, 9)),
        connectivity=draw(st.sampled_from(connectivities)),
        max_bridged=draw(st.integers(0, 3)),
        block_planes=draw(st.integers(1, 6)),
    )
