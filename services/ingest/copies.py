"""Which of the microscope's files are proven to lie in the store, byte for byte. Nothing here removes anything.

Whoever frees the microscope's disk needs to know more than that a file was read: that a copy of its own lies in the
store, that the copy is whole today, and that the file is still what was copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO

from services.contracts.values import ArtefactRef
from services.ingest.events import FileRead, FileRefused
from services.ingest.folders import FolderEntry, SliceFolders
from services.ingest.journal import Journal
from services.ingest.names import Ignored, NameRules, classify, shown
from services.ingest.sightings import FileKey
from services.runtime.store.port import ArtefactCorruptError, ArtefactMissingError, ArtefactStore

_PIECE_BYTES = 2**20


class CopyState(StrEnum):
    """What is known of the copy of a file."""

    COPIED = "copied"
    REFERENCED = "referenced"
    CHANGED = "changed"
    DAMAGED = "damaged"
    MISSING = "missing"
    UNREAD = "unread"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Copy:
    """What is known of one file in the folders.

    Attributes
    ----------
    folder, name
        Which file.
    state
        `copied`: its bytes of now and those in the store were compared and are equal. `referenced`: the store only
        knows where the file lies. `changed`: the file is no longer what was copied. `damaged`, `missing`: the copy
        is not what it was, or not there. `unread`: ingest has not taken it in. `ignored`: by its name it is no slice,
        and ingest never takes it in.
    size_bytes
        Of the file.
    """

    folder: int
    name: str
    state: CopyState
    size_bytes: int


def copies(
    folders: SliceFolders,
    store: ArtefactStore,
    acquisition_id: str,
    rules: NameRules,
    is_reference: Callable[[ArtefactRef], bool],
) -> Iterator[Copy]:
    """Compare every file of the folders with what the store holds of it, in order of folder and name.

    Parameters
    ----------
    folders
        Where the microscope's files are.
    store
        Where copies are.
    acquisition_id
        Whose files they are.
    rules
        Which names ingest takes in.
    is_reference
        Says whether the store holds only a reference to a file.

    Raises
    ------
    TransientError
        If folders or store are out; nothing is said of the files that were not reached.
    """
    kept: dict[FileKey, ArtefactRef] = {}
    for events in Journal(store, acquisition_id).entries():
        for event in events:
            if isinstance(event, FileRead | FileRefused):
                key = FileKey(event.file.folder, event.file.name)
                kept[key] = event.raw if isinstance(event, FileRead) else event.original
    for entry in sorted(folders.entries(), key=lambda entry: entry.key):
        if entry.is_file:
            ref = kept.get(FileKey(entry.key.folder, shown(entry.key.name)))
            if ref is None and isinstance(classify(entry.key.name, rules), Ignored):
                stamp = folders.stamp(entry.key)
                size_bytes = 0 if stamp is None else stamp.size_bytes
                yield Copy(entry.key.folder, shown(entry.key.name), CopyState.IGNORED, size_bytes)
            else:
                yield _compared(folders, store, entry, ref, is_reference)


def _compared(
    folders: SliceFolders,
    store: ArtefactStore,
    entry: FolderEntry,
    ref: ArtefactRef | None,
    is_reference: Callable[[ArtefactRef], bool],
) -> Copy:
    key, before = entry.key, folders.stamp(entry.key)
    size_bytes = 0 if before is None else before.size_bytes

    def found(state: CopyState) -> Copy:
        return Copy(key.folder, shown(key.name), state, size_bytes)

    if ref is None or before is None:
        return found(CopyState.UNREAD)
    try:
        if is_reference(ref):
            return found(CopyState.REFERENCED)
        with folders.open(key) as source, store.open(ref) as copy:
            equal = size_bytes == ref.size_bytes and _equal(source, copy)
    except ArtefactMissingError:
        return found(CopyState.MISSING)
    except ArtefactCorruptError:
        return found(CopyState.DAMAGED)
    except (FileNotFoundError, PermissionError):
        return found(CopyState.CHANGED)
    return found(CopyState.COPIED if equal and folders.stamp(key) == before else CopyState.CHANGED)


def _equal(source: BinaryIO, copy: BinaryIO) -> bool:
    """Compare two files to their ends; the copy is read whole in any case, since only then it is verified."""
    equal = True
    while piece := copy.read(_PIECE_BYTES):
        equal = equal and source.read(len(piece)) == piece
    return equal and not source.read(1)
