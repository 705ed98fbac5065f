"""Trainings asked for over the bus: recipe, data, cancellation and standing, all of them artefacts.

trainings/requests/ID/request.json       the message that says what was asked for, last
trainings/requests/ID/concluded.json     what was published for it
trainings/requests/ID/cancelled.json     who cancelled it, and why; null since it was asked for again
trainings/requests/ID/standing.json      how far it is
trainings/requests/ID/checkpoints/...    see `services.trainer.safekeeping`
trainings/files/SHA256                   contents of recipes, of lists of the files that they name, and of these
                                         files, each once, whichever requests name them
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from services.contracts.keys import TRAININGS
from services.contracts.messages import ModelPublished, TrainingRequested
from services.contracts.values import ArtefactRef, Count, Identifier, Text, Value
from services.runtime.store.port import ArtefactMissingError, ArtefactStore
from services.runtime.store.rewritten import read_latest

REQUESTS, FILES = f"{TRAININGS}/requests", f"{TRAININGS}/files"
RECIPE = "recipe.toml"


class RecipeOutsideError(ValueError):
    """A recipe names something that does not lie in its own folder, or is not there."""


class AskedOtherwiseError(ValueError):
    """Something else is waiting or in training under the name of a request."""


class DamagedRequestError(ValueError):
    """What a request refers to is not what it should be."""


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or "\0" in path or {"..", "."} & set(parts):
        raise ValueError(f"{path!r} is no path inside a folder")
    return path


class InputFile(Value):
    """A file that a recipe names; `path` from the recipe's folder on."""

    path: Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_inside)]
    content: ArtefactRef


class Inputs(Value):
    """Every file that a recipe names."""

    files: tuple[InputFile, ...]


class Cancellation(Value):
    """Somebody decided that a training is not wanted any more."""

    decided_by: Identifier
    reason: Text


_DECIDED: TypeAdapter[Cancellation | None] = TypeAdapter(Cancellation | None)


class Concluded(Value):
    """A request that was followed to its end: said again, it is answered with the same messages."""

    request: TrainingRequested
    published: tuple[ModelPublished, ...]


class Standing(Value):
    """How far a training is.

    Attributes
    ----------
    state
        `waiting` for the trainer, `training`, or how it ended.
    network, step, steps, training_loss, validation_loss, macro_f1
        Of the last validation.
    detail
        Why it was refused or cancelled; what was published.
    """

    request_id: Identifier
    state: Literal["waiting", "training", "published", "cancelled", "refused"] = "waiting"
    network: Identifier | None = None
    step: Count = 0
    steps: Count = 0
    training_loss: float | None = None
    validation_loss: float | None = None
    macro_f1: float | None = None
    detail: str = ""

    def line(self) -> str:
        """Return how it stands, in one line.

        >>> Standing(request_id="r", state="training", network="sc", step=200, steps=3000, macro_f1=0.5).line()
        'r: training sc, step 200 of 3000, macro F1 0.500'
        """
        parts = [f"{self.request_id}: {self.state}"]
        if self.state == "training" and self.network:
            parts[0] += f" {self.network}"
            parts.append(f"step {self.step} of {self.steps}")
            parts += [] if self.macro_f1 is None else [f"macro F1 {self.macro_f1:.3f}"]
            parts += [] if self.validation_loss is None else [f"validation loss {self.validation_loss:.3f}"]
        return ", ".join([*parts, *([self.detail] if self.detail else [])])


