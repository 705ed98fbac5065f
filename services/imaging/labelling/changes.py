"""What happened to objects between two looks at them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling.errors import UnknownMergeError
from services.imaging.labelling.rows import MERGE_DTYPE, ObjectRows


@dataclass(frozen=True, eq=False)
class ObjectChanges:
    """What happened to objects between two looks at them; rows in the order of identities, as they are now.

    Attributes
    ----------
    born
        `OBJECT_DTYPE`: objects that were not there before.
    grew
        `OBJECT_DTYPE`: objects that were there and have more voxels.
    merged
        `MERGE_DTYPE`, in the order of ``younger``: every object that was there before and is gone, with the object of
        the present that it is part of (which may be among the born ones: then it was too small to be seen before), and
        the plane at which it lost its identity.
    closed
        `OBJECT_DTYPE`: objects that were open, or not there, and are closed.
    """

    born: ObjectRows
    grew: ObjectRows
    merged: NDArray[np.void]
    closed: ObjectRows


def changes_between(before: ObjectRows, after: ObjectRows, merges: NDArray[np.void]) -> ObjectChanges:
    """Compare two looks at the kept objects of one labelling.

    Parameters
    ----------
    before, after
        `OBJECT_DTYPE`: `StreamingLabeller.objects` with ``kept_only`` (or the kept objects of tables), earlier and
        later; ``before`` is empty at the first look.
    merges
        `MERGE_DTYPE`: the merges known at the later look.

    Raises
    ------
    UnknownMergeError
        When an object is gone that no merge names: the three do not belong together.

    Examples
    --------
    >>> from services.imaging.labelling import LabellingParameters, StreamingLabeller
    >>> labeller = StreamingLabeller(LabellingParameters(canvas_shape_yx=(1, 3)))
    >>> labeller.add(0, np.array([[2, 0, 2]], np.uint8))
    >>> before = labeller.objects(kept_only=True)
    >>> labeller.add(1, np.array([[0, 2, 0]], np.uint8))
    >>> changes = changes_between(before, labeller.objects(kept_only=True), labeller.merges())
    >>> changes.born.size, changes.grew["voxels"].tolist(), changes.merged[["older", "younger", "z"]].tolist()
    (0, [3], [(0, 2, 1)])
    """
    place = np.searchsorted(before["identity"], after["identity"])
    known = np.isin(after["identity"], before["identity"])
    earlier = before[place[known]]
    grew = np.zeros(after.size, np.bool_)
    grew[known] = after["voxels"][known] > earlier["voxels"]
    was_closed = np.zeros(after.size, np.bool_)
    was_closed[known] = ~earlier["is_open"]
    gone = before["identity"][~np.isin(before["identity"], after["identity"])]
    return ObjectChanges(
        born=after[~known],
        grew=after[grew],
        merged=_survivors(gone, after["identity"], merges),
        closed=after[~after["is_open"] & ~was_closed],
    )


def _survivors(gone: NDArray[np.int64], present: NDArray[np.int64], merges: NDArray[np.void]) -> NDArray[np.void]:
    """Return, `MERGE_DTYPE`, for each lost identity the present one it became part of."""
    into = {int(merge["younger"]): (int(merge["older"]), int(merge["z"])) for merge in merges}
    alive = {int(identity) for identity in present}
    merged = np.zeros(gone.size, MERGE_DTYPE)
    for entry, younger in zip(merged, gone.tolist(), strict=True):
        if younger not in into:
            raise UnknownMergeError(f"Object {younger} is gone, and no merge names it")
        older, z = into[younger]
        while older not in alive:
            older = into[older][0]
        entry["older"], entry["younger"], entry["z"] = older, younger, z
    return merged
