"""What a service's handler looks like to the service loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.contracts.messages import Message
from services.runtime.errors import PermanentError


@dataclass(frozen=True, slots=True)
class Publication:
    """A message and the topic it goes to."""

    topic: str
    message: Message


@dataclass(frozen=True, slots=True)
class Received:
    """A valid message, with the topic it came from."""

    topic: str
    message: Message


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler says to one message: what follows from it, or why it cannot be worked on."""

    publications: tuple[Publication, ...] = field(default=())
    fault: PermanentError | None = None


class Handler(Protocol):
    """Gathers inputs, calls pure functions, stores artefacts, answers for each message.

    A handler commits nothing and publishes nothing: the loop does, after the answer. Answers depend on
    the messages and artefacts alone, so that a repetition gives the same publications.
    """

    @property
    def name(self) -> str:
        """Consumer group and metric label, such as `extract-detect`."""

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics the handler reads."""

    @property
    def batch_size(self) -> int:
        """Most messages per call."""

    def handle(self, received: Sequence[Received]) -> Sequence[Answer]:
        """Work on messages in the order given; return one answer for each.

        Raises
        ------
        TransientError
            If a dependency is out; the whole batch is delivered again later.
        PermanentError
            Allowed only for a batch of one message; means the same as an answer with that fault.
        """

    def dead_lettered(self, received: Received, fault: PermanentError) -> Sequence[Publication]:
        """Return what must travel on in place of a dead-lettered message, so that nobody waits for it."""
