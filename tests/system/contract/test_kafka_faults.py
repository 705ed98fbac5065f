"""What befalls a Kafka broker and those who use it: outages, losses, long work, crashes, foreign certificates."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kafka
import pytest
from kafka.admin import KafkaAdminClient
from pydantic import SecretStr

from services.contracts.topics import Topic
from services.runtime.bus.kafka import KafkaBus, RecordTooLargeError
from services.runtime.bus.kafka_broker import TopicMismatchError
from services.runtime.bus.kafka_connection import BusRefusedError
from services.runtime.bus.kafka_consumer import KafkaConsumer, MemberReplacedError
from services.runtime.bus.kafka_settings import KafkaSettings
from services.runtime.bus.port import LogEnd, OffsetResetError, Outgoing, PartitionsLostError, Record, TopicPartition
from services.runtime.bus.replay import replay
from services.runtime.errors import TransientError
from tests.contract.bus_suite import next_offsets, numbered, numbers, outgoing, topic_named
from tests.system.servers.kafka import USER, KafkaServer, Security, make_authority, running_kafka

pytestmark = [
    pytest.mark.system,
    # kafka-python leaves the sockets of connections that were refused to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SESSION_S = 3.0
LONG_SESSION_S = 15.0
TURN_S = 0.25
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    with running_kafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture
def settings(server: KafkaServer) -> KafkaSettings:
    # The test before may have failed while it was away.
    server.start()
    return KafkaSettings(
        bootstrap=server.bootstrap,
        session_timeout_s=SESSION_S,
        heartbeat_s=0.3,
        request_timeout_s=3.0,
        delivery_timeout_s=4.0,
    )


@pytest.fixture
def bus(settings: KafkaSettings) -> Iterator[KafkaBus]:
    bus = KafkaBus(settings)
    yield bus
    bus.close()
    gc.collect()


@pytest.fixture
def topic(bus: KafkaBus) -> Topic:
    topic = topic_named("topic")
    bus.create_topics([topic])
    return topic


@pytest.fixture
def group() -> str:
    return f"group-{uuid.uuid4().hex[:8]}"


def wait(seconds: float) -> None:
    time.sleep(seconds)  # noqa: TID251 (a real server, in real time)


def read(consumer: KafkaConsumer, count: int) -> list[Record]:
    """Poll until so many records are there, outages notwithstanding."""
    records: list[Record] = []
    until(lambda: len(records) >= count, lambda: records.extend(consumer.poll(count - len(records), TURN_S)))
    return records


def until(done: Callable[[], bool], turn: Callable[[], object]) -> None:
    """Do something, outages notwithstanding, until something holds."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline_s, "it never came to that"
        try:
            turn()
        except TransientError:
            wait(TURN_S)


def publish_patiently(bus: KafkaBus, records: list[Outgoing]) -> None:
    """Publish again for as long as that takes, as the service loop does."""
    producer = bus.producer()
    left = [records]

    def once() -> None:
        producer.publish(left[0])
        left.clear()

    until(lambda: not left, once)


def outage_s(call: Callable[[], object]) -> float:
    """Return after how many seconds a call said that the bus is out."""
    started_s = time.monotonic()
    with pytest.raises(TransientError, match="bus is unavailable"):
        call()
    return time.monotonic() - started_s


# Long work


def test_work_longer_than_the_poll_interval_keeps_membership_partitions_and_commit(
    bus: KafkaBus, settings: KafkaSettings, topic: Topic, group: str
) -> None:
    impatient = KafkaBus(settings.model_copy(update={"rebalance_timeout_s": 2.0}))
    bus.producer().publish(numbered(topic, 20))
    consumer = impatient.consumer(group, [topic.name], "a")
    records = read(consumer, 20)
    wait(2 * SESSION_S)
    consumer.commit(next_offsets(records))
    assert not consumer.poll(1, TURN_S)
    assert len(consumer.assignment()) == topic.partitions
    assert bus.backlog(group, [topic.name]) == 0
    impatient.close()


