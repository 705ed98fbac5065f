"""Fills a bus that was lost again, from the store alone (design, State)."""

from __future__ import annotations

from services.deployed.stack import Stack
from services.ingest.journal import Journal
from services.ingest.publishing import Publisher
from services.ingest.registry import acquisitions, settings_of


def reconcile(stack: Stack) -> dict[str, int]:
    """Create the topics and say again what every acquisition's journal holds; return its messages, by acquisition.

    Every service behind finds its artefact or its step record and says again what follows. What was not lost is
    said twice, which changes nothing. Ingest may run meanwhile.

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
    finally:
        producer.close()
    return counts
