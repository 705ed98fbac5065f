"""The bus: named topics of ordered partitions, read by groups that remember how far they are.

Modelled on Kafka, which is the distributed adapter; the embedded one is a durable SQLite log.
What every adapter promises, the contract suite in `tests/contract/bus_suite.py` checks:

- A topic's records with one key stand in one partition, in the order of their acknowledgement.
- `publish` returns only when every record is durable. If it raises, some may be durable all the same:
  publishing again repeats them, and receivers tell repetitions by message identity.
- A group's members share a topic's partitions; each partition has one owner at a time. Polling moves
  the *position*; only `commit` moves the *committed offset*, from which a new owner starts.
- Partition p of every topic that a group reads, of those with equally many, belongs to one member, so that
  topics of one key can be joined (on Kafka: the range assignor).
- Ownership changes only inside `poll`. Partitions that another member has taken are reported
  through `Consumer.assignment`, and committing them raises `PartitionsLostError`: unfinished work on
  them is dropped, since the new owner repeats it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from services.contracts.topics import Topic
from services.runtime.errors import SetupError


class TopicPartition(NamedTuple):
    """One ordered sequence of records."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to be published.

    Attributes
    ----------
    topic, key, message_type, payload
        Where it goes, what it is about, what it is, and what it says.
    origin_unix_s
        When the slice appeared from which it follows; for metrics alone, and lost on a bus that keeps no headers.
    """

    topic: str
    key: str
    message_type: str
    payload: bytes
    origin_unix_s: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A record that was read, with its place in the log."""

    topic: str
    partition: int
    offset: int
    key: str
    message_type: str
    payload: bytes
    origin_unix_s: float | None = None

    @property
    def place(self) -> TopicPartition:
        """The partition this record stands in."""
        return TopicPartition(self.topic, self.partition)


class UnknownTopicError(SetupError, LookupError):
    """Nobody created that topic."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"there is no topic {topic!r}; create_topics makes the declared ones")


class PartitionsLostError(Exception):
    """The group gave these partitions to another member; work on them must be dropped."""

    def __init__(self, partitions: Iterable[TopicPartition]) -> None:
        self.partitions = frozenset(partitions)
        super().__init__(f"no longer owned: {sorted(self.partitions)}")


class LogEnd(StrEnum):
    """Where a group may be placed: at the first record that the log holds, or behind the last."""

    EARLIEST = "earliest"
    LATEST = "latest"


class GroupBusyError(RuntimeError):
    """Somebody reads as this group; its place can be set only while nobody does."""

    def __init__(self, group: str) -> None:
        super().__init__(f"group {group} has members: stop its service first, and wait for its session time-out")


class OffsetResetError(Exception):
    """The log does not have what is to be read next: records were lost, and somebody must decide."""

    def __init__(self, detail: str, topics: Iterable[str] = ()) -> None:
        self.topics = frozenset(topics)
        super().__init__(detail)


class Producer(Protocol):
    """Writes records."""

    def publish(self, records: Sequence[Outgoing]) -> None:
        """Write records and wait until all are acknowledged.

        Raises
        ------
        TransientError
            If the bus cannot acknowledge them now. Some may have been written.
        """

    def close(self) -> None:
        """Release the connection; unacknowledged records have been reported by `publish`."""


class Consumer(Protocol):
    """Reads the partitions that its group has given to it. Used from one thread."""

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        """Return up to `max_records` next records, waiting at most `timeout_s` for the first.

        Also keeps the membership alive, so a caller with long work calls it with everything paused.

        Raises
        ------
        TransientError
            If the bus cannot be read now.
        """

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Remember, durably, the next offset to be read of each partition given.

        Raises
        ------
        PartitionsLostError
            If a partition now belongs to another member. Nothing is committed for it.
        TransientError
            If the bus cannot be written now.
        """

    def rewind(self) -> None:
        """Return to the committed offsets, so that everything read since is delivered again."""

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver nothing from these partitions until they are resumed."""

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver again from where the partitions were paused."""

    def assignment(self) -> frozenset[TopicPartition]:
        """Partitions owned as of the last poll."""

    def lag(self) -> Mapping[TopicPartition, int]:
        """Return the records not yet committed, per owned partition."""

    def close(self) -> None:
        """Leave the group; the other members take over at their next poll."""


class Bus(Protocol):
    """A connection to a bus."""

    def create_topics(self, topics: Iterable[Topic]) -> None:
        """Create the topics that do not exist; existing ones keep their records."""

    def producer(self) -> Producer:
        """Return a producer of its own."""

    def consumer(self, group: str, topics: Sequence[str], member: str) -> Consumer:
        """Return a consumer that joins `group` at its first poll.

        `member` is the replica's lasting name: one that returns under its old name after a crash takes
        its partitions over at once.
        """

    def backlog(self, group: str, topics: Sequence[str]) -> int:
        """Return how many records of these topics a group has not committed, whether it has members or not.

        Raises
        ------
        TransientError
            If the bus cannot be read now.
        """

    def rewind(self, group: str, topics: Sequence[str], to: LogEnd) -> Mapping[TopicPartition, int]:
        """Set, durably, what a group without members reads next; return it for each partition.

        Raises
        ------
        GroupBusyError
            If it has members. Nothing is changed.
        UnknownTopicError
            If one of the topics was never created.
        TransientError
            If the bus cannot be written now.
        """

    def close(self) -> None:
        """Release every resource."""
