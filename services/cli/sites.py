"""What a verb works on: the folder of a local run, or a deployed system; the verbs need not know which."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.options import SHIPPED_MODELS
from services.contracts.messages import DeadLettered, Message
from services.contracts.topics import DEAD_LETTERS, OPERATOR
from services.embedded.progress import read_status
from services.embedded.settings import BUS, STATE, STORE, RunSettings, kept_in, load
from services.embedded.swaps import ModelDesk
from services.ingest.registry import settings_of
from services.ingest.requests import RequestBox
from services.ingest.settings import AcquisitionSettings
from services.runtime.bus.port import Bus, Record
from services.runtime.bus.replay import messages_of, replay_messages
from services.runtime.bus.sqlite import SqliteBus
from services.runtime.store.directory import DirectoryStore
from services.runtime.store.port import ArtefactStore

# In place of a path: the deployed system whose settings the environment holds, as it does in every container of it.
STACK = Path("stack")
_HELP = "OUT of a run, a file with the settings of a deployed system, or `stack` for the one of the FIBSEM_* variables"
Where = Annotated[Path, typer.Argument(help=_HELP)]
AcquisitionName = Annotated[
    str | None, typer.Option("--acquisition", help="which acquisition of a deployed system; default: the only one")
]

LETTERS_AT_ONCE = 500
WAIT_S = 1.0


class NoRunError(ValueError):
    """The folder holds no run."""


@dataclass(frozen=True)
class Site:
    """A run, wherever it works.

    Attributes
    ----------
    settings
        The acquisition and what was said of it.
    store
        Its artefacts.
    connect
        Connects to its bus.
    ask
        Asks how it stands: `line`, `progress`, `ledger`.
    models
        Folder of the networks that it was set up with.
    """

    settings: AcquisitionSettings
    store: ArtefactStore
    connect: Callable[[], Bus]
    ask: Callable[[], dict[str, Any]]
    models: Path = SHIPPED_MODELS

    @cached_property
    def bus(self) -> Bus:
        """The bus, connected when it is first needed."""
        return self.connect()

    @property
    def desk(self) -> ModelDesk:
        """The networks of the acquisition, for whoever decides about them."""
        return ModelDesk(self.store, self.bus, self.settings.acquisition, self.models)

    @property
    def requests(self) -> RequestBox:
        """Where requests are left."""
        return RequestBox(self.store, self.settings.acquisition)

    def dead_letters(self) -> Iterator[DeadLettered]:
        """Yield what was refused, each once."""
        yield from _each_once(replay_messages(self.bus, (DEAD_LETTERS,)))

    @contextmanager
    def open_dead_letters(self) -> Iterator[tuple[DeadLettered, ...]]:
        """Give the dead letters nobody has dealt with; they are dealt with when the block ends without an error."""
        consumer = self.bus.consumer(OPERATOR, (DEAD_LETTERS,), OPERATOR)
        try:
            records: list[Record] = []
            while not consumer.assignment() or len(records) < sum(consumer.lag().values()):
                records += consumer.poll(LETTERS_AT_ONCE, WAIT_S)
            yield tuple(_each_once(messages_of(records)))
            if records:
                consumer.commit({record.place: record.offset + 1 for record in records})
        finally:
            consumer.close()


def _each_once(messages: Iterable[Message]) -> Iterator[DeadLettered]:
    seen = set()
    for message in messages:
        if isinstance(message, DeadLettered) and message.identity not in seen:
            seen.add(message.identity)
            yield message


def settings_file(where: Path) -> Path | None:
    """Return the file of settings that is meant; None for the settings of the environment.

    Raises
    ------
    NoRunError
        If it is neither a file nor the word for the environment's.
    """
    if where.is_file():
        return where
    if where == STACK:
        return None
    raise NoRunError(f"there is no {where}: give the OUT of a run, a file of FIBSEM_* settings, or the word `stack`")


@contextmanager
def site_of(where: Path, acquisition: str | None = None) -> Iterator[Site]:
    """Open what a verb works on.

    Raises
    ------
    NoRunError
        If the folder holds no run.
    NoDeploymentError
        If there are no settings of a deployed system.
    """
    with ExitStack() as resources:
        yield (_local(where, resources) if where.is_dir() else _deployed(where, acquisition, resources))


def local_settings(out: Path) -> RunSettings:
    """Return the settings of the run in a folder.

    Raises
    ------
    NoRunError
        If it holds none.
    """
    settings = load(out)
    if settings is None:
        raise NoRunError(f"{out} holds no run: give the --out of `fibsem-nuclei run`")
    return settings


def _local(out: Path, resources: ExitStack) -> Site:
    settings = local_settings(out)
    store = DirectoryStore(kept_in(out) / STORE, reference_files=True)
    resources.callback(store.close)

    def connect() -> Bus:
        bus = SqliteBus(kept_in(out) / BUS)
        resources.callback(bus.close)
        return bus

    return Site(settings, store, connect, lambda: read_status(out / STATE), settings.models)


def _deployed(where: Path, acquisition: str | None, resources: ExitStack) -> Site:
    # Only who asks a deployed system waits for its clients to be imported.
    from services.deployed.stack import connected
    from services.deployed.standing import standing

    stack = resources.enter_context(connected(settings_file(where)))
    settings = settings_of(stack.store, acquisition)
    return Site(
        settings,
        stack.store,
        lambda: stack.bus,
        lambda: standing(stack, settings.acquisition).as_json(),
        stack.deployment.models,
    )
