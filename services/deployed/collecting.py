"""Brings an acquisition's results from a deployed system into a folder: the same files as those of a local run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path

from services.contracts.keys import MODELS
from services.contracts.messages import Message
from services.contracts.topics import TOPICS
from services.deployed.stack import Stack
from services.embedded.amending import REUSED
from services.embedded.overview import write_overview
from services.embedded.provenance import provenance
from services.embedded.settings import BUS, COLLECTED, STATE, STORE, RunSettings, keep, settle
from services.embedded.swaps import swaps_of
from services.ingest.intake import Intake
from services.ingest.journal import Journal
from services.ingest.ledger import rows
from services.ingest.settings import AcquisitionSettings
from services.results.assembly import Results
from services.runtime.bus.port import Outgoing
from services.runtime.bus.replay import replay_messages
from services.runtime.bus.sqlite import SqliteBus
from services.runtime.handler import Publication
from services.runtime.segmenter.cards import read_model_set
from services.runtime.segmenter.shelf import SERVED
from services.runtime.service import outgoing
from services.runtime.store.directory import DirectoryStore
from services.runtime.store.port import ArtefactStore

RESULT_TOPICS = tuple(topic.name for topic in TOPICS if "results" in topic.consumers)
PUBLISHED = "models"
RECORDS_AT_ONCE = 500


def run_settings(stack: Stack, acquisition: AcquisitionSettings) -> RunSettings:
    """Return the settings by which a local run would give the same results."""
    models = stack.deployment.models.resolve()
    return RunSettings(**acquisition.model_dump(), **stack.deployment.method.model_dump(), models=models)


def collect(stack: Stack, acquisition: AcquisitionSettings, out: Path, slices: Sequence[Path] | None = None) -> Path:
    """Write every result of an acquisition as it stands; return the path of the manifest.

    Parameters
    ----------
    stack
        The deployed system.
    acquisition
        Which acquisition, with what was said of it.
    out
        The folder; an earlier collection of the same acquisition is brought up to date.
    slices
        Folders of the slices, seen from here, if they lie elsewhere than ingest sees them.

    Raises
    ------
    OtherRunError
        If the folder holds the results of something else.
    TransientError
        If bus, store or disk are out.
    """
    settings = settle(out, run_settings(stack, acquisition), joined=True)
    if slices:
        keep(out, settings.model_copy(update={"slices": tuple(folder.resolve() for folder in slices)}))
    models = read_model_set(settings.models)
    intake = Intake(acquisition.ingest(watch=True).identity)
    for events in Journal(stack.store, acquisition.acquisition).entries():
        for event in events:
            intake.apply(event)
    ledger = (row.line for row in rows(intake))
    messages = _messages(stack, acquisition.acquisition)
    swaps = swaps_of(stack.bus, stack.store, acquisition.acquisition)
    manifest = Results(out, stack.store).finish(
        messages, ledger, provenance(settings, models, settings.numeric_profile, swaps)
    )
    write_overview(
        out / STATE / "overview", stack.store, lambda: _messages(stack, acquisition.acquisition, ("slices", "crops"))
    )
    return manifest


def bring_computed(stack: Stack, acquisition_id: str, out: Path, say: Callable[[int, int], None]) -> int:
    """Bring what an acquisition computed beside its collected results, so that they can be amended here.

    These are what a later version takes over (outlines, crops, label planes), the published networks, and the messages.
    What was brought before is not brought again.

    Parameters
    ----------
    stack
        The deployed system.
    acquisition_id
        Which acquisition.
    out
        Folder it was collected into.
    say
        Told how many artefacts are here, and of how many.

    Returns
    -------
    int
        Artefacts that are here now.

    Raises
    ------
    TransientError
        If bus, store or disk are out.
    """
    place = out / STATE / COLLECTED
    place.mkdir(parents=True, exist_ok=True)
    wanted = [*_computed(stack.store, acquisition_id), *_networks(stack.store)]
    with closing(DirectoryStore(place / STORE, reference_files=True)) as here:
        for done, key in enumerate(wanted, start=1):
            there = stack.store.find(key)
            if there is not None and there != here.find(key):
                here.put(key, stack.store.get(there))
            say(done, len(wanted))
    partial = place / f"{BUS}.part"
    partial.unlink(missing_ok=True)
    with closing(SqliteBus(partial)) as bus:
        bus.create_topics(TOPICS)
        _copy_messages(stack, acquisition_id, bus)
    partial.replace(place / BUS)
    return len(wanted)


def _computed(store: ArtefactStore, acquisition_id: str) -> Iterator[str]:
    for key in store.keys(acquisition_id):
        if any(fnmatchcase(key, f"{acquisition_id}/{pattern}/*") for pattern in REUSED):
            yield key


def _networks(store: ArtefactStore) -> Iterator[str]:
    return (key for key in store.keys(MODELS) if not key.endswith(f"/{SERVED}"))


def _copy_messages(stack: Stack, acquisition_id: str, bus: SqliteBus) -> None:
    """Copy what was said of the acquisition and of networks, in the order of each topic."""
    producer = bus.producer()
    for topic in TOPICS:
        waiting: list[Outgoing] = []
        for message in replay_messages(stack.bus, (topic.name,)):
            if topic.name == PUBLISHED or message.about_acquisition == acquisition_id:
                waiting.append(outgoing(Publication(topic.name, message)))
            if len(waiting) == RECORDS_AT_ONCE:
                producer.publish(waiting)
                waiting.clear()
        if waiting:
            producer.publish(waiting)
    producer.close()


def _messages(stack: Stack, acquisition_id: str, topics: Sequence[str] = RESULT_TOPICS) -> Iterator[Message]:
    for message in replay_messages(stack.bus, topics):
        if message.about_acquisition == acquisition_id:
            yield message
