"""A member of a group on Kafka.

Long work. The service loop polls, works and commits in one thread, and the work may take minutes on a GPU.
kafka-python sends heartbeats from a thread of its own, so the session lives on; but it leaves the group when
nobody has polled for `max_poll_interval_ms`. That is switched off here: a member is dead when its process is
(no heartbeats for a session time-out), not when it works. A thread that polls meanwhile was decided against: it
would take part in rebalances, and so take partitions away from under the work in hand, against the promise of
the port that ownership changes only inside `poll`. Instead the group waits with a rebalance until the work is
done and its owner polls again, up to `rebalance_timeout_s`; after that it goes on without the member, whose
commit raises `PartitionsLostError`. Whether a process that lives also gets on is the health page's to say.

What is read goes on from the committed offset, or from the first record where the group never committed. If
an offset is asked for that the log does not have, the log was cut or lost, and what it lacks cannot be read:
`OffsetResetError` says so instead of jumping anywhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import kafka
import kafka.errors as faults
import structlog
from kafka.consumer.fetcher import ConsumerRecord
from kafka.coordinator.base import MemberState
from kafka.future import Future

from services.runtime.bus.kafka_assignor import CoPartitionedAssignor
from services.runtime.bus.kafka_broker import Broker
from services.runtime.bus.kafka_connection import faults_told_apart, opened
from services.runtime.bus.kafka_settings import KafkaSettings, ms
from services.runtime.bus.port import OffsetResetError, PartitionsLostError, Record, TopicPartition
from services.runtime.clock import Clock
from services.runtime.errors import TransientError

log = structlog.get_logger()

TYPE_HEADER = "fibsem-message-type"
VERSION_HEADER = "fibsem-version"
ORIGIN_HEADER = "fibsem-origin-unix-s"
# Silence for so long makes a poll ask whether the broker is there at all.
ASK_AFTER_S = 5.0
EVERYTHING = 10_000_000
CLOSE_S = 1.0


class MemberReplacedError(Exception):
    """Another process joined the group under this member's name; each replica needs a name of its own."""


def _seconds(header: bytes | None) -> float | None:
    """Return a time that a header says, or None where it says none: it is for metrics, and refuses no record."""
    try:
        return None if header is None else float(header)
    except ValueError:
        return None


class _Losses(kafka.ConsumerRebalanceListener):  # type: ignore[misc]
    """Hears, on the thread of kafka-python, what is taken away; does nothing that could wait."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        self._consumer.drop(TopicPartition(*place) for place in revoked)

    def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        self._consumer.drop(TopicPartition(*place) for place in lost)

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Need nothing: reading begins at what the group committed."""


class _JoinedMeanwhile:
    """A join that ended between two polls, in the guise of one that has not ended yet.

    kafka-python 3.0.12 throws such a join away and begins another; where this member leads the group, that makes
    all others join again, and so on, without an end if polls are short. A join that has not ended it waits for,
    and this one answers at once.
    """

    is_done = False

    def __init__(self, ended: Future) -> None:
        self._ended = ended

    def add_callback(self, callback: Callable[[bytes], None]) -> None:
        self._ended.add_callback(callback)

    def add_errback(self, errback: Callable[[BaseException], None]) -> None:
        self._ended.add_errback(errback)


def _keep_join(client: kafka.KafkaConsumer) -> None:
    """Keep what the group answered since the last poll."""
    coordinator = client._coordinator  # noqa: SLF001 (see above)
    join = coordinator._join_task  # noqa: SLF001
    if join is not None and join.is_done and join.succeeded():
        coordinator._join_task = _JoinedMeanwhile(join)  # noqa: SLF001