@pytest.mark.parametrize("patience_s", [30.0, 2.0], ids=["the group waits", "the group goes on"])
def test_who_works_while_another_joins_commits_or_is_told_of_its_loss(
    bus: KafkaBus, settings: KafkaSettings, topic: Topic, group: str, patience_s: float
) -> None:
    crew = KafkaBus(settings.model_copy(update={"rebalance_timeout_s": patience_s}))
    bus.producer().publish(numbered(topic, 40))
    busy, joiner = (crew.consumer(group, [topic.name], name) for name in "ab")
    records = read(busy, 40)
    stop = threading.Event()
    seen: list[Record] = []

    def join() -> None:
        while not stop.is_set():
            seen.extend(joiner.poll(100, TURN_S))

    thread = threading.Thread(target=join)
    thread.start()
    wait(2 * SESSION_S)
    lost = frozenset[object]()
    try:
        busy.commit(next_offsets(records))
    except PartitionsLostError as error:
        lost = error.partitions
    assert bool(lost) == (patience_s == 2.0)
    until(lambda: len(busy.assignment()) == len(joiner.assignment()) == 2, lambda: busy.poll(100, TURN_S))
    stop.set()
    thread.join()
    assert not busy.assignment() & joiner.assignment()
    assert {record.place for record in seen} <= lost
    crew.close()


def test_a_process_that_takes_anothers_name_ends_the_other(
    bus: KafkaBus, settings: KafkaSettings, topic: Topic, group: str
) -> None:
    bus.producer().publish(numbered(topic, 5))
    former = bus.consumer(group, [topic.name], "a")
    stale = read(former, 5)
    other = KafkaBus(settings)
    assert len(read(other.consumer(group, [topic.name], "a"), 5)) == 5
    with pytest.raises(PartitionsLostError):
        former.commit(next_offsets(stale))
    with pytest.raises(MemberReplacedError, match="a name of its own"):
        former.poll(1, TURN_S)
    former.close()
    other.close()


# Things that somebody must set right


def test_an_offset_that_the_log_no_longer_has_is_an_error_and_not_a_jump(
    server: KafkaServer, bus: KafkaBus, topic: Topic, group: str
) -> None:
    narrow = topic_named("narrow", partitions=1)
    bus.create_topics([narrow])
    bus.producer().publish(numbered(narrow, 10))
    consumer = bus.consumer(group, [narrow.name], "a")
    consumer.commit(next_offsets(read(consumer, 3)))
    consumer.close()
    admin = KafkaAdminClient(bootstrap_servers=server.bootstrap)
    admin.delete_records({kafka.TopicPartition(narrow.name, 0): 7})
    admin.close()
    again = bus.consumer(group, [narrow.name], "a")
    with pytest.raises(OffsetResetError, match=f"{narrow.name}/0 should go on at 3, the log holds 7 to 10"):
        read(again, 1)
    # Somebody decides, while nobody reads.
    again.close()
    assert bus.rewind(group, [narrow.name], LogEnd.EARLIEST) == {TopicPartition(narrow.name, 0): 7}
    assert numbers(read(bus.consumer(group, [narrow.name], "a"), 3)) == [7, 8, 9]


def test_a_topic_of_another_size_is_refused(bus: KafkaBus) -> None:
    small = topic_named("topic", partitions=2)
    bus.create_topics([small])
    with pytest.raises(TopicMismatchError, match="has 2 partitions and is declared with 3"):
        bus.create_topics([Topic(small.name, 3, 1, small.messages, (), (), "subject")])


def test_one_megabyte_passes_and_what_is_too_large_is_named(bus: KafkaBus, topic: Topic, group: str) -> None:
    bus.producer().publish([outgoing(topic, "key", bytes(1_000_000))])
    assert len(read(bus.consumer(group, [topic.name], "a"), 1)[0].payload) == 1_000_000
    with pytest.raises(RecordTooLargeError, match="into the store"):
        bus.producer().publish([outgoing(topic, "key", bytes(3_000_000))])


