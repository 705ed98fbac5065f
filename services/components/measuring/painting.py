"""Label arrays of one nucleus, painted from its run tables: what the measuring functions take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from services.components.measuring.lattice import Lattice, picked
from services.imaging.labelling import LabelTables

Cut = tuple[int, int]
"""A face of an array, as axis and side (0 low, 1 high), at which the acquisition ends."""

FINEST_NM = 16.0
"""Label planes with finer voxels are thinned to this edge: a nucleus at 4 nm would take 3.6 gigavoxels, and the
thinnest thing measured, the complex, is 60 nm."""


class NothingLabelledError(ValueError):
    """The tables hold no object that was kept."""


@dataclass(frozen=True, eq=False)
class NucleusImage:
    """The labels of one nucleus in its bounding box, with a margin of a voxel.

    Attributes
    ----------
    classes
        uint8, (z, y, x), ids of `LabelClass`; removed specks and the exterior are 0.
    chromosomes
        uint16, of the same shape: number of the chromosome, 0 elsewhere.
    objects
        uint32, of the same shape: id of the object, 0 elsewhere.
    lattice
        Where the voxels lie in the acquisition.
    clipped
        Whether a face of the acquisition cuts the nucleus.
    cut
        Faces of the array that are such faces: what lies at one goes on outside.
    """

    classes: NDArray[np.uint8]
    chromosomes: NDArray[np.uint16]
    objects: NDArray[np.uint32]
    lattice: Lattice
    clipped: bool = False
    cut: tuple[Cut, ...] = ()


@dataclass(frozen=True, slots=True)
class CanvasPlace:
    """Where the canvas of a nucleus lies: first row and column, and voxel edges of the label planes."""

    origin_yx_px: tuple[int, int]
    voxel_zyx_nm: tuple[float, float, float]


def painted(
    tables: LabelTables,
    chromosome_plane: Callable[[int], NDArray[np.uint32]],
    place: CanvasPlace,
    cut: Mapping[Cut, int] = MappingProxyType({}),
    plane_z_nm: Callable[[int], float] | None = None,
) -> NucleusImage:
    """Paint the labels of a nucleus.

    Parameters
    ----------
    tables
        Of the closed nucleus.
    chromosome_plane
        Gives the chromosome numbers of the window plane at z.
    place
        Where the canvas lies.
    cut
        Faces at which the acquisition cuts the nucleus, and their coordinates on the canvas: the first index of a low
        face, the last and one of a high one.
    plane_z_nm
        Gives the measured depth of a plane, where it is known.

    Notes
    -----
    An absent plane is painted as the nearest one that is there, the earlier of two: at most three in a row are absent
    (design.md, decision 7). Planes and pixels finer than 16 nm are thinned to at most that, taking the middle one of
    each group.

    Raises
    ------
    NothingLabelledError
        When no object was kept.
    """
    box = _Box.of(tables, place)
    present = np.array([window.z for window in tables.windows()])
    numbers = tables.object_numbers()
    class_id = np.where(tables.kept, tables.objects["class_id"], 0).astype(np.uint8)
    classes = np.zeros(box.shape, np.uint8)
    chromosomes = np.zeros(box.shape, np.uint16)
    objects = np.zeros(box.shape, np.uint32)
    canvas_shape = tables.parameters.canvas_shape_yx
    windows = {window.z: window.slices_yx for window in tables.windows()}
    for index, z in enumerate(box.planes):
        source = int(present[np.argmin(np.abs(present - z))])
        for stack, plane in (
            (classes, tables.paint_plane(source, class_id)),
            (chromosomes, chromosome_plane(source)),
            (objects, tables.paint_plane(source, numbers)),
        ):
            canvas = np.zeros(canvas_shape, plane.dtype)
            canvas[windows[source]] = plane
            stack[index + 1, 1:-1, 1:-1] = canvas[box.rows, box.columns]
    return NucleusImage(classes, chromosomes, objects, box.lattice(place, plane_z_nm), bool(cut), box.reached(cut))


@dataclass(frozen=True, slots=True)
class _Box:
    """What is painted: every n-th plane, row and column of the box of the kept objects."""

    planes: range
    rows: slice
    columns: slice
    factors: tuple[int, int, int]
    shape: tuple[int, int, int]
    edges: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, tables: LabelTables, place: CanvasPlace) -> _Box:
        kept = tables.objects[tables.kept]
        if kept.size == 0:
            raise NothingLabelledError("no object was kept: there is nothing to measure")
        first = [int(kept[name].min()) for name in ("z0", "y0", "x0")]
        stop = [int(kept[name].max()) for name in ("z1", "y1", "x1")]
        factors = [max(1, int(FINEST_NM / edge + 1e-6)) for edge in place.voxel_zyx_nm]
        z, y, x = (
            range(low, high)[picked(high - low, factor)] for low, high, factor in zip(first, stop, factors, strict=True)
        )
        return cls(
            planes=z,
            rows=slice(y.start, y.stop, y.step),
            columns=slice(x.start, x.stop, x.step),
            factors=(factors[0], factors[1], factors[2]),
            shape=(len(z) + 2, len(y) + 2, len(x) + 2),
            edges=tuple(zip(first, stop, strict=True)),
        )

    def reached(self, cut: Mapping[Cut, int]) -> tuple[Cut, ...]:
        """Return those faces of the acquisition that the kept objects reach."""
        return tuple(
            (axis, side)
            for (axis, side), face in sorted(cut.items())
            if (self.edges[axis][1] >= face if side else self.edges[axis][0] <= face)
        )

    def lattice(self, place: CanvasPlace, plane_z_nm: Callable[[int], float] | None) -> Lattice:
        """Return where the painted voxels lie, those of the margin included."""
        firsts = (
            self.planes.start,
            self.rows.start + place.origin_yx_px[0],
            self.columns.start + place.origin_yx_px[1],
        )
        edges = [edge * factor for edge, factor in zip(place.voxel_zyx_nm, self.factors, strict=True)]
        # The middle of the first painted voxel is that of the first picked one; before it lies the margin.
        z, y, x = (
            (first + 0.5) * fine - 1.5 * edge
            for first, fine, edge in zip(firsts, place.voxel_zyx_nm, edges, strict=True)
        )
        return Lattice((edges[0], edges[1], edges[2]), (z, y, x), self._depths(plane_z_nm))

    def _depths(self, plane_z_nm: Callable[[int], float] | None) -> tuple[float, ...] | None:
        if plane_z_nm is None or len(self.planes) < 2:
            return None
        depths = [plane_z_nm(z) for z in self.planes]
        return (2 * depths[0] - depths[1], *depths, 2 * depths[-1] - depths[-2])
