"""The embedded artefact store: a directory, one file per artefact, its path the key.

An artefact may also be a reference to a file elsewhere (a slice where the microscope put it): a small
pointer file beside where the bytes would be. Its name ends in a tilde, which no key can hold.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, ValidationError

from services.contracts.keys import sha256
from services.contracts.values import ArtefactRef, Bytes, Sha256
from services.runtime.errors import TransientError
from services.runtime.store.directory_staging import STAGING, Staging, sync_directory
from services.runtime.store.opening import open_regular
from services.runtime.store.port import KEY, ArtefactCorruptError, ArtefactMissingError, InvalidKeyError
from services.runtime.store.verification import VerifyingStream, require_equal

POINTER_SUFFIX = "~"
LOOKS = 8
CHUNK_BYTES = 1 << 20
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
OUTAGES = FULL | {
    errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.ESTALE, errno.ETIMEDOUT,
    errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
}  # fmt: skip


class _Pointer(BaseModel):
    """Content of a pointer file: where the bytes are, and what they were when they were put."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    sha256: Sha256
    size_bytes: Bytes


@contextmanager
def _outages_reported() -> Iterator[None]:
    """Turn the errors of a file system that may pass into `TransientError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in OUTAGES:
            raise
        raise TransientError("disk" if error.errno in FULL else "store", str(error)) from error


@contextmanager
def _clashes_reported(key: str) -> Iterator[None]:
    """Name the reason where a folder stands in the way of a file, or a file in the way of a folder."""
    try:
        yield
    except (IsADirectoryError, NotADirectoryError, FileExistsError) as error:
        raise InvalidKeyError(f"{key!r} cannot be stored: one key is a prefix of another one ({error})") from error


class DirectoryStore:
    """Artefacts as files below one folder.

    Parameters
    ----------
    root
        The folder; made if it is not there. Several processes may share it.
    reference_files
        Whether `put_file` keeps a reference to the file instead of a copy: for files that stay where
        they are as long as the store is used.
    """

    def __init__(self, root: Path, *, reference_files: bool = False) -> None:
        self._root = root
        self._reference_files = reference_files
        with _outages_reported():
            root.mkdir(parents=True, exist_ok=True)
            self._staging = Staging(root)

    def put(self, key: str, payload: bytes) -> ArtefactRef:
        """Store bytes under a key, replacing what was there.

        Raises
        ------
        InvalidKeyError
            If the key is not path-safe.
        TransientError
            If the disk is full or cannot be written.
        """
        path = self._path(key)
        with _clashes_reported(key), _outages_reported():
            with self._staging.file_for(path) as file:
                file.write(payload)
            self._forget(_pointer_of(path))
        return ArtefactRef(key=key, sha256=sha256(payload), size_bytes=len(payload))

    def put_file(self, key: str, path: Path, expected_sha256: str) -> ArtefactRef:
        """Store a file's bytes, or where they are.

        Raises
        ------
        ArtefactCorruptError
            If the file's bytes do not have the expected hash, or the file vanished.
        InvalidKeyError
            If the key is not path-safe.
        TransientError
            If the disk is full or cannot be read or written.
        """
        target = self._path(key)
        with _clashes_reported(key), _outages_reported():
            try:
                source = open_regular(path)
            except FileNotFoundError as error:
                raise ArtefactCorruptError(f"{path} vanished before it was stored") from error
            with source:
                put = self._point_at if self._reference_files else self._copy
                return put(key, target, source, expected_sha256)

    def get(self, ref: ArtefactRef) -> bytes:
        """Return the artefact's bytes, verified.

        Raises
        ------
        ArtefactMissingError, ArtefactCorruptError
            If it is not there, or not what the reference promises.
        TransientError
            If the disk cannot be read.
        """
        with self._source(ref) as source, _outages_reported():
            # Never more than one byte beyond the promise, however large the file has become.
            payload = source.read(ref.size_bytes + 1)
            size_bytes = len(payload) if len(payload) <= ref.size_bytes else os.fstat(source.fileno()).st_size
        require_equal(ref, sha256(payload), size_bytes)
        return payload

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
            If the disk cannot be read.
        """
        with self._source(ref) as source:

            def read(size_bytes: int) -> bytes:
                with _outages_reported():
                    return source.read(size_bytes)

            yield io.BufferedReader(VerifyingStream(read, ref), CHUNK_BYTES)

    def find(self, key: str) -> ArtefactRef | None:
        """Return the reference of what is stored under a key, or None; reads and hashes a stored file."""
        path = self._path(key)
        with _outages_reported():
            try:
                source, pointer = self._locate(path)
            except FileNotFoundError:
                return None
            with source:
                if pointer is not None:
                    return ArtefactRef(key=key, sha256=pointer.sha256, size_bytes=pointer.size_bytes)
                digest = hashlib.file_digest(source, "sha256").hexdigest()
                return ArtefactRef(key=key, sha256=digest, size_bytes=source.tell())

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield, sorted, the keys under a prefix of whole segments; the empty prefix means all."""
        folder = self._path(prefix) if prefix else self._root
        for path in _walk(folder):
            yield path.relative_to(self._root).as_posix()

    def path_of(self, key: str) -> Path:
        """Return the file that holds an artefact's bytes, for results that link to it on this machine.

        Raises
        ------
        ArtefactMissingError
            If there is no artefact under that key.
        """
        path = self._path(key)
        with _outages_reported():
            try:
                source, pointer = self._locate(path)
            except FileNotFoundError:
                raise ArtefactMissingError(key) from None
            source.close()
        return path if pointer is None else pointer.path

    def is_reference(self, key: str) -> bool:
        """Say whether only the place of a file is kept under a key, and none of its bytes.

        Raises
        ------
        ArtefactMissingError
            If there is no artefact under that key.
        """
        return not self.path_of(key).is_relative_to(self._root)

    def close(self) -> None:
        """Remove what this process had in the making; closing twice does nothing."""
        self._staging.close()

    def _path(self, key: str) -> Path:
        try:
            return self._root.joinpath(*KEY.validate_python(key).split("/"))
        except ValidationError as error:
            raise InvalidKeyError(f"{key!r} is not an artefact key: {error.errors()[0]['msg']}") from error

    def _copy(self, key: str, target: Path, source: io.BufferedReader, expected_sha256: str) -> ArtefactRef:
        digest = hashlib.sha256()
        with self._staging.file_for(target) as file:
            for chunk in _pieces(source):
                digest.update(chunk)
                file.write(chunk)
            _require_expected(source, digest.hexdigest(), expected_sha256)
        self._forget(_pointer_of(target))
        return ArtefactRef(key=key, sha256=expected_sha256, size_bytes=source.tell())

    def _point_at(self, key: str, target: Path, source: io.BufferedReader, expected_sha256: str) -> ArtefactRef:
        digest = hashlib.sha256()
        for chunk in _pieces(source):
            digest.update(chunk)
        _require_expected(source, digest.hexdigest(), expected_sha256)
        pointer = _Pointer(path=Path(source.name).resolve(), sha256=expected_sha256, size_bytes=source.tell())
        with self._staging.file_for(_pointer_of(target)) as file:
            file.write(pointer.model_dump_json().encode())
        self._forget(target)
        return ArtefactRef(key=key, sha256=expected_sha256, size_bytes=pointer.size_bytes)

    def _forget(self, path: Path) -> None:
        """Remove the other form of an artefact, once the new one stands."""
        try:
            path.unlink()
        except FileNotFoundError:
            return
        sync_directory(path.parent)

    @contextmanager
    def _source(self, ref: ArtefactRef) -> Iterator[io.BufferedReader]:
        try:
            with _outages_reported():
                source = self._open_bytes(ref)
        except FileNotFoundError as error:
            raise ArtefactMissingError(f"{ref.key}: {error.filename} is not there") from error
        with source:
            yield source

    def _open_bytes(self, ref: ArtefactRef) -> io.BufferedReader:
        source, pointer = self._locate(self._path(ref.key))
        if pointer is None:
            return source
        source.close()
        require_equal(ref, pointer.sha256, pointer.size_bytes)
        return open_regular(pointer.path)

    def _locate(self, path: Path) -> tuple[io.BufferedReader, _Pointer | None]:
        """Open the file that stands for a key: the bytes, or the pointer to them.

        An artefact may change from one form to the other between two looks, and back before the next: it counts as
        missing when it was seen in neither form many times in a row.
        """
        for candidate in (path, _pointer_of(path)) * LOOKS:
            try:
                source = candidate.open("rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                continue
            if candidate == path:
                return source, None
            return source, _read_pointer(source)
        raise FileNotFoundError(errno.ENOENT, "no artefact", str(path))


def _pointer_of(path: Path) -> Path:
    return path.with_name(path.name + POINTER_SUFFIX)


def _read_pointer(source: io.BufferedReader) -> _Pointer:
    try:
        return _Pointer.model_validate_json(source.read())
    except ValidationError as error:
        source.close()
        raise ArtefactCorruptError(f"{source.name} is not a pointer to a file") from error


def _require_expected(source: BinaryIO, found_sha256: str, expected_sha256: str) -> None:
    if found_sha256 != expected_sha256:
        raise ArtefactCorruptError(f"{source.name} has SHA-256 {found_sha256}, not {expected_sha256}: it changed")


def _pieces(source: io.BufferedReader) -> Iterator[bytes]:
    """Yield what a file holds, and one byte more if it has grown since it was opened: some grow without end."""
    left_bytes = os.fstat(source.fileno()).st_size + 1
    while chunk := source.read(min(CHUNK_BYTES, left_bytes)):
        left_bytes -= len(chunk)
        yield chunk


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the paths of artefacts below a folder in the order of their keys."""
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    # "a-b" comes before "a/b", as it does in the order of whole keys.
    names = {(entry.name + "/") if entry.is_dir() else entry.name.removesuffix(POINTER_SUFFIX) for entry in entries}
    for name in sorted(names - {f"{STAGING}/"}):
        if name.endswith("/"):
            yield from _walk(folder / name)
        else:
            yield folder / name
