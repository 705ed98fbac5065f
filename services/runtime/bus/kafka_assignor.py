"""Who of a group reads which partitions on Kafka: co-partitioned, sticky, balanced, and handed over one by one.

kafka-python's sticky assignor spreads partitions without regard to their numbers, its range assignor takes
everything away from everybody at each change. The port promises what neither gives: partition p of every topic
of one size belongs to one member, and nobody loses what it may keep. So the unit that is shared out here is a
partition number of all topics of one size, not a partition.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import kafka
from kafka.coordinator.assignors.abstract import AbstractPartitionAssignor, RebalanceProtocol
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment, ConsumerProtocolSubscription

from services.runtime.bus.port import TopicPartition

# Version 1 of the member's message tells the leader what the member owns.
WIRE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Kin:
    """Topics whose partitions of one number belong together.

    Attributes
    ----------
    partitions
        How many partitions each has.
    readers
        Members that read them, sorted.
    topics
        Their names, sorted.
    """

    partitions: int
    readers: tuple[str, ...]
    topics: tuple[str, ...]


def kin_of(subscriptions: Mapping[str, Collection[str]], partitions: Mapping[str, int]) -> list[Kin]:
    """Return the topics in groups of equally many partitions and the same readers, the largest first."""
    groups: dict[tuple[int, tuple[str, ...]], list[str]] = {}
    for topic in sorted({topic for topics in subscriptions.values() for topic in topics}):
        readers = tuple(sorted(member for member, topics in subscriptions.items() if topic in topics))
        groups.setdefault((partitions.get(topic, 0), readers), []).append(topic)
    ordered = sorted(groups.items(), key=lambda group: (-group[0][0], group[0][1]))
    return [Kin(count, readers, tuple(topics)) for (count, readers), topics in ordered]


def share_out(
    subscriptions: Mapping[str, Collection[str]],
    partitions: Mapping[str, int],
    owned: Mapping[str, Collection[TopicPartition]],
) -> dict[TopicPartition, str]:
    """Return who should own each partition in the end.

    Parameters
    ----------
    subscriptions
        Topics that each member reads.
    partitions
        Number of partitions of each topic.
    owned
        What each member owns now; a partition that two claim belongs to neither.

    Returns
    -------
    dict of TopicPartition to str
        Every partition of every topic that is read. Of each size of topic, members have equally many numbers or
        one more; as many numbers as that allows stay where they are.

    Examples
    --------
    >>> owned = {"a": [TopicPartition("t", number) for number in range(3)]}
    >>> shares = share_out({"a": ["t"], "b": ["t"]}, {"t": 3}, owned)
    >>> [shares[TopicPartition("t", number)] for number in range(3)]
    ['a', 'a', 'b']
    """
    owners = _undisputed(owned)
    loads: Counter[str] = Counter()
    shares: dict[TopicPartition, str] = {}
    for kin in kin_of(subscriptions, partitions):
        for number, member in _share_numbers(kin, owners, loads).items():
            loads[member] += len(kin.topics)
            shares.update({TopicPartition(topic, number): member for topic in kin.topics})
    return shares


def first_step(
    shares: Mapping[TopicPartition, str], owned: Mapping[str, Collection[TopicPartition]]
) -> dict[TopicPartition, str]:
    """Return what may be given at once: nothing that somebody else has not yet given up.

    Who sees that something of his is missing gives it up and asks to share out again; then it is free.
    """
    claims = {place: member for member, places in owned.items() for place in places}
    contested = claims.keys() - _undisputed(owned).keys()
    return {
        place: member
        for place, member in shares.items()
        if place not in contested and claims.get(place, member) == member
    }


def _undisputed(owned: Mapping[str, Collection[TopicPartition]]) -> dict[TopicPartition, str]:
    claims = Counter(place for places in owned.values() for place in set(places))
    return {place: member for member, places in owned.items() for place in places if claims[place] == 1}


def _share_numbers(kin: Kin, owners: Mapping[TopicPartition, str], loads: Mapping[str, int]) -> dict[int, str]:
    """Give every partition number to one reader."""
    held: dict[str, list[int]] = {reader: [] for reader in kin.readers}
    for number in range(kin.partitions):
        keeper = _keeper(kin, number, owners)
        if keeper is not None:
            held[keeper].append(number)
    share, remainder = divmod(kin.partitions, len(kin.readers))
    # One more goes to those who have most already, so that least moves; then to those with least of other topics.
    ranked = sorted(kin.readers, key=lambda reader: (-len(held[reader]), loads.get(reader, 0), reader))
    quota = {reader: share + (rank < remainder) for rank, reader in enumerate(ranked)}
    kept = {number: reader for reader, numbers in held.items() for number in numbers[: quota[reader]]}
    free = (number for number in range(kin.partitions) if number not in kept)
    for reader in kin.readers:
        for _ in range(quota[reader] - len(held[reader])):
            kept[next(free)] = reader
    return kept


def _keeper(kin: Kin, number: int, owners: Mapping[TopicPartition, str]) -> str | None:
    """Return the reader that has most of the partitions of a number, or None if nobody has any."""
    having = Counter(
        owners[place]
        for place in (TopicPartition(topic, number) for topic in kin.topics)
        if owners.get(place) in kin.readers
    )
    return min(having, key=lambda reader: (-having[reader], reader), default=None)


class CoPartitionedAssignor(AbstractPartitionAssignor):  # type: ignore[misc]
    """Shares a group's partitions out on Kafka; one object per consumer.

    Parameters
    ----------
    owned
        Returns what this consumer owns now.
    partitions
        Number of partitions of the topics that this consumer reads. The client's own knowledge may not have
        arrived when the first assignment is made, which would then give nothing to anybody.
    """

    name = "fibsem-co-partitioned"

    def __init__(self, owned: Callable[[], Iterable[Any]], partitions: Mapping[str, int]) -> None:
        self._owned = owned
        self._partitions = dict(partitions)

    def supported_protocols(self) -> list[RebalanceProtocol]:
        """Say that partitions are handed over one by one."""
        return [RebalanceProtocol.COOPERATIVE]

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolSubscription:
        """Return what this member tells the group's leader: what it reads, and what it owns."""
        places = _by_topic(TopicPartition(*place) for place in self._owned())
        owned = [ConsumerProtocolSubscription.TopicPartition(topic=name, partitions=them) for name, them in places]
        return ConsumerProtocolSubscription(
            version=WIRE_VERSION, topics=sorted(topics), user_data=b"", owned_partitions=owned
        )

    def assign(self, cluster: kafka.cluster.ClusterMetadata, members: Sequence[Any]) -> dict[str, Any]:
        """Return what each member gets, as the leader of the group."""
        # By their lasting names, so that the same replicas share in the same way after all were started anew.
        names = {member.group_instance_id or member.member_id: member for member in members}
        subscriptions = {name: tuple(member.metadata.topics) for name, member in names.items()}
        owned = {name: _owned_by(member.metadata) for name, member in names.items()}
        topics = {topic for topics in subscriptions.values() for topic in topics}
        partitions = {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in topics} | self._partitions
        given = first_step(share_out(subscriptions, partitions, owned), owned)
        return {
            member.member_id: ConsumerProtocolAssignment(
                WIRE_VERSION, _by_topic(place for place, owner in given.items() if owner == name), b""
            )
            for name, member in names.items()
        }

    def on_assignment(self, assignment: ConsumerProtocolAssignment, generation: int) -> None:
        """Remember nothing: what is owned is asked for when it is needed."""


def _owned_by(metadata: ConsumerProtocolSubscription) -> list[TopicPartition]:
    owned = getattr(metadata, "owned_partitions", None) or ()
    return [TopicPartition(topic.topic, number) for topic in owned for number in topic.partitions]


def _by_topic(places: Iterable[TopicPartition]) -> list[tuple[str, list[int]]]:
    topics: dict[str, list[int]] = {}
    for place in sorted(places):
        topics.setdefault(place.topic, []).append(place.partition)
    return list(topics.items())
