"""What every artefact store promises. A test module subclasses `StoreContract` and provides the `harness` fixture."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

import pytest
from pydantic import ValidationError

from services.contracts.keys import sha256
from services.contracts.values import ArtefactRef
from services.runtime.store.port import ArtefactCorruptError, ArtefactMissingError, ArtefactStore

SEVERAL_CHUNKS = bytes(range(256)) * 20_000


def read_exactly(stream: BinaryIO, size_bytes: int) -> None:
    """Read up to a size that was promised, and not look whether there is more."""
    while size_bytes:
        size_bytes -= len(stream.read(min(size_bytes, 512_000)))


class StoreHarness(Protocol):
    """What the suite needs besides the port.

    The back door goes past the adapter, so that what is written is never judged by the code that wrote it.
    """

    @property
    def store(self) -> ArtefactStore:
        """A store that holds nothing under `prefix`."""

    @property
    def prefix(self) -> str:
        """Where this test's keys lie; a store of several tests gives each its own."""

    def reopen(self) -> ArtefactStore:
        """Close the store and open it again, as another process would."""

    def read_raw(self, key: str) -> bytes:
        """Return the stored bytes past the adapter."""

    def write_raw(self, key: str, payload: bytes) -> None:
        """Replace the stored bytes past the adapter."""

    def remove_raw(self, key: str) -> None:
        """Remove what is stored past the adapter."""


