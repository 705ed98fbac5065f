"""How a training ends is told apart: by what can be mended by waiting, by asking otherwise, or by nobody."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException

from services.cli.train import UnfitMachineError, misfits_in_plain_words
from services.contracts.messages import ModelPublished
from services.contracts.topics import TOPICS
from services.contracts.values import ArtefactRef
from services.deployed.rebuilding import reconcile
from services.runtime.bus.replay import replay_messages
from services.runtime.bus.sqlite import SqliteBus
from services.runtime.clock import ManualClock
from services.runtime.deployment import SHIPPED_MODELS
from services.runtime.errors import TransientError
from services.runtime.segmenter.shelf import ModelShelf
from services.runtime.store.directory import DirectoryStore
from services.trainer.job import REQUEST, Bench, Job, Outcome, Refusal, put_whole, read_outcome, read_progress, run_job
from services.trainer.keeping import LAST
from services.trainer.requests import Cancellation, Standing, TrainingBox
from services.trainer.training import DiskFullError
from tests.support.messages import example
from tests.support.training_requests import write_recipe
from tests.unit.deployed.conftest import stack_of


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DirectoryStore]:
    store = DirectoryStore(tmp_path / "store")
    yield store
    store.close()


def bench(store: DirectoryStore, *, stopped: bool = False) -> Bench:
    return Bench(store, ManualClock(), SHIPPED_MODELS, "cpu", 1, 0.0, lambda: stopped)


def asked(store: DirectoryStore, root: Path, *changes: tuple[str, str]) -> Path:
    """Ask for a training; return the folder of its job."""
    (root / "recipe").mkdir(exist_ok=True)
    request = TrainingBox(store).ask(write_recipe(root / "recipe", *changes), "r1", "biologist")
    (root / "job").mkdir(exist_ok=True)
    put_whole(root / "job" / REQUEST, request.model_dump_json())
    return root / "job"


@pytest.mark.parametrize(
    ("change", "reason", "why"),
    [
        (("batch_crops = 2", "batch_cropz = 2"), "bad_recipe", "batch_cropz"),
        (("seed = 1", "seed = "), "bad_recipe", "Invalid value"),
        (("seed = 1", 'precision = "16-mixed"\nseed = 1'), "bad_recipe", "needs a GPU"),
        (("class_id = 3", "class_id = 7"), "bad_data", "nucleolus"),
        (('split = "z-block"', 'split = "nucleus"'), "bad_data", ""),
    ],
)
def test_what_cannot_be_followed_is_refused_with_the_reason(
    store: DirectoryStore, tmp_path: Path, change: tuple[str, str], reason: str, why: str
) -> None:
    if reason == "bad_recipe" and why == "Invalid value":
        folder = asked(store, tmp_path)
        # The command line would not send what is no TOML.
        recipe = store.put("recipe", write_recipe(tmp_path / "recipe").read_bytes().replace(b"seed = 1", b"seed = "))
        request = TrainingBox(store).request("r1")
        assert request is not None
        put_whole(folder / REQUEST, request.model_copy(update={"recipe": recipe}).model_dump_json())
    else:
        folder = asked(store, tmp_path, change)
    run_job(folder, bench(store))
    outcome = read_outcome(folder)
    assert outcome is not None
    assert outcome.refusal is not None
    assert outcome.refusal.reason == reason
    assert why in outcome.refusal.detail


def test_a_data_set_that_was_not_sent_is_unknown(store: DirectoryStore, tmp_path: Path) -> None:
    folder = asked(store, tmp_path)
    request = TrainingBox(store).request("r1")
    assert request is not None
    put_whole(folder / REQUEST, request.model_copy(update={"inputs": None}).model_dump_json())
    shutil.rmtree(folder / "data", ignore_errors=True)
    outcome = Job(folder, bench(store)).run()
    assert outcome.refusal is not None
    assert outcome.refusal.reason == "unknown_data"


def test_a_recipe_of_phantoms_is_refused_with_what_to_do(store: DirectoryStore, tmp_path: Path) -> None:
    folder = asked(store, tmp_path)
    shipped = Path(__file__).parents[3] / "services" / "trainer" / "recipes" / "shipped.toml"
    request = TrainingBox(store).request("r1")
    assert request is not None
    recipe = store.put("recipe", shipped.read_bytes())
    put_whole(folder / REQUEST, request.model_copy(update={"recipe": recipe}).model_dump_json())
    outcome = Job(folder, bench(store)).run()
    assert outcome.refusal is not None
    assert "fibsem-nuclei train" in outcome.refusal.detail


class Failing(DirectoryStore):
    """A store that is out, or whose disk is full."""

    fault: Exception

    def get(self, ref: ArtefactRef) -> bytes:
        raise self.fault


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[Failing]:
    store = Failing(tmp_path / "store")
    yield store
    store.close()


@pytest.mark.parametrize(
    ("fault", "dependency"),
    [
        (TransientError("store", "no answer"), "store"),
        (DiskFullError(errno.ENOSPC, "no room"), "disk"),
        (OSError(errno.ENOSPC, "no room"), "disk"),
        (OSError(errno.EDQUOT, "no room"), "disk"),
    ],
    ids=["store", "checkpoint", "disk", "quota"],
)
def test_what_passes_by_itself_is_an_outage(
    failing: Failing, store: DirectoryStore, tmp_path: Path, fault: Exception, dependency: str
) -> None:
    folder = asked(store, tmp_path)
    failing.fault = fault
    outcome = Job(folder, bench(failing)).run()
    assert (outcome.kind, outcome.dependency) == ("outage", dependency)


def test_more_devices_than_there_are_is_a_fault_of_the_recipe(
    failing: Failing, store: DirectoryStore, tmp_path: Path
) -> None:
    folder = asked(store, tmp_path)
    with pytest.raises(MisconfigurationException) as raised:
        pl.Trainer(accelerator="gpu", devices=99, logger=False)
    failing.fault = raised.value
    outcome = Job(folder, bench(failing)).run()
    assert outcome.refusal == Refusal(reason="bad_recipe", detail=str(raised.value))
    with (
        pytest.raises(UnfitMachineError, match="this machine cannot train as the recipe says"),
        misfits_in_plain_words(),
    ):
        raise raised.value


def test_a_start_from_an_altered_network_is_refused(store: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    (network, *_) = sorted(path for path in SHIPPED_MODELS.iterdir() if path.name.startswith("chromatin-"))
    shutil.copytree(network, tmp_path / "recipe" / "chromatin-0123456789ab")
    folder = asked(
        store,
        tmp_path,
        ("seed = 1", 'seed = 1\nstart_from = "chromatin-0123456789ab"'),
        ('{ family = "dlsia.TUNet", depth = 2, base_channels = 4, growth_rate = 1.5 }', '"auto"'),
    )
    outcome = Job(folder, bench(store)).run()
    assert outcome.refusal is not None
    assert outcome.refusal.reason == "incompatible_start"
    assert "altered or renamed" in outcome.refusal.detail


def test_what_nobody_foresaw_is_a_bug_and_raised(failing: Failing, store: DirectoryStore, tmp_path: Path) -> None:
    folder = asked(store, tmp_path)
    failing.fault = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        run_job(folder, bench(failing))
    assert read_outcome(folder) is None


def test_a_job_that_is_asked_to_end_stops_before_its_next_batch(store: DirectoryStore, tmp_path: Path) -> None:
    folder = asked(store, tmp_path)
    assert Job(folder, bench(store, stopped=True)).run().kind == "stopped"
    assert read_progress(folder) is None


def test_a_network_that_fits_no_set_is_published_without_one(store: DirectoryStore, tmp_path: Path) -> None:
    folder = asked(store, tmp_path, ('name = "chromatin"', 'name = "other"'), ("steps = 40", "steps = 2"))
    outcome = Job(folder, bench(store)).run()
    (message,) = outcome.published
    assert (message.served, message.model_set) == (None, None)
    assert ModelShelf(store).addresses() == (message.model_id,)
    assert ModelShelf(store).sets() == ()


def test_checkpoints_of_an_earlier_request_of_the_name_do_not_disturb(store: DirectoryStore, tmp_path: Path) -> None:
    earlier = tmp_path / "job" / "work" / "chromatin-0123456789ab"
    earlier.mkdir(parents=True)
    (earlier / LAST).write_text("a checkpoint with fewer annotations")
    folder = asked(store, tmp_path, ("steps = 40", "steps = 2"))
    assert Job(folder, bench(store)).run().kind == "published"
    kept = {key.split("/")[4] for key in store.keys("trainings/requests/r1/checkpoints")}
    assert kept == {path.name for path in (folder / "work").iterdir()} - {earlier.name}


def test_a_site_without_the_namesakes_publishes_what_was_trained(store: DirectoryStore, tmp_path: Path) -> None:
    folder = asked(store, tmp_path, ("steps = 40", "steps = 2"))
    (tmp_path / "models").mkdir()
    outcome = Job(folder, replace(bench(store), models=tmp_path / "models")).run()
    (message,) = outcome.published
    assert (message.served, message.model_set) == (None, None)
    assert ModelShelf(store).addresses() == (message.model_id,)


# Rebuilding the bus


def test_requests_are_said_again_when_the_bus_was_lost_and_refused_ones_are_not(
    store: DirectoryStore, tmp_path: Path
) -> None:
    box = TrainingBox(store)
    (tmp_path / "recipe").mkdir()
    recipe = write_recipe(tmp_path / "recipe")
    good = box.ask(recipe, "good", "biologist")
    box.ask(recipe, "bad", "biologist")
    other = store.put("other", b"another recipe")
    box.stands(Standing(request_id="bad", state="refused"))
    model = example(ModelPublished, request_id="good")
    box.conclude(good, (model,))
    assert box.published_for(good) == (model,)
    assert box.published_for(good.model_copy(update={"recipe": other})) is None
    box.cancel("bad", Cancellation(decided_by="biologist", reason="wrong"))
    bus = SqliteBus(clock=ManualClock())
    bus.create_topics(TOPICS)
    assert reconcile(stack_of(store, bus)) == {"trainings": 1}
    assert list(replay_messages(bus, ("training-requests",))) == [good]
    bus.close()


def test_outcomes_that_say_nothing_are_none(tmp_path: Path) -> None:
    assert read_outcome(tmp_path) is None
    put_whole(tmp_path / "outcome.json", Outcome(kind="stopped").model_dump_json())
    assert read_outcome(tmp_path) == Outcome(kind="stopped")
