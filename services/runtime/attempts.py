"""How often a message was tried, counted durably *before* the computation.

An input that kills the process would otherwise be tried for ever: after the restart nothing would
know that it had been tried before (design, State).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from contextlib import suppress

from services.contracts.keys import RUNTIME
from services.runtime.errors import TransientError
from services.runtime.store.port import ArtefactStore


class Attempts:
    """Counts of what one replica of one service has in hand.

    Parameters
    ----------
    store
        Keeps the counts; one small artefact, rewritten before each piece of work.
    owner
        The service and its replica, path-safe.
    """

    def __init__(self, store: ArtefactStore, owner: str) -> None:
        self._store = store
        self._key = f"{RUNTIME}/attempts/{owner}.json"
        ref = store.find(self._key)
        self._counts: dict[str, int] = json.loads(store.get(ref)) if ref else {}

    def begin(self, names: Collection[str]) -> dict[str, int]:
        """Count one more attempt of each name, durably, and return the counts."""
        for name in names:
            self._counts[name] = self._counts.get(name, 0) + 1
        self._keep()
        return {name: self._counts[name] for name in names}

    def suspects(self, names: Iterable[str]) -> bool:
        """Whether one of the names was begun before and never answered."""
        return any(self._counts.get(name, 0) for name in names)

    def settle(self, names: Iterable[str]) -> None:
        """Forget names that were answered; written with the next `begin`, since forgetting late is harmless."""
        for name in names:
            self._counts.pop(name, None)

    def undo(self, names: Iterable[str]) -> None:
        """Take one attempt back: an outage, not the message, ended it."""
        for name in names:
            self._counts[name] = max(0, self._counts.get(name, 0) - 1)
        # If it is the store that is out, the attempt stays counted, which only a death could turn into blame.
        with suppress(TransientError):
            self._keep()

    def _keep(self) -> None:
        self._store.put(self._key, json.dumps(self._counts, sort_keys=True).encode())
