"""Files and folders that appear whole or not at all, and the record of what was exported from what."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RECORD = ".exported.json"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write a file or a folder to, which takes the place of `path` when the block ends without error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    remove(part)
    try:
        yield part
        if part.is_dir():
            remove(path)
        part.replace(path)
    finally:
        remove(part)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def read_record(folder: Path) -> dict[str, str]:
    """Return what was exported into a folder: relative path of each product, and the digest of what made it.

    A record that is not there, or was damaged, is empty: everything is then exported again.
    """
    try:
        value = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(path): str(digest) for path, digest in value.items()} if isinstance(value, dict) else {}


def write_record(folder: Path, record: dict[str, str]) -> None:
    """Write the record of a folder."""
    with replacing(folder / RECORD) as part:
        part.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
