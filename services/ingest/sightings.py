"""Files that were seen and are not settled: which of them are at rest, worth reading, or to be given up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from services.ingest.events import Fault


class FileKey(NamedTuple):
    """A file by the number of its folder and its name as the folder has it."""

    folder: int
    name: str


class Listed(NamedTuple):
    """A file as the folder lists it, with the z that its name says, or the number that is too large for one."""

    key: FileKey
    size_bytes: int
    mtime_ns: int
    z: int | None
    impossible_z: int | None = None


@dataclass(slots=True)
class Sighting:
    """One version of a file, as long as it is not settled.

    Attributes
    ----------
    listed
        Size and time of the version.
    polls
        How many polls in a row have seen just this version.
    since_s
        When it was first seen.
    fault
        Why it could not be read, if a file that is still being written can look like that.
    not_before_s
        When it is worth another look.
    io_errors
        How often reading it failed while its folder could be read.
    """

    listed: Listed
    polls: int
    since_s: float
    fault: Fault | None = None
    not_before_s: float = 0.0
    io_errors: int = 0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long files are left to rest.

    Attributes
    ----------
    at_once
        Whether nothing is being written any more, so that every file is at rest.
    stable_polls
        Polls in a row that must see the same size and time.
    incomplete_s
        How long an incomplete file must have been at rest before a later slice means that it stays so.
    marked
        Names of the files that a program beside the microscope has marked as finished; None: nothing marks files.
    sweep_s
        How long a file that is not marked must have been at rest to be read all the same: a marker may get lost.
    """

    at_once: bool = False
    stable_polls: int = 2
    incomplete_s: float = 10.0
    marked: frozenset[str] | None = None
    sweep_s: float = 3600.0


class Sightings:
    """All files in flight."""

    def __init__(self) -> None:
        self._by_key: dict[FileKey, Sighting] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Sighting]:
        return iter(self._by_key.values())

    def holds(self, sighting: Sighting) -> bool:
        """Say whether this version of a file is still unsettled."""
        return self._by_key.get(sighting.listed.key) is sighting

    def observe(self, listing: Iterable[Listed], now_s: float) -> bool:
        """Take note of every unsettled file that a poll found; return whether anything changed.

        A file that is no longer listed is forgotten: somebody took it away before it was read.
        """
        before = self._by_key
        self._by_key = {listed.key: _seen_again(before.get(listed.key), listed, now_s) for listed in listing}
        return before.keys() != self._by_key.keys() or any(sighting.polls == 1 for sighting in self._by_key.values())

    def settle(self, key: FileKey) -> None:
        """Forget a file about which everything is known."""
        self._by_key.pop(key, None)

    @property
    def in_flight_z(self) -> frozenset[int]:
        """The z that names of unsettled files say."""
        return frozenset(s.listed.z for s in self._by_key.values() if s.listed.z is not None)

    @property
    def nameless(self) -> bool:
        """Whether an unsettled file's name says no z."""
        return any(s.listed.z is None for s in self._by_key.values())

    def ready(self, patience: Patience, now_s: float, highest_held_z: int | None, *, finishing: bool) -> list[Sighting]:
        """Return the files that are worth reading now, by z and name; those whose name says no z come first."""
        found = [
            sighting
            for sighting in self._by_key.values()
            if now_s >= sighting.not_before_s
            and is_at_rest(sighting, patience, now_s)
            and (sighting.fault is None or is_hopeless(sighting, patience, now_s, highest_held_z, finishing=finishing))
        ]
        return sorted(
            found, key=lambda s: (-1 if s.listed.z is None else s.listed.z, s.listed.key.name, s.listed.key.folder)
        )


def is_at_rest(sighting: Sighting, patience: Patience, now_s: float) -> bool:
    """Say whether a file has stopped changing.

    >>> listed = Listed(FileKey(0, "slice_0003.tif"), 100, 0, 3)
    >>> [is_at_rest(Sighting(listed, polls, 0.0), Patience(), 9.0) for polls in (1, 2)]
    [False, True]
    >>> [is_at_rest(Sighting(listed, 9, 0.0), Patience(marked=frozenset()), now_s) for now_s in (60.0, 3600.0)]
    [False, True]
    """
    stable = patience.at_once or sighting.polls >= patience.stable_polls
    if patience.marked is None or patience.at_once:
        return stable
    # A marker says what looking twice can only guess; without one, a file counts once it has rested very long.
    return sighting.listed.key.name in patience.marked or (stable and now_s - sighting.since_s >= patience.sweep_s)


def is_hopeless(
    sighting: Sighting, patience: Patience, now_s: float, highest_held_z: int | None, *, finishing: bool
) -> bool:
    """Say whether an incomplete file will stay so: nothing is written any more, or a later slice was.

    Examples
    --------
    >>> half = Sighting(Listed(FileKey(0, "slice_0003.tif"), 100, 0, 3), polls=9, since_s=0.0)
    >>> is_hopeless(half, Patience(), 60.0, 2, finishing=False)
    False
    >>> is_hopeless(half, Patience(), 60.0, 4, finishing=False)
    True
    """
    if not is_at_rest(sighting, patience, now_s):
        return False
    if finishing or patience.at_once:
        return True
    moved_on = highest_held_z is not None and (sighting.listed.z is None or highest_held_z > sighting.listed.z)
    return moved_on and now_s - sighting.since_s >= patience.incomplete_s


def _seen_again(before: Sighting | None, listed: Listed, now_s: float) -> Sighting:
    if before is None or before.listed != listed:
        return Sighting(listed, 1, now_s)
    before.polls += 1
    return before