def test_a_replay_leaves_no_group_behind(server: KafkaServer, bus: KafkaBus, topic: Topic) -> None:
    bus.producer().publish(numbered(topic, 5))
    assert len(list(replay(bus, [topic.name]))) == 5
    admin = KafkaAdminClient(bootstrap_servers=server.bootstrap)
    members = {found["group_id"]: len(found["members"]) for found in _groups(admin)}
    admin.close()
    assert not [name for name, count in members.items() if name.startswith("replay-") and count]


def _groups(admin: KafkaAdminClient) -> list[dict[str, Any]]:
    names = [found["group_id"] for found in admin.list_groups()]
    described = admin.describe_groups(names) if names else {}
    return list(described.values()) if isinstance(described, dict) else list(described)


# Outages


def test_a_broker_that_is_away_is_an_outage_of_every_call_and_all_recover_by_themselves(
    server: KafkaServer, bus: KafkaBus, topic: Topic, group: str
) -> None:
    producer, consumer = bus.producer(), bus.consumer(group, [topic.name], "a")
    producer.publish(numbered(topic, 10))
    consumer.commit(next_offsets(read(consumer, 10)))
    server.stop()
    assert outage_s(lambda: producer.publish(numbered(topic, 1))) < 30
    assert outage_s(consumer.lag) < 30
    assert outage_s(lambda: [consumer.poll(1, TURN_S) for _ in range(100)]) < 30
    assert outage_s(lambda: consumer.commit(dict.fromkeys(consumer.assignment(), 0))) < 30
    assert outage_s(lambda: KafkaBus(bus._settings).consumer(group, [topic.name], "b").poll(1, TURN_S)) < 30
    assert outage_s(lambda: bus.create_topics([topic])) < 30
    server.start()
    publish_patiently(bus, [outgoing(topic, f"key-{number}", str(number).encode()) for number in range(10, 30)])
    until(lambda: not any(consumer.lag().values()), lambda: _work(consumer))


def _work(consumer: KafkaConsumer) -> None:
    records = consumer.poll(100, TURN_S)
    if records:
        consumer.commit(next_offsets(records))


def test_no_record_is_lost_when_the_broker_freezes_while_it_is_written(
    server: KafkaServer, settings: KafkaSettings, bus: KafkaBus, topic: Topic
) -> None:
    started = threading.Event()

    def publish() -> None:
        for number in range(80):
            publish_patiently(bus, [outgoing(topic, f"key-{number % 7}", str(number).encode())])
            if number == 10:
                started.set()

    thread = threading.Thread(target=publish)
    thread.start()
    assert started.wait(PATIENCE_S)
    server.freeze()
    wait(20.0)
    server.thaw()
    thread.join()
    found = [int(record.payload) for record in replay(bus, [topic.name])]
    assert set(found) == set(range(80))


def test_after_the_log_was_lost_nothing_new_is_skipped(
    server: KafkaServer, bus: KafkaBus, topic: Topic, group: str
) -> None:
    producer, consumer = bus.producer(), bus.consumer(group, [topic.name], "a")
    producer.publish(numbered(topic, 200))
    consumer.commit(next_offsets(read(consumer, 200)))
    server.wipe()
    created = threading.Event()

    def create() -> None:
        bus.create_topics([topic])
        created.set()

    until(created.is_set, create)
    publish_patiently(bus, numbered(topic, 40))
    found: list[int] = []
    try:
        until(lambda: len(set(found)) == 40, lambda: found.extend(numbers(consumer.poll(100, TURN_S))))
    except OffsetResetError:
        # It ends loudly; the supervisor starts it anew, and it reads from the first record.
        consumer.close()
        assert numbers(read(bus.consumer(group, [topic.name], "a"), 40)) == list(range(40))


# Crashes

PROCESS = """
import sys
from services.runtime.bus.kafka import KafkaBus
from services.runtime.bus.kafka_settings import KafkaSettings
from services.runtime.bus.port import Outgoing

job, settings, topic, group, member = sys.argv[1:]
bus = KafkaBus(KafkaSettings.model_validate_json(settings))
if job == "write":
    producer = bus.producer()
    for number in range(1_000_000):
        producer.publish([Outgoing(topic, f"key-{number % 5}", "T", str(number).encode())])
        print(number, flush=True)
consumer = bus.consumer(group, [topic], member)
while True:
    consumer.poll(100, 0.2)
    print(len(consumer.assignment()), flush=True)
"""


