"""Reading everything a bus holds, without becoming part of any service's group."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence

import structlog

from services.contracts.codec import MalformedMessageError, decode
from services.contracts.messages import Message
from services.runtime.bus.port import Bus, Record

log = structlog.get_logger()

BATCH_RECORDS = 1000
WAIT_S = 1.0


def replay(bus: Bus, topics: Sequence[str]) -> Iterator[Record]:
    """Yield every record of some topics, from the first, until none is left.

    Records of one partition come in order, those of different partitions in any order. A group of its own
    is used and left behind empty: nothing is committed, so nobody else's place changes.

    Raises
    ------
    TransientError
        If the bus cannot be read now.
    """
    if not topics:
        return
    name = f"replay-{uuid.uuid4().hex}"
    consumer = bus.consumer(name, topics, name)
    try:
        count = 0
        # A bus of several machines may take several polls to let a new group in.
        while not consumer.assignment() or count < sum(consumer.lag().values()):
            records = consumer.poll(BATCH_RECORDS, WAIT_S)
            count += len(records)
            yield from records
    finally:
        consumer.close()


def messages_of(records: Iterable[Record]) -> Iterator[Message]:
    """Yield the message of every record; one that is none was dead-lettered by whoever reads it as a service."""
    for record in records:
        try:
            yield decode(record.message_type, record.payload)
        except MalformedMessageError as error:
            log.warning("record_left_out", place=f"{record.topic}/{record.partition}/{record.offset}", error=str(error))


def replay_messages(bus: Bus, topics: Sequence[str]) -> Iterator[Message]:
    """Yield every message of some topics, from the first, until none is left.

    Raises
    ------
    TransientError
        If the bus cannot be read now.
    """
    return messages_of(replay(bus, topics))