class KafkaConsumer:
    """Reads the partitions that its group gave to it; used from one thread.

    Parameters
    ----------
    settings
        Where the broker is.
    broker
        Answers about topics and offsets.
    clock
        Times the looks for an outage.
    group, topics, member
        As for `Bus.consumer`.
    """

    def __init__(
        self, settings: KafkaSettings, broker: Broker, clock: Clock, group: str, topics: Sequence[str], member: str
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._clock = clock
        self._group = group
        self._topics = tuple(topics)
        self._instance = f"{group}.{member}"
        self._client: kafka.KafkaConsumer | None = None
        self._owned: frozenset[TopicPartition] = frozenset()
        self._paused: set[TopicPartition] = set()
        # Where to go back to: the first record delivered and not committed, per partition.
        self._uncommitted: dict[TopicPartition, int] = {}
        self._buffers: dict[TopicPartition, deque[Any]] = {}
        self._turn = 0
        self._generation = -1
        self._joined_s = clock.monotonic_s()
        self._heard_s = clock.monotonic_s()
        self._replaced = False
        self._closed = False

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        """Return up to `max_records` next records, waiting at most `timeout_s` for the first.

        Raises
        ------
        TransientError
            If the broker does not answer.
        UnknownTopicError
            If one of the topics was never created.
        OffsetResetError
            If the next record of a partition is no longer in the log.
        MemberReplacedError
            If another process has taken this member's name.
        BusRefusedError
            If the broker refuses this user, or its certificate is not to be trusted.
        """
        if self._replaced:
            raise self._replacement()
        with faults_told_apart(self._settings):
            client = self._joined()
            try:
                self._fetch(client, timeout_s)
            except (faults.OffsetOutOfRangeError, faults.LogTruncationError) as error:
                raise self._offset_lost(client, error) from error
            except faults.FencedInstanceIdError as error:
                raise self._replacement() from error
            self._owned = frozenset(TopicPartition(*place) for place in client.assignment())
            self._paused &= self._owned
            records = self._deal(max_records) if self._is_member(client) else []
            if records:
                self._heard_s = self._clock.monotonic_s()
            else:
                self._look_for_an_outage(client)
        return records

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Remember, durably, the next offset to be read of each partition given.

        Raises
        ------
        PartitionsLostError
            If some are no longer owned; the others are committed.
        TransientError
            If the broker does not answer, or the group is being shared out this moment.
        """
        kept = {place: offset for place, offset in offsets.items() if place in self._owned}
        lost = offsets.keys() - kept.keys()
        if kept and not self._commit(kept):
            lost = set(offsets)
            self.drop(kept)
        if lost:
            raise PartitionsLostError(lost)

    def rewind(self) -> None:
        """Return to the committed offsets; needs no broker, so it never fails."""
        if self._client is None:
            return
        for place in self._client.assignment():
            offset = self._uncommitted.get(TopicPartition(*place))
            if offset is not None:
                self._buffers.pop(TopicPartition(*place), None)
                self._client.seek(place, offset)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver nothing from these partitions until they are resumed."""
        self._paused.update(partitions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver again from where the partitions were paused."""
        self._paused.difference_update(partitions)

    def assignment(self) -> frozenset[TopicPartition]:
        """Partitions owned as of the last poll."""
        return self._owned

    def lag(self) -> Mapping[TopicPartition, int]:
        """Return the number of records not yet committed, per owned partition.

        Raises
        ------
        TransientError
            If the broker does not answer.
        """
        return self._broker.waiting(self._group, self._owned)

    def close(self) -> None:
        """Leave the group; closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        self._owned = frozenset()
        if self._client is None:
            return
        member_id = self._client.group_metadata().member_id
        self._client.close(autocommit=False, timeout_ms=ms(CLOSE_S))
        if member_id:
            self._broker.remove_member(self._group, member_id, self._instance)

    def drop(self, places: Iterable[TopicPartition]) -> None:
        """Forget partitions that belong to somebody else now; what is buffered of them is dropped with them."""
        for place in places:
            self._owned -= {place}
            self._uncommitted.pop(place, None)
            self._buffers.pop(place, None)

    def _joined(self) -> kafka.KafkaConsumer:
        if self._client is None:
            sizes = {topic: self._broker.partitions(topic) for topic in self._topics}
            assignor = CoPartitionedAssignor(self._claims, sizes)
            self._client = opened(self._settings, kafka.KafkaConsumer, **self._options(assignor))
            # Heartbeats alone say who lives: see the text of this module.
            self._client._coordinator.heartbeat.config["max_poll_interval_ms"] = float("inf")  # noqa: SLF001
            self._client.subscribe(topics=self._topics, listener=_Losses(self))
            # Its knowledge of the topics must be there before it joins: coming later, it would share out anew.
            self._client.end_offsets([kafka.TopicPartition(topic, 0) for topic in self._topics])
        return self._client

    def _options(self, assignor: CoPartitionedAssignor) -> dict[str, Any]:
        settings = self._settings
        return {
            "group_id": self._group,
            "group_instance_id": self._instance,
            "partition_assignment_strategy": [assignor],
            "session_timeout_ms": ms(settings.session_timeout_s),
            "heartbeat_interval_ms": ms(settings.heartbeat_s),
            "max_poll_interval_ms": ms(settings.rebalance_timeout_s),
            "max_partition_fetch_bytes": max(1024 * 1024, settings.max_message_bytes),
            "enable_auto_commit": False,
            # Neither: an offset that is not there is an error, and a group's first one is set in `_fetch`.
            "auto_offset_reset": "none",
            "allow_auto_create_topics": False,
            "metrics_enabled": False,
        }

    def _claims(self) -> Collection[Any]:
        return () if self._client is None else tuple(self._client.assignment())

    def _is_member(self, client: kafka.KafkaConsumer) -> bool:
        """Return whether what is delivered now could be committed, as far as is known here.

        A process that was frozen is told only by its next heartbeat that the group went on without it.
        """
        group, now_s = client.group_metadata(), self._clock.monotonic_s()
        if group.generation_id != self._generation:
            self._generation, self._joined_s = group.generation_id, now_s
        answered_s = max(self._joined_s, client._coordinator.heartbeat.last_receive)  # noqa: SLF001
        return group.state is MemberState.STABLE and now_s - answered_s < self._settings.session_timeout_s

    def _fetch(self, client: kafka.KafkaConsumer, timeout_s: float) -> None:
        """Bring whatever has arrived into the buffers; wait only if there is nothing to deliver.

        Everything is taken at once: kafka-python 3.0.12 never returns to a partition that was paused when part of
        what it had fetched was delivered. What waits in a buffer is paused there, so that buffers stay bounded.
        """
        deadline_s = self._clock.monotonic_s() + (0.0 if self._ready() else timeout_s)
        for place in client.assignment():
            waits = TopicPartition(*place) in self._paused or self._buffers.get(TopicPartition(*place))
            (client.pause if waits else client.resume)(place)
        while True:
            _keep_join(client)
            remaining_s = max(0.0, deadline_s - self._clock.monotonic_s())
            try:
                batches = client.poll(timeout_ms=1000 * remaining_s, max_records=EVERYTHING)
                break
            except faults.NoOffsetForPartitionError as fresh:
                # The group never committed here: nothing is skipped only from the first record.
                client.seek_to_beginning(*(fresh.args[0] & client.assignment()))
        for place, batch in batches.items():
            self._buffers.setdefault(TopicPartition(*place), deque()).extend(batch)

    def _ready(self) -> list[TopicPartition]:
        """Return the partitions of which something may be delivered."""
        return sorted(place for place, buffer in self._buffers.items() if buffer and place not in self._paused)

    def _deal(self, max_records: int) -> list[Record]:
        """Deliver from the buffers, beginning with another partition every time, so that none starves."""
        ready = self._ready()
        first = self._turn % max(1, len(ready))
        self._turn += 1
        records: list[Record] = []
        for place in ready[first:] + ready[:first]:
            buffer = self._buffers[place]
            while buffer and len(records) < max_records:
                records.append(self._delivered(place, buffer.popleft()))
        return records

    def _delivered(self, place: TopicPartition, record: ConsumerRecord) -> Record:
        self._uncommitted.setdefault(place, record.offset)
        key = (record.key or b"").decode(errors="replace")
        headers = dict(record.headers)
        message_type = headers.get(TYPE_HEADER, b"").decode(errors="replace")
        return Record(
            *place, record.offset, key, message_type, record.value or b"", _seconds(headers.get(ORIGIN_HEADER))
        )

    def _commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Commit; return False if this consumer is no longer who the group takes it for."""
        assert self._client is not None
        marks = {kafka.TopicPartition(*place): kafka.OffsetAndMetadata(to, "", -1) for place, to in offsets.items()}
        try:
            with faults_told_apart(self._settings):
                self._client.commit(marks, timeout_ms=ms(self._settings.request_timeout_s))
        except faults.RebalanceInProgressError as error:
            raise TransientError("bus", f"group {self._group} is being shared out: {error}") from error
        except (faults.CommitFailedError, faults.FencedInstanceIdError, faults.UnknownMemberIdError) as error:
            self._replaced = isinstance(error, faults.FencedInstanceIdError)
            log.warning("commit_refused", group=self._group, member=self._instance, error=repr(error))
            return False
        self._uncommitted |= offsets
        return True

    def _look_for_an_outage(self, client: kafka.KafkaConsumer) -> None:
        """Ask the broker something, now and then: kafka-python's own poll keeps silent about an outage."""
        if self._clock.monotonic_s() - self._heard_s < ASK_AFTER_S:
            return
        client.end_offsets([kafka.TopicPartition(topic, 0) for topic in self._topics])
        self._heard_s = self._clock.monotonic_s()

    def _offset_lost(self, client: kafka.KafkaConsumer, error: faults.KafkaError) -> OffsetResetError:
        asked = error.args[0] if isinstance(error, faults.OffsetOutOfRangeError) else {}
        first, end = client.beginning_offsets(list(asked)), client.end_offsets(list(asked))
        where = "; ".join(
            f"{place.topic}/{place.partition} should go on at {offset}, the log holds {first[place]} to {end[place]}"
            for place, offset in sorted(asked.items())
        )
        return OffsetResetError(
            f"group {self._group} cannot go on: {where or error}. Records were deleted or the log was lost: stop "
            f"its service, set its place with `fibsem-nuclei rewind stack {self._group}`, start it, and put back what "
            "is missing with `reconcile`",
            {place.topic for place in asked},
        )

    def _replacement(self) -> MemberReplacedError:
        return MemberReplacedError(
            f"another process joined group {self._group} as {self._instance}: give each replica a name of its own"
        )
