"""Where objects touch one another: faces by pair of objects and by axis."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling.kernels import Runs
from services.imaging.labelling.planes import PlaneRuns
from services.imaging.labelling.tables import LabelTables
from services.imaging.labelling.touching import NODE_BITS, faces_between_rows, faces_in_rows

CONTACT_DTYPE = np.dtype([("a", "<i4"), ("b", "<i4"), ("faces_z", "<i8"), ("faces_y", "<i8"), ("faces_x", "<i8")])
"""Two objects, as rows of `LabelTables.objects` with ``a < b``, and the number of voxel faces that they share.

``faces_z`` counts the faces that lie across the z axis, each of one voxel's y times x, and so on: the area of a contact
is ``faces_z * y_nm * x_nm + faces_y * z_nm * x_nm + faces_x * z_nm * y_nm`` whatever the voxel's shape.
"""


@dataclass(frozen=True, eq=False)
class _Entries:
    """Pairs of nodes, packed, and faces by axis; a pair may stand there more than once."""

    keys: NDArray[np.int64]
    faces_zyx: NDArray[np.int64]

    def summed(self) -> "_Entries":
        keys, place = np.unique(self.keys, return_inverse=True)
        faces_zyx = np.zeros((keys.size, 3), np.int64)
        np.add.at(faces_zyx, place, self.faces_zyx)
        return _Entries(keys, faces_zyx)


def contacts_of(tables: LabelTables) -> NDArray[np.void]:
    """Return the contacts between all objects, those below their threshold among them.

    Absent planes have no faces. What an object shares with the background is what is left: it has two faces across x
    per run, and so on.

    Returns
    -------
    `CONTACT_DTYPE`, in the order of ``a`` and then ``b``.

    Examples
    --------
    >>> from services.imaging.labelling import LabellingParameters, label_volume
    >>> volume = np.array([[[2, 2, 4]], [[4, 0, 0]]], np.uint8)
    >>> contacts_of(label_volume(volume, LabellingParameters(canvas_shape_yx=(1, 3), connectivity=6))).tolist()
    [(0, 1, 0, 0, 1), (0, 2, 1, 0, 0)]
    """
    total = _Entries(np.empty(0, np.int64), np.empty((0, 3), np.int64))
    before: PlaneRuns | None = None
    for block, object_of in zip(tables.blocks, tables.object_of, strict=True):
        found = [total]
        for plane in block.planes():
            of_objects = PlaneRuns(plane.window, plane.runs._replace(node=object_of[plane.runs.node]))
            found += _plane_contacts(of_objects, before)
            before = of_objects
        keys = np.concatenate([entries.keys for entries in found])
        total = _Entries(keys, np.concatenate([entries.faces_zyx for entries in found])).summed()
    contacts = np.zeros(total.keys.size, CONTACT_DTYPE)
    contacts["a"] = total.keys >> NODE_BITS
    contacts["b"] = total.keys & ((1 << NODE_BITS) - 1)
    for axis, name in enumerate(("faces_z", "faces_y", "faces_x")):
        contacts[name] = total.faces_zyx[:, axis]
    return contacts


def _plane_contacts(plane: PlaneRuns, before: PlaneRuns | None) -> list[_Entries]:
    """Return the contacts within a plane, and with the one before when nothing lies between."""
    runs = plane.runs
    found = [_between(runs, runs, -1, axis=1)]
    keys, faces = np.empty(runs.node.size, np.int64), np.empty(runs.node.size, np.int64)
    found.append(_along(keys, faces, faces_in_rows(runs, keys, faces), axis=2))
    if before is not None and plane.window.z - before.window.z == 1:
        found.append(_between(runs, before.runs, int(runs.y0) - int(before.runs.y0), axis=0))
    return found


def _between(a: Runs, b: Runs, shift: int, axis: int) -> _Entries:
    room = a.node.size + b.node.size
    keys, faces = np.empty(room, np.int64), np.empty(room, np.int64)
    return _along(keys, faces, faces_between_rows(a, b, shift, keys, faces), axis)


def _along(keys: NDArray[np.int64], faces: NDArray[np.int64], n: int, axis: int) -> _Entries:
    faces_zyx = np.zeros((n, 3), np.int64)
    faces_zyx[:, axis] = faces[:n]
    return _Entries(keys[:n], faces_zyx).summed()
