"""Reads an artefact that somebody else may replace at any moment, such as how far a training is."""

from __future__ import annotations

from services.runtime.store.port import ArtefactCorruptError, ArtefactMissingError, ArtefactStore

# It would have to be replaced between two requests so many times in a row.
LOOKS = 10


def read_latest(store: ArtefactStore, key: str) -> bytes | None:
    """Return what stands under a key, whole; None if nothing does.

    Raises
    ------
    ArtefactCorruptError
        If what is there never is what was found a moment before.
    TransientError
        If the store cannot be read now.
    """
    for look in range(LOOKS):
        ref = store.find(key)
        if ref is None:
            return None
        try:
            return store.get(ref)
        except (ArtefactCorruptError, ArtefactMissingError):
            if look == LOOKS - 1:
                raise
    return None
