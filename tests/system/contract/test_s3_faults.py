"""Whatever fails between the store and a real S3 server: said as what it is, in time, and over when it is over."""

from __future__ import annotations

import datetime
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import minio.time
import pytest
from pydantic import SecretStr

from services.contracts.keys import sha256
from services.contracts.values import ArtefactRef
from services.runtime.errors import TransientError
from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.store.port import ArtefactCorruptError
from services.runtime.store.s3 import S3Store
from services.runtime.store.s3_faults import StoreSetupError
from services.runtime.store.s3_settings import S3Settings
from services.runtime.store.s3_setup import make_bucket
from tests.system.contract.s3_store_settings import settings_for
from tests.system.servers.fault_proxy import Fault, FaultProxy, fault_proxy
from tests.system.servers.minio import running_minio
from tests.system.servers.s3_server import S3Server
from tests.system.servers.seaweedfs import running_seaweedfs

pytestmark = pytest.mark.system

PAYLOAD = bytes(range(256)) * 8000
KEY = "acquisition-1/raw/z000001"
# Time-outs of the tests, and what a call may take with them: one attempt that times out after one that failed.
SHORT = {"connect_timeout_s": 0.5, "read_timeout_s": 1.0, "attempts": 2, "least_bytes_per_s": 4e6}
LONGEST_CALL_S = 5.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_minio(tmp_path_factory.mktemp("minio")) as running:
        make_bucket(settings_for(running))
        yield running


@pytest.fixture(scope="module")
def second_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as running:
        make_bucket(settings_for(running))
        yield running


@pytest.fixture
def proxy(server: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def metrics() -> RecordingMetrics:
    return RecordingMetrics()


@pytest.fixture
def store(server: S3Server, proxy: FaultProxy, metrics: RecordingMetrics) -> Iterator[S3Store]:
    store = S3Store(settings_for(server, endpoint=f"http://{proxy.endpoint}", **SHORT), metrics)
    yield store
    store.close()


@contextmanager
def in_time() -> Iterator[None]:
    began_s = time.monotonic()
    yield
    assert time.monotonic() - began_s < LONGEST_CALL_S


def stream_of(store: S3Store, ref: ArtefactRef) -> bytes:
    with store.open(ref) as stream:
        return stream.read()


def calls_on(store: S3Store, ref: ArtefactRef, path: Path) -> dict[str, Callable[[], object]]:
    return {
        "put": lambda: store.put(ref.key, PAYLOAD),
        "put_file": lambda: store.put_file(ref.key, path, ref.sha256),
        "get": lambda: store.get(ref),
        "open": lambda: stream_of(store, ref),
        "find": lambda: store.find(ref.key),
        "keys": lambda: list(store.keys("acquisition-1")),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "slice.tif"
    path.write_bytes(PAYLOAD)
    return path


CALLS = ["put", "put_file", "get", "open", "find", "keys"]


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.BLACK_HOLE, Fault.UNAVAILABLE])
@pytest.mark.parametrize("call", CALLS)
def test_a_server_out_of_reach_is_an_outage_and_then_the_same_store_goes_on(
    store: S3Store, proxy: FaultProxy, path: Path, call: str, fault: Fault
) -> None:
    ref = store.put(KEY, PAYLOAD)
    do = calls_on(store, ref, path)[call]
    with proxy.failing(fault), pytest.raises(TransientError, match="store is unavailable"), in_time():
        do()
    do()
    assert store.get(ref) == PAYLOAD


@pytest.mark.parametrize("call", ["get", "open"])
@pytest.mark.parametrize(("fault", "amount"), [(Fault.RESET, 1_000_000), (Fault.SLOW, 50_000)])
def test_an_answer_that_breaks_off_or_trickles_is_an_outage(
    store: S3Store, proxy: FaultProxy, path: Path, call: str, fault: Fault, amount: int
) -> None:
    ref = store.put(KEY, PAYLOAD)
    do = calls_on(store, ref, path)[call]
    with proxy.failing(fault, amount), pytest.raises(TransientError), in_time():
        do()
    do()