class TrainingBox:
    """The trainings of a store, as whoever asks and whoever trains see them.

    Parameters
    ----------
    store
        Where they meet.
    """

    def __init__(self, store: ArtefactStore) -> None:
        self._store = store

    def ask(self, recipe_path: Path, request_id: str, requested_by: str) -> TrainingRequested:
        """Put a recipe and all that it names into the store; return what to publish.

        Files that are there already, from this request or another, are not sent again. What was cancelled is wanted
        again. What was sent for an earlier request of this name stays, so that a training of it can go on.

        Raises
        ------
        RecipeOutsideError
            If the recipe names something outside its folder, or that is not there.
        AskedOtherwiseError
            If another recipe, or other files, wait or are in training under this name.
        TransientError
            If the store cannot be written now.
        """
        content = recipe_path.read_bytes()
        files = tuple(InputFile(path=name, content=self._keep(path.read_bytes())) for name, path in _named(recipe_path))
        request = TrainingRequested(
            request_id=request_id,
            recipe=self._keep(content),
            requested_by=requested_by,
            inputs=self._keep(_encoded(Inputs(files=files))) if files else None,
        )
        self._begin_anew(request)
        self._store.put(f"{REQUESTS}/{request_id}/request.json", _encoded(request))
        return request

    def _begin_anew(self, request: TrainingRequested) -> None:
        """Forget how an earlier request of this name ended, unless what it led to is the answer to this one."""
        name = request.request_id
        before, standing = self.request(name), self.standing(name)
        if before is not None and asked_for(before) != asked_for(request) and standing.state in {"waiting", "training"}:
            raise AskedOtherwiseError(
                f"another recipe or other files of {name} are {standing.state}: leave --name out, choose another name, "
                "or wait until that has ended"
            )
        if self.cancelled(name) is not None:
            self._store.put(f"{REQUESTS}/{name}/cancelled.json", b"null\n")
        if standing.state in {"cancelled", "refused"} or (
            standing.state == "published" and self.published_for(request) is None
        ):
            self.stands(Standing(request_id=name))

    def request(self, request_id: str) -> TrainingRequested | None:
        """Return what was asked for under a name last, or None."""
        content = read_latest(self._store, f"{REQUESTS}/{request_id}/request.json")
        return None if content is None else TrainingRequested.model_validate_json(content)

    def conclude(self, request: TrainingRequested, published: tuple[ModelPublished, ...]) -> None:
        """Keep what a request led to, before it is said."""
        concluded = Concluded(request=request, published=published)
        self._store.put(f"{REQUESTS}/{request.request_id}/concluded.json", _encoded(concluded))

    def published_for(self, request: TrainingRequested) -> tuple[ModelPublished, ...] | None:
        """Return what this recipe and these files led to; None if they have not, or others of this name have."""
        content = read_latest(self._store, f"{REQUESTS}/{request.request_id}/concluded.json")
        if content is None:
            return None
        found = Concluded.model_validate_json(content)
        return found.published if asked_for(found.request) == asked_for(request) else None

    def bring(self, request: TrainingRequested, folder: Path) -> Path:
        """Write recipe and inputs into a folder, verified; return the recipe's path. What is there is not sent again.

        Raises
        ------
        DamagedRequestError
            If an artefact is missing, or names files outside the folder.
        TransientError
            If the store cannot be read now.
        """
        try:
            inputs = Inputs(files=())
            if request.inputs is not None:
                inputs = Inputs.model_validate_json(self._store.get(request.inputs))
            for file in inputs.files:
                self._bring(file.content, folder / file.path)
            return self._bring(request.recipe, folder / RECIPE)
        except ArtefactMissingError as error:
            raise DamagedRequestError(f"what {request.request_id} names is not in the store: {error}") from error
        except ValidationError as error:
            raise DamagedRequestError(f"the inputs of {request.request_id} are no list of files: {error}") from error

    def cancel(self, request_id: str, cancellation: Cancellation) -> None:
        """Record that a training is not wanted any more."""
        self._store.put(f"{REQUESTS}/{request_id}/cancelled.json", _encoded(cancellation))

    def cancelled(self, request_id: str) -> Cancellation | None:
        """Return the decision to cancel a training, if there is one and nobody asked for it since."""
        content = read_latest(self._store, f"{REQUESTS}/{request_id}/cancelled.json")
        return None if content is None else _DECIDED.validate_json(content)

    def stands(self, standing: Standing) -> None:
        """Keep how far a training is."""
        self._store.put(f"{REQUESTS}/{standing.request_id}/standing.json", _encoded(standing))

    def standing(self, request_id: str) -> Standing:
        """Return how far a training is, as it was written last."""
        content = read_latest(self._store, f"{REQUESTS}/{request_id}/standing.json")
        return Standing(request_id=request_id) if content is None else Standing.model_validate_json(content)

    def names(self) -> tuple[str, ...]:
        """Return the names of all trainings asked for, sorted."""
        keys = self._store.keys(REQUESTS)
        return tuple(sorted({key.removeprefix(f"{REQUESTS}/").split("/")[0] for key in keys}))

    def _keep(self, content: bytes) -> ArtefactRef:
        key = f"{FILES}/{hashlib.sha256(content).hexdigest()}"
        return self._store.find(key) or self._store.put(key, content)

    def _bring(self, ref: ArtefactRef, path: Path) -> Path:
        if not (path.is_file() and _sha256(path) == ref.sha256):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.partial")
            partial.write_bytes(self._store.get(ref))
            partial.replace(path)
        return path


def asked_for(request: TrainingRequested) -> tuple[str, str | None]:
    """Return the hashes of recipe and files: equal for requests that are answered with the same networks."""
    return request.recipe.sha256, None if request.inputs is None else request.inputs.sha256


def digest_of(recipe_path: Path) -> str:
    """Return 8 digits that change with a recipe and with every file that it names, for the name of a request.

    Raises
    ------
    RecipeOutsideError
        If the recipe names something outside its folder, or that is not there.
    """
    said = [_sha256(recipe_path), *(f"{_sha256(path)} {name}" for name, path in _named(recipe_path))]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:8]


def _named(recipe_path: Path) -> Iterator[tuple[str, Path]]:
    """Yield every file that a recipe names, and its path from the recipe's folder on."""
    here = recipe_path.parent.resolve()
    for path in named_files(recipe_path.read_text(encoding="utf-8"), here):
        yield path.relative_to(here).as_posix(), path


def named_files(recipe: str, folder: Path) -> Iterator[Path]:
    """Yield every file that a recipe names, of folders all that lies in them, in a fixed order.

    Parameters
    ----------
    recipe
        Text of the recipe. What it says otherwise is judged by whoever trains.
    folder
        The recipe's own, resolved.

    Raises
    ------
    RecipeOutsideError
        If it names something that does not lie in that folder, or is not there.
    """
    for name in _names(tomllib.loads(recipe)):
        place = (folder / name).resolve()
        if not place.is_relative_to(folder):
            raise RecipeOutsideError(
                f"the recipe names {name}, which lies outside {folder}: what is sent must lie beside the recipe"
            )
        if place.is_file():
            yield place
        elif place.is_dir():
            yield from sorted(path for path in place.rglob("*") if path.is_file() and not path.name.startswith("."))
        else:
            raise RecipeOutsideError(f"the recipe names {name}, and there is nothing at {place}")


def _names(recipe: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a recipe names, wherever it names something as it should."""
    networks = recipe.get("networks")
    optimisers = [_table(network).get("optimiser") for network in networks] if isinstance(networks, list) else []
    data = _table(recipe.get("data"))
    named = [
        data.get("folder"),
        data.get("split_file"),
        *(_table(optimiser).get("start_from") for optimiser in optimisers),
    ]
    yield from (name for name in named if isinstance(name, str))


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _encoded(value: Value) -> bytes:
    return (value.model_dump_json(indent=2, exclude_none=True) + "\n").encode()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
