"""A network is trained through the bus, its trainer killed meanwhile, and a running pipeline takes it over."""

from __future__ import annotations

import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from services.contracts.messages import DeadLettered, ModelPublished, NucleusOpened
from services.deployed.collecting import bring_computed
from services.deployed.stack import Stack
from services.embedded.amending import prepare
from services.embedded.run import EmbeddedRun, Parts
from services.embedded.swaps import ModelDesk
from services.ingest.requests import FinishAcquisition, RequestBox, UseModels
from services.runtime.bus.replay import replay_messages
from services.runtime.clock import ManualClock
from services.runtime.deployment import SHIPPED_MODELS
from services.runtime.errors import TransientError
from services.runtime.handler import Publication
from services.runtime.metrics.names import METRICS
from services.runtime.segmenter.shelf import ModelShelf
from services.runtime.service import outgoing
from services.trainer.requests import TrainingBox
from tests.support.toy_acquisition import PLANES, Runner, toy_settings, write_repeating_toy
from tests.support.training_requests import write_recipe
from tests.system.deployed import PATIENCE_S, System
from tests.system.servers.kafka import KafkaServer
from tests.system.servers.s3_server import S3Server

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

COUNT, BEFORE = 2 * PLANES, 40
Found = TypeVar("Found")


@pytest.fixture
def live(tmp_path: Path) -> Path:
    write_repeating_toy(tmp_path / "source", COUNT)
    (tmp_path / "live").mkdir()
    return tmp_path / "live"


def come(live: Path, first: int, last: int) -> None:
    """Have slices appear in the watched folder."""
    for path in sorted((live.parent / "source").iterdir())[first:last]:
        shutil.copy(path, live / f".{path.name}")
        (live / f".{path.name}").rename(live / path.name)


@pytest.fixture
def training_system(kafka: KafkaServer, minio: S3Server, live: Path, tmp_path: Path) -> Iterator[System]:
    """A deployed system whose networks run in the process of inference, with a trainer."""
    system = System(tmp_path / "logs", kafka, minio, "", live, watch=True)
    system.extra_of["trainer"] = {
        "FIBSEM_WORK": str(tmp_path / "work"),
        "FIBSEM_ACCELERATOR": "cpu",
        "FIBSEM_THREADS": "1",
        "FIBSEM_KEEP_EVERY_S": "0",
    }
    system.set_up()
    yield system
    system.stop_all()


