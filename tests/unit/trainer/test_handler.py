"""The trainer's handler watches a process: what it publishes, what it is blamed for, and how it is stopped."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.contracts.messages import DeadLettered, ModelPublished, TrainingRequested
from services.runtime.errors import PermanentError, StillWorkingError, TransientError
from services.runtime.handler import Answer, Received
from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.store.directory import DirectoryStore
from services.trainer.handler import TrainerHandler
from services.trainer.job import CANCEL, PROGRESS, Outcome, Reached, Refusal
from services.trainer.job import REQUEST as REQUEST_FILE
from services.trainer.requests import Cancellation, TrainingBox
from tests.support.messages import example, ref
from tests.support.training_requests import Trainer, write_recipe

MODEL = example(ModelPublished, request_id="request-12")
REQUEST = example(TrainingRequested)
WAITS = "import sys, time, pathlib as p; f = p.Path(sys.argv[1])\n"


def ends(outcome: Outcome) -> str:
    """Return a job that ends in this way."""
    return f"{WAITS}(f / 'outcome.json').write_text({outcome.model_dump_json()!r})"


UNTIL_CANCELLED = f"""{WAITS}
while not (f / {CANCEL!r}).exists(): time.sleep(0.01)
(f / 'outcome.json').write_text({Outcome(kind="stopped").model_dump_json()!r})
"""


class Bench:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = DirectoryStore(root / "store")
        self.metrics = RecordingMetrics()
        self.handler = self.with_job("pass")

    @property
    def folder(self) -> Path:
        return self.root / "jobs" / "request-12"

    def with_job(self, code: str) -> TrainerHandler:
        self.handler = TrainerHandler(self.store, self.metrics, self.root / "jobs", [sys.executable, "-c", code])
        return self.handler

    def ask(self, request: TrainingRequested = REQUEST) -> Answer:
        (answer,) = self.handler.handle([Received("training-requests", request)])
        return answer

    def until_answered(self, request: TrainingRequested = REQUEST) -> Answer:
        while True:
            try:
                return self.ask(request)
            except StillWorkingError:
                running = self.handler._running
                if running is not None:
                    running.process.wait(20)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.handler.close()
    bench.store.close()


def standing(bench: Bench) -> str:
    return TrainingBox(bench.store).standing("request-12").state


def test_what_was_published_is_said_and_said_again_without_training(bench: Bench) -> None:
    bench.with_job(ends(Outcome(kind="published", published=(MODEL,))))
    answer = bench.until_answered()
    assert [publication.message for publication in answer.publications] == [MODEL]
    assert [publication.topic for publication in answer.publications] == ["models"]
    assert standing(bench) == "published"
    assert bench.metrics.value("fibsem_trainings_total", outcome="published") == 1
    # As after a kill between the answer and its commit.
    bench.with_job("raise SystemExit('nothing is to be trained')")
    assert bench.ask() == answer


def test_a_name_that_is_taken_again_for_other_data_is_trained_anew(bench: Bench) -> None:
    bench.with_job(f"{ends(Outcome(kind='published', published=(MODEL,)))}; (f / 'curves').touch()")
    bench.until_answered()
    better = MODEL.model_copy(update={"model_id": "sc-ba9876543210"})
    bench.with_job(ends(Outcome(kind="published", published=(better,))))
    answer = bench.until_answered(REQUEST.model_copy(update={"inputs": ref("more-annotations")}))
    assert [publication.message for publication in answer.publications] == [better]
    assert not (bench.folder / "curves").exists()


def test_who_asks_for_the_same_is_answered_with_what_others_asked_for(bench: Bench) -> None:
    bench.with_job(ends(Outcome(kind="published", published=(MODEL,))))
    answer = bench.until_answered()
    bench.with_job("raise SystemExit('nothing is to be trained')")
    assert bench.ask(REQUEST.model_copy(update={"requested_by": "anna"})) == answer


def test_a_training_that_was_cancelled_and_asked_for_again_is_trained(bench: Bench, recipe: Path) -> None:
    box = TrainingBox(bench.store)
    request = box.ask(recipe, "request-12", "biologist")
    box.cancel("request-12", Cancellation(decided_by="biologist", reason="too slow"))
    assert bench.ask(request) == Answer()
    assert box.ask(recipe, "request-12", "biologist") == request
    bench.with_job(ends(Outcome(kind="published", published=(MODEL,))))
    assert len(bench.until_answered(request).publications) == 1


def test_what_another_trainer_of_the_same_disk_is_at_work_on_stays(bench: Bench) -> None:
    other = TrainerHandler(
        bench.store, bench.metrics, bench.root / "jobs", [sys.executable, "-c", f"{WAITS}time.sleep(60)"]
    )
    theirs = REQUEST.model_copy(update={"request_id": "theirs"})
    with pytest.raises(StillWorkingError):
        other.handle([Received("training-requests", theirs)])
    bench.with_job(ends(Outcome(kind="published", published=(MODEL,))))
    bench.until_answered()
    assert (bench.root / "jobs" / "theirs" / REQUEST_FILE).exists()
    other.close()
    # Once nobody is at work on it, its room is taken.
    bench.until_answered(REQUEST.model_copy(update={"request_id": "next"}))
    assert sorted(path.name for path in (bench.root / "jobs").iterdir()) == ["next"]


def test_a_refusal_is_a_fault_of_the_request(bench: Bench) -> None:
    refusal = Refusal(reason="unknown_data", detail="there is no data set `mitochondria`")
    bench.with_job(ends(Outcome(kind="refused", refusal=refusal)))
    answer = bench.until_answered()
    assert answer.fault is not None
    assert (answer.fault.reason, answer.fault.detail) == ("unknown_data", refusal.detail)
    bench.handler.dead_lettered(Received("training-requests", REQUEST), answer.fault)
    assert standing(bench) == "refused"


@pytest.mark.parametrize("dependency", ["store", "disk"])
def test_an_outage_waits(bench: Bench, dependency: str) -> None:
    outcome = Outcome.model_validate({"kind": "outage", "dependency": dependency, "detail": "no room"})
    bench.with_job(ends(outcome))
    with pytest.raises(TransientError, match=f"{dependency} is unavailable: no room"):
        bench.until_answered()
    bench.with_job(ends(Outcome(kind="published", published=(MODEL,))))
    assert bench.until_answered().fault is None


def test_a_training_that_dies_at_one_place_again_and_again_is_blamed(bench: Bench) -> None:
    bench.with_job("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(PermanentError, match=r"crashed: the training ended 3 times with signal 9 after step 0"):
        bench.until_answered()


def test_a_training_that_gets_on_between_its_deaths_is_not(bench: Bench) -> None:
    reached = Reached(network="sc", step=0, steps=9, training_loss=1, validation_loss=1, macro_f1=0.5).model_dump_json()
    job = f"""{WAITS}
