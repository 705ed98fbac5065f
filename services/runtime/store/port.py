"""The artefact store: immutable bytes under keys, each known by its hash.

The distributed adapter is any S3 server; the embedded one is a directory. What every adapter promises,
the contract suite in `tests/contract/store_suite.py` checks:

- `put` is atomic and durable: a reader sees the old artefact, or the new one, never a part; after it
  returns, the bytes survive a power cut.
- `get` verifies size and hash; bytes that differ from the reference are never returned.
- Nothing needs a listing to be consistent while it is written, but what was put before is listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from pydantic import TypeAdapter

from services.contracts.values import ArtefactKey, ArtefactRef

KEY = TypeAdapter(ArtefactKey)


class InvalidKeyError(ValueError):
    """The key is not path-safe, or is at the same time a prefix of other keys."""


class ArtefactMissingError(LookupError):
    """There is no artefact under that key."""


class ArtefactCorruptError(ValueError):
    """The stored bytes are not those the reference promises."""


class ArtefactStore(Protocol):
    """Keeps bytes under keys."""

    def put(self, key: str, payload: bytes) -> ArtefactRef:
        """Store `payload` under `key`, replacing what was there.

        Raises
        ------
        TransientError
            If the store cannot be written now (out of reach, disk full).
        """

    def put_file(self, key: str, path: Path, expected_sha256: str) -> ArtefactRef:
        """Store a file's bytes, streamed; an embedded store may keep a reference to the file instead.

        Raises
        ------
        ArtefactCorruptError
            If the file's bytes do not have the expected hash (it changed meanwhile).
        TransientError
            If the store cannot be written now.
        """

    def get(self, ref: ArtefactRef) -> bytes:
        """Return the artefact's bytes, verified.

        Raises
        ------
        ArtefactMissingError, ArtefactCorruptError
            If it is not there, or not what the reference promises.
        TransientError
            If the store cannot be read now.
        """

    def open(self, ref: ArtefactRef) -> AbstractContextManager[BinaryIO]:
        """Stream the artefact's bytes; a mismatch raises `ArtefactCorruptError` at the end of the stream."""

    def find(self, key: str) -> ArtefactRef | None:
        """Return the reference of what is stored under `key`, or None."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield, sorted, the keys under `prefix` (a whole number of path segments)."""

    def close(self) -> None:
        """Release every resource."""
