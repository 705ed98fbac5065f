"""One look at the folders: which files are not settled yet, which are left alone, and whether anything moved.

A poll lists names, which is cheap even for a hundred thousand of them, and asks for size and time only of files
that are not settled. Settled files are asked about in turn, some at each poll, so that one that was written
again is noticed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import dataclass
from itertools import islice

from services.ingest.events import FileVersion
from services.ingest.folders import FileStamp, FolderEntry, SliceFolders
from services.ingest.names import FINISH_MARKER, Candidate, Ignored, NameRules, classify, shown
from services.ingest.sightings import FileKey, Listed
from services.runtime.errors import TransientError

_CHECKED_AGAIN_PER_POLL = 256


@dataclass(frozen=True, slots=True)
class Poll:
    """What one look found.

    Attributes
    ----------
    unsettled
        Files to be read, sooner or later.
    ignored
        How many files are left alone, by reason.
    marked_finished
        Whether the finish marker is in the last folder.
    names, moving
        How many names there are, and size and time of the files that some program is still writing under a
        passing name: two polls that agree on both saw a folder at rest.
    """

    unsettled: tuple[Listed, ...]
    ignored: Counter[str]
    marked_finished: bool
    names: int
    moving: frozenset[tuple[FileKey, FileStamp]]


class FolderPolls:
    """Looks at the folders again and again.

    Parameters
    ----------
    folders
        Where slices appear.
    rules
        How names are read.
    folder_count
        Number of folders; the finish marker counts in the last.
    z_last
        Files of later slices are left alone.
    """

    def __init__(self, folders: SliceFolders, rules: NameRules, folder_count: int, z_last: int | None) -> None:
        self._folders = folders
        self._rules = rules
        self._last_folder = folder_count - 1
        self._z_last = z_last
        self._settled: dict[FileKey, FileStamp] = {}
        self._left_alone: dict[FileKey, str] = {}
        self._candidates: dict[FileKey, Candidate] = {}
        self._suspects: set[FileKey] = set()
        self._cursor = 0

    def settle(self, version: FileVersion) -> None:
        """Take note that everything is known about this version of a file."""
        key = FileKey(version.folder, version.name)
        self._settled[key] = FileStamp(version.size_bytes, version.mtime_ns)
        self._suspects.discard(key)
        self._candidates.pop(key, None)

    def leave_alone(self, key: FileKey, reason: str) -> None:
        """Take note that this file is none of ours."""
        self._left_alone[key] = reason

    def look(self, *, thorough: bool) -> Poll:
        """List the folders; `thorough` asks for size and time of every settled file, too.

        Raises
        ------
        TransientError
            If a folder cannot be listed now.
        """
        unsettled: list[Listed] = []
        ignored: Counter[str] = Counter(self._left_alone.values())
        moving: set[tuple[FileKey, FileStamp]] = set()
        marked, count = False, 0
        checked_again = self._settled.keys() if thorough else self._next_to_check()
        for entry in self._folders.entries():
            count += 1
            key = entry.key
            name = shown(key.name)
            known_as = key if name is key.name else FileKey(key.folder, name)
            if known_as in self._settled:
                self._look_again(entry, known_as, unsettled, checked_again)
                continue
            what = self._what(entry)
            if isinstance(what, Ignored):
                ignored[what.reason] += 1
                marked |= key == (self._last_folder, FINISH_MARKER)
                if what.reason == "unfinished" and (stamp := self._stamp(key)):
                    moving.add((key, stamp))
            elif key not in self._left_alone and (stamp := self._stamp(key)):
                unsettled.append(Listed(key, *stamp, what.z, what.impossible_z))
        return Poll(tuple(unsettled), ignored, marked, count, frozenset(moving))

    def _what(self, entry: FolderEntry) -> Ignored | Candidate:
        key = entry.key
        if not entry.is_file:
            return Ignored("not_a_file")
        found = self._candidates.get(key) or classify(key.name, self._rules)
        if isinstance(found, Ignored):
            return found
        # Asked at every look: a link may have taken the place of a file.
        if self._leads_out(entry):
            return Ignored("link_outside")
        if found.z is not None and self._z_last is not None and found.z > self._z_last:
            return Ignored("outside_z_range")
        self._candidates[key] = found
        return found

    def _leads_out(self, entry: FolderEntry) -> bool:
        return entry.is_link and not self._folders.may_follow(entry.key)

    def _look_again(
        self, entry: FolderEntry, known_as: FileKey, unsettled: list[Listed], checked_again: Container[FileKey]
    ) -> None:
        """Add a settled file to the unsettled ones if it has been written again."""
        if known_as not in self._suspects and known_as not in checked_again:
            return
        key = entry.key
        # Where something else has taken its place it stays what it was.
        stamp = self._stamp(key) if entry.is_file and not self._leads_out(entry) else None
        if stamp is None or stamp == self._settled[known_as]:
            self._suspects.discard(known_as)
            return
        self._suspects.add(known_as)
        what = classify(key.name, self._rules)
        if isinstance(what, Candidate):
            unsettled.append(Listed(key, *stamp, what.z, what.impossible_z))

    def _next_to_check(self) -> frozenset[FileKey]:
        if self._cursor >= len(self._settled):
            self._cursor = 0
        chosen = frozenset(islice(self._settled, self._cursor, self._cursor + _CHECKED_AGAIN_PER_POLL))
        self._cursor += _CHECKED_AGAIN_PER_POLL
        return chosen

    def _stamp(self, key: FileKey) -> FileStamp | None:
        try:
            return self._folders.stamp(key)
        except OSError as error:
            raise TransientError("disk", f"the folder of slices cannot be read: {error}") from error
