"""Puts the bytes of files into the store: those of slices by reference or copied, those of refused files copied."""

from __future__ import annotations

import json

from services.contracts.keys import DEAD_LETTERS, raw_key, sha256
from services.contracts.values import ArtefactRef
from services.ingest.events import FileRead, FileRefused, FileVersion
from services.ingest.folders import SliceFolders, digest_of
from services.ingest.intake import SERVICE
from services.ingest.names import shown
from services.ingest.reading import Unusable, Whole
from services.ingest.sightings import Listed
from services.runtime.store.port import ArtefactCorruptError, ArtefactStore


class Keeper:
    """Keeps files.

    Parameters
    ----------
    folders
        Where they are.
    store
        Where they go.
    acquisition_id
        Whose they are.
    in_memory_bytes
        Files up to this size are read at once.
    most_kept_bytes
        Of refused files that are larger only size and time are kept: a file of holes takes no room on the share.
    """

    def __init__(
        self,
        folders: SliceFolders,
        store: ArtefactStore,
        acquisition_id: str,
        *,
        in_memory_bytes: int = 2**28,
        most_kept_bytes: int = 2**30,
    ) -> None:
        self._folders = folders
        self._store = store
        self._acquisition_id = acquisition_id
        self._in_memory_bytes = in_memory_bytes
        self._most_kept_bytes = most_kept_bytes

    def whole(self, listed: Listed, found: Whole) -> FileRead | None:
        """Keep a slice as it is; None if the file changed meanwhile.

        Raises
        ------
        OSError
            If the file cannot be read.
        TransientError
            If the store cannot be written now.
        """
        key = raw_key(self._acquisition_id, found.z_zero, found.sha256)
        try:
            if shown(listed.key.name) == listed.key.name:
                raw = self._store.put_file(key, self._folders.path(listed.key), found.sha256)
            else:
                # A reference to the file would have to be written down, and its name cannot be.
                raw = self._put_bytes(key, listed, found.sha256)
        except (ArtefactCorruptError, FileNotFoundError):
            return None
        return FileRead(
            file=version_of(listed),
            raw=raw,
            z_zero=found.z_zero,
            first_page=found.first_page,
            pages=found.pages,
            channel=found.channel,
            telemetry=dict(found.telemetry),
        )

    def refused(self, listed: Listed, found: Unusable) -> FileRefused | None:
        """Keep a copy of a file that cannot be used; None if it changed or went away meanwhile.

        Raises
        ------
        OSError
            If the file cannot be read, for another reason than its permissions.
        TransientError
            If the store cannot be written now.
        """
        if listed.size_bytes > self._most_kept_bytes:
            return self._refusal(listed, found, self._describe(listed, f"larger than {self._most_kept_bytes} bytes"))
        try:
            original = self._copy(listed)
        except FileNotFoundError:
            return None
        except OSError as error:
            if found.fault.reason != "unreadable":
                raise
            original = self._describe(listed, error.strerror or type(error).__name__)
        return None if original is None else self._refusal(listed, found, original)

    def _refusal(self, listed: Listed, found: Unusable, original: ArtefactRef) -> FileRefused:
        return FileRefused(
            file=version_of(listed), original=original, z=listed.z, fault=found.fault, attempts=found.attempts
        )

    def _put_bytes(self, key: str, listed: Listed, expected_sha256: str) -> ArtefactRef:
        with self._folders.open(listed.key) as file:
            payload = file.read(listed.size_bytes + 1)
        if sha256(payload) != expected_sha256:
            raise ArtefactCorruptError(f"{shown(listed.key.name)} changed while it was read")
        return self._store.put(key, payload)

    def _copy(self, listed: Listed) -> ArtefactRef | None:
        with self._folders.open(listed.key) as file:
            if listed.size_bytes > self._in_memory_bytes:
                digest = digest_of(file, listed.size_bytes)
                try:
                    return self._store.put_file(_letter_key(digest), self._folders.path(listed.key), digest)
                except ArtefactCorruptError:
                    return None
            payload = file.read(listed.size_bytes + 1)
        if len(payload) != listed.size_bytes:
            return None
        return self._store.put(_letter_key(sha256(payload)), payload)

    def _describe(self, listed: Listed, why: str) -> ArtefactRef:
        """Keep what is known of a file whose bytes cannot be had, or are too many."""
        known = {
            "file": shown(listed.key.name),
            "folder": listed.key.folder,
            "size_bytes": listed.size_bytes,
            "mtime_ns": listed.mtime_ns,
            "error": why,
        }
        payload = json.dumps(known, sort_keys=True).encode()
        return self._store.put(_letter_key(sha256(payload)), payload)


def version_of(listed: Listed) -> FileVersion:
    """Return the version of a file that was listed, by a name that can be written anywhere."""
    return FileVersion(
        folder=listed.key.folder, name=shown(listed.key.name), size_bytes=listed.size_bytes, mtime_ns=listed.mtime_ns
    )


def _letter_key(digest: str) -> str:
    return f"{DEAD_LETTERS}/{SERVICE}/{digest[:16]}"
