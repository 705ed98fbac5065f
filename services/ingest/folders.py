"""The folders that a microscope writes into: listing, sizes and times, opening; nothing is ever written there.

Symbolic links to files inside the watched folders are followed. Links that lead elsewhere are left alone unless a
setting says otherwise: whoever can write into the folder could otherwise have any file of this machine copied
into the store. What is not a regular file (folders, pipes, devices, links that lead nowhere) is counted and not
looked at. A name may be given to something else between two looks, so what was opened is judged by what it is then.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from services.ingest.names import marked_file
from services.ingest.sightings import FileKey
from services.runtime.errors import TransientError
from services.runtime.store.opening import open_regular

_PIECE_BYTES = 2**20
# What a link that leads in a circle, behind a locked door or to an impossible name says; anything else is the folder's.
_LEADS_NOWHERE = frozenset({errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ENOENT})


class FileStamp(NamedTuple):
    """Size and time of last change of a file."""

    size_bytes: int
    mtime_ns: int


def digest_of(file: BinaryIO, size_bytes: int) -> str:
    """Return the SHA-256 of an open file in hexadecimal, read piece by piece.

    Of a file that has become longer than `size_bytes`, one byte more is read and no other: some grow without end.
    """
    digest, left_bytes = hashlib.sha256(), size_bytes + 1
    while piece := file.read(min(_PIECE_BYTES, left_bytes)):
        digest.update(piece)
        left_bytes -= len(piece)
    return digest.hexdigest()


class FolderEntry(NamedTuple):
    """A name in a listing, whether it is a link, and whether it leads to a regular file."""

    key: FileKey
    is_link: bool
    is_file: bool = True


class SliceFolders(Protocol):
    """Where slices appear."""

    def entries(self) -> Iterator[FolderEntry]:
        """Yield every name, folder by folder, in no order.

        Raises
        ------
        TransientError
            If a folder cannot be listed now (a share that went away).
        """

    def marked(self) -> frozenset[str] | None:
        """Return the names of the files that are marked as finished; None if nothing marks files.

        Raises
        ------
        TransientError
            If the folder of markers cannot be listed now.
        """

    def stamp(self, key: FileKey) -> FileStamp | None:
        """Return size and time of a file, None if there is none any more; raises other OSErrors as the system does."""

    def may_follow(self, key: FileKey) -> bool:
        """Say whether a link may be followed to where it leads."""

    def open(self, key: FileKey) -> BinaryIO:
        """Open a file for reading; raises OSError as the system does, PermissionError if it may not be followed."""

    def path(self, key: FileKey) -> Path:
        """Return where a file lies, for the store."""


class LocalFolders:
    """Folders of this machine, or mounted on it.

    Parameters
    ----------
    folders
        In the order in which the acquisition used them; a new one is added at the end.
    follow_links_outside
        Whether links may lead out of them.
    keep_flags
        Where a program beside the microscope leaves markers of finished files; they are read and never removed.
    """

    def __init__(
        self, folders: Sequence[Path], *, follow_links_outside: bool = False, keep_flags: Path | None = None
    ) -> None:
        self._folders = tuple(folders)
        self._keep_flags = keep_flags
        self._follow_links_outside = follow_links_outside

    def entries(self) -> Iterator[FolderEntry]:
        """Yield every name; links count as what they lead to.

        Raises
        ------
        TransientError
            If a folder cannot be listed now.
        """
        for number, folder in enumerate(self._folders):
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        yield FolderEntry(FileKey(number, entry.name), entry.is_symlink(), _is_file(entry))
            except OSError as error:
                raise TransientError("disk", f"the folder of slices cannot be listed: {error}") from error

    def marked(self) -> frozenset[str] | None:
        """Return the names of the files that are marked as finished; None if nothing marks files.

        Raises
        ------
        TransientError
            If the folder of markers cannot be listed now.
        """
        if self._keep_flags is None:
            return None
        try:
            with os.scandir(self._keep_flags) as entries:
                return frozenset(name for entry in entries if (name := marked_file(entry.name)) is not None)
        except OSError as error:
            raise TransientError("disk", f"the folder of markers cannot be listed: {error}") from error

    def stamp(self, key: FileKey) -> FileStamp | None:
        """Return size and time of a file, or None if nothing is there any more."""
        try:
            found = os.stat(f"{self._folders[key.folder]}/{key.name}")  # noqa: PTH116 - a path object costs more than the call
        except OSError as error:
            if error.errno in _LEADS_NOWHERE:
                return None
            raise
        return FileStamp(found.st_size, found.st_mtime_ns)

    def may_follow(self, key: FileKey) -> bool:
        """Say whether a link may be followed: into one of the folders, or anywhere if that was set."""
        # Unlike that of a path object, this one gives an answer for links that lead in a circle.
        return self._follow_links_outside or self._holds(os.path.realpath(self.path(key)))

    def open(self, key: FileKey) -> BinaryIO:
        """Open a regular file for reading.

        Raises
        ------
        PermissionError
            If it turns out to lie elsewhere: a link took the place of a file since the folder was listed.
        OSError
            If the system does not open it.
        """
        file = open_regular(self.path(key))
        if self._follow_links_outside or self._holds(_place_of(file)):
            return file
        file.close()
        raise PermissionError(errno.EACCES, "it leads out of the folders", key.name)

    def path(self, key: FileKey) -> Path:
        """Return where a file lies."""
        return self._folders[key.folder] / key.name

    def _holds(self, place: str) -> bool:
        return any(Path(place).is_relative_to(os.path.realpath(folder)) for folder in self._folders)


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Say whether a name leads to a regular file; one bad link says nothing about the folder."""
    try:
        return entry.is_file()
    except OSError as error:
        if error.errno in _LEADS_NOWHERE:
            return False
        raise


def _place_of(file: BinaryIO) -> str:
    """Return where an open file lies: asked of the descriptor where the system knows, since a path may change."""
    known_as = f"/proc/self/fd/{file.fileno()}"
    return os.path.realpath(known_as if os.path.lexists(known_as) else file.name)
