"""What the follower remembers between two slices, and the bytes it is kept in."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from services.extract.outlines import Outline, Side

Phase = Literal["tentative", "open", "ending"]


class FollowingValueError(ValueError):
    """A setting of following lies outside its range."""


class StateFormatError(ValueError):
    """Bytes that are not a state of the follower."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FollowingParams:
    """Settings of following in nm, and the voxel they are counted in.

    Parameters
    ----------
    voxel_zyx_nm
        Size of a voxel; pixels need not be square.
    max_shift_nm
        Greatest distance in the plane between two sections of a nucleus that follow each other.
    max_gap_nm
        Longest stretch of slices in which a nucleus may be missed and still be the same.
    confirm_nm
        Length of detections, without the missed ones, after which a nucleus is opened. Shorter ones are false alarms.
    cap_nm
        How far before the first and after the last detection a nucleus is cropped.
    max_absent
        Absent slices in a row that a nucleus is followed across; one more ends it.
    window_nm, canvas_windows
        Edge of a crop, and of the canvas in windows.
    nominal_radius_nm
        Radius of the sphere that a nucleus is taken for beyond its first and last detection.
    """

    voxel_zyx_nm: tuple[float, float, float]
    max_shift_nm: float = 1600.0
    max_gap_nm: float = 160.0
    confirm_nm: float = 80.0
    cap_nm: float = 700.0
    max_absent: int = 3
    window_nm: float = 6800.0
    canvas_windows: int = 2
    nominal_radius_nm: float = 2050.0

    def __post_init__(self) -> None:
        lengths = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name.endswith("_nm")
        }
        sizes = dict(zip(("z", "y", "x"), lengths.pop("voxel_zyx_nm"), strict=True))
        for name, value in (lengths | sizes).items():
            if not math.isfinite(value) or value <= 0:
                raise FollowingValueError(f"{name} must be a length above 0 nm, not {value}")
        if self.max_absent < 0 or self.canvas_windows < 1:
            raise FollowingValueError("max_absent must be at least 0 and canvas_windows at least 1")

    @property
    def pixel_nm(self) -> float:
        """Edge of the square that is as large as a pixel: following counts in these."""
        _, y, x = self.voxel_zyx_nm
        return math.sqrt(y * x)

    @property
    def stretch_yx(self) -> tuple[float, float]:
        """How many edges of such a square a pixel is high and wide; 1 for square pixels."""
        _, y, x = self.voxel_zyx_nm
        return (math.sqrt(y / x), math.sqrt(x / y))

    @property
    def gap_slices(self) -> int:
        """Slices in a row in which a nucleus may be missed, at least 1."""
        return self._slices(self.max_gap_nm)

    @property
    def confirm_slices(self) -> int:
        """Detections that open a nucleus, at least 1."""
        return self._slices(self.confirm_nm)

    @property
    def cap_slices(self) -> int:
        """Slices that are cropped before the first and after the last detection."""
        return self._slices(self.cap_nm)

    @property
    def window_yx_px(self) -> tuple[int, int]:
        """Rows and columns of a crop."""
        _, y, x = self.voxel_zyx_nm
        return (round(self.window_nm / y), round(self.window_nm / x))

    def _slices(self, length_nm: float) -> int:
        return max(1, round(length_nm / self.voxel_zyx_nm[0]))


@dataclasses.dataclass(frozen=True, order=True)
class OutlineRef:
    """The ``index``-th outline of slice ``z``."""

    z: int
    index: int


@dataclasses.dataclass(frozen=True)
class Section:
    """What following needs of one outline; pixels. Its radius is that of the circle of the same area."""

    ref: OutlineRef
    centroid_yx_px: tuple[float, float]
    area_px: float
    radius_px: float
    sides: tuple[Side, ...]


@dataclasses.dataclass(frozen=True)
class Past:
    """A slice that has gone by.

    Parameters
    ----------
    z
        Its index.
    reason
        Why it is absent; empty when it is there.
    outlines
        How many outlines it has.
    missed
        Last outlines of the open nuclei that were not found in it: they stand in for neighbours.
    """

    z: int
    reason: str
    outlines: int
    missed: tuple[OutlineRef, ...]


@dataclasses.dataclass(frozen=True)
class Track:
    """A nucleus that is being followed.

    Parameters
    ----------
    phase
        ``tentative``: not yet confirmed. ``open``: followed. ``ending``: lost, only its cap is still to come.
    sections
        Detections whose crops are not out yet; of an open or ending one just the last.
    nucleus_id
        Empty while tentative.
    z_first, next_z
        First slice of the nucleus with its cap, and the next slice whose crop is due.
    absent
        Slices passed on as absent, with the reason.
    sides
        Sides that cut it, so far.
    continues
        Nucleus of which this is the continuation, or empty.
    """

    phase: Phase
    sections: tuple[Section, ...]
    nucleus_id: str = ""
    z_first: int = 0
    next_z: int = 0
    absent: tuple[tuple[int, str], ...] = ()
    sides: tuple[Side, ...] = ()
    continues: str = ""

    @property
    def last(self) -> Section:
        """The latest detection."""
        return self.sections[-1]


@dataclasses.dataclass(frozen=True)
class Severed:
    """A nucleus that a run of absent slices ended, and that may go on behind it.

    Parameters
    ----------
    nucleus_id, last, z_last
        Which, its last detection, and its last slice.
    seen
        Slices since then, without the absent ones.
    """

    nucleus_id: str
    last: Section
    z_last: int
    seen: int


@dataclasses.dataclass(frozen=True)
class FollowerState:
    """All that the follower remembers of the slices up to ``next_z``; nothing of it grows with the acquisition.

    Parameters
    ----------
    first_z, next_z
        First slice, and the one that must come next; both -1 before the first.
    next_number
        Number of the next nucleus.
    tracks
        In the order in which they began.
    past
        The latest slices, as far back as a cap may reach.
    severed
        Nuclei that may yet be continued.
    """

    first_z: int = -1
    next_z: int = -1
    next_number: int = 1
    tracks: tuple[Track, ...] = ()
    past: tuple[Past, ...] = ()
    severed: tuple[Severed, ...] = ()


_STATE = TypeAdapter(FollowerState)


def state_to_bytes(state: FollowerState) -> bytes:
    """Write a state as JSON; the same state always gives the same bytes.

    Examples
    --------
    >>> state_to_bytes(FollowerState(first_z=2, next_z=4))
    b'{"first_z":2,"next_z":4,"next_number":1,"tracks":[],"past":[],"severed":[]}'
    """
    return _STATE.dump_json(state)


def state_from_bytes(content: bytes) -> FollowerState:
    """Read what :func:`state_to_bytes` wrote.

    Raises
    ------
    StateFormatError
        If the bytes are anything else.
    """
    try:
        return _STATE.validate_json(content)
    except ValidationError as error:
        raise StateFormatError(f"not a state of the follower: {error.error_count()} faults in it") from error


def to_sections(z: int, outlines: Sequence[Outline]) -> tuple[Section, ...]:
    """Reduce the outlines of a slice to what following needs."""
    return tuple(
        Section(
            OutlineRef(z, index),
            outline.centroid_yx_px,
            outline.area_px,
            math.sqrt(outline.semi_axes_px[0] * outline.semi_axes_px[1]),
            outline.border_sides,
        )
        for index, outline in enumerate(outlines)
    )
