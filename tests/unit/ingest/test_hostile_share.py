"""What somebody who can write into the folder of slices can do to us: each attack by its name, and what becomes of it.

Whatever lies there is refused with a reason and kept or counted, the next slices flow, nothing outside the folder is
read, nothing is waited for without end, and memory is bounded before a byte is unpacked.
"""

from __future__ import annotations

import os
import socket
import tracemalloc
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.values import ArtefactRef
from services.imaging.tiff import TiffReader
from services.imaging.tiff_faults import MalformedDirectoryError, TiffError, TooLargeError
from services.imaging.tiff_layout import TiffLimits
from services.ingest.folders import LocalFolders
from services.ingest.names import shown
from services.ingest.sightings import FileKey
from services.runtime.store.directory import DirectoryStore
from services.runtime.store.port import ArtefactCorruptError, ArtefactMissingError
from tests.support.hostile_tiff import (
    ASCII,
    HEADER_BYTES,
    LONG,
    SHORT,
    bomb,
    field_of,
    file_of,
    page,
    pages_that_share,
    squeezed,
)
from tests.support.ingest_bench import Bench, name_of, slice_bytes

# Waiting for a pipe or reading without end is what several of these would do.
pytestmark = pytest.mark.timeout(120)

SECRET = slice_bytes(99)
MANY_BYTES = 2**40

HOSTILE_NAMES = (
    "slice..0001.tif",
    "C:\\..\\..\\etc\\passwd_0001.tif",
    "%2e%2e%2f0001.tif",
    "first\nsecond_0001.tif",
    "bell\a and \x1b]0;title\a_0001.tif",
    "\x1b[2J_0001.tif",
    "turned\u202efit.1000_0001.tif",
    "\u2028_0001.tif",
    "=HYPERLINK(A1)_0001.tif",
    "@SUM(A1)_0001.tif",
    "[bold][link=x]_0001.tif",
    "<script>alert(1)<_script>_0001.tif",
    "'; drop table slices; --_0001.tif",
    "a" * 246 + "0001.tif",
)


class ExchangedFolders(LocalFolders):
    """Folders in which something is done just before a file is opened, after it was looked at."""

    def __init__(self, folder: Path, exchange: Callable[[Path], None], name: str) -> None:
        super().__init__([folder])
        self._exchange = exchange
        self._name = name

    def open(self, key: FileKey) -> BinaryIO:
        if key.name == self._name:
            self._exchange(self.path(key))
        return super().open(key)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file outside the folder that would be taken for a slice, were it read."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret_0001.tif").write_bytes(SECRET)
    return outside / "secret_0001.tif"


