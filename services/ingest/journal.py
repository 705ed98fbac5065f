"""Keeps the journal in the artefact store, one small artefact for the events of each step."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from services.ingest.events import EVENTS, Event
from services.runtime.store.port import ArtefactStore
from services.runtime.store.rewritten import read_latest


class BrokenJournalError(LookupError):
    """An entry of the journal is missing between others."""


class Journal:
    """The journal of one acquisition.

    Parameters
    ----------
    store
        Where it lies.
    acquisition_id
        Whose it is.

    Raises
    ------
    BrokenJournalError
        If entries are missing.
    TransientError
        If the store cannot be read now.
    """

    def __init__(self, store: ArtefactStore, acquisition_id: str) -> None:
        self._store = store
        self._prefix = f"{acquisition_id}/ingest/journal"
        self._published_key = f"{acquisition_id}/ingest/published.json"
        keys = list(store.keys(self._prefix))
        if keys and keys[-1] != self._key(len(keys) - 1):
            raise BrokenJournalError(f"{keys[-1]} is entry {len(keys) - 1}: the store has lost some before it")
        self._length = len(keys)

    def __len__(self) -> int:
        return self._length

    def entries(self) -> Iterator[tuple[Event, ...]]:
        """Yield what was appended, in order."""
        for number in range(self._length):
            ref = self._store.find(self._key(number))
            if ref is None:
                raise BrokenJournalError(f"{self._key(number)} went away")
            yield EVENTS.validate_json(self._store.get(ref))

    def append(self, events: Sequence[Event]) -> None:
        """Keep events, durably; appending again after an outage repeats nothing.

        Raises
        ------
        TransientError
            If the store cannot be written now.
        """
        self._store.put(self._key(self._length), EVENTS.dump_json(tuple(events), exclude_none=True))
        self._length += 1

    @property
    def published(self) -> int:
        """Number of entries whose messages are known to have been acknowledged."""
        content = read_latest(self._store, self._published_key)
        return 0 if content is None else int(json.loads(content)["entries"])

    def note_published(self) -> None:
        """Remember that the messages of every entry have been acknowledged."""
        self._store.put(self._published_key, json.dumps({"entries": self._length}).encode())

    def _key(self, number: int) -> str:
        return f"{self._prefix}/{number:08d}.json"
