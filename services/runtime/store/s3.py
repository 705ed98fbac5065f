"""The distributed artefact store: one bucket of any S3 server, one object and one request per artefact.

The hash of an artefact lies beside its bytes as metadata (`x-amz-meta-sha256`); its size is the object's own.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter, ValidationError

from services.contracts.keys import sha256
from services.contracts.values import ArtefactRef, Sha256
from services.runtime.errors import TransientError
from services.runtime.metrics.port import Metrics
from services.runtime.store.opening import open_regular
from services.runtime.store.port import KEY, ArtefactCorruptError, ArtefactMissingError, InvalidKeyError
from services.runtime.store.s3_settings import S3Settings
from services.runtime.store.s3_wire import CHUNK_BYTES, Head, S3Wire
from services.runtime.store.verification import VerifyingStream, require_equal

SHA256 = TypeAdapter(Sha256)


class S3Store:
    """Artefacts as objects of one bucket. Safe to share between threads; each process needs its own.

    Parameters
    ----------
    settings
        Where the server is; nothing is asked of it before the first artefact.
    metrics
        Takes times, bytes and mismatches.

    Raises
    ------
    StoreSetupError
        If the file of authorities is not there.
    """

    def __init__(self, settings: S3Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._wire = S3Wire(settings, metrics)

    def put(self, key: str, payload: bytes) -> ArtefactRef:
        """Store bytes under a key, replacing what was there.

        Raises
        ------
        InvalidKeyError
            If the key is not path-safe.
        TransientError
            If the server is out of reach, out of order or full.
        StoreSetupError
            If it can never work as it is set up.
        """
        digest = sha256(payload)
        self._wire.put(self._name(key), len(payload), digest, lambda: _slices(payload))
        return ArtefactRef(key=key, sha256=digest, size_bytes=len(payload))

    def put_file(self, key: str, path: Path, expected_sha256: str) -> ArtefactRef:
        """Store a file's bytes, read once; its last piece is sent only when the hash of all is the expected one.

        A file that changed therefore breaks the request off, and the server keeps nothing, or what was there.

        Raises
        ------
        ArtefactCorruptError
            If the file's bytes do not have the expected hash, or the file vanished.
        InvalidKeyError
            If the key is not path-safe.
        TransientError
            If the server is out of reach, out of order or full, or the file cannot be read.
        StoreSetupError
            If it can never work as it is set up, or the file is larger than S3 takes at once (5 GiB).
        """
        name = self._name(key)
        with _unreadable_reported(path), open_regular(path) as source:
            size_bytes = source.seek(0, io.SEEK_END)

            def pieces() -> Iterable[bytes]:
                return _proven(source, size_bytes, expected_sha256)

            self._wire.put(name, size_bytes, expected_sha256, pieces)
        return ArtefactRef(key=key, sha256=expected_sha256, size_bytes=size_bytes)

    def get(self, ref: ArtefactRef) -> bytes:
        """Return the artefact's bytes, verified; what differs is fetched once more, since the wire may have erred.

        Raises
        ------
        ArtefactMissingError, ArtefactCorruptError
            If it is not there, or not what the reference promises.
        TransientError
            If it cannot be had now.
        StoreSetupError
            If it can never work as it is set up.
        """
        try:
            return self._fetch(ref)
        except ArtefactCorruptError:
            return self._fetch(ref)

    @contextmanager
    def open(self, ref: ArtefactRef) -> Iterator[BinaryIO]:
        """Stream the artefact's bytes.

        Raises
        ------
        ArtefactMissingError
            If it is not there.
        ArtefactCorruptError
            By the end of the stream, if it was not what the reference promises.
        TransientError
            If it cannot be had now, or the stream breaks.
        """
        with self._wire.reading(self._name(ref.key), ref.size_bytes) as read, self._mismatches_counted():
            yield io.BufferedReader(VerifyingStream(read, ref), CHUNK_BYTES)

    def find(self, key: str) -> ArtefactRef | None:
        """Return the reference of what is stored under a key, or None; what others put there is read and hashed."""
        name = self._name(key)
        head = self._wire.head(name)
        if head is None:
            return None
        digest = _promised(head)
        if digest is not None:
            return ArtefactRef(key=key, sha256=digest, size_bytes=head.size_bytes)
        try:
            return self._hashed(key, name)
        except ArtefactMissingError:
            return None

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield, sorted, the keys under a prefix of whole segments; the empty prefix means all."""
        name = self._name(prefix) if prefix else self._settings.prefix
        root = len(self._settings.object_name(""))
        for found in self._walk(f"{name}/" if name else ""):
            yield found[root:]

    def close(self) -> None:
        """Close the connections; closing twice does nothing."""
        self._wire.close()

    def _name(self, key: str) -> str:
        try:
            return self._settings.object_name(KEY.validate_python(key))
        except ValidationError as error:
            raise InvalidKeyError(f"{key!r} is not an artefact key: {error.errors()[0]['msg']}") from error

    def _fetch(self, ref: ArtefactRef) -> bytes:
        payload, digest = self._wire.fetch(self._name(ref.key), ref.size_bytes)
        with self._mismatches_counted():
            require_equal(ref, digest, len(payload))
        return payload

    def _hashed(self, key: str, name: str) -> ArtefactRef:
        digest = hashlib.sha256()
        size_bytes = 0
        with self._wire.reading(name) as read:
            while piece := read(CHUNK_BYTES):
                digest.update(piece)
                size_bytes += len(piece)
        return ArtefactRef(key=key, sha256=digest.hexdigest(), size_bytes=size_bytes)

    def _walk(self, folder: str) -> Iterator[str]:
        """Yield the names of objects below a folder in the order of whole names.

        One request per folder and thousand names: a listing of everything below comes in the order of whole
        names from some servers and folder by folder from others ("a/b/1" before "a/b-c").
        """
        names, folders = self._wire.level(folder)
        # Some servers list a folder's own marker inside it.
        for name in sorted({*names, *folders} - {folder}):
            if name.endswith("/"):
                yield from self._walk(name)
            else:
                yield name

    @contextmanager
    def _mismatches_counted(self) -> Iterator[None]:
        try:
            yield
        except ArtefactCorruptError:
            self._metrics.increment("fibsem_hash_mismatch_total", stage="store")
            raise


