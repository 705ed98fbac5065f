"""The embedded bus against a model of it that is believed perfect, under any order of calls, crashes and lapses."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.runtime.bus.port import PartitionsLostError, Record, TopicPartition
from services.runtime.bus.replay import replay
from services.runtime.bus.sqlite import SqliteBus, SqliteConsumer
from services.runtime.clock import ManualClock
from tests.contract.bus_suite import next_offsets, outgoing, topic_named

LEASE_S = 60.0
NAMES = st.sampled_from("abc")


class BusMachine(RuleBasedStateMachine):
    """Members of one group come, work, stall, die and return while records are published."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.bus = SqliteBus(clock=self.clock, lease_s=LEASE_S)
        self.topic = topic_named("topic", partitions=3)
        self.bus.create_topics([self.topic])
        self.producer = self.bus.producer()
        self.published = 0
        self.members: dict[str, SqliteConsumer] = {}
        self.in_hand: defaultdict[str, list[Record]] = defaultdict(list)
        self.next_expected: dict[tuple[str, TopicPartition], int] = {}
        self.committed: defaultdict[TopicPartition, int] = defaultdict(int)

    @rule(count=st.integers(1, 5))
    def publish(self, count: int) -> None:
        numbers = range(self.published, self.published + count)
        self.producer.publish([outgoing(self.topic, f"key-{number % 7}", str(number).encode()) for number in numbers])
        self.published += count

    @rule(name=NAMES, count=st.integers(1, 4))
    def poll(self, name: str, count: int) -> None:
        if name not in self.members:
            self.members[name] = self.bus.consumer("group", [self.topic.name], name)
        member = self.members[name]
        before = member.assignment()
        for record in member.poll(count, 0.0):
            expected = self.next_expected.get((name, record.place), -1)
            # It goes on where it was, or starts at the committed offset of what it has just gained.
            assert record.offset in {expected, self.committed[record.place]}
            assert record.place in member.assignment()
            self.next_expected[name, record.place] = record.offset + 1
            self.in_hand[name].append(record)
        for lost in before - member.assignment():
            self.next_expected.pop((name, lost), None)

    @precondition(lambda self: any(self.in_hand.values()))
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(name for name, records in self.in_hand.items() if records)))
        offsets = next_offsets(self.in_hand.pop(name))
        lost: frozenset[TopicPartition] = frozenset()
        try:
            self.members[name].commit(offsets)
        except PartitionsLostError as error:
            lost = error.partitions
        for place in offsets.keys() - lost:
            self.committed[place] = offsets[place]

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def rewind(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.members)))
        self.members[name].rewind()
        self.forget(name)

    @precondition(lambda self: self.members)
    @rule(data=st.data(), crash=st.booleans())
    def go(self, data: st.DataObject, *, crash: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.members)))
        member = self.members.pop(name)
        self.forget(name)
        if not crash:
            member.close()

    @rule(seconds=st.sampled_from([1.0, LEASE_S / 2, 2 * LEASE_S]))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def forget(self, name: str) -> None:
        self.in_hand.pop(name, None)
        for known in [known for known in self.next_expected if known[0] == name]:
            del self.next_expected[known]

    @invariant()
    def the_file_gives_every_partition_one_owner_at_most(self) -> None:
        rows = self.bus.connect().rows(
            "SELECT topic, partition, count(*) FROM owners GROUP BY 1, 2 HAVING count(*) > 1"
        )
        assert rows == []

    @invariant()
    def the_file_holds_the_commits_that_succeeded(self) -> None:
        rows = self.bus.connect().rows("SELECT topic, partition, next_offset FROM commits")
        found = {TopicPartition(topic, partition): offset for topic, partition, offset in rows}
        assert found == {place: offset for place, offset in self.committed.items() if place in found}
        assert all(not offset for place, offset in self.committed.items() if place not in found)

    def teardown(self) -> None:
        """Let everybody fall silent: whoever comes then is given all that was not committed, once and in order."""
        self.clock.advance(3 * LEASE_S)
        heir = self.bus.consumer("group", [self.topic.name], "heir")
        received: list[Record] = []
        while batch := heir.poll(100, 0.0):
            received += batch
        everything = list(replay(self.bus, [self.topic.name]))
        assert len(everything) == self.published
        uncommitted = [record for record in everything if record.offset >= self.committed[record.place]]
        assert sorted(received, key=place_and_offset) == sorted(uncommitted, key=place_and_offset)
        for place in {record.place for record in received}:
            offsets = [record.offset for record in received if record.place == place]
            assert offsets == sorted(offsets)
        self.bus.close()


def place_and_offset(record: Record) -> tuple[TopicPartition, int]:
    return record.place, record.offset


BusMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestSqliteBusAgainstItsModel = BusMachine.TestCase