import json, os
path = f / {PROGRESS!r}
now = json.loads(path.read_text() if path.exists() else {reached!r})
now["step"] += 1
if now["step"] > 7:
    (f / 'outcome.json').write_text({Outcome(kind="published", published=(MODEL,)).model_dump_json()!r})
else:
    path.write_text(json.dumps(now))
    os.kill(os.getpid(), 9)
"""
    bench.with_job(job)
    assert bench.until_answered().fault is None
    assert bench.metrics.value("fibsem_training_progress_ratio", model="sc") == 7 / 9


def test_a_cancelled_training_ends_and_publishes_nothing(bench: Bench) -> None:
    bench.with_job(UNTIL_CANCELLED)
    with pytest.raises(StillWorkingError):
        bench.ask()
    TrainingBox(bench.store).cancel("request-12", Cancellation(decided_by="biologist", reason="wrong classes"))
    assert bench.until_answered() == Answer()
    assert standing(bench) == "cancelled"


def test_a_training_that_was_cancelled_before_it_began_does_not_begin(bench: Bench) -> None:
    bench.with_job(f"{WAITS}(f / 'began').touch()")
    TrainingBox(bench.store).cancel("request-12", Cancellation(decided_by="biologist", reason="too late"))
    assert bench.ask() == Answer()
    assert not bench.folder.exists()


def test_a_trainer_that_is_stopped_asks_its_training_to_end(bench: Bench) -> None:
    asked = f"""{WAITS}
import signal
def end(*_):
    (f / 'ended').touch()
    raise SystemExit