def _promised(head: Head) -> str | None:
    """Return the hash that lies beside the bytes, if there is one and it is one."""
    try:
        return SHA256.validate_python(head.sha256)
    except ValidationError:
        return None


def _slices(payload: bytes) -> Iterator[memoryview]:
    view = memoryview(payload)
    for start in range(0, len(view), CHUNK_BYTES):
        yield view[start : start + CHUNK_BYTES]


@contextmanager
def _unreadable_reported(path: Path) -> Iterator[None]:
    """Tell a file that went away from a disk that cannot be read; the server's own faults are no `OSError` here."""
    try:
        yield
    except FileNotFoundError as error:
        raise ArtefactCorruptError(f"{path} vanished before it was stored") from error
    except OSError as error:
        raise TransientError("disk", f"{path} cannot be read: {error}") from error


def _proven(source: BinaryIO, size_bytes: int, expected_sha256: str) -> Iterator[bytes]:
    """Yield a file's bytes; before the last of them, require that all together have the expected hash."""
    path = Path(source.name)
    digest = hashlib.sha256()
    count_bytes = 0
    held = b""
    read = _reader(source, path)
    while piece := read(min(CHUNK_BYTES, size_bytes + 1 - count_bytes)):
        digest.update(piece)
        count_bytes += len(piece)
        if held:
            yield held
        held = piece
    if count_bytes != size_bytes or digest.hexdigest() != expected_sha256:
        raise ArtefactCorruptError(
            f"{path} has {count_bytes} bytes and SHA-256 {digest.hexdigest()}, not {size_bytes} and {expected_sha256}: "
            "it changed"
        )
    if held:
        yield held


def _reader(source: BinaryIO, path: Path) -> Callable[[int], bytes]:
    source.seek(0)

    def read(wanted_bytes: int) -> bytes:
        # Reported here, inside the request, where any other `OSError` is the network's.
        with _unreadable_reported(path):
            return source.read(wanted_bytes)

    return read
