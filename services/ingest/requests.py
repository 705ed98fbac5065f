"""What an operator asks of an acquisition: small artefacts that the command line leaves and ingest picks up.

A request is answered once: by an event in the journal that names it, or by an artefact that says why not.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterator
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from services.contracts.values import DecisionKind, Identifier, Sha256, Text, Value, ZIndex
from services.ingest.events import DecisionTaken, Event, FinishRequested
from services.ingest.intake import Intake
from services.ingest.policy import runs
from services.runtime.store.port import ArtefactStore


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


class UseModels(_Request):
    """Segment nuclei that are confirmed from some z on with these networks; None: from the next slice that comes."""

    kind: Literal["use_models"] = "use_models"
    model_set: Sha256
    z_first: ZIndex | None = None


Request = Annotated[FinishAcquisition | DeclareMissing | ResolveConflict | UseModels, Field(discriminator="kind")]
_REQUESTS: TypeAdapter[Request] = TypeAdapter(Request)


class RequestBox:
    """The requests about one acquisition.

    Parameters
    ----------
    store
        Where operators and ingest meet: on one machine, or across a network.
    acquisition_id
        What they are about.
    """

    def __init__(self, store: ArtefactStore, acquisition_id: str) -> None:
        self._store = store
        self._prefix = f"{acquisition_id}/requests"

    def leave(self, request: Request) -> str:
        """Leave a request for whoever ingests the acquisition, now or later; return its name.

        Raises
        ------
        TransientError
            If the store cannot be written now.
        """
        request_id = f"{request.kind}-{uuid.uuid4().hex[:12]}"
        self._store.put(self._asked(request_id), _REQUESTS.dump_json(request, indent=2))
        return request_id

    def waiting(self, answered: Collection[str]) -> Iterator[tuple[str, Request | RequestRefusedError]]:
        """Yield the requests nobody has answered, with what is wrong with those that say nothing sensible.

        Parameters
        ----------
        answered
            Names of those that the journal holds an answer to.

        Raises
        ------
        TransientError
            If the store cannot be read now.
        """
        asked = {PurePosixPath(key).stem: key for key in self._store.keys(f"{self._prefix}/asked")}
        open_names = asked.keys() - answered
        if not open_names:
            return
        refused = {PurePosixPath(key).stem for key in self._store.keys(f"{self._prefix}/refused")}
        for request_id in sorted(open_names - refused):
            ref = self._store.find(asked[request_id])
            if ref is None:
                continue
            try:
                yield request_id, _REQUESTS.validate_json(self._store.get(ref))
            except ValidationError as error:
                yield request_id, RequestRefusedError(f"this is no request: {error}")

    def refuse(self, request_id: str, why: RequestRefusedError) -> None:
        """Keep the reason why a request is not followed.

        Raises
        ------
        TransientError
            If the store cannot be written now.
        """
        self._store.put(f"{self._prefix}/refused/{request_id}.json", json.dumps({"reason": str(why)}).encode())

    def refusals(self) -> dict[str, str]:
        """Return the reason of each refused request, by its name."""
        refs = [(key, self._store.find(key)) for key in self._store.keys(f"{self._prefix}/refused")]
        return {
            PurePosixPath(key).stem: str(json.loads(self._store.get(ref))["reason"])
            for key, ref in refs
            if ref is not None
        }

    def _asked(self, request_id: str) -> str:
        return f"{self._prefix}/asked/{request_id}.json"


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
        case UseModels():
            return (_swap(request, request_id, intake),)


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


def _swap(request: UseModels, request_id: str, intake: Intake) -> Event:
    # Before the field is frozen nothing has been said of any slice.
    next_z = 0 if intake.field is None or intake.highest_z is None else intake.highest_z + 1
    z_first = next_z if request.z_first is None else request.z_first
    if z_first < next_z:
        raise RequestRefusedError(
            f"slices up to z {next_z - 1} have been handed on with other networks: give z {next_z} or a later one, "
            "or compute what is there again (`models backfill`)"
        )
    return DecisionTaken(
        kind=DecisionKind.MODELS_SWAPPED,
        z_first=z_first,
        z_last=z_first,
        decided_by=request.decided_by,
        reason=request.reason,
        request_id=request_id,
        model_set=request.model_set,
    )
