"""What must hold after every fault (failure matrix, I1 to I4), asked of a deployed system from outside."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from services.contracts.messages import DeadLettered
from services.contracts.topics import TOPICS
from services.contracts.values import ArtefactRef
from services.deployed.stack import Stack
from services.runtime.bus.replay import replay_messages


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
