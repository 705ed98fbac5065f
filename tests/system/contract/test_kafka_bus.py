"""The Kafka bus keeps the promises of the port on a real broker, and those that only a real broker can test."""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pytest

from services.contracts.topics import Topic
from services.runtime.bus.kafka import KafkaBus
from services.runtime.bus.kafka_consumer import KafkaConsumer
from services.runtime.bus.kafka_settings import KafkaSettings
from services.runtime.bus.port import Bus, Consumer, LogEnd, Producer, TopicPartition
from services.runtime.metrics.recording import RecordingMetrics
from tests.contract.bus_suite import BusContract, BusHarness, outgoing, topic_named
from tests.system.servers.kafka import given_kafka, running_kafka

pytestmark = [
    pytest.mark.system,
    # kafka-python leaves some sockets of what it closes to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SESSION_S = 5.0
HEARTBEAT_S = 0.3
TURN_S = 0.25


def settings_for(bootstrap: str) -> KafkaSettings:
    return KafkaSettings(bootstrap=bootstrap, session_timeout_s=SESSION_S, heartbeat_s=HEARTBEAT_S)


def wait(seconds: float) -> None:
    time.sleep(seconds)  # noqa: TID251 (a real server, in real time)


class GroupsApart:
    """A bus on which one test's groups are not another's: the broker serves them all."""

    def __init__(self, bus: Bus, mark: str) -> None:
        self._bus, self._mark = bus, mark

    def create_topics(self, topics: Iterable[Topic]) -> None:
        self._bus.create_topics(topics)

    def producer(self) -> Producer:
        return self._bus.producer()

    def consumer(self, group: str, topics: Sequence[str], member: str) -> Consumer:
        return self._bus.consumer(f"{group}-{self._mark}", topics, member)

    def backlog(self, group: str, topics: Sequence[str]) -> int:
        return self._bus.backlog(f"{group}-{self._mark}", topics)

    def rewind(self, group: str, topics: Sequence[str], to: LogEnd) -> Mapping[TopicPartition, int]:
        return self._bus.rewind(f"{group}-{self._mark}", topics, to)

    def close(self) -> None:
        self._bus.close()


class KafkaHarness:
    """Connections to one broker, and what befalls those who use them."""

    turn_s = TURN_S

    def __init__(self, bootstrap: str) -> None:
        self._settings = settings_for(bootstrap)
        self._mark = uuid.uuid4().hex[:8]
        self.bus: Bus = self._open()

    def _open(self) -> Bus:
        return GroupsApart(KafkaBus(self._settings), self._mark)

    def reopen(self) -> Bus:
        self.bus.close()
        self.bus = self._open()
        return self.bus

    def crash(self, consumer: Consumer) -> None:
        """Cut its connections and end its thread: the broker hears nothing more, not even a farewell."""
        assert isinstance(consumer, KafkaConsumer)
        assert consumer._client is not None
        consumer._client._client.close()
        consumer._client = None

    def expire(self, consumer: Consumer) -> None:
        """Stop the clock of its thread for longer than the session time-out, as a frozen machine does."""
        assert isinstance(consumer, KafkaConsumer)
        assert consumer._client is not None
        consumer._client._client._net.run(wait, 1.5 * SESSION_S)

    def wait_half_a_lease(self) -> None:
        wait(SESSION_S / 2)


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    given = given_kafka()
    if given is not None:
        yield given
        return
    with running_kafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server.bootstrap


class TestKafkaBus(BusContract):
    @pytest.fixture
    def harness(self, bootstrap: str) -> Iterator[BusHarness]:
        harness = KafkaHarness(bootstrap)
        yield harness
        harness.bus.close()


@pytest.fixture
def bus(bootstrap: str) -> Iterator[tuple[KafkaBus, RecordingMetrics]]:
    metrics = RecordingMetrics()
    bus = KafkaBus(settings_for(bootstrap), metrics=metrics)
    yield bus, metrics
    bus.close()


def test_when_a_slice_appeared_travels_with_what_follows_from_it(bus: tuple[KafkaBus, RecordingMetrics]) -> None:
    topic = topic_named("origin")
    bus[0].create_topics([topic])
    bus[0].producer().publish([dataclasses.replace(outgoing(topic, "key"), origin_unix_s=1_700_000_000.25)])
    consumer = bus[0].consumer(f"group-{topic.name}", [topic.name], "a")
    records = [record for _ in range(40) for record in consumer.poll(1, TURN_S)]
    assert [record.origin_unix_s for record in records] == [1_700_000_000.25]


def test_the_clock_of_the_broker_is_compared_with_that_of_this_machine(bus: tuple[KafkaBus, RecordingMetrics]) -> None:
    topic = topic_named("clock")
    bus[0].create_topics([topic])
    bus[0].producer().publish([outgoing(topic, "key")])
    assert 0 < abs(bus[1].value("fibsem_clock_offset_seconds")) < 5.0