@pytest.mark.parametrize("call", ["put", "put_file"])
@pytest.mark.parametrize(("fault", "amount"), [(Fault.RESET_UPLOAD, 1_000_000), (Fault.SLOW_UPLOAD, 50_000)])
def test_a_put_that_breaks_off_or_trickles_is_an_outage_and_leaves_nothing(
    store: S3Store, proxy: FaultProxy, path: Path, call: str, fault: Fault, amount: int
) -> None:
    ref = ArtefactRef(key=KEY, sha256=sha256(PAYLOAD), size_bytes=len(PAYLOAD))
    do = calls_on(store, ref, path)[call]
    with proxy.failing(fault, amount), pytest.raises(TransientError), in_time():
        do()
    assert store.find(KEY) is None
    do()
    assert store.get(ref) == PAYLOAD


@pytest.mark.parametrize("call", CALLS)
def test_one_failure_is_not_even_noticed(store: S3Store, proxy: FaultProxy, path: Path, call: str) -> None:
    do = calls_on(store, store.put(KEY, PAYLOAD), path)[call]
    # What a stream has given out cannot be asked for again.
    for fault in (Fault.UNAVAILABLE,) if call == "open" else (Fault.UNAVAILABLE, Fault.RESET, Fault.RESET_UPLOAD):
        proxy.fail(fault, times=1)
        do()


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.FLIPPED])
def test_wrong_bytes_on_the_wire_are_fetched_again(
    store: S3Store, proxy: FaultProxy, metrics: RecordingMetrics, fault: Fault
) -> None:
    ref = store.put(KEY, PAYLOAD)
    proxy.fail(fault, times=1)
    assert store.get(ref) == PAYLOAD
    assert metrics.value("fibsem_hash_mismatch_total", stage="store") == 1


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.FLIPPED])
def test_wrong_bytes_that_stay_are_never_returned(store: S3Store, proxy: FaultProxy, path: Path, fault: Fault) -> None:
    ref = store.put(KEY, PAYLOAD)
    for call in ("get", "open"):
        with proxy.failing(fault), pytest.raises(ArtefactCorruptError):
            calls_on(store, ref, path)[call]()
    assert store.get(ref) == PAYLOAD


@pytest.mark.parametrize("which", ["server", "second_server"])
@pytest.mark.parametrize("call", ["put", "put_file"])
def test_bytes_that_change_on_their_way_to_the_server_are_refused_there(
    request: pytest.FixtureRequest, path: Path, call: str, which: str
) -> None:
    server: S3Server = request.getfixturevalue(which)
    with fault_proxy(server.port) as proxy:
        store = S3Store(settings_for(server, endpoint=f"http://{proxy.endpoint}"), RecordingMetrics())
        former = store.put(KEY, b"former")
        ref = ArtefactRef(key=KEY, sha256=sha256(PAYLOAD), size_bytes=len(PAYLOAD))
        with proxy.failing(Fault.FLIPPED_UPLOAD), pytest.raises(TransientError, match=r"SHA256Mismatch|BadDigest"):
            calls_on(store, ref, path)[call]()
        assert store.get(former) == b"former"
        proxy.fail(Fault.FLIPPED_UPLOAD, times=1)
        calls_on(store, ref, path)[call]()
        assert store.get(ref) == PAYLOAD
        store.close()


