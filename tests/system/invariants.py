"""What must hold after every fault (failure matrix, I1 to I5), asked of a deployed system from outside."""

from __future__ import annotations

import csv
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel

from services.contracts.messages import DeadLettered
from services.contracts.topics import TOPICS
from services.contracts.values import ArtefactRef
from services.deployed.stack import Stack
from services.runtime.bus.replay import replay_messages
from tests.system.deployed import System

# Work goes on within this long after a fault (failure matrix, I5).
RECOVERY_S = 90.0


def references(value: object) -> Iterator[ArtefactRef]:
    """Yield every artefact that a message names, however deep."""
    if isinstance(value, ArtefactRef):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from references(getattr(value, name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from references(item)


def torn_artefacts(stack: Stack) -> list[str]:
    """Return what some message names and the store does not hold whole (I3); an empty list is what it should be."""
    wanted = {
        ref for message in replay_messages(stack.bus, [topic.name for topic in TOPICS]) for ref in references(message)
    }
    torn = []
    for ref in sorted(wanted, key=lambda ref: ref.key):
        try:
            stack.store.get(ref)
        except (LookupError, ValueError) as error:
            torn.append(f"{ref.key}: {error}")
    return torn


def states(out: Path) -> Counter[str]:
    """Return how many z are in each state in the collected ledger (I1: none may be in flight)."""
    with (out / "ledger.csv").open() as rows:
        return Counter(row["state"] for row in csv.DictReader(rows))


def dead_letters(stack: Stack) -> list[str]:
    """Return the reason of every dead letter."""
    letters = replay_messages(stack.bus, ("dead-letters",))
    return [f"{letter.identity}: {letter.detail}" for letter in letters if isinstance(letter, DeadLettered)]


def require_same_results(system: System, manifest: str, out: Path, settled: Iterable[str] = ("ingested",)) -> None:
    """I1 to I3: the ledger is closed, the results are those of the manifest, nothing that is named is torn."""
    system.await_complete()
    assert system.collect(out) == manifest
    assert set(states(out)) == set(settled)
    with system.stack() as stack:
        assert torn_artefacts(stack) == []


def require_recovery(system: System) -> float | None:
    """I5: work goes on soon after a fault is over; return how long that took in s, or None if all was done before."""
    began_s = time.monotonic()
    with system.stack() as stack:
        before = system.standing(stack)
    if before.complete:
        return None
    system.await_standing(lambda now: now.complete or len(now.segmented) > len(before.segmented), RECOVERY_S)
    return time.monotonic() - began_s


def pids(system: System) -> dict[str, int]:
    """Return the process id of every service: who was not restarted keeps it."""
    return {name: process.pid for name, process in system.processes.items()}
