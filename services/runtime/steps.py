"""The memory of a service that remembers: one record per step, from which a restart goes on.

A step holds the messages it applied, what each of them made the service publish, and, if the service
wants, its state afterwards. It is stored before anything is published. After a crash the messages that
were not committed come again: those found in a step are answered with what the step recorded.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import zstandard

from services.contracts.codec import decode, encode
from services.contracts.messages import Message
from services.runtime.handler import Publication, Received
from services.runtime.store.port import ArtefactStore


@dataclass(frozen=True, slots=True)
class Entry:
    """One message that was applied, and what followed from it."""

    received: Received
    publications: tuple[Publication, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """What was applied together, and the state it led to."""

    entries: tuple[Entry, ...]
    state: str = ""


def _pack(topic: str, message: Message) -> list[str]:
    return [topic, type(message).__name__, base64.b64encode(encode(message)).decode()]


def _unpack(packed: Sequence[str]) -> tuple[str, Message]:
    topic, message_type, payload = packed
    return topic, decode(message_type, base64.b64decode(payload))


def _to_bytes(step: Step) -> bytes:
    entries = [
        [_pack(entry.received.topic, entry.received.message), [_pack(p.topic, p.message) for p in entry.publications]]
        for entry in step.entries
    ]
    return zstandard.compress(json.dumps({"entries": entries, "state": step.state}, separators=(",", ":")).encode())


def _from_bytes(payload: bytes) -> Step:
    content = json.loads(zstandard.decompress(payload))
    entries = tuple(
        Entry(Received(*_unpack(received)), tuple(Publication(*_unpack(packed)) for packed in publications))
        for received, publications in content["entries"]
    )
    return Step(entries, content["state"])


class StepLog:
    """The steps of one service about one stream of messages, in order.

    Parameters
    ----------
    store
        Where the records lie.
    service, stream
        Names of the log; a stream is what keeps its order, such as an acquisition or a nucleus.
    """

    def __init__(self, store: ArtefactStore, service: str, stream: str) -> None:
        self._store = store
        self._prefix = f"{stream}/steps/{service}"
        self._next = sum(1 for _ in store.keys(self._prefix))
        self._numbers: dict[tuple[str, str, str], int] | None = None

    def append(self, step: Step) -> None:
        """Store a step; only after this may its publications leave."""
        self._store.put(f"{self._prefix}/{self._next:08d}", _to_bytes(step))
        if self._numbers is not None:
            self._numbers |= {_name(entry.received): self._next for entry in step.entries}
        self._next += 1

    def __len__(self) -> int:
        return self._next

    def __iter__(self) -> Iterator[Step]:
        for number in range(self._next):
            yield self.read(number)

    def read(self, number: int) -> Step:
        """Return one step by its number from 0."""
        key = f"{self._prefix}/{number:08d}"
        ref = self._store.find(key)
        if ref is None:
            raise LookupError(f"step {key} is missing from the store: run `reconcile`")
        return _from_bytes(self._store.get(ref))

    def publications_of(self, received: Received) -> tuple[Publication, ...] | None:
        """Return what a message led to when it was applied, or None if it never was."""
        if self._numbers is None:
            # Only repetitions ask, and they come in crowds: after a restart, or when the bus is rebuilt.
            self._numbers = {_name(entry.received): n for n in range(self._next) for entry in self.read(n).entries}
        number = self._numbers.get(_name(received))
        if number is None:
            return None
        entries = self.read(number).entries
        return next(entry.publications for entry in entries if _name(entry.received) == _name(received))


def _name(received: Received) -> tuple[str, str, str]:
    return received.topic, type(received.message).__name__, received.message.identity