def test_a_server_that_is_stopped_killed_frozen_is_an_outage_until_it_is_back(server: S3Server) -> None:
    store = S3Store(settings_for(server, **SHORT), RecordingMetrics())
    ref = store.put(KEY, PAYLOAD)
    for down, up in [
        (server.process.freeze, server.process.thaw),
        (server.process.stop, server.process.start),
        (server.process.kill, server.process.start),
    ]:
        down()
        with pytest.raises(TransientError), in_time():
            store.put("acquisition-1/raw/z000002", PAYLOAD)
        with pytest.raises(TransientError), in_time():
            store.get(ref)
        up()
        assert store.get(ref) == PAYLOAD
        store.put("acquisition-1/raw/z000002", PAYLOAD)
    store.close()


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"secret_key": SecretStr("not the secret")}, "secret_key"),
        ({"access_key": "nobody"}, "access_key"),
        ({"bucket": "not-made-yet"}, "set-up job"),
    ],
)
def test_what_can_never_work_says_what_to_do(server: S3Server, change: dict[str, object], advice: str) -> None:
    store = S3Store(settings_for(server, **change), RecordingMetrics())
    ref = ArtefactRef(key=KEY, sha256=sha256(PAYLOAD), size_bytes=len(PAYLOAD))
    for do in (lambda: store.put(KEY, PAYLOAD), lambda: store.get(ref), lambda: list(store.keys(""))):
        with pytest.raises(StoreSetupError, match=advice):
            do()
    with pytest.raises(StoreSetupError):
        store.find(KEY)
    store.close()


def test_a_wrong_clock_is_an_outage_that_says_so(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    store = S3Store(settings_for(server, **SHORT), RecordingMetrics())
    ref = store.put(KEY, PAYLOAD)
    late = minio.time.utcnow() - datetime.timedelta(hours=1)
    with monkeypatch.context() as patch:
        # The client's clock, since that of the machine cannot be set.
        patch.setattr(minio.time, "utcnow", lambda: late)
        for do in (lambda: store.put(KEY, PAYLOAD), lambda: store.get(ref)):
            with pytest.raises(TransientError, match="clocks"):
                do()
    assert store.get(ref) == PAYLOAD
    store.close()


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run([shutil.which("openssl") or "openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_certificates(folder: Path) -> Path:
    """Fill a folder with an authority of its own and a certificate of the server."""
    folder.mkdir()
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    authority = ("-keyout", "authority.key", "-out", "authority.crt", "-subj", "/CN=authority of tests")
    openssl(folder, "req", "-x509", *new_key, *authority, "-days", "2")
    openssl(folder, "req", *new_key, "-keyout", "private.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    signed = ("-CA", "authority.crt", "-CAkey", "authority.key", "-CAcreateserial", "-extfile", "names")
    openssl(folder, "x509", "-req", "-in", "server.csr", *signed, "-out", "public.crt", "-days", "2")
    return folder


@pytest.fixture(scope="module")
def secure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    folder = tmp_path_factory.mktemp("secure")
    with running_minio(folder, make_certificates(folder / "made")) as running:
        yield running


def secure(server: S3Server, ca_file: Path | None) -> S3Settings:
    return settings_for(server, endpoint=f"https://{server.endpoint}", ca_file=ca_file, bucket="secure")


def test_over_tls_everything_works_with_the_authority_of_the_site(secure_server: S3Server, path: Path) -> None:
    settings = secure(secure_server, secure_server.ca_file)
    make_bucket(settings)
    store = S3Store(settings, RecordingMetrics())
    ref = store.put(KEY, PAYLOAD)
    for do in calls_on(store, ref, path).values():
        do()
    assert store.get(ref) == PAYLOAD
    store.close()


def test_a_certificate_of_another_authority_is_refused(secure_server: S3Server, tmp_path: Path) -> None:
    other = make_certificates(tmp_path / secrets.token_hex(4)) / "authority.crt"
    for ca_file in (other, None):
        store = S3Store(secure(secure_server, ca_file), RecordingMetrics())
        with pytest.raises(StoreSetupError, match="ca_file"):
            store.put(KEY, PAYLOAD)
        store.close()


def test_a_file_of_authorities_that_is_not_there_is_said_at_once(secure_server: S3Server, tmp_path: Path) -> None:
    with pytest.raises(StoreSetupError, match="ca_file"):
        S3Store(secure(secure_server, tmp_path / "gone.crt"), RecordingMetrics())
