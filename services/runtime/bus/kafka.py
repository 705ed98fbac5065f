"""The distributed bus: Apache Kafka, through kafka-python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import kafka
import kafka.errors as faults
from kafka.producer.future import FutureRecordMetadata

from services.contracts.topics import Topic
from services.runtime.bus.kafka_broker import Broker
from services.runtime.bus.kafka_connection import faults_told_apart, opened
from services.runtime.bus.kafka_consumer import ORIGIN_HEADER, TYPE_HEADER, VERSION_HEADER, KafkaConsumer
from services.runtime.bus.kafka_settings import KafkaSettings, ms
from services.runtime.bus.port import LogEnd, Outgoing, TopicPartition
from services.runtime.clock import Clock, SystemClock
from services.runtime.metrics.port import Metrics

# Waiting for the answers goes on a little after the records' own time is up, so that each has its own answer.
GRACE_S = 2.0
CLOSE_S = 1.0
# The client's share of a record besides key, payload and headers.
FRAME_BYTES = 1024
BATCH_BYTES = 256 * 1024


class RecordTooLargeError(ValueError):
    """A record is larger than the bus takes; what is large belongs into the store."""


class KafkaBus:
    """A bus on Kafka. Nothing is opened before it is needed.

    Parameters
    ----------
    settings
        Where the broker is, and how long anything may take.
    clock
        Times the asking again.
    metrics
        Takes how far the broker's clock is from this machine's.
    """

    def __init__(self, settings: KafkaSettings, *, clock: Clock | None = None, metrics: Metrics | None = None) -> None:
        self._metrics = metrics
        self._settings = settings
        self._clock = clock or SystemClock()
        self._broker = Broker(settings, self._clock)
        self._given: list[KafkaProducer | KafkaConsumer] = []

    def create_topics(self, topics: Iterable[Topic]) -> None:
        """Create the topics that do not exist; existing ones keep their records and their settings.

        Raises
        ------
        TopicMismatchError
            If one exists with another number of partitions.
        TransientError
            If the broker does not answer.
        """
        self._broker.create(topics)

    def producer(self) -> KafkaProducer:
        """Return a producer of its own."""
        producer = KafkaProducer(self._settings, self._broker, self._clock, self._metrics)
        self._given.append(producer)
        return producer

    def consumer(self, group: str, topics: Sequence[str], member: str) -> KafkaConsumer:
        """Return a consumer that joins `group` at its first poll; that poll says if a topic is unknown."""
        consumer = KafkaConsumer(self._settings, self._broker, self._clock, group, topics, member)
        self._given.append(consumer)
        return consumer

    def backlog(self, group: str, topics: Sequence[str]) -> int:
        """Return how many records of these topics a group has not committed, whether it has members or not.

        Raises
        ------
        UnknownTopicError
            If one of them was never created.
        TransientError
            If the broker does not answer.
        """
        return sum(self._broker.waiting(group, self._places(topics)).values())

    def rewind(self, group: str, topics: Sequence[str], to: LogEnd) -> Mapping[TopicPartition, int]:
        """Set what a group without members reads next; return it for each partition.

        Raises
        ------
        GroupBusyError
            If it has members, or had some less than a session time-out ago that did not leave.
        UnknownTopicError
            If one of the topics was never created.
        TransientError
            If the broker does not answer.
        """
        return self._broker.place(group, self._places(topics), to)

    def _places(self, topics: Sequence[str]) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for topic in topics for number in range(self._broker.partitions(topic))]

    def close(self) -> None:
        """Close every producer and consumer, which leave their groups, and the connection."""
        for given in self._given:
            given.close()
        self._given.clear()
        self._broker.close()


class KafkaProducer:
    """Writes records; each stands in its partition once, however often the client had to send it."""

    def __init__(self, settings: KafkaSettings, broker: Broker, clock: Clock, metrics: Metrics | None) -> None:
        self._settings = settings
        self._broker = broker
        self._clock = clock
        self._metrics = metrics
        self._version = version("fibsem-nuclei").encode()
        self._client: kafka.KafkaProducer | None = None

    def publish(self, records: Sequence[Outgoing]) -> None:
        """Write records and wait until all are acknowledged.

        Raises
        ------
        TransientError
            If the broker does not acknowledge them in time. Some may have been written.
        UnknownTopicError
            If a topic was never created; nothing is written.
        RecordTooLargeError
            If a record is larger than the bus takes; nothing is written.
        BusRefusedError
            If the broker refuses this user, or its certificate is not to be trusted.
        """
        for topic in {record.topic for record in records}:
            self._broker.partitions(topic)
        for record in records:
            self._require_fitting(record)
        if not records:
            return
        with faults_told_apart(self._settings):
            client = self._opened()
            try:
                sent = [self._send(client, record) for record in records]
                client.flush(self._settings.delivery_timeout_s + GRACE_S)
                failures = [answer.exception for answer in sent if answer.failed()]
                if failures:
                    raise failures[0]
            except faults.KafkaError:
                # One that failed may never go on: it outlived the broker's log, or what ran out of time left a gap in
                # its numbering, for which it waits. The next records have a fresh one.
                self.close()
                raise
            self._tell_the_time(sent[-1].value.timestamp)

    def close(self) -> None:
        """Release the connection."""
        if self._client is None:
            return
        client, self._client = self._client, None
        try:
            client.close(timeout=CLOSE_S)
        except faults.KafkaTimeoutError:
            # What is still to be sent was reported as failed; its thread must end all the same.
            client._sender.force_close()  # noqa: SLF001

    def _opened(self) -> kafka.KafkaProducer:
        if self._client is None:
            self._client = opened(self._settings, kafka.KafkaProducer, **self._options())
        return self._client

    def _options(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "acks": "all",
            "enable_idempotence": True,
            "delivery_timeout_ms": ms(settings.delivery_timeout_s),
            "max_block_ms": ms(settings.request_timeout_s),
            "max_request_size": settings.max_message_bytes + FRAME_BYTES,
            "batch_size": BATCH_BYTES,
            "allow_auto_create_topics": False,
            "metrics_enabled": False,
        }

    def _send(self, client: kafka.KafkaProducer, record: Outgoing) -> FutureRecordMetadata:
        headers = [(TYPE_HEADER, record.message_type.encode()), (VERSION_HEADER, self._version)]
        if record.origin_unix_s is not None:
            headers.append((ORIGIN_HEADER, repr(record.origin_unix_s).encode()))
        # The client's own partitioner hashes the key alone: equally many partitions, equal partition.
        return client.send(record.topic, value=record.payload, key=record.key.encode(), headers=headers)

    def _tell_the_time(self, stamp_ms: int) -> None:
        """Compare the broker's clock, which stamped the record, with this machine's."""
        if self._metrics is not None and stamp_ms > 0:
            self._metrics.set("fibsem_clock_offset_seconds", stamp_ms / 1000 - self._clock.unix_s())

    def _require_fitting(self, record: Outgoing) -> None:
        size = len(record.payload) + len(record.key.encode()) + FRAME_BYTES
        if size > self._settings.max_message_bytes:
            raise RecordTooLargeError(
                f"{record.message_type} {record.key!r} for topic {record.topic} takes {size} bytes, the bus takes "
                f"{self._settings.max_message_bytes}: put what is large into the store"
            )
