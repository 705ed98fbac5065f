"""Where the directory store writes before it renames: nothing half-written has a key, and nothing is left behind."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

# No key can hold a tilde, so these names never clash with artefacts.
STAGING = "~staging"
LOCK = "~lock"


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directories(path: Path, root: Path) -> None:
    """Make `path` and its parents below `root`, durably."""
    if path == root or path.is_dir():
        return
    make_directories(path.parent, root)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


class Staging:
    """A folder of this process's own for files in the making, on the same file system as the artefacts.

    While the process lives it holds a lock on the folder, which the kernel releases when it dies, however
    it dies: whoever opens the store next removes folders that nobody holds.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        area = root / STAGING
        area.mkdir(parents=True, exist_ok=True)
        self._folder = area / uuid.uuid4().hex
        # Nobody sweeps between the making of the folder and the taking of its lock.
        with (area / LOCK).open("ab") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            self._sweep(area)
            self._folder.mkdir()
            self._lock = (self._folder / LOCK).open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    @contextmanager
    def file_for(self, target: Path) -> Iterator[BinaryIO]:
        """Yield a file to write; at the end of the block it stands, whole and durable, at `target`."""
        path = self._folder / uuid.uuid4().hex
        try:
            with path.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            make_directories(target.parent, self._root)
            path.replace(target)
            sync_directory(target.parent)
        finally:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folder."""
        if not self._lock.closed:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._lock.close()

    @staticmethod
    def _sweep(area: Path) -> None:
        for folder in sorted(path for path in area.iterdir() if path.is_dir()):
            with (folder / LOCK).open("ab") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                shutil.rmtree(folder, ignore_errors=True)
