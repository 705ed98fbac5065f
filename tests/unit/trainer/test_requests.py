"""Requests to train carry all that the recipe names, verified; checkpoints survive the machine they were written on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from pydantic import ValidationError

from services.contracts.values import ArtefactRef
from services.runtime.store.directory import DirectoryStore
from services.runtime.store.port import ArtefactCorruptError
from services.trainer.keeping import CURVES, LAST
from services.trainer.requests import (
    FILES,
    AskedOtherwiseError,
    Cancellation,
    DamagedRequestError,
    InputFile,
    RecipeOutsideError,
    Standing,
    TrainingBox,
    digest_of,
)
from services.trainer.safekeeping import Safe
from tests.support.messages import ref
from tests.support.training_requests import write_recipe


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DirectoryStore]:
    store = DirectoryStore(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return write_recipe(tmp_path / "here")


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_what_a_recipe_names_arrives_as_it_was_sent(store: DirectoryStore, recipe: Path, tmp_path: Path) -> None:
    request = TrainingBox(store).ask(recipe, "r1", "biologist")
    arrived = TrainingBox(store).bring(request, tmp_path / "there")
    assert arrived == tmp_path / "there" / "recipe.toml"
    assert files_below(tmp_path / "there") == files_below(recipe.parent)


def test_files_that_are_there_are_not_sent_again(store: DirectoryStore, recipe: Path) -> None:
    box = TrainingBox(store)
    box.ask(recipe, "r1", "biologist")
    before = set(store.keys(FILES))
    request = box.ask(write_recipe(recipe.parent, ("steps = 40", "steps = 50")), "r2", "biologist")
    assert set(store.keys(FILES)) - before == {request.recipe.key}
    assert box.names() == ("r1", "r2")


def test_a_file_that_was_altered_on_the_way_is_brought_again(
    store: DirectoryStore, recipe: Path, tmp_path: Path
) -> None:
    request = TrainingBox(store).ask(recipe, "r1", "biologist")
    TrainingBox(store).bring(request, tmp_path / "there")
    (tmp_path / "there" / "labelled" / "dataset.json").write_text("{}")
    TrainingBox(store).bring(request, tmp_path / "there")
    assert files_below(tmp_path / "there") == files_below(recipe.parent)


def with_another_annotation(recipe: Path) -> Path:
    (recipe.parent / "labelled" / "images" / "new.tif").write_bytes(b"the twenty-first image")
    return recipe


def test_the_name_of_a_request_changes_with_recipe_and_data(recipe: Path) -> None:
    names = [digest_of(recipe), digest_of(recipe)]
    names.append(digest_of(write_recipe(recipe.parent, ("steps = 40", "steps = 50"))))
    names.append(digest_of(with_another_annotation(recipe)))
    assert names[0] == names[1]
    assert len(set(names)) == 3


def test_what_was_asked_for_first_can_still_be_brought_when_the_name_was_taken_again(
    store: DirectoryStore, recipe: Path, tmp_path: Path
) -> None:
    box = TrainingBox(store)
    first = box.ask(recipe, "r1", "biologist")
    before = files_below(recipe.parent)
    box.stands(Standing(request_id="r1", state="published"))
    second = box.ask(with_another_annotation(recipe), "r1", "biologist")
    box.bring(first, tmp_path / "first")
    box.bring(second, tmp_path / "second")
    assert files_below(tmp_path / "first") == before
    assert files_below(tmp_path / "second") == files_below(recipe.parent) != before


@pytest.mark.parametrize("state", ["waiting", "training"])
def test_a_name_is_not_given_to_other_data_before_its_training_has_ended(
    store: DirectoryStore, recipe: Path, state: Literal["waiting", "training"]
) -> None:
    box = TrainingBox(store)
    first = box.ask(recipe, "r1", "biologist")
    box.stands(Standing(request_id="r1", state=state))
    assert box.ask(recipe, "r1", "biologist") == first
    with pytest.raises(AskedOtherwiseError, match=f"of r1 are {state}"):
        box.ask(with_another_annotation(recipe), "r1", "biologist")
    assert box.request("r1") == first


def test_what_was_cancelled_waits_again_when_it_is_asked_for_again(store: DirectoryStore, recipe: Path) -> None:
    box = TrainingBox(store)
    box.ask(recipe, "r1", "biologist")
    box.cancel("r1", Cancellation(decided_by="biologist", reason="wrong classes"))
    box.stands(Standing(request_id="r1", state="cancelled"))
    box.ask(recipe, "r1", "biologist")
    assert (box.cancelled("r1"), box.standing("r1").state) == (None, "waiting")
    box.cancel("r1", Cancellation(decided_by="biologist", reason="wrong again"))
    found = box.cancelled("r1")
    assert found is not None
    assert found.reason == "wrong again"


@pytest.mark.parametrize("named", ["../elsewhere", "/etc"])
def test_a_recipe_that_names_something_outside_its_folder_is_not_sent(
    store: DirectoryStore, recipe: Path, named: str
) -> None:
    recipe.write_text(recipe.read_text().replace('folder = "labelled"', f'folder = "{named}"'))
    with pytest.raises(RecipeOutsideError, match="outside"):
        TrainingBox(store).ask(recipe, "r1", "biologist")


def test_a_recipe_that_names_nothing_is_not_sent(store: DirectoryStore, recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace('folder = "labelled"', 'folder = "lost"'))
    with pytest.raises(RecipeOutsideError, match="there is nothing at"):
        TrainingBox(store).ask(recipe, "r1", "biologist")


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../up", "a/../../b", "a\\b", "a\0b", "."])
def test_a_request_writes_nowhere_but_into_its_folder(path: str) -> None:
    with pytest.raises(ValidationError):
        InputFile(path=path, content=ref("x"))


def test_a_request_whose_files_are_gone_says_so(store: DirectoryStore, recipe: Path, tmp_path: Path) -> None:
    request = TrainingBox(store).ask(recipe, "r1", "biologist")
    for path in (tmp_path / "store" / FILES).iterdir():
        path.unlink()
    with pytest.raises(DamagedRequestError, match="not in the store"):
        TrainingBox(store).bring(request, tmp_path / "there")


def test_a_list_of_files_that_is_none_is_told(store: DirectoryStore, recipe: Path, tmp_path: Path) -> None:
    request = TrainingBox(store).ask(recipe, "r1", "biologist")
    other = request.model_copy(update={"inputs": store.put("other", json.dumps({"files": "all"}).encode())})
    with pytest.raises(DamagedRequestError, match="no list of files"):
        TrainingBox(store).bring(other, tmp_path / "there")


def test_how_a_training_stands_and_that_it_was_cancelled_is_kept(store: DirectoryStore) -> None:
    box = TrainingBox(store)
    assert (box.standing("r1").state, box.cancelled("r1")) == ("waiting", None)
    box.stands(Standing(request_id="r1", state="training", network="sc", step=3, steps=9))
    box.cancel("r1", Cancellation(decided_by="biologist", reason="wrong classes"))
    assert box.standing("r1").step == 3
    found = box.cancelled("r1")
    assert found is not None
    assert found.reason == "wrong classes"


# Checkpoints


def write_checkpoint(work: Path, step: int) -> None:
    folder = work / "sc-0123456789ab"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("best-*"):
        path.unlink()
    for name in (f"best-f1-{step:08d}.safetensors", f"best-loss-{step:08d}.safetensors", CURVES, LAST):
        (folder / name).write_text(f"{name} of step {step}")


def test_a_lost_machine_costs_no_more_than_the_steps_since_the_last_copy(store: DirectoryStore, tmp_path: Path) -> None:
    safe = Safe(store, "r1", tmp_path / "here")
    for step in (10, 20, 30):
        write_checkpoint(tmp_path / "here", step)
        safe.keep("sc-0123456789ab", step)
    assert Safe(store, "r1", tmp_path / "there").restore() == ("sc-0123456789ab",)
    assert files_below(tmp_path / "there") == files_below(tmp_path / "here")
    # Three copies went into two slots.
    assert len([key for key in store.keys("trainings") if key.endswith(LAST)]) == 2


class Dying(DirectoryStore):
    """A store whose process is killed before some put."""

    left = 0

    def put(self, key: str, payload: bytes) -> ArtefactRef:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().put(key, payload)


@pytest.mark.parametrize("puts", range(5))
def test_who_is_killed_while_copying_leaves_the_copy_before(tmp_path: Path, puts: int) -> None:
    store = Dying(tmp_path / "store")
    store.left = 100
    safe = Safe(store, "r1", tmp_path / "here")
    write_checkpoint(tmp_path / "here", 10)
    safe.keep("sc-0123456789ab", 10)
    before = files_below(tmp_path / "here")
    write_checkpoint(tmp_path / "here", 20)
    store.left = puts
    with pytest.raises(KeyboardInterrupt):
        safe.keep("sc-0123456789ab", 20)
    Safe(store, "r1", tmp_path / "there").restore()
    assert files_below(tmp_path / "there") == before
    store.close()


def test_a_checkpoint_of_this_machine_is_not_replaced_by_an_older_copy(store: DirectoryStore, tmp_path: Path) -> None:
    safe = Safe(store, "r1", tmp_path / "here")
    write_checkpoint(tmp_path / "here", 10)
    safe.keep("sc-0123456789ab", 10)
    write_checkpoint(tmp_path / "here", 20)
    assert safe.restore() == ()
    assert "20" in (tmp_path / "here" / "sc-0123456789ab" / LAST).read_text()


def test_a_restoring_that_was_killed_is_done_again(store: DirectoryStore, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "here", 10)
    Safe(store, "r1", tmp_path / "here").keep("sc-0123456789ab", 10)
    write_checkpoint(tmp_path / "there", 99)
    (tmp_path / "there" / "sc-0123456789ab" / LAST).unlink()
    Safe(store, "r1", tmp_path / "there").restore()
    assert files_below(tmp_path / "there") == files_below(tmp_path / "here")


def test_a_copy_that_was_altered_is_not_taken(store: DirectoryStore, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "here", 10)
    Safe(store, "r1", tmp_path / "here").keep("sc-0123456789ab", 10)
    (last,) = [key for key in store.keys("trainings") if key.endswith(LAST)]
    store.put(last, b"something else")
    with pytest.raises(ArtefactCorruptError):
        Safe(store, "r1", tmp_path / "there").restore()
