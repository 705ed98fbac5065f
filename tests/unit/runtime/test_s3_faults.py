"""What each answer of an S3 server, or of something else in its place, means to a caller of the store."""

from __future__ import annotations

import email.utils
import random
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.contracts.keys import sha256
from services.contracts.values import ArtefactRef
from services.runtime.errors import TransientError
from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.store.port import ArtefactCorruptError, ArtefactMissingError
from services.runtime.store.s3 import S3Store
from services.runtime.store.s3_faults import StoreSetupError
from services.runtime.store.s3_settings import S3Settings
from services.runtime.store.s3_wire import CHUNK_BYTES

REF = ArtefactRef(key="a/b", sha256="0" * 64, size_bytes=1)


class Answering(ThreadingHTTPServer):
    """Gives every request the same answer."""

    status = 200
    content_type = "application/xml"
    body = b""
    date = ""
    asked = 0


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Answering

    def _answer(self) -> None:
        self.server.asked += 1
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.send_response_only(self.server.status)
        self.send_header("Date", self.server.date or email.utils.formatdate(usegmt=True))
        self.send_header("Content-Type", self.server.content_type)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(self.server.body)

    do_GET = do_PUT = do_HEAD = _answer  # noqa: N815 (names that the base class looks for)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Answering]:
    with Answering(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def metrics() -> RecordingMetrics:
    return RecordingMetrics()


@pytest.fixture
def store(server: Answering, metrics: RecordingMetrics) -> Iterator[S3Store]:
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    known = {"endpoint": endpoint, "access_key": "u", "secret_key": "s", "attempts": 2}
    store = S3Store(S3Settings.model_validate(known), metrics)
    yield store
    store.close()


def refuse(server: Answering, status: int, code: str) -> None:
    server.status = status
    server.body = f"<Error><Code>{code}</Code><Message>because</Message></Error>".encode()


OUTAGES = [
    (500, "InternalError"),
    (502, "Anything"),
    (503, "SlowDown"),
    (503, "ServiceUnavailable"),
    (504, "Anything"),
    (507, "XMinioStorageFull"),
    (429, "TooManyRequests"),
    (400, "RequestTimeout"),
    (400, "XMinioAdminBucketQuotaExceeded"),
    (403, "RequestTimeTooSkewed"),
]


@pytest.mark.parametrize(("status", "code"), OUTAGES)
def test_what_may_pass_is_an_outage(server: Answering, store: S3Store, status: int, code: str) -> None:
    refuse(server, status, code)
    for do in (lambda: store.get(REF), lambda: store.put("a/b", b"x"), lambda: list(store.keys("a"))):
        with pytest.raises(TransientError, match=rf"a.* at http.*{status} {code}"):
            do()


def test_an_outage_is_tried_as_often_as_the_settings_say(
    server: Answering, store: S3Store, metrics: RecordingMetrics
) -> None:
    refuse(server, 503, "SlowDown")
    with pytest.raises(TransientError):
        store.get(REF)
    assert server.asked == 2
    assert len(metrics.observations("fibsem_s3_request_duration_seconds", op="get", outcome="outage")) == 2


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (403, "InvalidAccessKeyId", "access_key"),
        (403, "SignatureDoesNotMatch", "secret_key"),
        (403, "AccessDenied", "policy"),
        (404, "NoSuchBucket", "set-up job"),
        (400, "AuthorizationHeaderMalformed", "region"),
        (501, "NotImplemented", "endpoint"),
    ],
)
def test_what_cannot_pass_says_what_to_do_and_is_asked_once(
    server: Answering, store: S3Store, status: int, code: str, advice: str
) -> None:
    refuse(server, status, code)
    with pytest.raises(StoreSetupError, match=advice):
        store.get(REF)
    assert server.asked == 1


def test_no_such_key_is_missing(server: Answering, store: S3Store, metrics: RecordingMetrics) -> None:
    refuse(server, 404, "NoSuchKey")
    with pytest.raises(ArtefactMissingError):
        store.get(REF)
    assert len(metrics.observations("fibsem_s3_request_duration_seconds", op="get", outcome="missing")) == 1


@pytest.mark.parametrize("size_bytes", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 7])
def test_an_artefact_that_comes_in_pieces_is_returned_whole(server: Answering, store: S3Store, size_bytes: int) -> None:
    server.body = random.Random(size_bytes).randbytes(size_bytes)
    assert store.get(ArtefactRef(key="a/b", sha256=sha256(server.body), size_bytes=size_bytes)) == server.body


@pytest.mark.parametrize("size_bytes", [4, 6, 2**60])
def test_no_more_room_is_asked_for_than_the_server_has_bytes(
    server: Answering, store: S3Store, size_bytes: int
) -> None:
    server.body = b"12345"
    with pytest.raises(ArtefactCorruptError, match="5 bytes"):
        store.get(ArtefactRef(key="a/b", sha256=sha256(server.body), size_bytes=size_bytes))


@pytest.mark.parametrize(("status", "expected"), [(503, TransientError), (404, StoreSetupError)])
def test_a_page_of_another_server_is_told_from_an_answer_of_s3(
    server: Answering, store: S3Store, status: int, expected: type[Exception]
) -> None:
    server.status, server.content_type, server.body = status, "text/html", b"<h1>hello</h1>"
    with pytest.raises(expected):
        store.get(REF)
    with pytest.raises(expected):
        store.put("a/b", b"x")


def test_garbage_instead_of_xml_is_an_outage(server: Answering, store: S3Store) -> None:
    server.status, server.body = 500, b"<Error><Code>"
    with pytest.raises(TransientError):
        store.get(REF)


def test_a_bucket_that_is_not_there_is_not_taken_for_a_missing_artefact(server: Answering, store: S3Store) -> None:
    # The answer to HEAD has no body: the artefact and the bucket are both just "not found".
    refuse(server, 404, "NoSuchBucket")
    with pytest.raises(StoreSetupError, match="no bucket"):
        store.find("a/b")


@pytest.mark.parametrize(
    ("ahead_s", "expected"), [(3600, TransientError), (-3600, TransientError), (60, StoreSetupError)]
)
def test_a_refusal_without_a_reason_is_the_clocks_fault_where_the_clocks_differ(
    server: Answering, store: S3Store, ahead_s: int, expected: type[Exception]
) -> None:
    server.status, server.date = 403, email.utils.formatdate(time.time() + ahead_s, usegmt=True)
    with pytest.raises(expected, match="clocks" if expected is TransientError else "credentials"):
        store.find("a/b")
