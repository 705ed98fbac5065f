"""What the adapter asks a Kafka broker besides reading and writing: topics, offsets, and members that leave."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

import kafka
import kafka.errors as faults
import structlog
from kafka.admin import KafkaAdminClient, MemberToRemove, OffsetSpec

from services.contracts.topics import Topic
from services.runtime.bus.kafka_connection import OUTAGES, faults_told_apart, opened
from services.runtime.bus.kafka_settings import KafkaSettings
from services.runtime.bus.port import GroupBusyError, LogEnd, TopicPartition, UnknownTopicError
from services.runtime.clock import Clock

log = structlog.get_logger()

Answer = TypeVar("Answer")

ASK_AGAIN_S = 0.1
# What a broker answers for a group that somebody reads as.
_NOT_EMPTY = (faults.UnknownMemberIdError, faults.NonEmptyGroupError, faults.RebalanceInProgressError)
MS_PER_DAY = 24 * 60 * 60 * 1000


class TopicMismatchError(ValueError):
    """A topic exists with another number of partitions than the one declared."""


class Broker:
    """One administrative connection, opened when it is first needed and again after every fault.

    Parameters
    ----------
    settings
        Where the broker is.
    clock
        Times the asking again.
    """

    def __init__(self, settings: KafkaSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._using = threading.RLock()
        self._client: KafkaAdminClient | None = None
        self._partitions: dict[str, int] = {}

    def create(self, topics: Iterable[Topic]) -> None:
        """Create the topics that do not exist.

        Raises
        ------
        TopicMismatchError
            If one exists with another number of partitions.
        TransientError
            If the broker does not answer.
        """
        declared = {topic.name: topic for topic in topics}
        if not declared:
            return
        found = self._sizes(declared)
        absent = {name: self._declaration(topic) for name, topic in declared.items() if name not in found}
        if absent:
            self._ask(lambda client: _create(client, absent))
        for name, size in self._sizes(declared).items():
            if size != declared[name].partitions:
                raise TopicMismatchError(
                    f"topic {name!r} has {size} partitions and is declared with {declared[name].partitions}: records "
                    "of one key would stand in two places; drain the topic, delete it, and create it anew"
                )

    def partitions(self, topic: str) -> int:
        """Return the number of partitions of a topic; asked once.

        Raises
        ------
        UnknownTopicError
            If nobody created it.
        TransientError
            If the broker does not answer.
        """
        if topic not in self._partitions:
            self._partitions |= self._sizes([topic])
        if topic not in self._partitions:
            raise UnknownTopicError(topic)
        return self._partitions[topic]

    def waiting(self, group: str, places: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return how many records of each partition a group has not committed.

        Raises
        ------
        TransientError
            If the broker does not answer.
        """
        if not places:
            return {}
        asked = [kafka.TopicPartition(*place) for place in places]
        committed = self._committed(group, asked)
        ends = self._ask(lambda client: _offsets(client, asked, OffsetSpec.LATEST))
        fresh = [place for place in asked if place not in committed]
        if fresh:
            committed |= self._ask(lambda client: _offsets(client, fresh, OffsetSpec.EARLIEST))
        return {TopicPartition(*place): max(0, ends[place] - committed[place]) for place in sorted(asked)}

    def place(self, group: str, places: Collection[TopicPartition], to: LogEnd) -> dict[TopicPartition, int]:
        """Set what a group without members reads next.

        Raises
        ------
        GroupBusyError
            If it has members.
        TransientError
            If the broker does not answer.
        """
        where = OffsetSpec.EARLIEST if to is LogEnd.EARLIEST else OffsetSpec.LATEST
        asked = {kafka.TopicPartition(*place): where for place in places}
        return self._ask(lambda client: _placed(client, group, asked))

    def remove_member(self, group: str, member_id: str, instance: str) -> None:
        """Tell a group that a member leaves: kafka-python never says so for one with a lasting name.

        If the broker cannot be asked, the session time-out will tell.
        """
        leaver = MemberToRemove(member_id=member_id, group_instance_id=instance)
        try:
            with self._using:
                self._opened().remove_group_members(group, [leaver])
        except faults.KafkaError as error:
            self.close()
            log.warning("group_not_left", group=group, member=instance, error=repr(error))

    def close(self) -> None:
        """Close the connection; the next question opens it again."""
        with self._using:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _sizes(self, names: Iterable[str]) -> dict[str, int]:
        wanted = sorted(names)
        described = self._ask(lambda client: client.describe_topics(wanted))
        return {topic["name"]: len(topic["partitions"]) for topic in described if topic["error_code"] == 0}

    def _committed(self, group: str, places: Sequence[Any]) -> dict[Any, int]:
        found = self._ask(lambda client: client.list_group_offsets({group: places}))
        # -1 says that nothing was committed.
        return {place: said.offset for place, said in found.get(group, {}).items() if said.offset >= 0}

    def _declaration(self, topic: Topic) -> dict[str, Any]:
        return {
            "num_partitions": topic.partitions,
            "replication_factor": self._settings.replication,
            "configs": {
                "cleanup.policy": "delete",
                "retention.ms": str(topic.retention_days * MS_PER_DAY),
                "retention.bytes": "-1",
                "min.insync.replicas": str(self._settings.min_insync),
                "message.timestamp.type": "LogAppendTime",
                "max.message.bytes": str(self._settings.max_message_bytes),
            },
        }

    def _ask(self, question: Callable[[KafkaAdminClient], Answer]) -> Answer:
        """Return the answer, asking again while the broker is only just getting ready."""
        deadline_s = self._clock.monotonic_s() + self._settings.request_timeout_s
        with self._using, faults_told_apart(self._settings):
            while True:
                try:
                    return question(self._opened())
                except OUTAGES:
                    # What it knew of the cluster may be the fault.
                    self.close()
                    if self._clock.monotonic_s() > deadline_s:
                        raise
                    self._clock.wait(ASK_AGAIN_S)

    def _opened(self) -> KafkaAdminClient:
        if self._client is None:
            self._client = opened(self._settings, KafkaAdminClient)
        return self._client


def _create(client: KafkaAdminClient, declarations: dict[str, dict[str, Any]]) -> None:
    try:
        client.create_topics(declarations, raise_errors=True)
    except faults.TopicAlreadyExistsError:
        log.debug("topics_created_by_another", topics=sorted(declarations))
    client.wait_for_topics(sorted(declarations))


def _placed(client: KafkaAdminClient, group: str, asked: dict[Any, OffsetSpec]) -> dict[TopicPartition, int]:
    said = client.reset_group_offsets(group, asked)
    for answer in said.values():
        if answer["error"] in _NOT_EMPTY:
            raise GroupBusyError(group)
        if answer["error"] is not faults.NoError:
            raise answer["error"]()
    return {TopicPartition(*place): int(answer["offset"]) for place, answer in sorted(said.items())}


def _offsets(client: KafkaAdminClient, places: Sequence[Any], which: OffsetSpec) -> dict[Any, int]:
    found = client.list_partition_offsets(dict.fromkeys(places, which))
    return {place: int(said.offset) for place, said in found.items()}