class StoreContract:
    """The suite."""

    @pytest.fixture
    def store(self, harness: StoreHarness) -> ArtefactStore:
        return harness.store

    @pytest.fixture
    def key(self, harness: StoreHarness) -> str:
        return f"{harness.prefix}/nuclei/n0001/crops/z000012-0123456789abcdef.tif"

    @pytest.fixture
    def slice_file(self, tmp_path: Path) -> Path:
        path = tmp_path / "slice 0012.tif"
        path.write_bytes(SEVERAL_CHUNKS)
        return path

    # Putting and getting

    @pytest.mark.parametrize("payload", [b"", b"x", b"\0\r\n\xff" * 1000, SEVERAL_CHUNKS])
    def test_what_was_put_comes_back(self, store: ArtefactStore, key: str, payload: bytes) -> None:
        ref = store.put(key, payload)
        assert ref == ArtefactRef(key=key, sha256=sha256(payload), size_bytes=len(payload))
        assert store.get(ref) == payload

    def test_what_was_put_lies_there_as_it_is(self, harness: StoreHarness, store: ArtefactStore, key: str) -> None:
        store.put(key, SEVERAL_CHUNKS)
        assert harness.read_raw(key) == SEVERAL_CHUNKS

    def test_what_came_by_the_back_door_is_found_and_got(
        self, harness: StoreHarness, store: ArtefactStore, key: str
    ) -> None:
        store.put(key, b"first")
        harness.write_raw(key, b"second")
        ref = store.find(key)
        assert ref == ArtefactRef(key=key, sha256=sha256(b"second"), size_bytes=6)
        assert store.get(ref) == b"second"

    def test_putting_again_replaces(self, store: ArtefactStore, key: str) -> None:
        old = store.put(key, b"the first, longer one")
        new = store.put(key, b"the second")
        assert store.get(new) == b"the second"
        with pytest.raises(ArtefactCorruptError):
            store.get(old)

    def test_putting_the_same_bytes_again_changes_nothing(self, store: ArtefactStore, key: str) -> None:
        assert store.put(key, b"bytes") == store.put(key, b"bytes")
        assert list(store.keys(key.rpartition("/")[0])) == [key]

    def test_artefacts_survive_a_restart(self, harness: StoreHarness, store: ArtefactStore, key: str) -> None:
        ref = store.put(key, b"bytes")
        assert harness.reopen().get(ref) == b"bytes"

    def test_a_missing_artefact_is_said_to_be_missing(self, store: ArtefactStore, key: str) -> None:
        ref = ArtefactRef(key=key, sha256="0" * 64, size_bytes=1)
        assert store.find(key) is None
        with pytest.raises(ArtefactMissingError):
            store.get(ref)
        with pytest.raises(ArtefactMissingError), store.open(ref):
            pass

    def test_a_removed_artefact_is_missing(self, harness: StoreHarness, store: ArtefactStore, key: str) -> None:
        ref = store.put(key, b"bytes")
        harness.remove_raw(key)
        assert store.find(key) is None
        with pytest.raises(ArtefactMissingError):
            store.get(ref)

    @pytest.mark.parametrize("damaged", [b"", b"byte", b"bytes!", b"bytez"], ids=["empty", "short", "long", "other"])
    def test_bytes_that_differ_from_the_reference_are_never_returned(
        self, harness: StoreHarness, store: ArtefactStore, key: str, damaged: bytes
    ) -> None:
        ref = store.put(key, b"bytes")
        harness.write_raw(key, damaged)
        with pytest.raises(ArtefactCorruptError):
            store.get(ref)
        with pytest.raises(ArtefactCorruptError), store.open(ref) as stream:
            stream.read()

    # Streaming

    def test_streaming_gives_the_same_bytes_in_pieces(self, store: ArtefactStore, key: str) -> None:
        with store.open(store.put(key, SEVERAL_CHUNKS)) as stream:
            pieces = list(iter(lambda: stream.read(100_000), b""))
        assert b"".join(pieces) == SEVERAL_CHUNKS
        assert len(pieces) > 40

    def test_an_empty_artefact_streams(self, store: ArtefactStore, key: str) -> None:
        with store.open(store.put(key, b"")) as stream:
            assert stream.read() == b""

    def test_a_stream_fails_by_its_end_even_for_a_reader_that_stops_at_the_promised_size(
        self, harness: StoreHarness, store: ArtefactStore, key: str
    ) -> None:
        ref = store.put(key, SEVERAL_CHUNKS)
        harness.write_raw(key, SEVERAL_CHUNKS[:-1] + b"?")
        with pytest.raises(ArtefactCorruptError), store.open(ref) as stream:
            read_exactly(stream, ref.size_bytes)

    def test_what_a_reader_raises_passes_through(self, store: ArtefactStore, key: str) -> None:
        ref = store.put(key, b"bytes")
        with pytest.raises(OSError, match="the reader's own"), store.open(ref):
            raise OSError(28, "the reader's own")

    # Files

    def test_a_file_is_stored_with_its_hash(self, store: ArtefactStore, key: str, slice_file: Path) -> None:
        ref = store.put_file(key, slice_file, sha256(SEVERAL_CHUNKS))
        assert ref == ArtefactRef(key=key, sha256=sha256(SEVERAL_CHUNKS), size_bytes=len(SEVERAL_CHUNKS))
        assert store.get(ref) == SEVERAL_CHUNKS
        assert store.find(key) == ref
        assert list(store.keys(key.rpartition("/")[0])) == [key]
        with store.open(ref) as stream:
            assert stream.read() == SEVERAL_CHUNKS

    def test_a_file_that_changed_is_refused_and_nothing_is_stored(
        self, store: ArtefactStore, key: str, slice_file: Path
    ) -> None:
        with pytest.raises(ArtefactCorruptError):
            store.put_file(key, slice_file, sha256(b"what it was"))
        assert store.find(key) is None

    def test_a_file_that_vanished_is_refused(self, store: ArtefactStore, key: str, tmp_path: Path) -> None:
        with pytest.raises(ArtefactCorruptError):
            store.put_file(key, tmp_path / "gone.tif", sha256(b""))

    def test_the_file_stays_as_it_was(self, store: ArtefactStore, key: str, slice_file: Path) -> None:
        before = slice_file.stat()
        store.put_file(key, slice_file, sha256(SEVERAL_CHUNKS))
        assert slice_file.read_bytes() == SEVERAL_CHUNKS
        assert (slice_file.stat().st_mtime_ns, slice_file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)

    @pytest.mark.parametrize("file_first", [True, False])
    def test_bytes_and_files_replace_one_another(
        self, store: ArtefactStore, key: str, slice_file: Path, *, file_first: bool
    ) -> None:
        puts: list[Callable[[], ArtefactRef]] = [
            lambda: store.put_file(key, slice_file, sha256(SEVERAL_CHUNKS)),
            lambda: store.put(key, b"bytes"),
        ]
        first, second = puts if file_first else reversed(puts)
        first()
        ref = second()
        assert store.find(key) == ref
        assert store.get(ref) == (b"bytes" if file_first else SEVERAL_CHUNKS)
        assert list(store.keys(key.rpartition("/")[0])) == [key]

    # Keys

    @pytest.mark.parametrize(
        "key",
        [
            "",
            "/a",
            "a/",
            "a//b",
            "../a",
            "a/../b",
            "a/./b",
            "a/.hidden",
            "a b",
            "a\\b",
            "a/~b",
            "a\0b",
            "a\n",
            "µ",
            "a" * 513,
        ],
    )
    def test_a_key_that_is_not_path_safe_is_refused(self, store: ArtefactStore, key: str, slice_file: Path) -> None:
        calls: list[Callable[[], object]] = [
            lambda: store.put(key, b"bytes"),
            lambda: store.put_file(key, slice_file, sha256(SEVERAL_CHUNKS)),
            lambda: store.find(key),
        ]
        for refused in calls:
            with pytest.raises(ValueError, match="key"):
                refused()
        with pytest.raises(ValidationError):
            ArtefactRef(key=key, sha256="0" * 64, size_bytes=0)

    def test_keys_are_listed_sorted_below_whole_segments(self, harness: StoreHarness, store: ArtefactStore) -> None:
        names = ["a/b/2", "a/b/10", "a/b-c", "a/b.c/1", "ab/1", "a/bc"]
        for name in names:
            store.put(f"{harness.prefix}/{name}", b"bytes")
        listed = [key.removeprefix(f"{harness.prefix}/") for key in store.keys(harness.prefix)]
        assert listed == sorted(names)
        assert list(store.keys(f"{harness.prefix}/a/b")) == [f"{harness.prefix}/a/b/10", f"{harness.prefix}/a/b/2"]
        assert list(store.keys(f"{harness.prefix}/nowhere")) == []
        assert list(store.keys(f"{harness.prefix}/a/bc")) == []

    def test_more_than_a_thousand_keys_are_listed(self, harness: StoreHarness, store: ArtefactStore) -> None:
        keys = [f"{harness.prefix}/planes/z{z:06d}" for z in range(1203)]
        for key in keys:
            harness.write_raw(key, b"")
        assert list(store.keys(f"{harness.prefix}/planes")) == keys

    # Concurrency

    def test_concurrent_puts_of_one_key_leave_one_of_them_whole(self, store: ArtefactStore, key: str) -> None:
        payloads = [bytes([number]) * 200_000 for number in range(8)]
        writers = [threading.Thread(target=store.put, args=(key, payload)) for payload in payloads]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        ref = store.find(key)
        assert ref is not None
        assert store.get(ref) in payloads

    def test_a_reader_sees_the_old_artefact_or_the_new_one(self, store: ArtefactStore, key: str) -> None:
        payloads = [bytes([number]) * 100_000 for number in range(2)]
        refs = {ref.sha256 for ref in (store.put(key, payload) for payload in payloads)}
        done = threading.Event()

        def write() -> None:
            for number in range(40):
                store.put(key, payloads[number % 2])
            done.set()

        writer = threading.Thread(target=write)
        writer.start()
        while not done.is_set():
            ref = store.find(key)
            assert ref is not None
            assert ref.sha256 in refs
        writer.join()

    def test_closing_twice_is_harmless(self, store: ArtefactStore) -> None:
        store.close()
        store.close()