signal.signal(signal.SIGTERM, end)
(f / 'ready').touch()
while True: time.sleep(0.01)
"""
    bench.with_job(asked)
    with pytest.raises(StillWorkingError):
        bench.ask()
    until((bench.folder / "ready").exists)
    bench.handler.close()
    assert (bench.folder / "ended").exists()


def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        pass


def test_an_orphan_is_waited_for_before_another_training_begins(bench: Bench) -> None:
    bench.with_job(f"{WAITS}(f / 'ready').touch()\nwhile not (f / 'go').exists(): time.sleep(0.01)")
    with pytest.raises(StillWorkingError):
        bench.ask()
    orphan = bench.handler._running
    assert orphan is not None
    until((bench.folder / "ready").exists)
    # The service was killed: its own hold of the lock went with it, the orphan's stays.
    orphan.lock.close()
    bench.with_job(ends(Outcome(kind="published", published=(MODEL,))))
    with pytest.raises(StillWorkingError):
        bench.ask()
    assert bench.handler._running is None
    (bench.folder / "go").touch()
    orphan.process.wait(20)
    assert bench.until_answered().fault is None


def test_a_message_of_another_kind_is_refused(bench: Bench) -> None:
    (answer,) = bench.handler.handle([Received("training-requests", MODEL)])
    assert answer.fault is not None
    assert answer.fault.reason == "unexpected_message"


# Real trainings, in real processes


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[Trainer]:
    trainer = Trainer(tmp_path)
    yield trainer
    trainer.close()


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "recipe").mkdir()
    return write_recipe(tmp_path / "recipe")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> ModelPublished:
    root = tmp_path_factory.mktemp("undisturbed")
    (root / "recipe").mkdir()
    trainer = Trainer(root)
    trainer.ask(write_recipe(root / "recipe"))
    trainer.until_idle()
    (published,) = trainer.published()
    trainer.close()
    return published


# Four copies of checkpoints are six puts each; publishing is more than ten.
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fail_at", ["before-put:3", "after-put:11", "before-put:25", "after-put:34"])
def test_a_training_killed_anywhere_publishes_the_same_bytes(
    undisturbed: ModelPublished, trainer: Trainer, recipe: Path, fail_at: str
) -> None:
    trainer.fail_job_at = fail_at
    trainer.ask(recipe)
    trainer.until_idle()
    assert trainer.published() == [undisturbed]
    assert trainer.said("dead-letters") == []
    assert (trainer.root / "jobs" / "request-1" / "died").exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_machine_that_is_lost_with_its_disk_costs_the_steps_since_the_last_copy(
    undisturbed: ModelPublished, trainer: Trainer, recipe: Path
) -> None:
    trainer.ask(recipe)
    loop = trainer.start()
    while trainer.box.standing("request-1").step < 20:
        loop.step(0.02)
    running = trainer.handler._running
    assert running is not None
    running.process.send_signal(signal.SIGKILL)
    running.process.wait()
    running.lock.close()
    (trainer.root / "jobs").rename(trainer.root / "lost")
    trainer.start()
    trainer.until_idle()
    assert trainer.published() == [undisturbed]
    reached = (trainer.root / "jobs" / "request-1" / "work").glob("chromatin-*/tensorboard/from-*")
    assert min(int(path.name.removeprefix("from-")) for path in reached) >= 20


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("batch_crops = 2", "batch_cropz = 2"), "bad_recipe"),
        (("class_id = 3", "class_id = 7"), "bad_data"),
        (("learning_rate = 3e-2", "learning_rate = 1e30"), "diverged"),
    ],
)
def test_a_bad_request_is_dead_lettered_with_its_reason_and_the_next_is_trained(
    trainer: Trainer, recipe: Path, change: tuple[str, str], reason: str
) -> None:
    write_recipe(recipe.parent, change)
    trainer.ask(recipe, "bad")
    trainer.until_idle()
    (letter,) = trainer.said("dead-letters")
    assert isinstance(letter, DeadLettered)
    assert (letter.service, letter.reason, letter.subject) == ("trainer", reason, "bad")
    assert trainer.box.standing("bad").state == "refused"
    assert trainer.published() == []
