"""The verbs of `models` and `training`: decisions are recorded, and what cannot be is refused with what to do."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from services.cli.models import models_app
from services.cli.training import LocalTrainingError, training_app
from services.contracts.messages import ModelPublished
from services.contracts.topics import TOPICS
from services.embedded.settings import STATE, settle
from services.embedded.swaps import NoEarlierModelsError
from services.ingest.requests import RequestBox, UseModels
from services.runtime.bus.replay import replay_messages
from services.runtime.bus.sqlite import SqliteBus
from services.runtime.deployment import SHIPPED_MODELS
from services.runtime.segmenter.shelf import ModelShelf, UnknownModelError
from services.runtime.store.directory import DirectoryStore
from tests.support.shipped_networks import altered
from tests.support.toy_acquisition import toy_settings
from tests.unit.cli.test_cli import called


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A run that was set up, and has not seen a slice."""
    settle(tmp_path / "out", toy_settings(tmp_path, models=SHIPPED_MODELS), joined=True)
    with closing(SqliteBus(tmp_path / "out" / STATE / "bus.sqlite")) as bus:
        bus.create_topics(TOPICS)
    return tmp_path / "out"


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    return tmp_path / "trained" / altered(tmp_path / "trained", "chromatin", licence="another")


def asked(out: Path) -> list[UseModels]:
    with closing(DirectoryStore(out / STATE / "store")) as store:
        return [request for _, request in RequestBox(store, "toy").waiting(()) if isinstance(request, UseModels)]


@pytest.mark.parametrize("app", [models_app, training_app], ids=["models", "training"])
def test_every_verb_that_changes_something_has_an_example(app: object) -> None:
    commands = getattr(app, "registered_commands")  # noqa: B009 - typer's own, of two kinds of object
    for command in commands:
        if command.name not in {"list", "show"}:
            assert "fibsem-nuclei" in command.epilog


def test_a_network_is_published_and_listed(out: Path, trained: Path) -> None:
    code, text = called("models", "publish", str(out), str(trained))
    assert code == 0
    assert "nothing uses it yet" not in text
    with closing(SqliteBus(out / STATE / "bus.sqlite")) as bus:
        (said,) = replay_messages(bus, ("models",))
    assert isinstance(said, ModelPublished)
    assert said.model_id == trained.name
    _, text = called("models", "list", "--at", str(out), "--json")
    assert [known["address"] for known in json.loads(text)] == [trained.name]
    _, text = called("models", "show", trained.name, "--at", str(out), "--json")
    assert json.loads(text)["licence"] == "another"


def test_a_swap_is_asked_for_with_who_and_why(out: Path, trained: Path) -> None:
    called("models", "publish", str(out), str(trained))
    code, text = called(
        "models", "use", str(out), trained.name, "--reason", "finds thin axes", "--by", "anna", "--from-z", "90"
    )
    assert code == 0
    assert "z 90" in text
    (request,) = asked(out)
    assert (request.decided_by, request.reason, request.z_first) == ("anna", "finds thin axes", 90)
    with closing(DirectoryStore(out / STATE / "store")) as store:
        names = ModelShelf(store).read_set(request.model_set).names
        assert ModelShelf(store).wanted() == (request.model_set,)
    assert trained.name in names
    assert len(names) == 3
    _, text = called("models", "history", str(out), "--json")
    history = json.loads(text)
    assert history["swaps"] == []
    assert history["waiting"].startswith("use_models")


def test_the_networks_in_use_need_no_decision(out: Path) -> None:
    (shipped,) = SHIPPED_MODELS.glob("chromatin-*")
    _, text = called("models", "use", str(out), shipped.name)
    assert "nothing to decide" in text
    assert asked(out) == []


def test_what_was_not_published_and_what_was_never_swapped_are_refused(out: Path, trained: Path) -> None:
    with pytest.raises(UnknownModelError, match="models list"):
        called("models", "use", str(out), trained.name)
    with pytest.raises(NoEarlierModelsError):
        called("models", "roll-back", str(out))
    assert asked(out) == []


def test_a_comparison_that_nobody_asked_for_says_so_and_ends(out: Path) -> None:
    code, text = called("models", "shadow", str(out))
    assert code == 2
    assert "name the address" in " ".join(text.replace("│", " ").split())
    code, _ = called("models", "shadow", str(out), "--stop")
    assert code == 0


@pytest.mark.parametrize("words", [("status",), ("cancel", "r1")], ids=str)
def test_a_local_run_has_no_trainer(out: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(LocalTrainingError, match="fibsem-nuclei train"):
        called("training", words[0], str(out), *words[1:])
