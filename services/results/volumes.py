"""Brings the files of a volume from the store into the results folder, sharing the bytes where that is possible."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol, runtime_checkable

from services.imaging.omezarr import METADATA
from services.results.files import replacing
from services.runtime.store.port import ArtefactMissingError, ArtefactStore


@runtime_checkable
class FileBacked(Protocol):
    """A store whose artefacts are files; they are replaced, never written into."""

    def path_of(self, key: str) -> Path:
        """Return the file that holds the artefact's bytes, and nothing else."""


def bring_volume(store: ArtefactStore, prefix: str, volume: Path) -> frozenset[str]:
    """Make `volume` hold what the store holds under `prefix`; return the keys relative to it.

    Chunks come before the metadata that make them readable, so a viewer may look at any moment.
    What has been brought already is left alone.

    Parameters
    ----------
    store
        Where the files are; hard links are made if it is `FileBacked` and on the same file system.
    prefix
        Key prefix of the OME-Zarr group in the store.
    volume
        Folder of the OME-Zarr group in the results.
    """
    relative_keys = [key[len(prefix) + 1 :] for key in store.keys(prefix)]
    for relative_key in sorted(relative_keys, key=_reading_order):
        _bring(store, f"{prefix}/{relative_key}", volume / relative_key)
    return frozenset(relative_keys)


def prune_volume(volume: Path, keep: frozenset[str]) -> None:
    """Remove the files of an earlier version of the volume that the present one does not have."""
    for path in volume.rglob("*"):
        if path.is_file() and path.relative_to(volume).as_posix() not in keep:
            path.unlink()


def _reading_order(relative_key: str) -> tuple[bool, int, str]:
    return (relative_key.endswith(METADATA), -relative_key.count("/"), relative_key)


def _bring(store: ArtefactStore, key: str, target: Path) -> None:
    source = store.path_of(key) if isinstance(store, FileBacked) else None
    if source is not None and _link(source, target):
        return
    ref = store.find(key)
    if ref is None:
        raise ArtefactMissingError(key)
    if target.exists() and target.stat().st_size == ref.size_bytes and _sha256(target) == ref.sha256:
        return
    with replacing(target) as part:
        part.write_bytes(store.get(ref))


def _link(source: Path, target: Path) -> bool:
    if target.exists() and target.samefile(source):
        return True
    try:
        with replacing(target) as part:
            part.hardlink_to(source)
    except OSError:
        # Another file system, one without links, or too many of them: the caller copies, and a disk
        # that is really out of order shows itself there.
        return False
    return True


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
