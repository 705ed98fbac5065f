"""Brings an acquisition's results from a deployed system into a folder: the same files as those of a local run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from services.contracts.messages import Message
from services.contracts.model_card import RECOMMENDED_FUSION
from services.contracts.topics import TOPICS
from services.deployed.stack import Stack
from services.embedded.overview import write_overview
from services.embedded.provenance import provenance
from services.embedded.settings import STATE, RunSettings, settle
from services.embedded.swaps import swaps_of
from services.ingest.intake import Intake
from services.ingest.journal import Journal
from services.ingest.ledger import rows
from services.ingest.settings import AcquisitionSettings
from services.results.assembly import Results
from services.runtime.bus.replay import replay_messages
from services.runtime.segmenter.cards import read_model_set

RESULT_TOPICS = tuple(topic.name for topic in TOPICS if "results" in topic.consumers)


def run_settings(stack: Stack, acquisition: AcquisitionSettings) -> RunSettings:
    """Return the settings by which a local run would give the same results."""
    models = stack.deployment.models.resolve()
    return RunSettings(**acquisition.model_dump(), **stack.deployment.method.model_dump(), models=models)


def collect(stack: Stack, acquisition: AcquisitionSettings, out: Path) -> Path:
    """Write every result of an acquisition as it stands; return the path of the manifest.

    Parameters
    ----------
    stack
        The deployed system.
    acquisition
        Which acquisition, with what was said of it.
    out
        The folder; an earlier collection of the same acquisition is brought up to date.

    Raises
    ------
    OtherRunError
        If the folder holds the results of something else.
    TransientError
        If bus, store or disk are out.
    """
    settings = settle(out, run_settings(stack, acquisition), joined=True)
    models = read_model_set(settings.models, RECOMMENDED_FUSION)
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


def _messages(stack: Stack, acquisition_id: str, topics: Sequence[str] = RESULT_TOPICS) -> Iterator[Message]:
    for message in replay_messages(stack.bus, topics):
        if message.about_acquisition == acquisition_id:
            yield message
