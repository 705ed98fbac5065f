"""Which acquisitions a store holds, and what was said of each: kept for those who collect results elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from services.contracts.keys import REGISTER
from services.ingest.settings import AcquisitionSettings
from services.runtime.store.port import ArtefactStore
from services.runtime.store.rewritten import read_latest


class UnknownAcquisitionError(LookupError):
    """The store holds no acquisition of that name, or several, and none was named."""


def register(store: ArtefactStore, acquisition: AcquisitionSettings) -> None:
    """Write down what acquisition this is."""
    store.put(f"{REGISTER}/{acquisition.acquisition}/settings.json", acquisition.model_dump_json(indent=2).encode())


def acquisitions(store: ArtefactStore) -> list[str]:
    """Return the names of all acquisitions, sorted."""
    return sorted({PurePosixPath(key).parts[1] for key in store.keys(REGISTER)})


def settings_of(store: ArtefactStore, name: str | None) -> AcquisitionSettings:
    """Return what was said of an acquisition; its name may be left out where there is only one.

    Raises
    ------
    UnknownAcquisitionError
        If there is none of that name, or several and none was named.
    """
    known = acquisitions(store)
    if name is None and len(known) == 1:
        name = known[0]
    ref = store.find(f"{REGISTER}/{name}/settings.json") if name else None
    if ref is None:
        there = ", ".join(known) or "none yet: is ingest running?"
        raise UnknownAcquisitionError(f"name one of the acquisitions with --acquisition; there are {there}")
    return AcquisitionSettings.model_validate_json(store.get(ref))


def keep_status(store: ArtefactStore, acquisition_id: str, status: Mapping[str, Any]) -> None:
    """Write how ingest stands, for whoever asks from elsewhere."""
    store.put(f"{REGISTER}/{acquisition_id}/status.json", json.dumps(status, sort_keys=True).encode())


def status_of(store: ArtefactStore, acquisition_id: str) -> dict[str, Any]:
    """Return what ingest wrote last, or an empty dictionary."""
    content = read_latest(store, f"{REGISTER}/{acquisition_id}/status.json")
    return {} if content is None else dict(json.loads(content))
