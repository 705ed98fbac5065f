"""One nucleus's label volume while it grows: labelled plane by plane, final behind the front."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from services.contracts.classes import LabelClass
from services.imaging.geometry import overlap
from services.imaging.labelling import (
    LabellingParameters,
    LabelTables,
    ObjectRows,
    StreamingLabeller,
    changes_between,
    components_of,
    cut_out,
    first_voxels,
)

UInt8Plane = npt.NDArray[np.uint8]

CHROMATIN = (int(LabelClass.CHROMOSOME), int(LabelClass.SYNAPTONEMAL_COMPLEX))
"""Objects of these classes that touch make a group: chromosomes lie within groups."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one object since it was last looked at.

    Attributes
    ----------
    object_key
        Its first voxel in raster order, "z-y-x": z of the acquisition, y and x of the canvas.
    change
        `BORN`, `GREW`, `MERGED` or `CLOSED`, as messages name them.
    label_class
        Class id.
    voxels
        Its size now; that of the older object where it merged.
    merged_into
        Key of the older object, where it merged.
    """

    object_key: str
    change: str
    label_class: int
    voxels: int
    merged_into: str | None = None


def object_keys(identities: npt.NDArray[np.int64]) -> list[str]:
    """Return the keys of objects by their identities."""
    return ["-".join(str(part) for part in voxel) for voxel in first_voxels(identities).tolist()]


class NucleusVolume:
    """Grows by planes in z order; tells what is final and what changed.

    Parameters
    ----------
    z_first
        First plane of the nucleus, z of the acquisition.
    canvas_shape_yx
        Rows and columns of the canvas, in pixels of the label planes.
    minimum_voxels
        Smallest object kept, per class.
    """

    def __init__(self, z_first: int, canvas_shape_yx: tuple[int, int], minimum_voxels: Mapping[int, int]) -> None:
        parameters = LabellingParameters(canvas_shape_yx=canvas_shape_yx, min_voxels=dict(minimum_voxels))
        self._canvas_shape_yx = canvas_shape_yx
        self._labeller = StreamingLabeller(parameters, first_z=z_first)
        self._before = self._labeller.objects(kept_only=True)
        self._told = np.empty(0, np.int64)

    @property
    def next_z(self) -> int:
        """The plane that is to come next."""
        return self._labeller.next_z

    @property
    def clean_final_z(self) -> int:
        """Planes below this z are final."""
        return self._labeller.clean_final_z

    def add(self, z: int, classes: UInt8Plane, origin_yx: tuple[int, int]) -> bool:
        """Take the next plane, masked; return whether the whole window lay on the canvas."""
        window, origin = self._on_canvas(classes, origin_yx)
        self._labeller.add(z, window, origin)
        return window.shape == classes.shape

    def skip(self, z: int) -> None:
        """Take the next plane as absent."""
        self._labeller.skip(z)

    def cleaned(self, z: int, removed_value: int) -> tuple[UInt8Plane, tuple[int, int]]:
        """Return a final plane with removed objects marked, and its origin on the canvas."""
        window = self._labeller.window(z)
        return self._labeller.cleaned_plane(z, removed_value), (window.y0, window.x0)

    def on_canvas(self, plane: UInt8Plane, origin_yx: tuple[int, int]) -> UInt8Plane:
        """Return the part of a window that lies on the canvas."""
        return self._on_canvas(plane, origin_yx)[0]

    def close(self) -> LabelTables:
        """Every plane has come: close all objects and return the tables."""
        return self._labeller.finish()

    def changes(self) -> tuple[Change, ...]:
        """Return what became of the objects that are kept, since the last call."""
        rows = self._labeller.objects(kept_only=True)
        found = changes_between(self._before, rows, self._labeller.merges())
        sizes = {int(row["identity"]): (int(row["class_id"]), int(row["voxels"])) for row in self._before}
        self._before = rows
        merged = [
            Change(younger, "MERGED", *sizes[int(merge["younger"])], merged_into=older)
            for merge, younger, older in zip(
                found.merged, object_keys(found.merged["younger"]), object_keys(found.merged["older"]), strict=True
            )
        ]
        return (
            *_changes(found.born, "BORN"),
            *_changes(found.grew, "GREW"),
            *merged,
            *_changes(found.closed, "CLOSED"),
        )

    def closed_groups(self) -> LabelTables | None:
        """Return the groups of chromatin and synaptonemal complex that closed since the last call; None without any.

        A group is what touches one another of the objects that are kept or may be yet. It is closed when none of them
        reaches the newest plane: whatever comes touches only what does, and nothing joins the group any more.
        """
        objects = (tables := self._labeller.tables()).objects
        waiting = np.isin(objects["class_id"], CHROMATIN) & (tables.kept | objects["is_open"])
        waiting &= ~np.isin(objects["identity"], self._told)
        if not (waiting & ~objects["is_open"]).any():
            return None
        pending = cut_out(tables, waiting)
        # Those too small as yet are taken for kept: each of them may grow, and hold two others together.
        anyhow = replace(pending, parameters=replace(pending.parameters, min_voxels={}))
        group = components_of(anyhow, CHROMATIN).label_of_object
        closed = ~np.isin(group, group[pending.objects["is_open"]])
        if not closed.any():
            return None
        self._told = np.concatenate([self._told, pending.objects["identity"][closed]])
        return cut_out(pending, closed)

    def _on_canvas(self, plane: UInt8Plane, origin_yx: tuple[int, int]) -> tuple[UInt8Plane, tuple[int, int]]:
        rows = overlap(0, self._canvas_shape_yx[0], origin_yx[0], plane.shape[0])
        columns = overlap(0, self._canvas_shape_yx[1], origin_yx[1], plane.shape[1])
        return plane[rows.in_second, columns.in_second], (rows.in_first.start, columns.in_first.start)


def _changes(rows: ObjectRows, change: str) -> list[Change]:
    keys = object_keys(rows["identity"])
    return [Change(key, change, int(row["class_id"]), int(row["voxels"])) for row, key in zip(rows, keys, strict=True)]
