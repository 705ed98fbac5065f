"""Which files are about to be read, written down first: a file that kills the process must not be tried for ever.

Several files are announced with one write. A file that was announced once and not settled is announced alone from
then on, so that a file which only stood beside a deadly one is never taken for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from services.runtime.store.port import ArtefactStore


class ReadingAttempts:
    """Counts the attempts at each file of one acquisition.

    Parameters
    ----------
    store
        Keeps the counts; one small artefact.
    acquisition_id
        Whose files they are.
    """

    def __init__(self, store: ArtefactStore, acquisition_id: str) -> None:
        self._store = store
        self._key = f"{acquisition_id}/ingest/attempts.json"
        ref = store.find(self._key)
        self._counts: dict[str, int] = json.loads(store.get(ref)) if ref else {}
        self._announced: set[str] = set()

    def begin(self, name: str, others: Iterable[str] = ()) -> int:
        """Count one more attempt at a file, durably; return which it is, from 1.

        Parameters
        ----------
        name
            The file, and where in it.
        others
            What is going to be read next; announced together with it if none has been in trouble.

        Raises
        ------
        TransientError
            If the store is out; nothing is counted.
        """
        if name in self._announced:
            self._announced.discard(name)
            return self._counts[name]
        fresh = [other for other in others if other not in self._counts and other != name]
        together = [name] if name in self._counts else [name, *fresh]
        counts = {**self._counts, **{each: self._counts.get(each, 0) + 1 for each in together}}
        self._write(counts)
        self._counts = counts
        self._announced |= set(together[1:])
        return counts[name]

    def settle(self, name: str) -> None:
        """Forget a file that was read; written with the next `begin`, since forgetting late is harmless."""
        self._counts.pop(name, None)
        self._announced.discard(name)

    def rest(self) -> None:
        """Write down what was settled, before somebody else gets a turn and perhaps dies of something else.

        Raises
        ------
        TransientError
            If the store is out.
        """
        self._write(self._counts)

    def undo(self, name: str) -> None:
        """Take one attempt back: an outage, not the file, ended it."""
        self._counts[name] = max(0, self._counts.get(name, 1) - 1)

    def _write(self, counts: dict[str, int]) -> None:
        self._store.put(self._key, json.dumps(counts, sort_keys=True).encode())
