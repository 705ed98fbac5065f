"""The embedded store keeps the promises of the port, and those of its own: references, outages, crashes."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.contracts.keys import sha256
from services.contracts.values import ArtefactRef
from services.runtime.errors import TransientError
from services.runtime.store.directory import DirectoryStore
from services.runtime.store.directory_staging import STAGING
from services.runtime.store.port import ArtefactCorruptError, ArtefactMissingError, ArtefactStore, InvalidKeyError
from tests.contract.store_suite import SEVERAL_CHUNKS, StoreContract, StoreHarness


class DirectoryHarness:
    prefix = "acquisition-1"

    def __init__(self, root: Path, *, reference_files: bool) -> None:
        self._root = root
        self._reference_files = reference_files
        self.store: ArtefactStore = self._open()

    def _open(self) -> DirectoryStore:
        return DirectoryStore(self._root, reference_files=self._reference_files)

    def reopen(self) -> ArtefactStore:
        self.store.close()
        self.store = self._open()
        return self.store

    def read_raw(self, key: str) -> bytes:
        return (self._root / key).read_bytes()

    def write_raw(self, key: str, payload: bytes) -> None:
        (self._root / key).parent.mkdir(parents=True, exist_ok=True)
        (self._root / key).write_bytes(payload)

    def remove_raw(self, key: str) -> None:
        (self._root / key).unlink()


@pytest.mark.parametrize("reference_files", [False, True], ids=["copies", "references"])
class TestDirectoryStore(StoreContract):
    @pytest.fixture
    def harness(self, tmp_path: Path, *, reference_files: bool) -> Iterator[StoreHarness]:
        harness = DirectoryHarness(tmp_path / "store", reference_files=reference_files)
        yield harness
        harness.store.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> Iterator[DirectoryStore]:
    store = DirectoryStore(root, reference_files=True)
    yield store
    store.close()


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "slices" / "slice_0012.tif"
    path.parent.mkdir()
    path.write_bytes(SEVERAL_CHUNKS)
    return path


def all_files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_a_reference_keeps_no_copy_of_the_bytes(store: DirectoryStore, root: Path, original: Path) -> None:
    store.put_file("a/raw/z000012-ab", original, sha256(SEVERAL_CHUNKS))
    assert sum(path.stat().st_size for path in all_files(root)) < 1000
    assert store.path_of("a/raw/z000012-ab") == original


def test_bytes_put_over_a_reference_leave_no_pointer(store: DirectoryStore, root: Path, original: Path) -> None:
    store.put_file("a/raw/z000012-ab", original, sha256(SEVERAL_CHUNKS))
    store.put("a/raw/z000012-ab", b"bytes")
    assert [path.name for path in (root / "a" / "raw").iterdir()] == ["z000012-ab"]


def test_an_artefact_that_changes_between_bytes_and_reference_is_never_missing(
    store: DirectoryStore, tmp_path: Path
) -> None:
    original = tmp_path / "small.tif"
    original.write_bytes(b"file")
    store.put("a/b", b"bytes")
    done = threading.Event()

    def alternate() -> None:
        for _ in range(60):
            store.put_file("a/b", original, sha256(b"file"))
            store.put("a/b", b"bytes")
        done.set()

    writer = threading.Thread(target=alternate)
    writer.start()
    while not done.is_set():
        ref = store.find("a/b")
        assert ref is not None
        assert ref.sha256 in {sha256(b"file"), sha256(b"bytes")}
    writer.join()


def test_a_copy_needs_the_original_no_more(root: Path, original: Path) -> None:
    store = DirectoryStore(root, reference_files=False)
    ref = store.put_file("a/raw/z000012-ab", original, sha256(SEVERAL_CHUNKS))
    original.unlink()
    assert store.get(ref) == SEVERAL_CHUNKS
    assert store.path_of("a/raw/z000012-ab") == root / "a/raw/z000012-ab"
    store.close()


def test_an_original_that_changed_is_corrupt(store: DirectoryStore, original: Path) -> None:
    ref = store.put_file("a/raw/z000012-ab", original, sha256(SEVERAL_CHUNKS))
    original.write_bytes(SEVERAL_CHUNKS[:-1] + b"?")
    with pytest.raises(ArtefactCorruptError, match="SHA-256"):
        store.get(ref)
    with pytest.raises(ArtefactCorruptError, match="SHA-256"), store.open(ref) as stream:
        stream.read()


def test_an_original_that_vanished_is_missing(store: DirectoryStore, original: Path) -> None:
    ref = store.put_file("a/raw/z000012-ab", original, sha256(SEVERAL_CHUNKS))
    original.unlink()
    with pytest.raises(ArtefactMissingError, match=r"slice_0012\.tif is not there"):
        store.get(ref)


def test_an_original_named_relatively_is_found_from_anywhere(
    store: DirectoryStore, original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(original.parent)
    ref = store.put_file("a/raw/z000012-ab", Path(original.name), sha256(SEVERAL_CHUNKS))
    monkeypatch.chdir("/")
    assert store.get(ref) == SEVERAL_CHUNKS


def test_a_damaged_pointer_is_corrupt(store: DirectoryStore, root: Path, original: Path) -> None:
    ref = store.put_file("a/raw/z000012-ab", original, sha256(SEVERAL_CHUNKS))
    (root / "a/raw/z000012-ab~").write_text('{"path": "')
    with pytest.raises(ArtefactCorruptError, match="not a pointer"):
        store.get(ref)


def test_the_path_of_a_missing_artefact_is_refused(store: DirectoryStore) -> None:
    with pytest.raises(ArtefactMissingError):
        store.path_of("a/b")


def test_a_key_below_an_artefact_is_refused(store: DirectoryStore) -> None:
    store.put("a/b", b"bytes")
    with pytest.raises(InvalidKeyError, match="prefix"):
        store.put("a/b/c", b"bytes")
    with pytest.raises(InvalidKeyError, match="prefix"):
        store.put("a", b"bytes")
    assert store.find("a/b/c") is None
    assert store.find("a") is None
    assert list(store.keys("")) == ["a/b"]


def test_a_put_leaves_nothing_but_the_artefact(store: DirectoryStore, root: Path) -> None:
    store.put("a/b", b"bytes")
    with pytest.raises(ArtefactCorruptError):
        store.put_file("a/c", root / "a/b", "0" * 64)
    assert [path.name for path in all_files(root) if path.name != "~lock"] == ["b"]


def test_the_first_put_after_a_folder_was_removed_makes_it_again(store: DirectoryStore, root: Path) -> None:
    store.put("a/b/c", b"bytes")
    (root / "a/b/c").unlink()
    (root / "a/b").rmdir()
    assert store.get(store.put("a/b/d", b"bytes")) == b"bytes"


def test_a_store_in_use_is_not_swept_by_another_one(root: Path) -> None:
    first = DirectoryStore(root)
    second = DirectoryStore(root)
    assert first.get(first.put("a/b", b"bytes")) == b"bytes"
    second.close()
    first.close()
    assert [path.name for path in (root / STAGING).iterdir()] == ["~lock"]


def test_a_file_in_place_of_the_root_is_said_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileExistsError):
        DirectoryStore(tmp_path / "file")


LIMITED_WRITER = """
import resource, signal, sys
from pathlib import Path
from services.runtime.errors import TransientError
from services.runtime.store.directory import DirectoryStore

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
store = DirectoryStore(Path(sys.argv[1]), reference_files=False)
store.put("a/small", b"s" * 50_000)
for put in (
    lambda: store.put("a/large", b"l" * 200_000),
    lambda: store.put("a/small", b"l" * 200_000),
    lambda: store.put_file("a/file", Path(sys.argv[2]), sys.argv[3]),
):
    try:
        put()
    except TransientError as outage:
        print(outage.dependency)
