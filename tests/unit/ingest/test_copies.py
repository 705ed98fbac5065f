"""Which files are proven to be copied: byte for byte, as they are now, and nothing is ever removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.contracts.values import ArtefactRef
from services.ingest.copies import CopyState, copies
from services.ingest.folders import FileStamp, LocalFolders
from services.ingest.sightings import FileKey
from services.runtime.store.directory import DirectoryStore
from tests.support.ingest_bench import Bench, name_of, slice_bytes


@pytest.fixture
def copying(bench: Bench) -> Bench:
    """A bench whose store keeps bytes, as a deployed one does, with three slices and a bad file taken in."""
    bench.store.close()
    bench.store = DirectoryStore(bench.folder.parent / "copies", reference_files=False)
    bench.write_slices(range(3))
    bench.write(name_of(3), b"no image")
    bench.run(bench.ingest())
    return bench


def states(bench: Bench) -> dict[str, str]:
    store = bench.store
    assert isinstance(store, DirectoryStore)
    found = copies(
        LocalFolders([bench.folder]), store, "roi", bench.settings().name_rules, lambda ref: store.is_reference(ref.key)
    )
    return {copy.name: copy.state.value for copy in found}


def stored_at(bench: Bench, z: int) -> Path:
    store = bench.store
    assert isinstance(store, DirectoryStore)
    return store.path_of(bench.ingested()[z].raw.key)


def test_every_file_that_was_taken_in_is_compared_the_refused_ones_too(copying: Bench) -> None:
    copying.write(name_of(9), slice_bytes(9))
    copying.write("ACQUISITION_FINISHED", b"")
    before = sorted(path.name for path in copying.folder.iterdir())
    expected = {**{name_of(z): "copied" for z in range(4)}, name_of(9): "unread", "ACQUISITION_FINISHED": "ignored"}
    assert states(copying) == expected
    assert sorted(path.name for path in copying.folder.iterdir()) == before


def test_a_reference_is_no_copy(bench: Bench) -> None:
    bench.write_slices(range(2))
    bench.run(bench.ingest())
    assert set(states(bench).values()) == {"referenced"}


def test_a_file_that_changed_since_by_one_byte_is_not_copied(copying: Bench) -> None:
    payload = bytearray(slice_bytes(1))
    payload[-1] ^= 1
    copying.write(name_of(1), bytes(payload))
    copying.write(name_of(2), slice_bytes(2) + b"more")
    found = states(copying)
    assert (found[name_of(0)], found[name_of(1)], found[name_of(2)]) == ("copied", "changed", "changed")


def test_a_copy_that_is_damaged_or_gone_is_found_out(copying: Bench) -> None:
    damaged = stored_at(copying, 0)
    damaged.chmod(0o644)
    damaged.write_bytes(bytes(len(slice_bytes(0))))
    stored_at(copying, 1).unlink()
    found = states(copying)
    assert (found[name_of(0)], found[name_of(1)], found[name_of(2)]) == ("damaged", "missing", "copied")


def test_a_file_that_is_written_while_it_is_compared_is_not_proven(copying: Bench) -> None:
    class Busy(LocalFolders):
        looks = 0

        def stamp(self, key: FileKey) -> FileStamp | None:
            self.looks += 1
            found = super().stamp(key)
            return found._replace(mtime_ns=found.mtime_ns + self.looks) if found else None

    def is_reference(ref: ArtefactRef) -> bool:
        del ref
        return False

    found = list(copies(Busy([copying.folder]), copying.store, "roi", copying.settings().name_rules, is_reference))
    assert {copy.state for copy in found} == {CopyState.CHANGED}
