"""The journal of an acquisition: what was found out about files, and what was decided, in order.

The journal alone says where ingest stands: reading it again from the start gives the same state and the same
messages. An event is durable before anything that follows from it leaves.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, TypeAdapter

from services.contracts.values import (
    ArtefactRef,
    Bytes,
    Count,
    DecisionKind,
    GreyMapping,
    Identifier,
    Pixels,
    Sha256,
    Text,
    Value,
    ZIndex,
)


class Fault(Value):
    """Why a file or a page cannot be used."""

    reason: Identifier
    detail: Text


class FileVersion(Value):
    """One version of a file: a name in one of the watched folders, as it was when it was looked at."""

    folder: Count = 0
    name: Text
    size_bytes: Bytes
    mtime_ns: int


class PageSeen(Value):
    """What one page of a readable file is.

    `histogram` is kept, packed, for pages that may be among the slices that fix the grey mapping; `machine` is the
    instrument, where the file names it.
    """

    height_px: Pixels
    width_px: Pixels
    bits: Literal[8, 16]
    blank: bool = False
    histogram: str | None = None
    fault: Fault | None = None
    machine: Text | None = None


class FileRead(Value):
    """A file was complete and its pages were unpacked; page p (from `first_page` on) is at z_zero + p.

    `telemetry` is what the instrument said about itself, by name with unit; empty where it says nothing.
    """

    event: Literal["file_read"] = "file_read"
    file: FileVersion
    raw: ArtefactRef
    z_zero: ZIndex
    first_page: Count = 0
    pages: Annotated[tuple[PageSeen, ...], Field(min_length=1)]
    channel: Annotated[int, Field(ge=0, le=3)] | None = None
    telemetry: dict[str, bool | int | FiniteFloat | str] = Field(default_factory=dict)


class FileRefused(Value):
    """A file cannot be used; `original` keeps its bytes, or says what is known if they cannot be read."""

    event: Literal["file_refused"] = "file_refused"
    file: FileVersion
    original: ArtefactRef
    fault: Fault
    attempts: Count
    z: ZIndex | None = None


class FirstZFixed(Value):
    """The acquisition begins here."""

    event: Literal["first_z_fixed"] = "first_z_fixed"
    z: ZIndex


class FieldFrozen(Value):
    """Shape, depth, grey mapping and, where files name it, the instrument of the acquisition are fixed."""

    event: Literal["field_frozen"] = "field_frozen"
    height_px: Pixels
    width_px: Pixels
    bits: Literal[8, 16]
    grey: GreyMapping
    machine: Text | None = None


class SliceGivenUp(Value):
    """Every file that was to give this z was refused."""

    event: Literal["slice_given_up"] = "slice_given_up"
    z: ZIndex


class FinishRequested(Value):
    """Somebody said that the acquisition has ended: what is in the folder is all there will be."""

    event: Literal["finish_requested"] = "finish_requested"
    decided_by: Identifier
    reason: Text
    request_id: Identifier


class DecisionTaken(Value):
    """Somebody or a policy decided; `request_id` names the request it answers."""

    event: Literal["decision_taken"] = "decision_taken"
    kind: DecisionKind
    z_first: ZIndex
    z_last: ZIndex
    decided_by: Identifier
    reason: Text
    request_id: Identifier | None = None
    sha256: Sha256 | None = None
    model_set: Sha256 | None = None


class Ended(Value):
    """Every z is decided, and no slice will come any more."""

    event: Literal["ended"] = "ended"
    z_first: ZIndex
    z_last: ZIndex


Event = Annotated[
    FileRead | FileRefused | FirstZFixed | FieldFrozen | SliceGivenUp | FinishRequested | DecisionTaken | Ended,
    Field(discriminator="event"),
]
EVENTS: TypeAdapter[tuple[Event, ...]] = TypeAdapter(tuple[Event, ...])