def replace_by_link(to: Path) -> Callable[[Path], None]:
    def exchange(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.symlink_to(to)

    return exchange


def replace_by_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def everything_kept(bench: Bench) -> Iterator[bytes]:
    """Yield the content of every file of the store, pointers to slices among them."""
    for path in (bench.folder.parent / "store").rglob("*"):
        if path.is_file():
            yield path.read_bytes()


# ---------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_name_is_a_name_like_any_other_and_can_be_written_anywhere(bench: Bench, name: str) -> None:
    bench.write_slices([0, 2])
    bench.write(name, slice_bytes(1))
    ingest = bench.run(bench.ingest())
    (ingested,) = [found for found in bench.ingested().values() if found.z == 1]
    assert ingested.file_name == shown(name)
    assert bench.stored(ingested) == slice_bytes(1)
    for row in ingest.ledger_rows():
        text = "".join(map(str, row.line.values()))
        assert text.isprintable()
    assert not ingested.file_name.startswith(("=", "+", "-", "@"))
    assert not any(".." in part.split("/") for part in bench.store.keys("roi"))


@given(st.binary(min_size=1, max_size=12), st.binary(min_size=1, max_size=12))
def test_no_two_names_are_shown_alike(one: bytes, other: bytes) -> None:
    texts = [name.decode("utf-8", "surrogateescape") for name in (one, other)]
    assert (shown(texts[0]) == shown(texts[1])) == (one == other)
    assert all(shown(text).isprintable() for text in texts)


def test_a_name_that_spells_out_another_one_is_a_file_of_its_own(bench: Bench) -> None:
    (bench.folder / b"slice_\xb5_0001.tif".decode("utf-8", "surrogateescape")).write_bytes(slice_bytes(1))
    bench.write(r"slice_\xb5_0001.tif", slice_bytes(2))
    ingest = bench.run(bench.ingest())
    assert ingest.ledger().files.conflict == 1
    again = bench.ingest()
    bench.turn(again, polls=3)
    assert again.ledger().files.seen == 2


# ----------------------------------------------------------------------------- what is no file, and where links lead


def test_what_is_no_file_is_counted_and_never_opened(bench: Bench) -> None:
    bench.write_slices(range(3))
    (bench.folder / name_of(3)).mkdir()
    os.mkfifo(bench.folder / name_of(4))
    with socket.socket(socket.AF_UNIX) as listening:
        # The path of a socket may have 107 bytes.
        before = Path.cwd()
        os.chdir(bench.folder)
        listening.bind(name_of(5))
        os.chdir(before)
        (bench.folder / name_of(6)).symlink_to("/dev/zero")
        ingest = bench.run(bench.ingest())
    assert sorted(bench.ingested()) == [0, 1, 2]
    assert ingest.ledger().files.ignored == {"not_a_file": 4}


def test_links_that_lead_nowhere_do_not_stop_the_folder(bench: Bench) -> None:
    bench.write_slices(range(3))
    (bench.folder / name_of(3)).symlink_to(name_of(3))
    (bench.folder / name_of(4)).symlink_to(name_of(5))
    (bench.folder / name_of(5)).symlink_to(name_of(4))
    (bench.folder / name_of(6)).symlink_to("x" * 300)
    (bench.folder / name_of(7)).symlink_to(f"{name_of(0)}/below-a-file")
    (bench.folder / name_of(8)).symlink_to(bench.folder)
    ingest = bench.run(bench.ingest())
    assert sorted(bench.ingested()) == [0, 1, 2]
    assert ingest.ledger().files.ignored == {"not_a_file": 6}


def test_links_out_of_the_folder_are_not_followed_by_any_way(bench: Bench, secret: Path) -> None:
    bench.write_slices([0])
    (bench.folder / "door").symlink_to(secret.parent)
    (bench.folder / name_of(1)).symlink_to(secret)
    (bench.folder / name_of(2)).symlink_to(bench.folder / "door" / secret.name)
    (bench.folder / name_of(3)).symlink_to(os.path.relpath(secret, bench.folder))
    (bench.folder / name_of(4)).symlink_to(name_of(1))
    ingest = bench.run(bench.ingest())
    assert sorted(bench.ingested()) == [0]
    assert ingest.ledger().files.ignored == {"link_outside": 4, "not_a_file": 1}
    assert SECRET not in list(everything_kept(bench))


def test_a_hard_link_is_the_file_that_it_is_and_counts_as_its_duplicate(bench: Bench) -> None:
    bench.write_slices(range(2))
    (bench.folder / "copy_0001.tif").hardlink_to(bench.folder / name_of(1))
    ingest = bench.run(bench.ingest())
    assert sorted(bench.ingested()) == [0, 1]
    assert ingest.ledger().files.duplicate == 1


# ------------------------------------------------------------------------- files exchanged between a look and the next


def test_a_file_replaced_by_a_link_before_it_is_opened_is_not_followed(bench: Bench, secret: Path) -> None:
    bench.write_slices(range(3))
    folders = ExchangedFolders(bench.folder, replace_by_link(secret), name_of(1))
    bench.run(bench.ingest(source=folders))
    assert sorted(bench.ingested()) == [0, 2]
    assert bench.letters() == {name_of(1): "unreadable"}
    assert b"leads out" in bench.kept(name_of(1))
    assert SECRET not in list(everything_kept(bench))


def test_a_settled_slice_replaced_by_a_link_stays_what_it_was(bench: Bench, secret: Path) -> None:
    bench.write_slices(range(17))
    watching = bench.ingest(watch=True)
    bench.turn(watching, polls=3)
    replace_by_link(secret)(bench.folder / name_of(1))
    bench.turn(watching, polls=6)
    assert watching.ledger().files.seen == 17
    assert SECRET not in list(everything_kept(bench))


def test_a_file_that_waits_replaced_by_a_link_is_left_alone(bench: Bench, secret: Path) -> None:
    bench.write_slices(range(17))
    bench.write(name_of(17), slice_bytes(17)[:-30])
    watching = bench.ingest(watch=True)
    bench.turn(watching, polls=3)
    assert watching.ledger().files.in_flight == 1
    replace_by_link(secret)(bench.folder / name_of(17))
    bench.turn(watching, polls=6)
    assert watching.ledger().files.ignored == {"link_outside": 1}
    assert SECRET not in list(everything_kept(bench))


def test_a_file_replaced_by_a_pipe_before_it_is_opened_is_not_waited_for(bench: Bench) -> None:
    bench.write_slices(range(3))
    ingest = bench.run(bench.ingest(source=ExchangedFolders(bench.folder, replace_by_pipe, name_of(1))))
    assert sorted(bench.ingested()) == [0, 2]
    assert ingest.ledger().files.ignored == {"not_a_file": 1}


def test_a_file_exchanged_between_reading_and_keeping_is_found_out_by_its_hash(bench: Bench) -> None:
    path = bench.write(name_of(1), slice_bytes(1))
    digest = bench.store.put("roi/known", slice_bytes(1)).sha256
    path.write_bytes(slice_bytes(5))
    with pytest.raises(ArtefactCorruptError):
        bench.store.put_file("roi/raw", path, digest)
    replace_by_pipe(path)
    with pytest.raises(ArtefactCorruptError, match="vanished"):
        bench.store.put_file("roi/raw", path, digest)


def test_a_slice_kept_by_reference_and_replaced_by_a_pipe_is_missing_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / name_of(1)
    path.write_bytes(slice_bytes(1))
    store = DirectoryStore(tmp_path / "store", reference_files=True)
    ref: ArtefactRef = store.put_file("roi/raw", path, store.put("roi/known", slice_bytes(1)).sha256)
    replace_by_pipe(path)
    with pytest.raises(ArtefactMissingError):
        store.get(ref)
    store.close()


# ------------------------------------------------------------------------------------------------ files without an end


class Endless(BytesIO):
    """A file to which bytes are appended faster than they are read."""

    given = 0

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None and size >= 0, "nobody may ask for all of it"  # noqa: PT018 - one fact
        self.given += size
        return super().read(size).ljust(size, b"\0")


class EndlessFolders(LocalFolders):
    """Folders in which one file never ends once it is opened."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__([folder])
        self._name = name
        self.files: list[Endless] = []

    def open(self, key: FileKey) -> BinaryIO:
        if key.name != self._name:
            return super().open(key)
        self.files.append(Endless(self.path(key).read_bytes()))
        return self.files[-1]


@pytest.mark.parametrize("in_memory_bytes", [2**20, 64])
def test_of_a_file_that_grows_faster_than_it_is_read_no_more_is_read_than_was_listed(
    bench: Bench, in_memory_bytes: int
) -> None:
    bench.write_slices(range(3))
    folders = EndlessFolders(bench.folder, name_of(1))
    ingest = bench.ingest(source=folders, in_memory_bytes=in_memory_bytes)
    bench.turn(ingest, polls=3)
    assert not ingest.is_done
    assert folders.files
    listed_bytes = len(slice_bytes(1))
    # Once for the hash, once at most for the pixels, and one byte to see that it went on.
    assert all(file.given <= 2 * listed_bytes + 64 for file in folders.files)


def test_a_file_that_grows_for_ever_is_in_flight_and_the_next_slices_flow(bench: Bench) -> None:
    bench.write_slices(range(17))
    watching = bench.ingest(watch=True)
    for z in range(20):
        with (bench.folder / name_of(30)).open("ab") as file:
            file.write(bytes(1000))
        bench.touch(name_of(30))
        bench.write_slices([17 + z]) if z < 3 else None
        bench.turn(watching)
    assert len(bench.ingested()) == 20
    assert watching.ledger().files.in_flight == 1


def test_a_file_of_holes_as_large_as_no_disk_is_refused_by_its_size_alone(bench: Bench) -> None:
    bench.write_slices(range(3))
    with (bench.folder / name_of(1)).open("wb") as file:
        file.truncate(MANY_BYTES + 1)
    bench.run(bench.ingest())
    assert bench.letters() == {name_of(1): "too_large"}
    assert sorted(bench.ingested()) == [0, 2]
    assert f'"size_bytes": {MANY_BYTES + 1}'.encode() in bench.kept(name_of(1))


def test_of_a_large_file_that_is_no_slice_no_copy_is_kept(bench: Bench) -> None:
    bench.write_slices(range(3))
    with (bench.folder / name_of(1)).open("wb") as file:
        file.truncate(2**31 + 5)
    # Nothing of it takes room on the share; its copy would in the store.
    bench.run(bench.ingest(max_file_bytes=2**32, in_memory_bytes=2**20, most_kept_bytes=2**20))
    assert bench.letters() == {name_of(1): "not_a_tiff"}
    assert len(bench.kept(name_of(1))) < 1000


# --------------------------------------------------------------------------------- bombs: small files, endless contents

LIMITS = TiffLimits(max_page_bytes=2**22, max_segments=1000, free_expansion_bytes=2**24)

BOMBS: dict[str, tuple[Callable[[], bytes], type[TiffError]]] = {
    "a page of more pixels than any": (lambda: bomb(2**16, 2**16), TooLargeError),
    "a page of few pixels and many samples": (lambda: bomb(2**12, 2**12, samples=16, bits=16), TooLargeError),
    "more samples than any": (lambda: bomb(4, 4, samples=60000), TooLargeError),
    "a page as large as 32 bits can say": (lambda: bomb(2**32 - 1, 2**32 - 1), TooLargeError),
    "a tile larger than its page": (
        lambda: file_of(
            page(64, 64, (HEADER_BYTES, 9)) | dict.fromkeys((322, 323), (LONG, 1, 2**12)) | {325: (LONG, 1, 9)},
            bytes(16),
        ),
        MalformedDirectoryError,
    ),
    "pages that unpack the same bytes again and again": (lambda: pages_that_share(2000, 512, 512), TooLargeError),
    "a bit depth for every byte of the file": (lambda: field_of(258, SHORT, 2**22, 2**23), MalformedDirectoryError),
    "a sample format for every byte": (lambda: field_of(339, SHORT, 2**22, 2**23), MalformedDirectoryError),
    "a width of millions of values": (lambda: field_of(256, LONG, 2**21, 2**23), MalformedDirectoryError),
    "a strip for every byte of the file": (lambda: field_of(273, LONG, 2**21, 2**23), TooLargeError),
    "sizes for strips that are not there": (lambda: field_of(279, LONG, 2**21, 2**23), MalformedDirectoryError),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_a_byte_of_it_is_unpacked(name: str) -> None:
    make, fault = BOMBS[name]
    payload = make()
    tracemalloc.start()
    try:
        with pytest.raises(fault):
            TiffReader(payload, LIMITS)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # What describes two thousand pages may take something; none of these unpacks to less than 16 MiB.
    assert peak_bytes < 2**22


def test_a_description_of_gigabytes_is_not_read() -> None:
    payload = field_of(270, ASCII, 2**24, 2**24)
    tracemalloc.start()
    try:
        TiffReader(payload)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2**20


@pytest.mark.parametrize("rows", [2**13, 2**14])
def test_a_page_within_the_limits_takes_only_what_they_say(rows: int) -> None:
    """Half the limit and all of it: a page, its strip unpacked, and nothing else of that size."""
    limits = TiffLimits(max_page_bytes=2**24)
    reader = TiffReader(bomb(rows, 2**10), limits)
    tracemalloc.start()
    try:
        reader.read(0)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2.5 * limits.max_page_bytes


def test_a_strip_that_unpacks_beyond_its_page_is_cut_off_by_the_codec() -> None:
    strip = squeezed(2**26)
    small = file_of(page(64, 64, (HEADER_BYTES, len(strip)), 50000), strip)
    reader = TiffReader(small)
    tracemalloc.start()
    try:
        with pytest.raises(TiffError):
            reader.read(0)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2**20


def test_a_file_of_a_hundred_thousand_pages_and_one_is_refused() -> None:
    payload = pages_that_share(100_001, 4, 4)
    with pytest.raises(TooLargeError, match="more than 100000 pages"):
        TiffReader(payload)


def test_bombs_in_the_folder_are_kept_with_their_reason_and_the_next_slices_flow(bench: Bench) -> None:
    bench.write_slices([0, 1, 2])
    bench.write(name_of(3), bomb(2**16, 2**16))
    bench.write(name_of(4), bomb(2**13, 2**12, samples=16, bits=16))
    bench.write("stack_0005.tif", pages_that_share(20, 16, 16))
    bench.write(name_of(30), slice_bytes(30))
    bench.run(bench.ingest(max_pages=10))
    assert bench.letters() == {name_of(3): "too_large", name_of(4): "too_large", "stack_0005.tif": "too_large"}
    assert bench.kept(name_of(3)) == bomb(2**16, 2**16)
    assert 30 in bench.ingested()