def start(job: str, settings: KafkaSettings, topic: Topic, group: str = "", member: str = "") -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", PROCESS, job, settings.model_dump_json(), topic.name, group, member]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def kill(process: subprocess.Popen[str]) -> list[str]:
    process.send_signal(signal.SIGKILL)
    assert process.stdout is not None
    rest = [line for line in process.stdout if line.endswith("\n")]
    process.wait()
    process.stdout.close()
    return rest


def test_what_a_killed_producer_was_told_is_written_is_there(
    settings: KafkaSettings, bus: KafkaBus, topic: Topic
) -> None:
    process = start("write", settings, topic)
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(50)] + kill(process)
    found = sorted({int(record.payload) for record in replay(bus, [topic.name])})
    assert found == list(range(len(found)))
    assert len(told) <= len(found) <= len(told) + 1


def test_the_other_takes_over_from_a_killed_member_and_gives_back_to_one_that_returns(
    settings: KafkaSettings, bus: KafkaBus, topic: Topic, group: str
) -> None:
    # Long enough for a process to start within it on a busy machine.
    settings = settings.model_copy(update={"session_timeout_s": LONG_SESSION_S, "heartbeat_s": 1.0})
    crew = KafkaBus(settings)
    survivor = crew.consumer(group, [topic.name], "a")
    process = start("read", settings, topic, group, "b")
    until(lambda: len(survivor.assignment()) == 2, lambda: survivor.poll(1, TURN_S))
    kill(process)
    killed_s = time.monotonic()
    until(lambda: len(survivor.assignment()) == 4, lambda: survivor.poll(1, TURN_S))
    assert time.monotonic() - killed_s < LONG_SESSION_S + 15
    returned = start("read", settings, topic, group, "b")
    said = [""]
    lines = returned.stdout
    assert lines is not None

    def listen() -> None:
        survivor.poll(1, TURN_S)
        said.append(lines.readline())

    until(lambda: said[-1] == "2\n", listen)
    kill(returned)
    bus.producer().publish(numbered(topic, 20))
    # Under the same name before its session ends: no waiting for that, and the survivor keeps what it has.
    kept = survivor.assignment()
    again = crew.consumer(group, [topic.name], "b")
    until(lambda: len(again.assignment()) == 2, lambda: again.poll(1, TURN_S))
    survivor.poll(100, TURN_S)
    assert survivor.assignment() == kept
    assert not again.assignment() & kept
    crew.close()


# Security


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaSettings]:
    folder = tmp_path_factory.mktemp("secured")
    ca_file, keystore = make_authority(folder / "authority")
    with running_kafka(folder / "kafka", Security(keystore, "open sesame")) as server:
        yield KafkaSettings(
            bootstrap=server.bootstrap,
            security="SASL_SSL",
            ca_file=ca_file,
            user=USER,
            password=SecretStr("open sesame"),
            request_timeout_s=4.0,
        )


def test_records_pass_over_an_encrypted_and_authenticated_connection(secured: KafkaSettings, group: str) -> None:
    bus = KafkaBus(secured)
    topic = topic_named("topic")
    bus.create_topics([topic])
    bus.producer().publish(numbered(topic, 10))
    assert numbers(read(bus.consumer(group, [topic.name], "a"), 10)) == list(range(10))
    bus.close()


def test_a_wrong_password_is_refused_and_not_an_outage(secured: KafkaSettings) -> None:
    bus = KafkaBus(secured.model_copy(update={"password": SecretStr("let me in")}))
    with pytest.raises(BusRefusedError, match="refuses user 'fibsem'"):
        bus.backlog("group", ["topic"])
    bus.close()


def test_a_certificate_of_another_authority_is_refused_and_not_an_outage(
    secured: KafkaSettings, tmp_path: Path
) -> None:
    other, _ = make_authority(tmp_path / "another")
    bus = KafkaBus(secured.model_copy(update={"ca_file": other}))
    with pytest.raises(BusRefusedError, match="not to be trusted"):
        bus.backlog("group", ["topic"])
    bus.close()
