"""Shares that vanish, disks that fill, buses that stop, files that kill, and death at any moment."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.values import ArtefactRef
from services.ingest.folders import FolderEntry, LocalFolders
from services.ingest.journal import BrokenJournalError
from services.ingest.names import FINISH_MARKER
from services.ingest.sightings import FileKey
from services.runtime.bus.port import Outgoing, Producer
from services.runtime.errors import TransientError
from services.runtime.store.directory import DirectoryStore
from tests.support.ingest_bench import Bench, blank_bytes, content, name_of, slice_bytes
from tests.support.tiff_corpus import plane, written
from tests.unit.ingest.conftest import MEMORY


class TroubledFolders(LocalFolders):
    """Folders of which the system refuses to open some files, or to list anything."""

    def __init__(self, folder: Path) -> None:
        super().__init__([folder])
        self.refuses: dict[str, OSError] = {}
        self.opened: list[str] = []
        self.is_away = False

    def entries(self) -> Iterator[FolderEntry]:
        if self.is_away:
            raise TransientError("disk", "the share is away")
        return super().entries()

    def open(self, key: FileKey) -> BinaryIO:
        self.opened.append(key.name)
        if key.name in self.refuses:
            raise self.refuses[key.name]
        return super().open(key)


class DeathError(BaseException):
    """The process dies here."""


class Fate:
    """Says at which call to a port the process dies, or which calls fail."""

    def __init__(self, deaths: Sequence[tuple[int, bool]] = (), outages: Sequence[int] = ()) -> None:
        self.deaths = list(deaths)
        self.outages = set(outages)
        self.calls = 0

    def before(self) -> None:
        self.calls += 1
        if self.calls in self.outages:
            raise TransientError("store", "out for a moment")
        if self.deaths and self.deaths[0] == (self.calls, False):
            self.die()

    def after(self) -> None:
        if self.deaths and self.deaths[0] == (self.calls, True):
            self.die()

    def die(self) -> None:
        self.deaths.pop(0)
        self.calls = 0
        raise DeathError


class MortalStore(DirectoryStore):
    """A store whose puts may be the last thing a process does."""

    fate = Fate()

    def put(self, key: str, payload: bytes) -> ArtefactRef:
        self.fate.before()
        ref = super().put(key, payload)
        self.fate.after()
        return ref

    def put_file(self, key: str, path: Path, expected_sha256: str) -> ArtefactRef:
        self.fate.before()
        ref = super().put_file(key, path, expected_sha256)
        self.fate.after()
        return ref


class MortalProducer:
    """A producer whose publishing may be the last thing a process does; half of a batch may be out by then."""

    def __init__(self, producer: Producer, fate: Fate) -> None:
        self._producer = producer
        self._fate = fate

    def publish(self, records: Sequence[Outgoing]) -> None:
        self._fate.before()
        half = len(records) // 2
        self._producer.publish(records[:half])
        self._fate.after()
        self._producer.publish(records[half:])

    def close(self) -> None:
        self._producer.close()


def acquisition(bench: Bench) -> None:
    """Write slices of every kind: good, blank, bad, twice, in conflict, missing, a stack, no slice at all."""
    bench.write_slices([0, 1, 2, 3, 5, 8])
    bench.write(name_of(4), blank_bytes())
    bench.write(name_of(6), slice_bytes(6)[:-30])
    bench.write("twice_0002.tif", slice_bytes(2))
    bench.write("unlike_0003.tif", slice_bytes(33))
    bench.write("stack_0009.tif", written([plane(z, 8, (24, 17)) for z in range(9, 14)]))
    bench.write("overview.tif", slice_bytes(90))
    bench.write(FINISH_MARKER, b"")


@pytest.fixture(scope="module")
def undisturbed() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        bench = Bench(Path(folder))
        acquisition(bench)
        bench.run(bench.ingest())
        yield bench
        bench.close()


@given(
    deaths=st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=6),
    watch=st.booleans(),
)
@settings(max_examples=15, deadline=None)
def test_death_at_any_moment_and_the_same_command_again_says_the_same(
    undisturbed: Bench, deaths: list[tuple[int, bool]], watch: bool
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        bench = Bench(Path(folder))
        acquisition(bench)
        fate = Fate(deaths)
        bench.store.close()
        for _ in range(len(deaths) + 1):
            store = MortalStore(Path(folder) / "store", reference_files=True)
            store.fate = fate
            bench.store = store
            try:
                producer = MortalProducer(bench.bus.producer(), fate)
                ingest = bench.run(bench.ingest(producer=producer, watch=watch, attempts=100))
            except DeathError:
                store.close()
            else:
                break
        assert content(bench.messages()) == content(undisturbed.messages())
        assert ingest.ledger_rows() == undisturbed.ingest().ledger_rows()
        bench.close()


@given(outages=st.lists(st.integers(1, 40), max_size=12, unique=True))
@settings(max_examples=8, deadline=None)
def test_an_outage_of_store_or_bus_at_any_moment_is_waited_out(undisturbed: Bench, outages: list[int]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        bench = Bench(Path(folder))
        acquisition(bench)
        bench.store.close()
        store = MortalStore(Path(folder) / "store", reference_files=True)
        store.fate = fate = Fate(outages=outages)
        bench.store = store
        ingest = bench.ingest(producer=MortalProducer(bench.bus.producer(), fate), attempts=1)
        failures = 0
        while not ingest.is_done:
            try:
                bench.turn(ingest)
            except TransientError:
                failures += 1
        assert failures <= len(outages)
        assert content(bench.messages()) == content(undisturbed.messages())
        assert ingest.ledger_rows() == undisturbed.ingest().ledger_rows()
        bench.close()


def test_a_restart_sends_again_only_what_may_not_have_been_sent(bench: Bench) -> None:
    bench.write_slices(range(30))
    first = bench.run(bench.ingest())
    first.close()
    sent = len(bench.messages())
    bench.turn(bench.ingest())
    assert len(bench.messages()) == sent


def test_a_restart_reads_no_slice_again(bench: Bench) -> None:
    bench.write_slices(range(20))
    bench.run(bench.ingest(watch=True, last_z=19))
    folders = TroubledFolders(bench.folder)
    again = bench.ingest(source=folders)
    bench.turn(again, polls=3)
    assert again.is_done
    assert folders.opened == []


def test_everything_can_be_said_again_to_a_bus_that_was_lost(bench: Bench) -> None:
    bench.write_slices(range(20))
    first = bench.run(bench.ingest())
    first.close()
    before = bench.messages()
    bench.turn(bench.ingest(from_start=True))
    assert bench.messages() != before
    assert content(bench.messages()) == content(before)


def test_a_share_that_vanishes_is_waited_for(bench: Bench) -> None:
    bench.write_slices(range(16))
    folders = TroubledFolders(bench.folder)
    watching = bench.ingest(watch=True, source=folders)
    bench.turn(watching, polls=3)
    folders.is_away = True
    for _ in range(5):
        bench.clock.advance(5)
        with pytest.raises(TransientError, match="the share is away"):
            watching.step()
        assert watching.ledger().is_closed
    folders.is_away = False
    bench.write_slices([16])
    bench.turn(watching, polls=3)
    assert len(bench.ingested()) == 17


def test_a_folder_that_is_not_there_is_an_outage_and_no_end(bench: Bench) -> None:
    ingest = bench.ingest(folders=(bench.folder / "gone",))
    with pytest.raises(TransientError, match="cannot be listed"):
        ingest.step()
    assert not ingest.is_done


def test_a_file_that_may_not_be_read_is_explained_and_the_next_slices_flow(bench: Bench) -> None:
    bench.write_slices(range(3))
    folders = TroubledFolders(bench.folder)
    folders.refuses[name_of(1)] = PermissionError(errno.EACCES, "Permission denied")
    bench.run(bench.ingest(source=folders))
    assert bench.letters() == {name_of(1): "unreadable"}
    assert bench.absent() == {1: "DEAD_LETTERED"}
    assert b"Permission denied" in bench.kept(name_of(1))


def test_a_file_that_is_locked_while_it_is_written_is_read_later(bench: Bench) -> None:
    bench.write_slices(range(17))
    folders = TroubledFolders(bench.folder)
    folders.refuses[name_of(16)] = PermissionError(errno.EACCES, "Permission denied")
    watching = bench.ingest(watch=True, source=folders)
    bench.turn(watching, polls=5)
    assert watching.ledger().files.in_flight == 1
    folders.refuses.clear()
    bench.touch(name_of(16))
    bench.turn(watching, polls=3)
    assert len(bench.ingested()) == 17


def test_a_file_on_a_bad_sector_is_given_up_after_three_tries(bench: Bench) -> None:
    bench.write_slices(range(3))
    folders = TroubledFolders(bench.folder)
    folders.refuses[name_of(1)] = OSError(errno.EIO, "Input/output error")
    ingest = bench.ingest(source=folders)
    bench.run(ingest)
    assert folders.opened.count(name_of(1)) == 4  # three tries, and one to keep its bytes
    assert bench.letters() == {name_of(1): "unreadable"}
    assert sorted(bench.ingested()) == [0, 2]


def test_a_read_error_that_passes_costs_nothing(bench: Bench) -> None:
    bench.write_slices(range(3))
    folders = TroubledFolders(bench.folder)
    folders.refuses[name_of(1)] = OSError(errno.EIO, "Input/output error")
    ingest = bench.ingest(source=folders)
    bench.turn(ingest)
    folders.refuses.clear()
    bench.run(ingest)
    assert sorted(bench.ingested()) == [0, 1, 2]


def test_a_file_that_kills_the_process_is_tried_three_times_and_its_neighbours_are_not_blamed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write_slices(range(6))
    deadly = slice_bytes(2)
    decode = __import__("services.imaging.tiff", fromlist=["TiffReader"]).TiffReader.read
    deaths = 0

    def read(reader: object, page: int, channel: int | None = None) -> object:
        if reader.file.getvalue() == deadly:  # type: ignore[attr-defined]
            raise DeathError
        return decode(reader, page, channel)

    # The decoder is a C library: that it dies can only be played.
    monkeypatch.setattr("services.imaging.tiff.TiffReader.read", read)
    while True:
        ingest = bench.ingest()
        try:
            bench.run(ingest)
        except DeathError:
            deaths += 1
            assert deaths < 10
        else:
            break
    assert deaths == 3
    assert bench.letters() == {name_of(2): "crashed_reader"}
    assert bench.kept(name_of(2)) == deadly
    assert sorted(bench.ingested()) == [0, 1, 3, 4, 5]


def test_death_between_two_pages_of_a_stack_counts_as_no_attempt(bench: Bench) -> None:
    bench.write("stack_0000.tif", written([plane(z, 8, (24, 17)) for z in range(20)]))
    for _ in range(6):
        ingest = bench.ingest(pages_per_turn=4)
        ingest.step()
        ingest.step()
        del ingest
    bench.run(bench.ingest(pages_per_turn=4))
    assert bench.letters() == {}
    assert sorted(bench.ingested()) == list(range(20))


def test_a_store_that_lost_part_of_the_journal_is_found_out(bench: Bench, tmp_path: Path) -> None:
    bench.write_slices(range(20))
    bench.run(bench.ingest(files_per_step=2))
    journal = sorted((Path(bench.folder).parent / "store").rglob("journal/*"))
    assert len(journal) > 3
    journal[1].unlink()
    with pytest.raises(BrokenJournalError):
        bench.ingest()