"""


def test_a_full_disk_is_an_outage_and_leaves_what_was_there(root: Path, original: Path) -> None:
    arguments = [sys.executable, "-c", LIMITED_WRITER, str(root), str(original), sha256(SEVERAL_CHUNKS)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["disk", "disk", "disk"]
    store = DirectoryStore(root)
    assert list(store.keys("")) == ["a/small"]
    ref = store.find("a/small")
    assert ref is not None
    assert store.get(ref) == b"s" * 50_000
    store.close()


def test_running_out_of_file_descriptors_is_an_outage(store: DirectoryStore) -> None:
    ref = store.put("a/b", b"bytes")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(TransientError, match="store is unavailable") as caught:
            store.get(ref)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EMFILE


ENDLESS_WRITER = """
import sys
from pathlib import Path
from services.runtime.store.directory import DirectoryStore

store = DirectoryStore(Path(sys.argv[1]))
for number in range(1_000_000):
    ref = store.put(f"a/{number % 3}", bytes([number % 251]) * 300_000)
    print(f"{ref.key} {ref.sha256} {ref.size_bytes}", flush=True)
"""


def test_a_process_killed_while_putting_leaves_whole_artefacts_and_no_rest(root: Path) -> None:
    for puts_before_the_kill in (1, 5, 20):
        process = subprocess.Popen([sys.executable, "-c", ENDLESS_WRITER, str(root)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(puts_before_the_kill)]
        process.kill()
        lines += [line for line in process.stdout if line.endswith("\n")]
        process.wait()
        process.stdout.close()
        acknowledged = {key: ref_of(key, digest, size) for key, digest, size in map(str.split, lines)}
        store = DirectoryStore(root)
        # At most the put after the last acknowledged one may have replaced its key.
        replaced = [key for key, ref in acknowledged.items() if store.find(key) != ref]
        assert len(replaced) <= 1
        for key in store.keys(""):
            ref = store.find(key)
            assert ref is not None
            payload = store.get(ref)
            assert payload == payload[:1] * 300_000
        store.close()
        assert [path.name for path in (root / STAGING).iterdir()] == ["~lock"]


def ref_of(key: str, digest: str, size: str) -> ArtefactRef:
    return ArtefactRef(key=key, sha256=digest, size_bytes=int(size))
