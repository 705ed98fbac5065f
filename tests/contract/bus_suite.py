"""What every bus adapter promises. A test module subclasses `BusContract` and provides the `harness` fixture."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol

import pytest

from services.contracts.messages import SliceIngested
from services.contracts.topics import Topic
from services.runtime.bus.port import (
    Bus,
    Consumer,
    GroupBusyError,
    LogEnd,
    Outgoing,
    PartitionsLostError,
    Record,
    TopicPartition,
    UnknownTopicError,
)
from services.runtime.bus.replay import replay

PARTITIONS = 4
# Turns a group may take to settle, or records to arrive, before the test gives up.
PATIENCE_TURNS = 100


class BusHarness(Protocol):
    """What the suite needs besides the port; the broker behind it may serve many tests."""

    @property
    def bus(self) -> Bus:
        """A connection."""

    @property
    def turn_s(self) -> float:
        """How long one poll waits for what should come, or should not."""

    def reopen(self) -> Bus:
        """Close the connection, and whatever holds records in memory, and connect anew."""

    def crash(self, consumer: Consumer) -> None:
        """Take away the consumer's process: it does not leave its group, and nothing more is heard of it."""

    def expire(self, consumer: Consumer) -> None:
        """Silence a consumer for longer than its lease; it wakes up again afterwards and knows nothing of it."""

    def wait_half_a_lease(self) -> None:
        """Let half of a lease go by."""


def topic_named(name: str, partitions: int = PARTITIONS) -> Topic:
    """Return a topic that no other test uses."""
    return Topic(f"{name}-{uuid.uuid4().hex[:12]}", partitions, 1, (SliceIngested,), (), (), "subject")


def outgoing(topic: Topic, key: str, payload: bytes = b"payload") -> Outgoing:
    return Outgoing(topic.name, key, "SliceIngested", payload)


def numbered(topic: Topic, count: int, keys: int = 16) -> list[Outgoing]:
    """Return records that say their number, dealt to keys in turn."""
    return [outgoing(topic, f"key-{number % keys}", str(number).encode()) for number in range(count)]


def next_offsets(records: Iterable[Record]) -> dict[TopicPartition, int]:
    """Return what to commit after all of these records."""
    return {record.place: record.offset + 1 for record in records}


def numbers(records: Iterable[Record]) -> list[int]:
    return sorted(int(record.payload) for record in records)


def by_key(records: Iterable[Record]) -> dict[str, list[bytes]]:
    payloads: defaultdict[str, list[bytes]] = defaultdict(list)
    for record in records:
        payloads[record.key].append(record.payload)
    return dict(payloads)


