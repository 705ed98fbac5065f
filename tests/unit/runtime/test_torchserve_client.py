"""Nothing that a model server does is a crop's fault: each of its failures is an outage with a name.

The server here is this process's own; the real one has its tests in `tests/system`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from services.runtime.errors import TransientError
from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.segmenter.port import CropTooLargeError, Normalisation
from services.runtime.segmenter.serving import BodyAnswerer
from services.runtime.segmenter.torchserve import OtherModelsError, TorchServeSegmenter
from services.runtime.segmenter.torchserve_settings import TorchServeSettings
from services.runtime.segmenter.window_runner import WindowRunner
from services.runtime.segmenter.wire import DESCRIBE, WireError
from tests.support.segmenter_parts import MODELS, ScarceMemory, description
from tests.system.servers.process import free_port

NORMALISATION = Normalisation(170.0, 20.0)
CROPS = [np.full((6, 7 + k), 100 + k, np.uint8) for k in range(3)]
Answer = Callable[[bytes], tuple[int, bytes]]


class ScriptedServer:
    """Answers predictions as it is told to, and honestly until it is told otherwise."""

    def __init__(self, port: int = 0) -> None:
        self._runner = WindowRunner(ScarceMemory(10**6), threads=1)
        self.serve(description())
        self.answer: Answer = self.honest
        self.asked: list[bytes] = []
        self.authorisations: set[str | None] = set()
        self.released = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def serve(self, what: object) -> None:
        """Say of itself something else from now on."""
        self._answerer = BodyAnswerer(self._runner, what)  # type: ignore[arg-type]

    def honest(self, body: bytes) -> tuple[int, bytes]:
        (reply,) = self._answerer.answer([body]).replies
        return int(reply.status), reply.body

    def to_crops(self, answer: Answer) -> None:
        """Answer like this to all but the question what serves."""
        self.answer = lambda body: self.honest(body) if body == DESCRIBE else answer(body)

    def hang(self, _: bytes) -> tuple[int, bytes]:
        self.released.wait(20)
        return 503, b""

    def close(self) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()
        self._runner.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.asked.append(body)
                server.authorisations.add(self.headers["Authorization"])
                status, answer = server.answer(body)
                if status == 0:
                    self.close_connection = True
                    return
                self.send_response(status)
                # One that promises more than it sends: the connection ends within the answer.
                self.send_header("Content-Length", str(len(answer) + (status == 299)))
                self.end_headers()
                self.wfile.write(answer)
                self.close_connection = status == 299

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        return Handler


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.close()


@pytest.fixture
def metrics() -> RecordingMetrics:
    return RecordingMetrics()


@pytest.fixture
def settings(server: ScriptedServer) -> TorchServeSettings:
    return TorchServeSettings(url=server.url, read_timeout_s=5.0, concurrency=2)


@pytest.fixture
def segmenter(settings: TorchServeSettings, metrics: RecordingMetrics) -> Iterator[TorchServeSegmenter]:
    with TorchServeSegmenter(settings, metrics) as opened:
        yield opened


def failures(metrics: RecordingMetrics, reason: str) -> float:
    return metrics.value("fibsem_inference_failures_total", reason=reason)


def test_crops_are_answered_in_order(segmenter: TorchServeSegmenter) -> None:
    answers = segmenter.segment(CROPS, NORMALISATION)
    for crop, answer in zip(CROPS, answers, strict=True):
        np.testing.assert_array_equal(answer.confidence_yx, 255 - crop)
    assert segmenter.ready()


OUTAGES: dict[str, tuple[Answer, str]] = {
    "no worker yet": (lambda _: (503, b"no worker"), "unavailable"),
    "model not loaded yet": (lambda _: (404, b"no model"), "not_loaded"),
    "out of memory": (lambda _: (507, b"no memory"), "out_of_memory"),
    "dead worker": (lambda _: (500, b"worker died"), "server_error"),
    "bad gateway": (lambda _: (502, b""), "server_error"),
    "key expired": (lambda _: (403, b""), "unauthorised"),
    "a redirection": (lambda _: (302, b""), "unexpected_status"),
    "connection closed": (lambda _: (0, b""), "reset"),
    "answer cut short": (lambda _: (299, b"FSEA"), "reset"),
    "an empty answer": (lambda _: (200, b""), "damaged_reply"),
    "a page of a proxy": (lambda _: (200, b"<html>login</html>" * 100), "damaged_reply"),
}


@pytest.mark.parametrize("what", OUTAGES)
def test_a_failure_of_the_server_is_an_outage_with_its_reason_counted(
    server: ScriptedServer, segmenter: TorchServeSegmenter, metrics: RecordingMetrics, what: str
) -> None:
    answer, reason = OUTAGES[what]
    segmenter.segment(CROPS, NORMALISATION)
    server.to_crops(answer)
    with pytest.raises(TransientError, match="segmenter is unavailable"):
        segmenter.segment(CROPS, NORMALISATION)
    assert failures(metrics, reason) == 1
    assert not segmenter.ready()
    server.answer = server.honest
    assert len(segmenter.segment(CROPS, NORMALISATION)) == 3


def test_a_server_that_hangs_is_an_outage_when_the_time_is_up(
    server: ScriptedServer, settings: TorchServeSettings, metrics: RecordingMetrics
) -> None:
    with TorchServeSegmenter(settings.model_copy(update={"read_timeout_s": 0.2}), metrics) as segmenter:
        segmenter.segment(CROPS, NORMALISATION)
        server.answer = server.hang
        with pytest.raises(TransientError, match="timed out"):
            segmenter.segment(CROPS, NORMALISATION)
        server.released.set()
    assert failures(metrics, "timeout") == 1


def test_a_slow_server_is_asked_for_less_at_once_until_it_keeps_up(
    server: ScriptedServer, settings: TorchServeSettings, metrics: RecordingMetrics
) -> None:
    """Each answer takes 0.3 s, one after another: four at once exceed a second, two do not."""
    turn, slow = threading.Lock(), threading.Event()

    def one_by_one(body: bytes) -> tuple[int, bytes]:
        with turn:
            slow.wait(0.3)
            return server.honest(body)

    patient = settings.model_copy(update={"read_timeout_s": 1.0, "concurrency": 8})
    with TorchServeSegmenter(patient, metrics) as segmenter:
        segmenter.model_set()
        server.to_crops(one_by_one)
        for _ in range(4):
            try:
                assert len(segmenter.segment(CROPS[:1] * 8, NORMALISATION)) == 8
                break
            except TransientError:
                continue
        else:
            pytest.fail("it was asked for too much each time")
    assert failures(metrics, "timeout") >= 1


def test_nobody_at_the_address_is_an_outage_until_somebody_is(metrics: RecordingMetrics) -> None:
    port = free_port()
    with TorchServeSegmenter(TorchServeSettings(url=f"http://127.0.0.1:{port}"), metrics) as segmenter:
        with pytest.raises(TransientError):
            segmenter.model_set()
        assert failures(metrics, "refused") == 1
        assert not segmenter.ready()
        late = ScriptedServer(port)
        assert segmenter.model_set() == MODELS
        late.close()


def test_replies_to_other_crops_are_noticed(
    server: ScriptedServer, segmenter: TorchServeSegmenter, metrics: RecordingMetrics
) -> None:
    segmenter.segment(CROPS, NORMALISATION)
    first = next(body for body in server.asked if body != DESCRIBE)
    server.to_crops(lambda _: server.honest(first))
    with pytest.raises(TransientError, match="another window"):
        segmenter.segment(CROPS[:1], NORMALISATION)
    assert failures(metrics, "damaged_reply") == 1


def test_after_a_failure_the_canary_comes_before_any_crop(
    server: ScriptedServer, segmenter: TorchServeSegmenter
) -> None:
    segmenter.segment(CROPS[:1], NORMALISATION)
    canary = server.asked[1]
    assert server.asked[:2] == [DESCRIBE, canary]
    server.to_crops(lambda _: (503, b""))
    with pytest.raises(TransientError):
        segmenter.segment(CROPS[:1], NORMALISATION)
    server.asked.clear()
    with pytest.raises(TransientError):
        segmenter.segment(CROPS[:1], NORMALISATION)
    assert server.asked == [DESCRIBE, canary]
    server.answer = server.honest
    segmenter.segment(CROPS[:1], NORMALISATION)
    segmenter.segment(CROPS[:1], NORMALISATION)
    assert server.asked.count(canary) == 2


def test_a_server_whose_canary_is_not_what_it_says_gets_no_work(
    server: ScriptedServer, segmenter: TorchServeSegmenter, metrics: RecordingMetrics
) -> None:
    server.serve(description(canary_sha256="1" * 64))
    with pytest.raises(TransientError, match="canary"):
        segmenter.segment(CROPS, NORMALISATION)
    assert failures(metrics, "canary") == 1
    assert len(server.asked) == 2


@pytest.mark.parametrize("changes", [{"profile": "fast"}, {"canary_sha256": "1" * 64}])
def test_a_server_that_came_back_as_another_gets_no_work(
    server: ScriptedServer, segmenter: TorchServeSegmenter, changes: dict[str, object]
) -> None:
    segmenter.segment(CROPS, NORMALISATION)
    server.to_crops(lambda _: (503, b""))
    with pytest.raises(TransientError):
        segmenter.segment(CROPS, NORMALISATION)
    server.serve(description(**changes))
    server.answer = server.honest
    with pytest.raises((OtherModelsError, TransientError)):
        segmenter.segment(CROPS, NORMALISATION)
    server.serve(description())
    assert len(segmenter.segment(CROPS, NORMALISATION)) == 3


def test_other_models_than_those_wanted_are_refused_for_good(
    settings: TorchServeSettings, metrics: RecordingMetrics
) -> None:
    with TorchServeSegmenter(settings.model_copy(update={"model_set_digest": "2" * 64}), metrics) as segmenter:
        with pytest.raises(OtherModelsError, match="not 2222"):
            segmenter.model_set()
        assert not segmenter.ready()
    assert failures(metrics, "other_models") == 2


def test_a_crop_beyond_the_servers_limit_names_the_setting(
    server: ScriptedServer, segmenter: TorchServeSegmenter
) -> None:
    server.serve(description(max_pixels=5000))
    with pytest.raises(CropTooLargeError, match="FIBSEM_SERVER_MAX_PIXELS"):
        segmenter.segment([np.zeros((80, 80), np.uint8)], NORMALISATION)
    assert len(segmenter.segment(CROPS, NORMALISATION)) == 3


def test_a_server_of_another_release_is_no_outage(
    server: ScriptedServer, segmenter: TorchServeSegmenter, metrics: RecordingMetrics
) -> None:
    server.to_crops(lambda _: (400, b"version 1 is not version 2"))
    with pytest.raises(WireError, match="version 2"):
        segmenter.segment(CROPS, NORMALISATION)
    server.answer = lambda _: (200, b'{"name": "another handler"}')
    with pytest.raises(WireError, match="describes itself"):
        segmenter.segment(CROPS, NORMALISATION)
    assert failures(metrics, "other_release") == 2


def test_a_closed_segmenter_is_an_outage_and_not_ready(segmenter: TorchServeSegmenter) -> None:
    assert segmenter.ready()
    segmenter.close()
    segmenter.close()
    assert not segmenter.ready()
    with pytest.raises(TransientError, match="closed"):
        segmenter.segment(CROPS, NORMALISATION)


def test_the_token_goes_with_every_request_and_is_not_shown(
    server: ScriptedServer, settings: TorchServeSettings, metrics: RecordingMetrics
) -> None:
    guarded = TorchServeSettings.model_validate({**settings.model_dump(), "token": "opensesame"})
    assert "opensesame" not in repr(guarded)
    with TorchServeSegmenter(guarded, metrics) as segmenter:
        segmenter.segment(CROPS, NORMALISATION)
    assert server.authorisations == {"Bearer opensesame"}


@pytest.mark.parametrize(
    "changes", [{"url": "ftp://server"}, {"url": "http://server/path"}, {"concurrency": 0}, {"read_timeout_s": 0}]
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        TorchServeSettings.model_validate(changes)