def awaited(system: System, look: Callable[[], Found | None]) -> Found:
    """Return what is found once it is there."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            found = look()
        except TransientError:
            found = None
        if found:
            return found
        assert time.monotonic() < deadline_s, system.said()
        time.sleep(0.5)  # noqa: TID251 (real processes, in real time)


def ask(stack: Stack, recipe: Path, name: str) -> None:
    """Ask for a training, as the command line does."""
    producer = stack.bus.producer()
    request = TrainingBox(stack.store).ask(recipe, name, "biologist")
    producer.publish([outgoing(Publication("training-requests", request))])
    producer.close()


def said(stack: Stack, topic: str, kind: type[Found]) -> list[Found]:
    return [message for message in replay_messages(stack.bus, (topic,)) if isinstance(message, kind)]


def scraped(system: System, name: str) -> str:
    """Return the samples of a metric of the trainer."""
    with urllib.request.urlopen(f"http://127.0.0.1:{system.ports['trainer-0']}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return "\n".join(line for line in lines if line.startswith(name))


def with_one_swap(live: Path, out: Path, networks: ModelShelf, model_id: str) -> str:
    """Return the manifest of the same acquisition and the same decision in one process."""
    folder = out / "live"
    folder.mkdir(parents=True)
    clock = ManualClock()
    settings = toy_settings(folder, models=SHIPPED_MODELS)
    runner = Runner(out / "run", settings, watch=True, parts=Parts(clock=clock))
    run = runner.start()
    source = sorted((live.parent / "source").iterdir())
    for path in source[:BEFORE]:
        shutil.copy(path, folder)
    until_idle(run, clock)
    desk = ModelDesk(run.store, run.bus, "toy", SHIPPED_MODELS)
    desk.publish(networks.bring_network(model_id, out / "networks"))
    chosen = desk.with_networks([model_id])
    desk.use(chosen, UseModels(model_set=chosen.digest, decided_by="biologist", reason="finds more"))
    until_idle(run, clock)
    for path in source[BEFORE:]:
        shutil.copy(path, folder)
    until_idle(run, clock)
    RequestBox(run.store, "toy").leave(FinishAcquisition())
    until_idle(run, clock)
    assert run.complete
    run.finish()
    run.close()
    return runner.manifest()


def until_idle(run: EmbeddedRun, clock: ManualClock) -> None:
    idle = 0
    while idle < 60:
        clock.advance(2.0)
        idle = 0 if run.turn() else idle + 1


def test_a_network_trained_through_the_bus_is_taken_over_between_two_nuclei(
    training_system: System, live: Path, tmp_path: Path
) -> None:
    system = training_system
    come(live, 0, BEFORE)
    system.start_all()
    system.start("trainer")
    (tmp_path / "recipe").mkdir()
    with system.stack() as stack:
        box = TrainingBox(stack.store)
        ask(stack, write_recipe(tmp_path / "recipe", ("batch_crops = 2", "batch_cropz = 2")), "bad")
        (letter,) = awaited(system, lambda: said(stack, "dead-letters", DeadLettered))
        assert (letter.service, letter.reason, letter.subject) == ("trainer", "bad_recipe", "bad")

        ask(stack, write_recipe(tmp_path / "recipe"), "good")
        awaited(system, lambda: box.standing("good").step >= 20)
        system.processes["trainer-0"].kill()
        system.start("trainer", wait=True)
        (model,) = awaited(system, lambda: said(stack, "models", ModelPublished))
        assert model.request_id == "good"
        assert model.served is not None
        assert 'outcome="published"} 1.0' in scraped(system, "fibsem_trainings_total")
        unsaid = {name for name in METRICS if name.startswith("fibsem_training") and not scraped(system, name)}
        assert unsaid == set()
        # Hours of training would not differ: nobody took its partition from it meanwhile.
        assert '{stage="trainer"} 1.0' in scraped(system, "fibsem_consumer_rebalances_total")

        desk = ModelDesk(stack.store, stack.bus, "toy", SHIPPED_MODELS)
        awaited(system, lambda: system.standing(stack).detected and len(system.standing(stack).detected) >= BEFORE)
        chosen = desk.with_networks([model.model_id])
        assert chosen.digest == model.model_set
        desk.use(chosen, UseModels(model_set=chosen.digest, decided_by="biologist", reason="finds more"))
        (swap,) = awaited(system, desk.swaps)
        assert swap.z_first == BEFORE
        come(live, BEFORE, COUNT)
        RequestBox(stack.store, "toy").leave(FinishAcquisition())
        system.await_complete()
        pinned = [message.model_set for message in said(stack, "nuclei", NucleusOpened)]
        assert sorted(pinned) == sorted([desk.deployed().digest] * 2 + [chosen.digest] * 2)
        expected = with_one_swap(live, tmp_path / "local", desk.shelf, model.model_id)
    assert system.collect(tmp_path / "collected") == expected

    # What is there already: with the new networks for all nuclei, from what the deployed system computed.
    from_start = Runner(tmp_path / "from-start", toy_settings(live, models=tmp_path / "chosen"), parts=Parts())
    with system.stack() as stack:
        bring_computed(stack, "toy", tmp_path / "collected", lambda _done, _count: None)
        ModelShelf(stack.store).bring_set(chosen.digest, tmp_path / "chosen")
    again = prepare(tmp_path / "collected", tmp_path / "again", tmp_path / "chosen")
    backfilled = Runner(tmp_path / "again", again, parts=Parts()).to_the_end()
    assert backfilled == from_start.to_the_end() != expected
