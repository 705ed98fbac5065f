"""The embedded bus: a durable log in one SQLite file, shared by threads and by processes of one machine."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from services.contracts.topics import Topic
from services.runtime.bus.port import (
    GroupBusyError,
    LogEnd,
    Outgoing,
    PartitionsLostError,
    Record,
    TopicPartition,
    UnknownTopicError,
)
from services.runtime.bus.sqlite_database import MEMORY, Connection, Database
from services.runtime.bus.sqlite_membership import Member, Membership
from services.runtime.clock import Clock, SystemClock

# Records of this process wake a waiting reader at once; those of another process are seen after this long.
LOOK_EVERY_S = 0.05


def partition_of(key: str, partitions: int) -> int:
    """Return the partition of a key, the same on every machine and in every run.

    >>> partition_of("acquisition/n0001", 8)
    3
    """
    return zlib.crc32(key.encode()) % partitions


class SqliteBus:
    """A bus in one file.

    Parameters
    ----------
    path
        The file, or ":memory:" for a bus that dies with this object.
    clock
        Times the leases of group members and the waiting for records.
    lease_s
        A member that has not polled for this long loses its partitions to the others.
    busy_timeout_s
        How long to wait for another process that writes before that counts as an outage.

    Raises
    ------
    TransientError
        If the file cannot be opened now.
    BusFormatError
        If the file belongs to another version.
    """

    def __init__(
        self,
        path: Path | str = MEMORY,
        *,
        clock: Clock | None = None,
        lease_s: float = 60.0,
        busy_timeout_s: float = 10.0,
    ) -> None:
        self._database = Database(path, busy_timeout_s)
        self._connection = self._database.connect()
        self._clock = clock or SystemClock()
        self._lease_s = lease_s
        self._topics: dict[str, tuple[int, int]] = {}
        self._arrivals: set[threading.Event] = set()

    def create_topics(self, topics: Iterable[Topic]) -> None:
        """Create the topics that do not exist; existing ones keep their records and their partitions."""
        known = {name for (name,) in self._connection.rows("SELECT name FROM topics")}
        absent = [topic for topic in topics if topic.name not in known]
        if not absent:
            return
        with self._connection.transaction() as writing:
            for topic in absent:
                row = (topic.name, topic.partitions)
                # Another process may have created it meanwhile: then its number of partitions stands.
                writing.execute("INSERT OR IGNORE INTO topics (name, partitions) VALUES (?, ?)", row)
                topic_id, partitions = writing.execute(
                    "SELECT topic_id, partitions FROM topics WHERE name = ?", (topic.name,)
                ).fetchone()
                ends = [(topic_id, number) for number in range(partitions)]
                writing.executemany("INSERT OR IGNORE INTO ends VALUES (?, ?, 0)", ends)

    def producer(self) -> SqliteProducer:
        """Return a producer of its own."""
        return SqliteProducer(self)

    def consumer(self, group: str, topics: Sequence[str], member: str) -> SqliteConsumer:
        """Return a consumer that joins `group` at its first poll.

        Raises
        ------
        UnknownTopicError
            If one of the topics was never created.
        """
        return SqliteConsumer(self, Member(group, member, tuple(topics), self._lease_s))

    def backlog(self, group: str, topics: Sequence[str]) -> int:
        """Return the number of records that a group has not committed."""
        rows = self._connection.rows(
            "SELECT topics.name, ends.next_offset - COALESCE(commits.next_offset, 0) "
            "FROM ends JOIN topics USING (topic_id) LEFT JOIN commits ON commits.topic = topics.name "
            "AND commits.partition = ends.partition AND commits.group_name = ?",
            (group,),
        )
        return sum(int(count) for name, count in rows if name in topics)

    def rewind(self, group: str, topics: Sequence[str], to: LogEnd) -> Mapping[TopicPartition, int]:
        """Set what a group without members reads next; return it for each partition.

        Raises
        ------
        GroupBusyError
            If it has members that were heard of within their lease.
        UnknownTopicError
            If one of the topics was never created.
        """
        known = [(name, *self.topic(name)) for name in topics]
        with self._connection.transaction() as writing:
            beats = writing.execute("SELECT beat_s FROM members WHERE group_name = ?", (group,)).fetchall()
            if any(abs(self._clock.monotonic_s() - beat_s) <= self._lease_s for (beat_s,) in beats):
                raise GroupBusyError(group)
            placed = {
                TopicPartition(name, number): end if to is LogEnd.LATEST else 0
                for name, topic_id, _ in known
                for number, end in writing.execute(
                    "SELECT partition, next_offset FROM ends WHERE topic_id = ? ORDER BY partition", (topic_id,)
                )
            }
            rows = [(group, *place, offset) for place, offset in placed.items()]
            writing.executemany("INSERT OR REPLACE INTO commits VALUES (?, ?, ?, ?)", rows)
        return placed

    def close(self) -> None:
        """Close the file; members that did not leave keep their partitions until their lease ends."""
        self._database.close()

    @property
    def clock(self) -> Clock:
        """The clock of this bus."""
        return self._clock

    def topic(self, name: str) -> tuple[int, int]:
        """Return the number of a topic in the file, and how many partitions it has."""
        if name not in self._topics:
            found = self._connection.rows("SELECT topic_id, partitions FROM topics WHERE name = ?", (name,))
            if not found:
                raise UnknownTopicError(name)
            self._topics[name] = (int(found[0][0]), int(found[0][1]))
        return self._topics[name]

    def connect(self) -> Connection:
        """Return a connection for one producer or consumer."""
        return self._database.connect()

    def release(self, connection: Connection) -> None:
        """Close a connection that `connect` returned."""
        self._database.release(connection)

    def arrivals(self) -> threading.Event:
        """Return an event that is set after every publication by this process."""
        event = threading.Event()
        self._arrivals.add(event)
        return event

    def forget(self, event: threading.Event) -> None:
        """Stop setting an event that `arrivals` returned."""
        self._arrivals.discard(event)

    def announce_arrival(self) -> None:
        """Wake the readers of this process."""
        for event in tuple(self._arrivals):
            event.set()


class SqliteProducer:
    """Appends records; a call is one transaction, so it is written whole or not at all."""

    def __init__(self, bus: SqliteBus) -> None:
        self._bus = bus
        self._connection = bus.connect()
        self._closed = False

    def publish(self, records: Sequence[Outgoing]) -> None:
        """Write records durably.

        Raises
        ------
        UnknownTopicError
            If a topic was never created; nothing is written.
        TransientError
            If the file is locked for too long, full or out of reach; nothing is written.
        """
        groups: dict[tuple[int, int], list[Outgoing]] = {}
        for record in records:
            topic_id, partitions = self._bus.topic(record.topic)
            groups.setdefault((topic_id, partition_of(record.key, partitions)), []).append(record)
        if not groups:
            return
        with self._connection.transaction() as writing:
            for place, group in groups.items():
                ((first,),) = writing.execute(
                    "SELECT next_offset FROM ends WHERE topic_id = ? AND partition = ?", place
                ).fetchall()
                writing.executemany(
                    "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)",
                    [
                        (*place, offset, record.key, record.message_type, record.payload)
                        for offset, record in enumerate(group, start=first)
                    ],
                )
                writing.execute(
                    "UPDATE ends SET next_offset = ? WHERE topic_id = ? AND partition = ?", (first + len(group), *place)
                )
        self._bus.announce_arrival()

    def close(self) -> None:
        """Release the connection."""
        if not self._closed:
            self._closed = True
            self._bus.release(self._connection)


class SqliteConsumer:
    """Reads the partitions that its group gave to it; used from one thread."""

    def __init__(self, bus: SqliteBus, member: Member) -> None:
        self._bus = bus
        self._topic_names = {bus.topic(name)[0]: name for name in member.topics}
        self._topic_ids = {name: topic_id for topic_id, name in self._topic_names.items()}
        self._connection = bus.connect()
        partitions = {name: bus.topic(name)[1] for name in member.topics}
        self._group = member.group
        self._membership = Membership(self._connection, member, partitions, bus.clock)
        self._arrival = bus.arrivals()
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._turn = 0
        self._closed = False

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        """Return up to `max_records` next records, waiting at most `timeout_s` for the first."""
        deadline_s = self._bus.clock.monotonic_s() + timeout_s
        while True:
            # Cleared before the look: what arrives after the look wakes the wait.
            self._arrival.clear()
            self._follow_group()
            records = self._fetch(max_records)
            remaining_s = deadline_s - self._bus.clock.monotonic_s()
            if records or remaining_s <= 0:
                return records
            self._bus.clock.wait(min(remaining_s, LOOK_EVERY_S), self._arrival)

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Remember, durably, the next offset to be read of each partition given.

        Raises
        ------
        PartitionsLostError
            If some are no longer owned; the others are committed.
        """
        lost = self._membership.commit(offsets)
        if lost:
            raise PartitionsLostError(lost)

    def rewind(self) -> None:
        """Return to the committed offsets."""
        self._positions.update(self._committed(self._membership.owned))

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver nothing from these partitions until they are resumed."""
        self._paused.update(partitions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver again from where the partitions were paused."""
        self._paused.difference_update(partitions)

    def assignment(self) -> frozenset[TopicPartition]:
        """Partitions owned as of the last poll."""
        return self._membership.owned

    def lag(self) -> Mapping[TopicPartition, int]:
        """Return the number of records not yet committed, per owned partition."""
        ends = self._ends()
        committed = self._committed(self._membership.owned)
        return {place: ends[place] - offset for place, offset in sorted(committed.items())}

    def close(self) -> None:
        """Leave the group; closing twice does nothing."""
        if not self._closed:
            self._closed = True
            self._bus.forget(self._arrival)
            self._membership.leave()
            self._bus.release(self._connection)

    def _follow_group(self) -> None:
        """Drop what was lost; start at the committed offset of what was gained."""
        gained = self._membership.refresh()
        if gained is None:
            return
        kept = self._membership.owned - gained
        self._positions = {place: offset for place, offset in self._positions.items() if place in kept}
        self._positions.update(self._committed(gained))
        self._paused &= kept

    def _fetch(self, max_records: int) -> list[Record]:
        """Read on from the positions, beginning at another partition every time, so that none starves."""
        ends = self._ends()
        behind = [place for place, offset in sorted(self._positions.items()) if offset < ends[place]]
        behind = [place for place in behind if place not in self._paused]
        if not behind:
            return []
        first = self._turn % len(behind)
        self._turn += 1
        records: list[Record] = []
        for place in behind[first:] + behind[:first]:
            records += self._read(place, max_records - len(records))
            if len(records) >= max_records:
                break
        return records

    def _read(self, place: TopicPartition, limit: int) -> list[Record]:
        rows = self._connection.rows(
            "SELECT offset, key, message_type, payload FROM records"
            " WHERE topic_id = ? AND partition = ? AND offset >= ? ORDER BY offset LIMIT ?",
            (self._topic_ids[place.topic], place.partition, self._positions[place], limit),
        )
        records = [Record(place.topic, place.partition, *row) for row in rows]
        if records:
            self._positions[place] = records[-1].offset + 1
        return records

    def _ends(self) -> dict[TopicPartition, int]:
        marks = ", ".join("?" * len(self._topic_names))
        rows = self._connection.rows(
            f"SELECT topic_id, partition, next_offset FROM ends WHERE topic_id IN ({marks})",  # noqa: S608 (marks only)
            tuple(self._topic_names),
        )
        return {TopicPartition(self._topic_names[topic_id], partition): end for topic_id, partition, end in rows}

    def _committed(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        rows = self._connection.rows(
            "SELECT topic, partition, next_offset FROM commits WHERE group_name = ?", (self._group,)
        )
        known = {TopicPartition(topic, partition): int(offset) for topic, partition, offset in rows}
        return {place: known.get(place, 0) for place in places}
