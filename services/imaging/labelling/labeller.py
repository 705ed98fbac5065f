"""Labels a volume while it grows, plane by plane."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling.blocks import OpenBlock, ZBlock
from services.imaging.labelling.errors import (
    AbsentPlaneError,
    InvalidParametersError,
    LabellingFinishedError,
    PlaneNotFinalError,
    PlaneOrderError,
)
from services.imaging.labelling.faces import section_joins
from services.imaging.labelling.kernels import (
    Attached,
    Indices,
    Kinds,
    Links,
    Runs,
    attach_sections,
    mark_border,
    measure_plane,
    merge_linked,
    undecided_from,
    unite_planes,
)
from services.imaging.labelling.objects import GrowingObjects
from services.imaging.labelling.parameters import LabellingParameters
from services.imaging.labelling.planes import PlaneRuns, PlaneWindow, Scanner, empty_rows, find_sections, paint
from services.imaging.labelling.rows import AXIS_BITS, ObjectRows
from services.imaging.labelling.tables import LabelTables


class _Front(NamedTuple):
    """The newest present plane (``node`` = section), and the component and object of each of its sections."""

    plane: PlaneRuns
    components: Indices
    objects: Indices


class StreamingLabeller:
    """Labels a volume of class planes that come one by one in z order, exactly.

    Voxels join with neighbours of the same class; class 0 is background. The partition, the statistics and the removal
    of small objects are those of the whole volume, whatever the windows; what is known behind the front is known for
    good (`clean_final_z`).

    Parameters
    ----------
    parameters
        Canvas, thresholds, connectivity.
    first_z
        Index of the first plane.

    Examples
    --------
    >>> labeller = StreamingLabeller(LabellingParameters(canvas_shape_yx=(2, 4), min_voxels={2: 2}))
    >>> labeller.add(0, np.array([[2, 0, 0, 2], [0, 0, 0, 0]], np.uint8))
    >>> labeller.clean_final_z
    0
    >>> labeller.add(1, np.array([[0, 0, 0, 0], [0, 2, 0, 0]], np.uint8))
    >>> labeller.clean_final_z
    2
    >>> labeller.cleaned_plane(0, removed_value=9).tolist()
    [[2, 0, 0, 9], [0, 0, 0, 0]]
    >>> labeller.finish().objects["voxels"].tolist()
    [2, 1]
    """

    def __init__(self, parameters: LabellingParameters, first_z: int = 0) -> None:
        if first_z < 0:
            raise InvalidParametersError(f"The first plane has an index of at least 0. Got: {first_z}")
        self.parameters = parameters
        self.first_z = first_z
        self.next_z = first_z
        self.finished = False
        self._scanner = Scanner(parameters.canvas_shape_yx, parameters.coordinate_dtype, parameters.plane_dtype)
        self._sealed: list[ZBlock] = []
        self._sealed_objects: list[Indices] = []
        self._open = OpenBlock(first_z // parameters.block_planes, parameters)
        self._objects = GrowingObjects(parameters.thresholds())
        self._front = self._no_front()

    @classmethod
    def resumed(cls, tables: LabelTables) -> "StreamingLabeller":
        """Return a labeller that goes on where unfinished tables were taken; both end in the same bytes.

        Raises
        ------
        LabellingFinishedError
            When the tables are finished.
        """
        if tables.finished:
            raise LabellingFinishedError("Finished tables cannot grow")
        labeller = cls(tables.parameters, tables.first_z)
        labeller.next_z = tables.next_z
        labeller._objects.restore(tables.objects, tables.merges)
        if tables.blocks:
            labeller._sealed = list(tables.blocks[:-1])
            labeller._sealed_objects = [objects.copy() for objects in tables.object_of[:-1]]
            labeller._open = OpenBlock.reopened(tables.blocks[-1], tables.object_of[-1], tables.parameters)
            labeller._restore_front()
        return labeller

    @property
    def clean_final_z(self) -> int:
        """The first plane in which an object may still be removed or kept; those before it are final.

        It never goes back. `next_z` when everything is decided.
        """
        objects = self._objects
        return int(undecided_from(objects.forest, self._front.objects, objects.log.min_voxels, self.next_z))

    def add(self, z: int, plane: Kinds, origin_yx: tuple[int, int] = (0, 0)) -> None:
        """Take the next plane.

        Parameters
        ----------
        z
            Plane index; must be `next_z`.
        plane
            Shape (y, x), of the type that the parameters say: a class per pixel, 0 = background.
        origin_yx
            Canvas position of the plane's first pixel.

        Raises
        ------
        PlaneOrderError
            When z is not `next_z`.
        InvalidPlaneError, WindowOutsideCanvasError
            When the plane is of another type or has not two axes, or its window does not lie inside the canvas.
        LabellingFinishedError
            After `finish`.
        """
        self._check_next(z)
        scanned = self._scanner.scan(z, plane, origin_yx)
        self._enter_block(z)
        found, count = find_sections(scanned, self.parameters.reach)
        sections = empty_rows(count)
        measure_plane(sections, found.runs, z)
        mark_border(sections, *self.parameters.canvas_shape_yx)
        if self.parameters.delta:
            sections["class_id"] = 0
        links = self._links(found, count)
        attached = self._attach(sections, links)
        component_runs = found.runs._replace(node=attached.components[found.runs.node])
        self._open.planes.append(PlaneRuns(found.window, component_runs))
        self._front = _Front(found, attached.components, attached.objects)
        self.next_z = z + 1

    def skip(self, z: int) -> None:
        """Take the next plane as absent.

        Objects go on across up to ``max_bridged`` absent planes in a row; one more ends them.

        Raises
        ------
        PlaneOrderError
            When z is not `next_z`.
        LabellingFinishedError
            After `finish`.
        """
        self._check_next(z)
        self.next_z = z + 1
        if self.next_z - self._front.plane.window.z - 1 > self.parameters.max_bridged:
            self._front = self._no_front()

    def finish(self) -> LabelTables:
        """Close every object and return the finished tables."""
        self.finished = True
        self._front = self._no_front()
        return self.tables()

    def tables(self) -> LabelTables:
        """Return everything known now; while planes come, the objects at the front are marked open."""
        block, block_objects, _ = self._open.frozen()
        blocks = [*self._sealed, *([block] if block.windows else [])]
        objects_of_blocks = [*self._sealed_objects, *([block_objects] if block.windows else [])]
        present = self._objects.present()
        place = np.zeros(self._objects.count, np.int32)
        place[present] = np.arange(present.size)
        return LabelTables(
            parameters=self.parameters,
            first_z=self.first_z,
            next_z=self.next_z,
            finished=self.finished,
            blocks=tuple(blocks),
            object_of=tuple(place[self._objects.now(objects)] for objects in objects_of_blocks),
            objects=self._objects.rows(present, self._front.objects),
            merges=self.merges(),
        )

    def objects(self, *, kept_only: bool = False) -> ObjectRows:
        """Return the objects known now, `OBJECT_DTYPE`, in the order of their identities.

        Parameters
        ----------
        kept_only
            Leave out those below their threshold (an open one may reach it later).
        """
        return self._objects.rows(self._objects.present(kept_only=kept_only), self._front.objects)

    def merges(self) -> NDArray[np.void]:
        """Return, `MERGE_DTYPE`, in order, the merges whose younger object had reached its threshold.

        `changes_between` picks those of objects that were seen.
        """
        return self._objects.merges()

    def window(self, z: int) -> PlaneWindow:
        """Return where a present plane lies on the canvas.

        Raises
        ------
        AbsentPlaneError
            When the plane was skipped or has not come.
        """
        return self._plane(z)[0].window

    def cleaned_plane(
        self, z: int, removed_value: int = 255, out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Return a plane as it came, with the pixels of removed objects replaced.

        Parameters
        ----------
        z
            Plane index, before `clean_final_z`.
        removed_value
            uint8 written in the place of removed objects.
        out
            Written and returned when given: uint8, shape of the window, C order.

        Returns
        -------
        uint8, shape of the plane's window (y, x).

        Raises
        ------
        InvalidParametersError
            When the planes are not of classes.
        PlaneNotFinalError
            When the plane is not final yet.
        AbsentPlaneError
            When the plane was skipped.
        """
        self.parameters.check_classes()
        if z >= self.clean_final_z:
            raise PlaneNotFinalError(z, self.clean_final_z)
        plane, objects = self._plane(z)
        return paint(plane, self._objects.cleaned_values(objects, removed_value), out)

    def _check_next(self, z: int) -> None:
        if self.finished:
            raise LabellingFinishedError(f"The plane at z = {z} came after the labelling was finished")
        if z != self.next_z:
            raise PlaneOrderError(f"The next plane is z = {self.next_z}. Got: {z}")
        if z >= 1 << AXIS_BITS:
            raise PlaneOrderError(f"A labelling has planes up to z = {(1 << AXIS_BITS) - 1}. Got: {z}")

    def _no_front(self) -> _Front:
        nothing = np.empty(0, np.int32)
        ends = np.empty(0, self.parameters.coordinate_dtype)
        runs = Runs(0, np.zeros(1, np.int32), ends, ends, np.empty(0, self.parameters.plane_dtype), nothing)
        return _Front(PlaneRuns(PlaneWindow(self.next_z, 0, 0, 0, 0), runs), nothing, nothing)

    def _enter_block(self, z: int) -> None:
        """Freeze the open block when plane z lies in a later one."""
        index = z // self.parameters.block_planes
        if index == self._open.index:
            return
        if self._open.planes:
            block, objects, number = self._open.frozen()
            self._sealed.append(block)
            self._sealed_objects.append(objects)
            self._front = self._front._replace(components=number[self._front.components])
        self._open = OpenBlock(index, self.parameters)

    def _links(self, found: PlaneRuns, count: int) -> Links:
        front = self._front
        n_before = np.int32(front.objects.size)
        parent = np.arange(n_before + count, dtype=np.int32)
        shifted = found.runs._replace(node=found.runs.node + n_before)
        unite_planes(parent, shifted, front.plane.runs, self.parameters.reach)
        bridged = found.window.z - front.plane.window.z > 1
        same_block = bool(self._open.planes)
        return Links(parent, front.components, front.objects, same_block, bridged, found.window.z)

    def _attach(self, sections: ObjectRows, links: Links) -> Attached:
        block, objects = self._open, self._objects
        block.reserve(sections.size)
        objects.reserve(sections.size, links.objects.size)
        merge_linked(links, block.components, objects.forest, objects.log)
        attached = attach_sections(sections, links, block.components, block.count, objects.forest, objects.count)
        block.object_of[block.count : attached.n_components] = _objects_of_new(attached, block.count)
        if not links.same_block:
            block.joins = section_joins(links.parent, links.components, attached.components)
        block.count = attached.n_components
        objects.count = attached.n_objects
        return attached

    def _plane(self, z: int) -> tuple[PlaneRuns, Indices]:
        """Return a plane with components as ``node``, and an object of each component of its block."""
        if self._open.planes and z >= self._open.planes[0].window.z:
            return self._open.plane(z), self._open.object_of[: self._open.count]
        index = z // self.parameters.block_planes
        for block, objects in zip(reversed(self._sealed), reversed(self._sealed_objects), strict=True):
            if block.index == index:
                return block.plane(z), objects
        raise AbsentPlaneError(z)

    def _restore_front(self) -> None:
        last = self._open.planes[-1]
        if self.next_z - last.window.z - 1 > self.parameters.max_bridged:
            return
        scanned = last.runs._replace(node=np.arange(last.runs.node.size, dtype=np.int32))
        found, count = find_sections(PlaneRuns(last.window, scanned), self.parameters.reach)
        components = np.empty(count, np.int32)
        components[found.runs.node] = last.runs.node
        self._front = _Front(found, components, self._open.object_of[components])


def _objects_of_new(attached: Attached, first: int) -> Indices:
    """Return the object of each component from ``first`` on; every new component has one section."""
    return attached.objects[attached.components >= first]
