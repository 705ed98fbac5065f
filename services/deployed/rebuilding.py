"""Fills a bus that was lost again, from the store alone (design, State)."""

from __future__ import annotations

from collections.abc import Iterator

from services.contracts.messages import TrainingRequested
from services.deployed.stack import Stack
from services.ingest.journal import Journal
from services.ingest.publishing import Publisher
from services.ingest.registry import acquisitions, settings_of
from services.runtime.handler import Publication
from services.runtime.service import outgoing
from services.trainer.requests import TrainingBox


def reconcile(stack: Stack) -> dict[str, int]:
    """Create the topics and say again what every acquisition's journal holds; return its messages, by acquisition.

    Every service behind finds its artefact or its step record and says again what follows. What was not lost is
    said twice, which changes nothing. Ingest may run meanwhile. Requests to train are said again as well, but for those
    that were refused: those that were followed are answered with what was published for them.

    Raises
    ------
    TransientError
        If bus or store are out; run it again.
    """
    stack.create_topics()
    counts = {}
    producer = stack.bus.producer()
    try:
        for name in acquisitions(stack.store):
            identity = settings_of(stack.store, name).ingest(watch=True).identity
            publisher = Publisher(identity, Journal(stack.store, name), producer, from_start=True)
            counts[name] = publisher.unsent
            publisher.flush()
        if requests := list(_requests(TrainingBox(stack.store))):
            producer.publish([outgoing(Publication("training-requests", request)) for request in requests])
            counts["trainings"] = len(requests)
    finally:
        producer.close()
    return counts


def _requests(box: TrainingBox) -> Iterator[TrainingRequested]:
    for name in box.names():
        request = box.request(name)
        if request is not None and box.standing(name).state != "refused":
            yield request
