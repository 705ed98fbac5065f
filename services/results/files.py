"""Files that appear whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.runtime.errors import TransientError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to, which takes the place of `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    try:
        yield part
        part.replace(path)
    finally:
        # Renaming one hard link of a file onto another does nothing, so the part may still be there.
        part.unlink(missing_ok=True)


@contextmanager
def disk_outages() -> Iterator[None]:
    """Turn errors of the file system into the outage they are: work goes on when there is room again."""
    try:
        yield
    except OSError as error:
        raise TransientError("disk", str(error)) from error
