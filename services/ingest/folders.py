"""The folders that a microscope writes into: listing, sizes and times, opening; nothing is ever written there.

Symbolic links to files inside the watched folders are followed. Links that lead elsewhere are left alone unless a
setting says otherwise: whoever can write into the folder could otherwise have any file of this machine copied
into the store. What is not a regular file (folders, pipes, devices) is not looked at.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from services.ingest.sightings import FileKey
from services.runtime.errors import TransientError

_PIECE_BYTES = 2**20


class FileStamp(NamedTuple):
    """Size and time of last change of a file."""

    size_bytes: int
    mtime_ns: int


def digest_of(file: BinaryIO) -> str:
    """Return the SHA-256 of an open file in hexadecimal, read piece by piece."""
    digest = hashlib.sha256()
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
    return digest.hexdigest()


class FolderEntry(NamedTuple):
    """A file in a listing, and whether it is a link to one."""

    key: FileKey
    is_link: bool


class SliceFolders(Protocol):
    """Where slices appear."""

    def entries(self) -> Iterator[FolderEntry]:
        """Yield every regular file, folder by folder, in no order.

        Raises
        ------
        TransientError
            If a folder cannot be listed now (a share that went away).
        """

    def stamp(self, key: FileKey) -> FileStamp:
        """Return size and time of a file; raises OSError as the system does."""

    def may_follow(self, key: FileKey) -> bool:
        """Say whether a link may be followed to where it leads."""

    def open(self, key: FileKey) -> BinaryIO:
        """Open a file for reading; raises OSError as the system does."""

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
    """

    def __init__(self, folders: Sequence[Path], *, follow_links_outside: bool = False) -> None:
        self._folders = tuple(folders)
        self._follow_links_outside = follow_links_outside

    def entries(self) -> Iterator[FolderEntry]:
        """Yield every regular file; links count as what they lead to.

        Raises
        ------
        TransientError
            If a folder cannot be listed now.
        """
        for number, folder in enumerate(self._folders):
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.is_file():
                            yield FolderEntry(FileKey(number, entry.name), entry.is_symlink())
            except OSError as error:
                raise TransientError("disk", f"the folder of slices cannot be listed: {error}") from error

    def stamp(self, key: FileKey) -> FileStamp:
        """Return size and time of a file."""
        found = os.stat(f"{self._folders[key.folder]}/{key.name}")  # noqa: PTH116 - a path object costs more than the call
        return FileStamp(found.st_size, found.st_mtime_ns)

    def may_follow(self, key: FileKey) -> bool:
        """Say whether a link may be followed: into one of the folders, or anywhere if that was set."""
        if self._follow_links_outside:
            return True
        target = self.path(key).resolve()
        return any(target.is_relative_to(folder.resolve()) for folder in self._folders)

    def open(self, key: FileKey) -> BinaryIO:
        """Open a file for reading."""
        return self.path(key).open("rb")

    def path(self, key: FileKey) -> Path:
        """Return where a file lies."""
        return self._folders[key.folder] / key.name
