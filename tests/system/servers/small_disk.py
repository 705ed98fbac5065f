"""A file system of a size that a test chooses, to be filled, emptied, and grown while it is in use."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.system.servers.provision import ServerNotProvidedError

BALLAST = "ballast"
PIECE_BYTES = 1 << 16


class SmallDisk:
    """A mounted file system in memory.

    Parameters
    ----------
    folder
        Where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, left_bytes: int = 0) -> None:
        """Leave no room at all, or so much."""
        with (self.folder / BALLAST).open("ab", buffering=0) as ballast:
            for size in (PIECE_BYTES, 4096, 1):
                try:
                    while ballast.write(bytes(size)):
                        pass
                except OSError:
                    continue
            if left_bytes:
                ballast.truncate(ballast.tell() - left_bytes)

    def make_room(self) -> None:
        """Take away what filled it."""
        (self.folder / BALLAST).unlink()

    def resize(self, size_bytes: int) -> None:
        """Give it another size."""
        _mount("-o", f"remount,size={size_bytes}", str(self.folder))


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise ServerNotProvidedError(
            f"a small disk cannot be mounted ({done.stderr.strip()}): these tests need the right to mount a file "
            "system in memory; run them as root, or in a container with CAP_SYS_ADMIN"
        )


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """Mount a file system of that size at a folder until the end of the block.

    Raises
    ------
    ServerNotProvidedError
        If nothing may be mounted here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder))
    try:
        yield SmallDisk(folder)
    finally:
        # Lazily: what was killed a moment ago may still hold a file.
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, timeout=30, check=False)
