"""What an operator asks of a running acquisition: small files that the command line drops and ingest picks up.

A request is answered once: by an event in the journal that names it, or by a file in `refused/` that says why not.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from services.contracts.values import DecisionKind, Identifier, Sha256, Text, Value, ZIndex
from services.ingest.events import DecisionTaken, Event, FinishRequested
from services.ingest.intake import Intake
from services.ingest.policy import runs
from services.runtime.errors import TransientError

REFUSED = "refused"


class RequestRefusedError(ValueError):
    """The request cannot be followed as things stand; the text says why."""


class _Request(Value):
    decided_by: Identifier = "operator"
    reason: Text = "on request"


class FinishAcquisition(_Request):
    """The acquisition has ended: take what is in the folder."""

    kind: Literal["finish"] = "finish"


class DeclareMissing(_Request):
    """These z will not come: go on without them."""

    kind: Literal["declare_missing"] = "declare_missing"
    z_first: ZIndex
    z_last: ZIndex


class ResolveConflict(_Request):
    """Of the files that give this z, take the one with these bytes."""

    kind: Literal["resolve_conflict"] = "resolve_conflict"
    z: ZIndex
    sha256: Sha256


Request = Annotated[FinishAcquisition | DeclareMissing | ResolveConflict, Field(discriminator="kind")]
_REQUESTS: TypeAdapter[Request] = TypeAdapter(Request)


def drop(folder: Path, request: Request) -> Path:
    """Leave a request for the ingest that watches `folder`; return its file.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{request.kind}-{uuid.uuid4().hex[:12]}.json"
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(_REQUESTS.dump_json(request, indent=2))
    return unfinished.rename(path)


def waiting(folder: Path) -> Iterator[tuple[Path, Request | RequestRefusedError]]:
    """Yield the requests nobody has answered, with what is wrong with those that say nothing sensible.

    Raises
    ------
    TransientError
        If the folder is there and cannot be read now.
    """
    try:
        for path in sorted(folder.glob("*.json")):
            try:
                yield path, _REQUESTS.validate_json(path.read_bytes())
            except ValidationError as error:
                yield path, RequestRefusedError(f"this is no request: {error}")
    except OSError as error:
        raise TransientError("disk", f"requests cannot be read: {error}") from error


def settle(path: Path, refused: RequestRefusedError | None = None) -> None:
    """Take a request away: it was answered, or (kept, beside the reason) refused.

    Raises
    ------
    TransientError
        If the folder cannot be written now.
    """
    try:
        if refused is not None:
            kept = path.parent / REFUSED / path.name
            kept.parent.mkdir(exist_ok=True)
            kept.with_suffix(".txt").write_text(f"{refused}\n")
            path.replace(kept)
        path.unlink(missing_ok=True)
    except OSError as error:
        raise TransientError("disk", f"requests cannot be put away: {error}") from error


def answer(request: Request, request_id: str, intake: Intake) -> tuple[Event, ...]:
    """Return the events that a request leads to.

    Raises
    ------
    RequestRefusedError
        If it cannot be followed as things stand.
    """
    if intake.ended is not None:
        raise RequestRefusedError("the acquisition has ended")
    match request:
        case FinishAcquisition():
            return (FinishRequested(decided_by=request.decided_by, reason=request.reason, request_id=request_id),)
        case DeclareMissing():
            return _declare(request, request_id, intake)
        case ResolveConflict():
            return (_resolve(request, request_id, intake),)


def _declare(request: DeclareMissing, request_id: str, intake: Intake) -> tuple[Event, ...]:
    if intake.first_z is None or intake.highest_z is None:
        raise RequestRefusedError("it is not known yet where the acquisition begins")
    # Slices that have yet to be milled are not missing.
    z_last = min(request.z_last, intake.highest_z)
    missing = tuple(runs(z for z in intake.undecided(z_last) if z >= request.z_first))
    if not missing:
        raise RequestRefusedError(f"no z from {request.z_first} to {request.z_last} is awaited")
    return tuple(
        DecisionTaken(
            kind=DecisionKind.SLICES_MISSING,
            z_first=first,
            z_last=last,
            decided_by=request.decided_by,
            reason=request.reason,
            request_id=request_id,
        )
        for first, last in missing
    )


def _resolve(request: ResolveConflict, request_id: str, intake: Intake) -> Event:
    contenders = intake.contenders.get(request.z, [])
    known = {claim.file.raw.sha256 for claim in contenders}
    holder = intake.holders.get(request.z)
    if holder is None or request.sha256 not in known:
        raise RequestRefusedError(
            f"no file with these bytes gives z {request.z}; known: {', '.join(sorted(known)) or 'none'}"
        )
    if holder.file.raw.sha256 != request.sha256 and intake.field is not None:
        raise RequestRefusedError(
            f"z {request.z} has been published: another choice needs another acquisition, with only the chosen file"
        )
    return DecisionTaken(
        kind=DecisionKind.CONFLICT_RESOLVED,
        z_first=request.z,
        z_last=request.z,
        decided_by=request.decided_by,
        reason=request.reason,
        request_id=request_id,
        sha256=request.sha256,
    )
