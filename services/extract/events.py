"""What following says: a nucleus opened, a crop is due, a slice is absent, a nucleus closed."""

import dataclasses
from typing import Literal

from services.extract.outlines import Side
from services.extract.tracks import OutlineRef

CropKind = Literal["detected", "bridged", "cap"]


@dataclasses.dataclass(frozen=True)
class Absent:
    """Stands in for the outlines of a slice that is missing, blank or dead-lettered."""

    reason: str


@dataclasses.dataclass(frozen=True)
class OutlineSource:
    """Which outline a crop follows: one that was found, or one between two that were.

    Parameters
    ----------
    before, after
        The outlines it lies between; the same twice for a detection or a cap.
    fraction
        Where between them: 0 at ``before``, 1 at ``after``.
    inside_scale
        Size of the nucleus's own section relative to the outline: 1, and less towards the pole of a cap, 0 beyond it.
    """

    before: OutlineRef
    after: OutlineRef
    fraction: float = 0.0
    inside_scale: float = 1.0


@dataclasses.dataclass(frozen=True)
class Opened:
    """A nucleus was confirmed.

    Parameters
    ----------
    nucleus_id
        ``n0001``, ``n0002``, ... in the order of confirmation; those confirmed by the same slice in the order of their
        first detection (z, y, x).
    z_first
        Its first slice, the cap included.
    z_first_detected
        Slice of its first detection.
    centroid_yx_px
        Centroid of that detection.
    canvas_origin_yx_px, canvas_shape_yx_px
        The plane its label volume lies in; the origin may be negative.
    continues
        Nucleus that a run of absent slices ended and of which this is the continuation, or empty.
    """

    nucleus_id: str
    z_first: int
    z_first_detected: int
    centroid_yx_px: tuple[float, float]
    canvas_origin_yx_px: tuple[int, int]
    canvas_shape_yx_px: tuple[int, int]
    continues: str = ""


@dataclasses.dataclass(frozen=True)
class Crop:
    """Slice ``z`` of a nucleus is to be cropped.

    Parameters
    ----------
    nucleus_id, z
        What and where.
    kind
        ``detected``; ``bridged``: between two detections; ``cap``: before the first or after the last.
    source
        The outline.
    neighbours
        Every other outline of the slice, and the last outlines of open nuclei that were not found in it.
    """

    nucleus_id: str
    z: int
    kind: CropKind
    source: OutlineSource
    neighbours: tuple[OutlineRef, ...]


@dataclasses.dataclass(frozen=True)
class AbsentCrop:
    """Slice ``z`` of a nucleus is absent, for this reason."""

    nucleus_id: str
    z: int
    reason: str


@dataclasses.dataclass(frozen=True)
class Closed:
    """No more slices of this nucleus will come.

    Parameters
    ----------
    nucleus_id
        Which.
    z_first, z_last
        Its slices, caps included. Each of them was answered by one :class:`Crop` or :class:`AbsentCrop`.
    absent
        The absent ones, with their reasons, in z order.
    clipped
        Sides of the acquisition, or of a run of absent slices, that cut the nucleus; sorted.
    continues
        As in :class:`Opened`.
    """

    nucleus_id: str
    z_first: int
    z_last: int
    absent: tuple[tuple[int, str], ...]
    clipped: tuple[Side, ...]
    continues: str = ""


Event = Opened | Crop | AbsentCrop | Closed
