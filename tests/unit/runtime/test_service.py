"""The service loop: what is published, committed, tried again, dead-lettered, and when it gives up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from services.contracts.codec import decode, encode
from services.contracts.messages import DeadLettered, Message, SliceAbsent
from services.contracts.topics import TOPICS
from services.contracts.values import AbsenceReason
from services.runtime.attempts import Attempts
from services.runtime.bus.port import Outgoing
from services.runtime.bus.replay import replay
from services.runtime.bus.sqlite import SqliteBus
from services.runtime.clock import ManualClock
from services.runtime.errors import PermanentError, StillWorkingError, TransientError
from services.runtime.handler import Answer, Publication, Received
from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.service import DeadLetterBurstError, FaultPolicy, Ports, ServiceLoop
from services.runtime.store.directory import DirectoryStore
from services.runtime.store.port import ArtefactCorruptError


class ProcessDiedError(BaseException):
    """Stands for a kill: nothing catches it."""


def absent(z: int) -> SliceAbsent:
    return SliceAbsent(acquisition_id="a", z=z, reason=AbsenceReason.MISSING, detail="gap")


def z_of(message: Message) -> int:
    assert isinstance(message, SliceAbsent)
    return message.z


@dataclass
class Relay:
    """Passes slices on; what happens at a z can be set."""

    name: str = "relay"
    topics: tuple[str, ...] = ("slices",)
    batch_size: int = 4
    at: dict[int, Callable[[], None]] = field(default_factory=dict)
    calls: list[list[int]] = field(default_factory=list)

    def handle(self, received: Sequence[Received]) -> Sequence[Answer]:
        self.calls.append([z_of(item.message) for item in received])
        answers = []
        for item in received:
            try:
                self.at.get(z_of(item.message), lambda: None)()
                answers.append(Answer((Publication("outlines", item.message),)))
            except PermanentError as fault:
                answers.append(Answer(fault=fault))
        return answers

    def dead_lettered(self, received: Received, fault: PermanentError) -> Sequence[Publication]:
        del fault
        return (Publication("nuclei", received.message),)


class World:
    """A bus, a store and a clock that outlive the process that works with them."""

    def __init__(self, root: Path) -> None:
        self.clock = ManualClock()
        self.bus = SqliteBus(clock=self.clock)
        self.bus.create_topics(TOPICS)
        self.store = DirectoryStore(root / "store", reference_files=False)
        self.metrics = RecordingMetrics()
        self.producer = self.bus.producer()

    def loop(self, handler: Relay, policy: FaultPolicy | None = None) -> ServiceLoop:
        consumer = self.bus.consumer(handler.name, handler.topics, member="0")
        return ServiceLoop(handler, Ports(consumer, self.producer, self.store, self.metrics, self.clock), policy)

    def publish(self, *zs: int) -> None:
        # One key: one partition, so that the order of delivery is known.
        self.producer.publish([Outgoing("slices", "a", "SliceAbsent", encode(absent(z))) for z in zs])

    def published(self, topic: str) -> list[Message]:
        return [decode(record.message_type, record.payload) for record in replay(self.bus, (topic,))]

    def zs(self, topic: str = "outlines") -> list[int]:
        return sorted(z_of(message) for message in self.published(topic))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.bus.close()
    made.store.close()


def refuse(detail: str = "broken") -> Callable[[], None]:
    def act() -> None:
        raise PermanentError("broken", detail)

    return act


def run(loop: ServiceLoop, turns: int = 30) -> None:
    for _ in range(turns):
        loop.step()


def test_every_message_is_answered_once_and_committed(world: World) -> None:
    world.publish(0, 1, 2, 3, 4)
    loop = world.loop(Relay())
    run(loop)
    assert world.zs() == [0, 1, 2, 3, 4]
    assert loop.lag() == 0


def test_an_idle_turn_says_so(world: World) -> None:
    loop = world.loop(Relay())
    assert loop.step() is False


def test_a_fault_is_tried_three_times_then_dead_lettered_and_the_next_message_flows(world: World) -> None:
    world.publish(0, 1, 2)
    relay = Relay(at={1: refuse()})
    run(world.loop(relay))
    assert world.zs() == [0, 2]
    (letter,) = world.published("dead-letters")
    assert isinstance(letter, DeadLettered)
    assert (letter.reason, letter.attempts, letter.z) == ("broken", 3, 1)
    assert sum(call.count(1) for call in relay.calls) == 3


def test_a_dead_letter_keeps_the_bytes_of_the_message(world: World) -> None:
    world.publish(7)
    run(world.loop(Relay(at={7: refuse()})))
    (letter,) = world.published("dead-letters")
    assert isinstance(letter, DeadLettered)
    assert world.store.get(letter.original) == encode(absent(7))


def test_what_the_handler_says_instead_of_a_dead_letter_travels_on(world: World) -> None:
    world.publish(5)
    run(world.loop(Relay(at={5: refuse()})))
    assert world.zs("nuclei") == [5]


def test_bytes_that_are_no_message_are_dead_lettered_without_asking_the_handler(world: World) -> None:
    world.producer.publish([Outgoing("slices", "a", "SliceAbsent", b"\xff\xff")])
    world.publish(1)
    relay = Relay()
    run(world.loop(relay))
    (letter,) = world.published("dead-letters")
    assert isinstance(letter, DeadLettered)
    assert letter.reason == "malformed_message"
    assert world.zs() == [1]


def test_work_beside_the_loop_is_asked_about_until_it_ends(world: World) -> None:
    questions = iter([True] * 5)

    def working() -> None:
        if next(questions, False):
            raise StillWorkingError

    world.publish(0, 1)
    relay = Relay(at={0: working})
    relay.batch_size = 1
    loop = world.loop(relay)
    loop.step()
    assert loop.step() is False, "it is not asked about at every turn"
    assert sum(call.count(0) for call in relay.calls) == 1
    assert not loop.paused, "nothing is out"
    for _ in range(30):
        world.clock.advance(1.5)
        loop.step()
    assert world.zs() == [0, 1]
    assert sum(call.count(0) for call in relay.calls) == 6
    assert world.published("dead-letters") == []


def test_a_process_that_dies_while_work_goes_on_beside_it_blames_no_message(world: World) -> None:
    world.publish(0)
    for _ in range(FaultPolicy().deaths + 2):
        dying = world.loop(Relay(at={0: still_working}))
        dying.step()
        dying.step()
    run(world.loop(Relay()))
    assert world.zs() == [0]


def test_work_beside_the_loop_that_ends_in_a_fault_is_tried_three_times(world: World) -> None:
    ends = iter([StillWorkingError(), PermanentError("broken", "no"), *[StillWorkingError()] * 2] * 4)

    def act() -> None:
        raise next(ends)

    world.publish(0, 1)
    relay = Relay(at={0: act})
    relay.batch_size = 1
    loop = world.loop(relay)
    for _ in range(40):
        world.clock.advance(1.5)
        loop.step()
    (letter,) = world.published("dead-letters")
    assert isinstance(letter, DeadLettered)
    assert letter.attempts == 3
    assert world.zs() == [1]


def still_working() -> None:
    raise StillWorkingError


def test_an_outage_pauses_and_nothing_is_lost_or_dead_lettered(world: World) -> None:
    outages = iter([True] * 10)

    def down() -> None:
        if next(outages, False):
            raise TransientError("store", "no answer")

    world.publish(0, 1)
    loop = world.loop(Relay(at={0: down}))
    for _ in range(60):
        loop.step()
        world.clock.advance(31.0)
    assert world.zs() == [0, 1]
    assert world.published("dead-letters") == []


def test_during_an_outage_the_service_waits_before_it_tries_again(world: World) -> None:
    def down() -> None:
        raise TransientError("store", "no answer")

    world.publish(0)
    relay = Relay(at={0: down})
    loop = world.loop(relay)
    run(loop)
    assert len(relay.calls) == 1
    assert loop.paused
    world.clock.advance(0.6)
    run(loop)
    assert len(relay.calls) == 2


def test_an_input_that_kills_the_process_is_not_tried_for_ever(world: World) -> None:
    def die() -> None:
        raise ProcessDiedError

    world.publish(0, 1, 2)
    deaths = 0
    for _ in range(12):
        loop = world.loop(Relay(at={1: die}))
        try:
            run(loop)
            break
        except ProcessDiedError:
            deaths += 1
    assert deaths <= 6
    assert world.zs() == [0, 2]
    (letter,) = world.published("dead-letters")
    assert isinstance(letter, DeadLettered)
    assert letter.reason == "crashed"


def test_a_burst_of_dead_letters_stops_the_service(world: World) -> None:
    world.publish(*range(20))
    loop = world.loop(Relay(at={z: refuse() for z in range(20)}), FaultPolicy(burst=5))
    with pytest.raises(DeadLetterBurstError, match="dead-letters list"):
        run(loop, 200)


def test_a_defect_leaves_the_loop_as_it_is(world: World) -> None:
    def bug() -> None:
        raise ZeroDivisionError

    world.publish(0)
    with pytest.raises(ZeroDivisionError):
        run(world.loop(Relay(at={0: bug})))


def test_attempts_survive_the_process(world: World) -> None:
    Attempts(world.store, "s").begin(["m"])
    assert Attempts(world.store, "s").begin(["m"]) == {"m": 2}


def test_an_attempt_ended_by_an_outage_does_not_count(world: World) -> None:
    attempts = Attempts(world.store, "s")
    attempts.begin(["m"])
    attempts.undo(["m"])
    assert attempts.begin(["m"]) == {"m": 1}


def damage() -> None:
    raise ArtefactCorruptError("a/crops/1 has another SHA-256 than its reference says")


def run_for(world: World, loop: ServiceLoop, seconds: float) -> None:
    for _ in range(int(seconds)):
        loop.step()
        world.clock.advance(1.0)


def test_what_comes_damaged_for_a_while_is_an_outage_of_the_store(world: World) -> None:
    world.publish(0, 1, 2)
    handler = Relay(at={1: damage})
    loop = world.loop(handler)
    run_for(world, loop, 20)
    assert world.published("dead-letters") == []
    assert world.metrics.value("fibsem_dependency_up", dependency="store") == 0
    handler.at.clear()
    run_for(world, loop, 40)
    assert world.zs() == [0, 1, 2]
    assert world.published("dead-letters") == []


def test_what_stays_damaged_is_refused_and_what_comes_behind_it_flows(world: World) -> None:
    world.publish(0, 1, 2)
    run_for(world, world.loop(Relay(at={1: damage})), 300)
    assert world.zs() == [0, 2]
    (letter,) = world.published("dead-letters")
    assert isinstance(letter, DeadLettered)
    assert (letter.z, letter.reason, letter.attempts) == (1, "artefact_corrupt", 3)
