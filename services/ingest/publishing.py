"""Journal first, bus second: no message leaves before the event that it follows from is durable."""

from __future__ import annotations

from collections.abc import Callable

from services.contracts.messages import Message
from services.contracts.topics import TOPICS
from services.ingest.events import Event
from services.ingest.intake import SERVICE, AcquisitionIdentity, Intake
from services.ingest.journal import Journal
from services.runtime.bus.port import Producer
from services.runtime.handler import Publication
from services.runtime.service import outgoing

_TOPIC_OF = {message: topic.name for topic in TOPICS if SERVICE in topic.producers for message in topic.messages}
_RECORDS_AT_ONCE = 256
# How many entries of the journal a restart publishes again at most.
_ENTRIES_BETWEEN_NOTES = 64


class Publisher:
    """Applies events to the intake, writes them down, and sends the messages that follow.

    Parameters
    ----------
    identity
        What all messages carry.
    journal
        Where events are kept; those that are there already are applied at once.
    producer
        Where messages go.
    now_s
        Tells when a slice appeared, for metrics; None where it does not appear now.
    from_start
        Whether to send everything again, for a bus that was lost.
    """

    def __init__(
        self,
        identity: AcquisitionIdentity,
        journal: Journal,
        producer: Producer,
        *,
        now_s: Callable[[], float | None] = lambda: None,
        from_start: bool = False,
    ) -> None:
        self._now_s = now_s
        self.intake = Intake(identity)
        self._journal = journal
        self._producer = producer
        self._unwritten: list[Event] = []
        self._held: list[Message] = []
        self._unsent: list[Message] = []
        self._noted = 0 if from_start else journal.published
        for number, events in enumerate(journal.entries()):
            for event in events:
                messages = self.intake.apply(event)
                if number >= self._noted:
                    self._unsent.extend(messages)

    @property
    def is_idle(self) -> bool:
        """Whether everything is written down and sent."""
        return not (self._unwritten or self._unsent)

    @property
    def unsent(self) -> int:
        """Messages that wait to be sent."""
        return len(self._unsent) + len(self._held)

    def note(self, event: Event) -> None:
        """Apply an event; it is written down, and its messages leave, with the next `flush`."""
        self._held.extend(self.intake.apply(event))
        self._unwritten.append(event)

    def flush(self) -> bool:
        """Write down and send what waits; return whether anything did. Call it again after an outage.

        Raises
        ------
        TransientError
            If the store or the bus is out; nothing is lost, and nothing is sent that is not written down.
        """
        if self.is_idle:
            return False
        if self._unwritten:
            self._journal.append(self._unwritten)
            self._unwritten.clear()
            self._unsent.extend(self._held)
            self._held.clear()
        while self._unsent:
            batch = self._unsent[:_RECORDS_AT_ONCE]
            self._producer.publish(
                [outgoing(Publication(_TOPIC_OF[type(message)], message), self._now_s()) for message in batch]
            )
            del self._unsent[: len(batch)]
        if len(self._journal) - self._noted >= _ENTRIES_BETWEEN_NOTES:
            self.note_published()
        return True

    def note_published(self) -> None:
        """Remember durably that everything so far was sent, so that a restart need not send it again.

        Raises
        ------
        TransientError
            If the store is out.
        """
        if self.is_idle and self._noted < len(self._journal):
            self._journal.note_published()
            self._noted = len(self._journal)
