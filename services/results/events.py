"""What happened, one line per fact, in an order that no arrival order or repetition can change.

An event leaves out what depends on how a run went and not on what it found: attempts, offsets, paths,
the wording of a fault. `dead-letters list` shows those.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from services.contracts.classes import class_name
from services.contracts.messages import (
    AcquisitionFinished,
    ChromosomesSeparated,
    DeadLettered,
    DecisionRecorded,
    Message,
    NucleusClosed,
    NucleusOpened,
    ObjectChanged,
    SliceJudged,
)
from services.contracts.values import AbsenceReason, DecisionKind

Event = dict[str, object]


def event_of(message: Message) -> Event | None:
    """Return the event that a message tells of, or None; `event`, `nucleus_id` and `z` are in every one.

    That an acquisition is finished is told by `AcquisitionFinished`, in the same words whether a folder
    was watched or was complete from the start; the decision behind it is therefore left out.
    """
    event: Event | None = None
    match message:
        case NucleusOpened():
            event = _event("nucleus_opened", message.nucleus_id, message.z_first, {"continues": message.continues})
        case NucleusClosed():
            event = _event("nucleus_closed", message.nucleus_id, message.z_last, _closed_fields(message))
        case SliceJudged() if message.troubles or message.absent is AbsenceReason.BLANK:
            event = _event("slice_trouble", None, message.z, _trouble_fields(message))
        case ObjectChanged():
            kind = f"object_{message.change.lower()}"
            event = _event(kind, message.nucleus_id, message.z_front, _object_fields(message))
        case ChromosomesSeparated():
            event = _event("chromosomes_separated", message.nucleus_id, message.z_front, _separated_fields(message))
        case AcquisitionFinished():
            event = _event("acquisition_finished", None, message.z_last, {"z_first": message.z_first})
        case _:
            event = _operating_event(message)
    return event


def _operating_event(message: Message) -> Event | None:
    """Return the event of a message that tells of the run, not of the specimen."""
    match message:
        case DecisionRecorded() if message.kind is not DecisionKind.ACQUISITION_FINISHED:
            return _event("decision", None, message.z_first, _decision_fields(message))
        case DeadLettered():
            return _event("dead_letter", None, message.z, _dead_letter_fields(message))
        case _:
            return None


def _event(kind: str, nucleus_id: str | None, z: int | None, fields: Event) -> Event:
    return {"event": kind, "nucleus_id": nucleus_id, "z": z, **fields}


def _closed_fields(message: NucleusClosed) -> Event:
    return {
        "z_first": message.z_first,
        "clipped": [side.value for side in sorted(message.clipped)],
        "absent": [{"z": plane.z, "reason": plane.reason.value} for plane in sorted(message.absent, key=lambda p: p.z)],
        "detected_planes": message.detected_planes,
        "bridged_planes": message.bridged_planes,
        "cap_planes": message.cap_planes,
    }


def _trouble_fields(message: SliceJudged) -> Event:
    fields: Event = {
        "troubles": [trouble.model_dump(mode="json") for trouble in message.troubles],
        "thickness_nm": message.thickness_nm,
    }
    return fields if message.absent is None else fields | {"absent": message.absent.value}


def _object_fields(message: ObjectChanged) -> Event:
    fields: Event = {
        "object": message.object_key,
        "class": class_name(message.label_class),
        "voxels": message.voxels,
    }
    return fields if message.merged_into is None else fields | {"merged_into": message.merged_into}


def _separated_fields(message: ChromosomesSeparated) -> Event:
    return {
        "group": message.group,
        "standing": message.standing.lower(),
        "chromosomes": message.chromosome_count,
        "confidence": message.confidence,
        "voxels": message.voxels,
        "method": message.method,
    }


def _decision_fields(message: DecisionRecorded) -> Event:
    return {
        "kind": message.kind.value,
        "z_last": message.z_last,
        "decided_by": message.decided_by,
        "reason": message.reason,
    }


def _dead_letter_fields(message: DeadLettered) -> Event:
    return {
        "service": message.service,
        "subject": message.subject,
        "reason": message.reason,
        "sha256": message.original.sha256,
    }


class EventLog:
    """Events of any number, each kept once, read back in canonical order; kept on disk, not in memory."""

    def __init__(self) -> None:
        # An empty name is SQLite's private temporary database: it spills to disk and leaves nothing behind.
        self._database = sqlite3.connect("")
        self._database.execute(
            "CREATE TABLE events (identity TEXT PRIMARY KEY, nucleus TEXT, z INTEGER, kind TEXT, line TEXT)"
        )

    def add(self, message: Message) -> None:
        """Take the event that a message tells of, if any."""
        event = event_of(message)
        if event is None:
            return
        line = json.dumps(event, allow_nan=False)
        identity = f"{type(message).__name__}/{message.identity}"
        place = (identity, event["nucleus_id"] or "", event["z"] if event["z"] is not None else -1, event["event"])
        # Repetitions say the same; should two differ all the same, the choice must not depend on arrival.
        self._database.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?) ON CONFLICT (identity) DO UPDATE SET"
            " nucleus = excluded.nucleus, z = excluded.z, kind = excluded.kind, line = excluded.line"
            " WHERE excluded.line < line",
            (*place, line),
        )

    def lines(self) -> Iterator[str]:
        """Yield each event as a line of JSON, by nucleus, z and kind."""
        for (line,) in self._database.execute("SELECT line FROM events ORDER BY nucleus, z, kind, line"):
            yield line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