class BusContract:
    """The suite."""

    @pytest.fixture
    def bus(self, harness: BusHarness) -> Bus:
        return harness.bus

    @pytest.fixture
    def topic(self, bus: Bus) -> Topic:
        topic = topic_named("topic")
        bus.create_topics([topic])
        return topic

    def publish(self, bus: Bus, records: Sequence[Outgoing]) -> None:
        producer = bus.producer()
        producer.publish(records)
        producer.close()

    def read(self, harness: BusHarness, consumer: Consumer, count: int) -> list[Record]:
        """Poll until `count` records are there."""
        records: list[Record] = []
        for _ in range(PATIENCE_TURNS):
            records += consumer.poll(count - len(records), harness.turn_s)
            if len(records) == count:
                return records
        pytest.fail(f"{len(records)} of {count} records came")

    def settle(self, harness: BusHarness, consumers: Sequence[Consumer], places: set[TopicPartition]) -> None:
        """Poll until the consumers have shared the partitions out, each having some; no record may be waiting."""
        for _ in range(PATIENCE_TURNS):
            for consumer in consumers:
                assert not consumer.poll(1, harness.turn_s), "settle before publishing, or pause"
            shares = [consumer.assignment() for consumer in consumers]
            if all(shares) and sum(map(len, shares)) == len(places) == len(frozenset().union(*shares)):
                return
        pytest.fail(f"the group did not settle: {[sorted(consumer.assignment()) for consumer in consumers]}")

    def places(self, *topics: Topic) -> set[TopicPartition]:
        return {TopicPartition(topic.name, number) for topic in topics for number in range(topic.partitions)}

    # Publishing and reading

    def test_a_record_comes_back_as_it_was_published(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        payload = bytes(range(256)) * 4
        self.publish(bus, [Outgoing(topic.name, "acquisition/µ 1", "CropExtracted", payload)])
        (record,) = self.read(harness, bus.consumer("group", [topic.name], "a"), 1)
        assert (record.topic, record.key, record.message_type) == (topic.name, "acquisition/µ 1", "CropExtracted")
        assert record.payload == payload

    def test_an_empty_payload_is_a_record(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        self.publish(bus, [outgoing(topic, "key", b"")])
        (record,) = self.read(harness, bus.consumer("group", [topic.name], "a"), 1)
        assert record.payload == b""

    def test_half_a_megabyte_is_carried(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        payload = b"0123456789abcdef" * 32_000
        self.publish(bus, [outgoing(topic, "key", payload)])
        (record,) = self.read(harness, bus.consumer("group", [topic.name], "a"), 1)
        assert record.payload == payload

    def test_publishing_nothing_is_acknowledged(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        self.publish(bus, [])
        assert list(replay(bus, [topic.name])) == []

    def test_records_of_one_key_keep_their_order(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        producer = bus.producer()
        sent = numbered(topic, 200)
        for start in range(0, 200, 7):
            producer.publish(sent[start : start + 7])
        received = self.read(harness, bus.consumer("group", [topic.name], "a"), 200)
        expected: defaultdict[str, list[bytes]] = defaultdict(list)
        for record in sent:
            expected[record.key].append(record.payload)
        assert by_key(received) == expected

    def test_offsets_rise_within_a_partition(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        self.publish(bus, numbered(topic, 100))
        seen: dict[TopicPartition, int] = {}
        for record in self.read(harness, bus.consumer("group", [topic.name], "a"), 100):
            assert record.offset > seen.get(record.place, -1)
            seen[record.place] = record.offset

    def test_one_key_stands_in_one_partition(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        self.publish(bus, numbered(topic, 200))
        self.publish(bus, numbered(topic, 200))
        partitions: defaultdict[str, set[int]] = defaultdict(set)
        for record in self.read(harness, bus.consumer("group", [topic.name], "a"), 400):
            partitions[record.key].add(record.partition)
        assert all(len(found) == 1 for found in partitions.values())

    def test_keys_spread_over_all_partitions(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        self.publish(bus, numbered(topic, 200, keys=100))
        records = self.read(harness, bus.consumer("group", [topic.name], "a"), 200)
        assert {record.partition for record in records} == set(range(PARTITIONS))

    def test_a_poll_returns_at_most_what_was_asked_for(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        self.publish(bus, numbered(topic, 50))
        consumer = bus.consumer("group", [topic.name], "a")
        records: list[Record] = []
        for _ in range(PATIENCE_TURNS):
            batch = consumer.poll(7, harness.turn_s)
            assert len(batch) <= 7
            records += batch
        assert numbers(records) == list(range(50))

    def test_a_busy_partition_does_not_starve_the_others(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        self.publish(bus, [outgoing(topic, "busy", b"0")] * 500 + numbered(topic, 64, keys=64))
        consumer = bus.consumer("group", [topic.name], "a")
        records = self.read(harness, consumer, 100)
        while len(records) < 400:
            records += self.read(harness, consumer, 5)
        assert {record.partition for record in records} == set(range(PARTITIONS))

    def test_polling_an_empty_topic_returns_nothing(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        assert not bus.consumer("group", [topic.name], "a").poll(10, harness.turn_s)

    def test_records_published_later_arrive_too(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        consumer = bus.consumer("group", [topic.name], "a")
        assert not consumer.poll(10, harness.turn_s)
        self.publish(bus, numbered(topic, 3))
        assert numbers(self.read(harness, consumer, 3)) == [0, 1, 2]

    def test_one_consumer_reads_several_topics(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        other = topic_named("other", partitions=1)
        bus.create_topics([other])
        self.publish(bus, [outgoing(topic, "key", b"1"), outgoing(other, "key", b"2")])
        records = self.read(harness, bus.consumer("group", [topic.name, other.name], "a"), 2)
        assert {(record.topic, record.payload) for record in records} == {(topic.name, b"1"), (other.name, b"2")}

    def test_ten_thousand_records_arrive_once_each_and_in_order(
        self, harness: BusHarness, bus: Bus, topic: Topic
    ) -> None:
        self.publish(bus, numbered(topic, 10_000, keys=50))
        consumer = bus.consumer("group", [topic.name], "a")
        records: list[Record] = []
        while len(records) < 10_000:
            batch = self.read(harness, consumer, 500)
            consumer.commit(next_offsets(batch))
            records += batch
        assert numbers(records) == list(range(10_000))
        for payloads in by_key(records).values():
            assert payloads == sorted(payloads, key=int)
        assert sum(consumer.lag().values()) == 0

    def test_creating_a_topic_again_keeps_its_records(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        self.publish(bus, numbered(topic, 5))
        bus.create_topics([topic, topic_named("another")])
        assert numbers(self.read(harness, bus.consumer("group", [topic.name], "a"), 5)) == list(range(5))

    def test_publishing_to_a_topic_that_nobody_created_is_refused(self, bus: Bus) -> None:
        with pytest.raises(LookupError):
            self.publish(bus, [outgoing(topic_named("nowhere"), "key")])

    def test_reading_a_topic_that_nobody_created_is_refused(self, harness: BusHarness, bus: Bus) -> None:
        with pytest.raises(LookupError):
            bus.consumer("group", [topic_named("nowhere").name], "a").poll(1, harness.turn_s)

    # Positions and commits

    def test_polling_on_does_not_repeat(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        self.publish(bus, numbered(topic, 20))
        consumer = bus.consumer("group", [topic.name], "a")
        first = self.read(harness, consumer, 10)
        second = self.read(harness, consumer, 10)
        assert numbers([*first, *second]) == list(range(20))
        assert not consumer.poll(10, harness.turn_s)

    def test_rewinding_repeats_what_was_not_committed(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        self.publish(bus, numbered(topic, 20))
        consumer = bus.consumer("group", [topic.name], "a")
        done = self.read(harness, consumer, 8)
        consumer.commit(next_offsets(done))
        undone = self.read(harness, consumer, 12)
        consumer.rewind()
        assert numbers(self.read(harness, consumer, 12)) == numbers(undone)
        assert not consumer.poll(10, harness.turn_s)

    def test_a_new_consumer_starts_where_the_group_committed(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        self.publish(bus, numbered(topic, 20))
        consumer = bus.consumer("group", [topic.name], "a")
        done = self.read(harness, consumer, 8)
        consumer.commit(next_offsets(done))
        self.read(harness, consumer, 5)
        consumer.close()
        records = self.read(harness, bus.consumer("group", [topic.name], "b"), 12)
        assert numbers([*done, *records]) == list(range(20))

    def test_committing_one_partition_leaves_the_others(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        self.publish(bus, numbered(topic, 64, keys=64))
        consumer = bus.consumer("group", [topic.name], "a")
        records = self.read(harness, consumer, 64)
        done = [record for record in records if record.partition == 1]
        consumer.commit(next_offsets(done))
        consumer.rewind()
        again = self.read(harness, consumer, 64 - len(done))
        assert {record.partition for record in again} == {0, 2, 3}

    def test_groups_do_not_disturb_one_another(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        self.publish(bus, numbered(topic, 10))
        one = bus.consumer("one", [topic.name], "a")
        one.commit(next_offsets(self.read(harness, one, 10)))
        assert numbers(self.read(harness, bus.consumer("two", [topic.name], "a"), 10)) == list(range(10))

    def test_lag_counts_what_is_not_committed(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        self.publish(bus, numbered(topic, 30))
        consumer = bus.consumer("group", [topic.name], "a")
        records = self.read(harness, consumer, 30)
        assert sum(consumer.lag().values()) == 30
        place = records[0].place
        consumer.commit(next_offsets(record for record in records if record.place == place))
        lag = consumer.lag()
        assert set(lag) == self.places(topic)
        assert lag[place] == 0
        consumer.commit(next_offsets(records))
        assert sum(consumer.lag().values()) == 0

    def test_a_backlog_is_known_without_being_a_member(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        self.publish(bus, numbered(topic, 30))
        assert bus.backlog("group", [topic.name]) == 30
        consumer = bus.consumer("group", [topic.name], "a")
        done = self.read(harness, consumer, 30)[:12]
        consumer.commit(next_offsets(done))
        consumer.close()
        left = 30 - sum(next_offsets(done).values())
        assert bus.backlog("group", [topic.name]) == left
        assert bus.backlog("another", [topic.name]) == 30

    # Placing a group

    @pytest.mark.parametrize(("to", "left"), [(LogEnd.EARLIEST, 30), (LogEnd.LATEST, 0)])
    def test_a_group_without_members_is_placed_at_an_end_of_the_log(
        self, harness: BusHarness, bus: Bus, topic: Topic, to: LogEnd, left: int
    ) -> None:
        self.publish(bus, numbered(topic, 30))
        consumer = bus.consumer("group", [topic.name], "a")
        consumer.commit(next_offsets(self.read(harness, consumer, 30)[:12]))
        consumer.close()
        placed = bus.rewind("group", [topic.name], to)
        assert placed.keys() == self.places(topic)
        assert sum(placed.values()) == 30 - left
        assert bus.backlog("group", [topic.name]) == left
        again = bus.consumer("group", [topic.name], "a")
        self.publish(bus, [outgoing(topic, "after", b"30")])
        assert numbers(self.read(harness, again, left + 1)) == list(range(30 - left, 31))

    def test_a_group_that_somebody_reads_as_stays_where_it_is(
        self, harness: BusHarness, bus: Bus, topic: Topic
    ) -> None:
        self.publish(bus, numbered(topic, 20))
        consumer = bus.consumer("group", [topic.name], "a")
        consumer.commit(next_offsets(self.read(harness, consumer, 20)))
        with pytest.raises(GroupBusyError, match="has members"):
            bus.rewind("group", [topic.name], LogEnd.EARLIEST)
        assert bus.backlog("group", [topic.name]) == 0

    def test_a_group_that_never_read_can_be_placed(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        self.publish(bus, numbered(topic, 8))
        bus.rewind("group", [topic.name], LogEnd.LATEST)
        assert bus.backlog("group", [topic.name]) == 0
        assert bus.backlog("another", [topic.name]) == 8

    def test_a_group_cannot_be_placed_on_a_topic_that_is_not_there(self, bus: Bus) -> None:
        with pytest.raises(UnknownTopicError):
            bus.rewind("group", ["nowhere"], LogEnd.EARLIEST)

    # Pausing

    def test_a_paused_partition_is_silent_and_the_others_flow(
        self, harness: BusHarness, bus: Bus, topic: Topic
    ) -> None:
        consumer = bus.consumer("group", [topic.name], "a")
        self.settle(harness, [consumer], self.places(topic))
        consumer.pause([TopicPartition(topic.name, 1)])
        self.publish(bus, numbered(topic, 64, keys=64))
        flowing = [record for _ in range(8) for record in consumer.poll(64, harness.turn_s)]
        assert {record.partition for record in flowing} == {0, 2, 3}
        consumer.resume([TopicPartition(topic.name, 1)])
        held_back = self.read(harness, consumer, 64 - len(flowing))
        assert {record.partition for record in held_back} == {1}

    def test_resuming_goes_on_where_it_was_paused(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        self.publish(bus, numbered(topic, 20))
        consumer = bus.consumer("group", [topic.name], "a")
        before = self.read(harness, consumer, 9)
        consumer.pause(consumer.assignment())
        assert not consumer.poll(20, harness.turn_s)
        consumer.resume(consumer.assignment())
        assert numbers([*before, *self.read(harness, consumer, 11)]) == list(range(20))

    def test_polling_with_everything_paused_keeps_the_membership(
        self, harness: BusHarness, bus: Bus, topic: Topic
    ) -> None:
        self.publish(bus, numbered(topic, 20))
        busy = bus.consumer("group", [topic.name], "a")
        records = self.read(harness, busy, 20)
        busy.pause(busy.assignment())
        for _ in range(5):
            harness.wait_half_a_lease()
            assert not busy.poll(20, harness.turn_s)
        other = bus.consumer("group", [topic.name], "b")
        assert not other.poll(20, harness.turn_s)
        busy.commit(next_offsets(records))

    # Sharing

    def test_two_members_share_the_partitions(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        members = [bus.consumer("group", [topic.name], name) for name in "ab"]
        self.settle(harness, members, self.places(topic))
        self.publish(bus, numbered(topic, 100))
        shares: list[list[Record]] = [[], []]
        for _ in range(PATIENCE_TURNS):
            for share, member in zip(shares, members, strict=True):
                share.extend(member.poll(100, harness.turn_s))
            if sum(map(len, shares)) >= 100:
                break
        assert numbers([*shares[0], *shares[1]]) == list(range(100))
        assert all(
            {record.place for record in share} <= m.assignment() for share, m in zip(shares, members, strict=True)
        )

    def test_what_two_topics_say_about_one_key_goes_to_one_member(
        self, harness: BusHarness, bus: Bus, topic: Topic
    ) -> None:
        other = topic_named("other")
        bus.create_topics([other])
        members = [bus.consumer("group", [topic.name, other.name], name) for name in "ab"]
        self.settle(harness, members, self.places(topic, other))
        for member in members:
            in_topic = {place.partition for place in member.assignment() if place.topic == topic.name}
            in_other = {place.partition for place in member.assignment() if place.topic == other.name}
            assert in_topic == in_other
        self.publish(bus, [outgoing(topic, "key"), outgoing(other, "key")])
        assert len({record.partition for record in replay(bus, [topic.name, other.name])}) == 1

    def test_nothing_is_owned_before_the_first_poll_and_after_closing(
        self, harness: BusHarness, bus: Bus, topic: Topic
    ) -> None:
        consumer = bus.consumer("group", [topic.name], "a")
        assert consumer.assignment() == frozenset()
        self.settle(harness, [consumer], self.places(topic))
        consumer.close()
        assert consumer.assignment() == frozenset()

    def test_closing_hands_over_from_the_committed_offsets(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        members = [bus.consumer("group", [topic.name], name) for name in "ab"]
        self.settle(harness, members, self.places(topic))
        self.publish(bus, numbered(topic, 100))
        done: list[Record] = []
        for _ in range(20):
            done += members[0].poll(5, harness.turn_s)
        members[0].commit(next_offsets(done[: len(done) // 2]))
        committed = next_offsets(done[: len(done) // 2])
        members[0].close()
        rest = self.read(harness, members[1], 100 - sum(committed.values()))
        assert members[1].assignment() == self.places(topic)
        assert all(record.offset >= committed.get(record.place, 0) for record in rest)

    def test_a_member_that_falls_silent_loses_its_partitions(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        members = [bus.consumer("group", [topic.name], name) for name in "ab"]
        self.settle(harness, members, self.places(topic))
        self.publish(bus, numbered(topic, 100))
        harness.expire(members[0])
        assert numbers(self.read(harness, members[1], 100)) == list(range(100))
        assert members[1].assignment() == self.places(topic)

    def test_committing_what_another_member_took_over_is_refused(
        self, harness: BusHarness, bus: Bus, topic: Topic
    ) -> None:
        self.publish(bus, numbered(topic, 20))
        zombie = bus.consumer("group", [topic.name], "a")
        stale = self.read(harness, zombie, 20)
        harness.expire(zombie)
        heir = bus.consumer("group", [topic.name], "b")
        assert numbers(self.read(harness, heir, 20)) == list(range(20))
        with pytest.raises(PartitionsLostError) as caught:
            zombie.commit(next_offsets(stale))
        assert caught.value.partitions == next_offsets(stale).keys()
        assert sum(heir.lag().values()) == 20

    def test_a_member_that_lost_its_partitions_joins_again_by_polling(
        self, harness: BusHarness, bus: Bus, topic: Topic
    ) -> None:
        first = bus.consumer("group", [topic.name], "a")
        self.settle(harness, [first], self.places(topic))
        harness.expire(first)
        second = bus.consumer("group", [topic.name], "b")
        self.settle(harness, [second], self.places(topic))
        self.settle(harness, [first, second], self.places(topic))

    def test_a_member_that_missed_a_takeover_goes_on_where_the_other_one_committed(
        self, harness: BusHarness, bus: Bus, topic: Topic
    ) -> None:
        self.publish(bus, numbered(topic, 20))
        sleeper = bus.consumer("group", [topic.name], "a")
        self.read(harness, sleeper, 5)
        harness.expire(sleeper)
        other = bus.consumer("group", [topic.name], "b")
        other.commit(next_offsets(self.read(harness, other, 20)))
        other.close()
        self.settle(harness, [sleeper], self.places(topic))

    def test_committing_a_partition_that_was_never_owned_is_refused(
        self, harness: BusHarness, bus: Bus, topic: Topic
    ) -> None:
        owner = bus.consumer("group", [topic.name], "a")
        self.settle(harness, [owner], self.places(topic))
        with pytest.raises(PartitionsLostError):
            bus.consumer("group", [topic.name], "b").commit({TopicPartition(topic.name, 0): 1})

    def test_work_that_was_not_committed_is_delivered_again_after_a_crash(
        self, harness: BusHarness, bus: Bus, topic: Topic
    ) -> None:
        self.publish(bus, numbered(topic, 20))
        consumer = bus.consumer("group", [topic.name], "a")
        done = self.read(harness, consumer, 8)
        consumer.commit(next_offsets(done))
        self.read(harness, consumer, 12)
        harness.crash(consumer)
        again = self.read(harness, bus.consumer("group", [topic.name], "a"), 12)
        assert numbers([*done, *again]) == list(range(20))

    def test_a_member_that_returns_under_its_name_takes_over_at_once(
        self, harness: BusHarness, bus: Bus, topic: Topic
    ) -> None:
        members = [bus.consumer("group", [topic.name], name) for name in "ab"]
        self.settle(harness, members, self.places(topic))
        share = members[0].assignment()
        harness.crash(members[0])
        returned = bus.consumer("group", [topic.name], "a")
        assert not returned.poll(1, harness.turn_s)
        assert returned.assignment() == share

    def test_what_came_before_a_crash_cannot_be_committed_after_the_return(
        self, harness: BusHarness, bus: Bus, topic: Topic
    ) -> None:
        self.publish(bus, numbered(topic, 20))
        former = bus.consumer("group", [topic.name], "a")
        stale = self.read(harness, former, 20)
        returned = bus.consumer("group", [topic.name], "a")
        assert len(self.read(harness, returned, 20)) == 20
        with pytest.raises(PartitionsLostError):
            former.commit(next_offsets(stale))

    # Durability and replay

    def test_records_and_commits_survive_a_restart(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        self.publish(bus, numbered(topic, 20))
        consumer = bus.consumer("group", [topic.name], "a")
        done = self.read(harness, consumer, 8)
        consumer.commit(next_offsets(done))
        again = self.read(harness, harness.reopen().consumer("group", [topic.name], "a"), 12)
        assert numbers([*done, *again]) == list(range(20))

    def test_a_replay_reads_everything_in_order(self, bus: Bus, topic: Topic) -> None:
        other = topic_named("other", partitions=1)
        bus.create_topics([other])
        self.publish(bus, numbered(topic, 2500))
        self.publish(bus, [outgoing(other, "key", b"2500")])
        records = list(replay(bus, [topic.name, other.name]))
        assert numbers(records) == list(range(2501))
        for payloads in by_key(records).values():
            assert payloads == sorted(payloads, key=int)

    def test_a_replay_moves_nobody(self, harness: BusHarness, bus: Bus, topic: Topic) -> None:
        self.publish(bus, numbered(topic, 20))
        consumer = bus.consumer("group", [topic.name], "a")
        done = self.read(harness, consumer, 8)
        consumer.commit(next_offsets(done))
        assert len(list(replay(bus, [topic.name]))) == 20
        assert len(list(replay(bus, [topic.name]))) == 20
        assert sum(consumer.lag().values()) == 12
        assert len(self.read(harness, consumer, 12)) == 12

    def test_replaying_no_topic_or_an_empty_one_gives_nothing(self, bus: Bus, topic: Topic) -> None:
        assert list(replay(bus, [topic.name])) == []
        assert list(replay(bus, [])) == []
