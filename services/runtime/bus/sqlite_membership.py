"""Who of a group owns which partitions, kept in the bus file itself.

A member is alive while its last heartbeat is younger than the lease. Every member works out the same
shares from the names of those alive; it gives up what is no longer its own at its next poll, and takes
what is its own as soon as nobody holds it. Thus a partition never has two owners, and whatever a member
does with a partition that it lost is refused by the `owners` table.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from services.runtime.bus.port import TopicPartition
from services.runtime.bus.sqlite_database import Connection
from services.runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class Member:
    """A replica's place in a group.

    Attributes
    ----------
    group, name
        Which group, and the lasting name of the replica in it.
    topics
        What it reads.
    lease_s
        How long it counts as alive after a heartbeat.
    """

    group: str
    name: str
    topics: tuple[str, ...]
    lease_s: float


def share_out(subscriptions: Mapping[str, Collection[str]], partitions: Mapping[str, int]) -> dict[TopicPartition, str]:
    """Give each partition to one member, by name alone.

    Partitions of one number go to one member in every topic of the same size, so that what several
    topics say about one key meets in one place.

    Parameters
    ----------
    subscriptions
        Topics that each living member reads.
    partitions
        Number of partitions of each topic.

    Examples
    --------
    >>> shares = share_out({"a": ["t"], "b": ["t"]}, {"t": 3})
    >>> [shares[TopicPartition("t", partition)] for partition in range(3)]
    ['a', 'b', 'a']
    """
    shares: dict[TopicPartition, str] = {}
    for topic, count in partitions.items():
        readers = sorted(name for name, topics in subscriptions.items() if topic in topics)
        if readers:
            shares.update({TopicPartition(topic, number): readers[number % len(readers)] for number in range(count)})
    return shares


class Membership:
    """One member's view of its group.

    Parameters
    ----------
    connection
        The bus file.
    member
        Who this is.
    partitions
        Number of partitions of every topic of the group.
    clock
        The clock that all members read.
    """

    def __init__(self, connection: Connection, member: Member, partitions: Mapping[str, int], clock: Clock) -> None:
        self._connection = connection
        self._member = member
        self._partitions = partitions
        self._clock = clock
        # Tells this consumer from a former one, or a later one, of the same name.
        self._session = uuid.uuid4().hex
        self._epoch = ""
        self._beat_s: float | None = None
        self.owned: frozenset[TopicPartition] = frozenset()

    def refresh(self) -> frozenset[TopicPartition] | None:
        """Keep the lease and follow changes of the group.

        Writes only when joining, when the group changed, and every third of the lease.

        Returns
        -------
        frozenset of TopicPartition, or None
            What was gained since the last call, to be read from the committed offsets, or None if the
            group has not changed. What was lost is no longer in `owned`.
        """
        if not self._is_due() and self._current_epoch() == self._epoch:
            return None
        with self._connection.transaction() as writing:
            held = self._beat(writing)
            owned = frozenset() if held is None else self._claim(writing)
            epoch = writing.execute("SELECT epoch FROM groups WHERE name = ?", (self._member.group,)).fetchone()[0]
        # What this member had before counts only if it never ceased to be a member.
        gained = owned - (self.owned & (held or frozenset()))
        self.owned, self._epoch, self._beat_s = owned, epoch, self._clock.monotonic_s()
        return gained

    def commit(self, offsets: Mapping[TopicPartition, int]) -> frozenset[TopicPartition]:
        """Store the offsets of the partitions still owned; return those that are not."""
        with self._connection.transaction() as writing:
            held = self._held(writing)
            writing.executemany(
                "INSERT OR REPLACE INTO commits VALUES (?, ?, ?, ?)",
                [(self._member.group, *place, offset) for place, offset in offsets.items() if place in held],
            )
        return frozenset(offsets.keys() - held)

    def leave(self) -> None:
        """Give everything up, so that the others need not wait for the lease."""
        group = self._member.group
        with self._connection.transaction() as writing:
            writing.execute("DELETE FROM owners WHERE group_name = ? AND session = ?", (group, self._session))
            writing.execute("DELETE FROM members WHERE group_name = ? AND session = ?", (group, self._session))
            if writing.execute("SELECT 1 FROM members WHERE group_name = ?", (group,)).fetchone():
                self._announce(writing)
            else:
                writing.execute("DELETE FROM groups WHERE name = ?", (group,))
        self.owned = frozenset()

    def _is_due(self) -> bool:
        return self._beat_s is None or self._clock.monotonic_s() - self._beat_s >= self._member.lease_s / 3

    def _current_epoch(self) -> str:
        found = self._connection.rows("SELECT epoch FROM groups WHERE name = ?", (self._member.group,))
        return str(found[0][0]) if found else ""

    def _beat(self, writing: sqlite3.Connection) -> frozenset[TopicPartition] | None:
        """Say that this member lives; return what it holds, or None if a later session has its name."""
        group, name = self._member.group, self._member.name
        found = writing.execute(
            "SELECT session FROM members WHERE group_name = ? AND member = ?", (group, name)
        ).fetchone()
        if found and found[0] != self._session and self._beat_s is not None:
            return None
        row = (group, name, self._session, json.dumps(self._member.topics), self._clock.monotonic_s())
        writing.execute("INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?, ?)", row)
        if not found or found[0] != self._session:
            # Partitions of a former session of this name pass to this one.
            writing.execute(
                "UPDATE owners SET session = ? WHERE group_name = ? AND member = ?", (self._session, group, name)
            )
            self._announce(writing)
        self._drop_lapsed(writing)
        return frozenset(self._held(writing))

    def _drop_lapsed(self, writing: sqlite3.Connection) -> None:
        """Remove members that were not heard of for a lease; a beat from the future predates a restart."""
        now_s = self._clock.monotonic_s()
        beats = writing.execute("SELECT member, beat_s FROM members WHERE group_name = ?", (self._member.group,))
        lapsed = [(self._member.group, name) for name, beat_s in beats if abs(now_s - beat_s) > self._member.lease_s]
        if lapsed:
            writing.executemany("DELETE FROM members WHERE group_name = ? AND member = ?", lapsed)
            writing.executemany("DELETE FROM owners WHERE group_name = ? AND member = ?", lapsed)
            self._announce(writing)

    def _claim(self, writing: sqlite3.Connection) -> frozenset[TopicPartition]:
        """Give up what belongs to others, take what is free; return what this member owns now."""
        due = self._due_share(writing)
        held = self._held(writing)
        self._release(writing, held - due)
        group = self._member.group
        taken = {
            TopicPartition(*row)
            for row in writing.execute("SELECT topic, partition FROM owners WHERE group_name = ?", (group,))
        }
        free = sorted(due - taken)
        writing.executemany(
            "INSERT INTO owners VALUES (?, ?, ?, ?, ?)",
            [(group, *place, self._member.name, self._session) for place in free],
        )
        return frozenset((held & due) | set(free))

    def _due_share(self, writing: sqlite3.Connection) -> set[TopicPartition]:
        rows = writing.execute("SELECT member, topics FROM members WHERE group_name = ?", (self._member.group,))
        subscriptions: dict[str, Sequence[str]] = {name: json.loads(topics) for name, topics in rows}
        shares = share_out(subscriptions, self._partitions)
        return {place for place, name in shares.items() if name == self._member.name}

    def _held(self, writing: sqlite3.Connection) -> set[TopicPartition]:
        rows = writing.execute(
            "SELECT topic, partition FROM owners WHERE group_name = ? AND session = ?",
            (self._member.group, self._session),
        )
        return {TopicPartition(*row) for row in rows}

    def _release(self, writing: sqlite3.Connection, places: Collection[TopicPartition]) -> None:
        if places:
            writing.executemany(
                "DELETE FROM owners WHERE group_name = ? AND topic = ? AND partition = ?",
                [(self._member.group, *place) for place in places],
            )
            self._announce(writing)

    def _announce(self, writing: sqlite3.Connection) -> None:
        """Make every other member look again at its next poll."""
        # A fresh name and not a count: a group that was empty meanwhile must not reuse an old one.
        writing.execute("INSERT OR REPLACE INTO groups VALUES (?, ?)", (self._member.group, uuid.uuid4().hex))
