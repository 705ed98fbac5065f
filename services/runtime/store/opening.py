"""Opens files that others may exchange at any moment: what is no regular file is never waited for."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file for reading.

    A pipe without a writer would be waited for without end, a device may do anything; both can take the place of
    a file between two looks. So what was opened is looked at, not what lay there before.

    Raises
    ------
    FileNotFoundError
        If there is no regular file, or none any more.
    OSError
        If the system does not open it.
    """
    try:
        file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115 - `Path.open` takes no opener
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        # A socket.
        raise FileNotFoundError(errno.ENOENT, "this is no regular file", str(path)) from error
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise FileNotFoundError(errno.ENOENT, "this is no regular file", str(path))


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
