"""How much memory the control groups of this process allow, as containers and batch systems set it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def limits_bytes(root: Path = Path("/")) -> tuple[int, ...]:
    """Return the limits of this process's control groups and of all above them; none where nothing is limited.

    Both versions are read: `memory.max` of the second, `memory.limit_in_bytes` of the first. The root of a container
    is often mounted where the whole machine's would be, under a path that the container cannot see: the limit is then
    found at the top.

    Parameters
    ----------
    root
        Below which `proc` and `sys` lie.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ()
    said = [path.read_text(encoding="utf-8").strip() for path in _files(root / "sys/fs/cgroup", groups)]
    return tuple(int(limit) for limit in said if limit.isdecimal())


def _files(mounted: Path, groups: list[str]) -> Iterator[Path]:
    """Yield the files that limit memory; each line says `number:controllers:path`."""
    for group in groups:
        _, controllers, path = group.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, name = (mounted / "memory", "memory.limit_in_bytes") if controllers else (mounted, "memory.max")
        own = Path(path.lstrip("/"))
        yield from (file for folder in (own, *own.parents) if (file := top / folder / name).is_file())
