"""The store's contract on real S3 servers, and what it promises there beyond the port."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from services.contracts.keys import sha256
from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.store.port import ArtefactStore
from services.runtime.store.s3 import S3Store
from services.runtime.store.s3_settings import S3Settings
from services.runtime.store.s3_setup import make_bucket
from tests.contract.store_suite import StoreContract, StoreHarness
from tests.system.contract.s3_store_settings import BUCKET, back_door, settings_for
from tests.system.servers.minio import running_minio
from tests.system.servers.provision import Addresses
from tests.system.servers.s3_server import S3Address, given_s3
from tests.system.servers.seaweedfs import running_seaweedfs

pytestmark = pytest.mark.system

SERVERS: dict[str, Callable[[Path], AbstractContextManager[S3Address]]] = {
    "minio": running_minio,
    "seaweedfs": running_seaweedfs,
}
if (url := Addresses().s3) is not None:
    GIVEN = given_s3(url)
    SERVERS["given"] = lambda _folder: nullcontext(GIVEN)
SLICE_BYTES = 40_000_000
# A process that stores a file and streams it back, and tells its peak memory in KiB.
MOVE_A_FILE = """
import sys
from pathlib import Path
from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.store.s3 import S3Store
from services.runtime.store.s3_settings import S3Settings

store = S3Store(S3Settings.model_validate_json(sys.stdin.read()), RecordingMetrics())
ref = store.put_file("acquisition-1/raw/large", Path(sys.argv[1]), sys.argv[2])
with store.open(ref) as stream:
    while stream.read(1 << 20):
        pass
# Of this process's own memory: what getrusage says began before the program did, in its parent.
status = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


class S3Harness:
    prefix = "acquisition-1"

    def __init__(self, server: S3Address) -> None:
        self._settings = settings_for(server)
        self._client = back_door(server)
        self.store: ArtefactStore = self._open()

    def _open(self) -> S3Store:
        return S3Store(self._settings, RecordingMetrics())

    def reopen(self) -> ArtefactStore:
        self.store.close()
        self.store = self._open()
        return self.store

    def read_raw(self, key: str) -> bytes:
        response = self._client.get_object(BUCKET, self._settings.object_name(key))
        try:
            return bytes(response.read())
        finally:
            response.close()
            response.release_conn()

    def write_raw(self, key: str, payload: bytes) -> None:
        self._client.put_object(BUCKET, self._settings.object_name(key), io.BytesIO(payload), len(payload))

    def remove_raw(self, key: str) -> None:
        self._client.remove_object(BUCKET, self._settings.object_name(key))


@pytest.fixture(scope="module", params=sorted(SERVERS))
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Address]:
    with SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as running:
        make_bucket(settings_for(running))
        yield running


@pytest.fixture
def settings(server: S3Address) -> S3Settings:
    return settings_for(server)


@pytest.fixture
def metrics() -> RecordingMetrics:
    return RecordingMetrics()


@pytest.fixture
def store(settings: S3Settings, metrics: RecordingMetrics) -> Iterator[S3Store]:
    store = S3Store(settings, metrics)
    yield store
    store.close()


class TestS3Store(StoreContract):
    @pytest.fixture
    def harness(self, server: S3Address) -> Iterator[StoreHarness]:
        harness = S3Harness(server)
        yield harness
        harness.store.close()


def test_a_large_artefact_is_one_put(server: S3Address, settings: S3Settings, store: S3Store, tmp_path: Path) -> None:
    payload = bytes(SLICE_BYTES)
    path = tmp_path / "slice.tif"
    path.write_bytes(payload)
    refs = [store.put("a/bytes", payload), store.put_file("a/file", path, sha256(payload))]
    for ref in refs:
        found = back_door(server).stat_object(BUCKET, settings.object_name(ref.key))
        # What was put together of parts has their number after a dash.
        assert found.etag is not None
        assert "-" not in found.etag
        assert found.size == SLICE_BYTES


def test_the_hash_lies_beside_the_bytes(server: S3Address, settings: S3Settings, store: S3Store) -> None:
    ref = store.put("a/b", b"bytes")
    found = back_door(server).stat_object(BUCKET, settings.object_name(ref.key))
    assert found.metadata is not None
    assert found.metadata["x-amz-meta-sha256"] == sha256(b"bytes")


def test_finding_reads_no_bytes(store: S3Store, metrics: RecordingMetrics) -> None:
    ref = store.put("a/b", bytes(1000))
    assert store.find("a/b") == ref
    assert metrics.value("fibsem_s3_bytes_total", direction="in") == 0
    assert metrics.value("fibsem_s3_bytes_total", direction="out") == 1000


def test_a_file_that_changed_leaves_the_former_artefact(store: S3Store, tmp_path: Path) -> None:
    former = store.put("a/b", b"former")
    path = tmp_path / "slice.tif"
    path.write_bytes(bytes(5_000_000))
    with pytest.raises(ValueError, match="it changed"):
        store.put_file("a/b", path, sha256(b"what it was"))
    assert store.find("a/b") == former


def test_deployments_share_a_bucket_and_do_not_see_one_another(server: S3Address, store: S3Store) -> None:
    other = S3Store(settings_for(server), RecordingMetrics())
    store.put("a/b", b"one")
    assert other.find("a/b") is None
    assert list(other.keys("")) == []
    assert list(store.keys("")) == ["a/b"]
    other.close()


def test_keys_come_before_all_have_been_asked_for(store: S3Store, metrics: RecordingMetrics) -> None:
    for folder in range(30):
        store.put(f"a/{folder:02d}/b", b"")
    assert next(store.keys("a")) == "a/00/b"
    assert len(metrics.observations("fibsem_s3_request_duration_seconds", op="list", outcome="ok")) == 2


def test_sixteen_threads_share_one_store(store: S3Store) -> None:
    def work(number: int) -> bool:
        payload = bytes([number % 256]) * (50_000 + number)
        ref = store.put(f"a/{number:03d}", payload)
        with store.open(ref) as stream:
            return store.find(ref.key) == ref and store.get(ref) == payload == stream.read()

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(work, range(128)))
    assert len(list(store.keys("a"))) == 128


def test_memory_does_not_grow_with_the_file(settings: S3Settings, tmp_path: Path) -> None:
    peaks_kib = []
    for megabytes in (1, 300):
        path = tmp_path / f"{megabytes}.tif"
        payload = bytes(range(250)) * (4_000 * megabytes)
        path.write_bytes(payload)
        done = subprocess.run(
            [sys.executable, "-c", MOVE_A_FILE, str(path), sha256(payload)],
            input=settings.model_dump_json().replace("**********", settings.secret_key.get_secret_value()),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        peaks_kib.append(int(done.stdout))
    assert peaks_kib[1] - peaks_kib[0] < 20_000
