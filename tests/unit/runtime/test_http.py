"""The pages that a service is watched by."""

from __future__ import annotations

import socket
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from services.runtime.clock import ManualClock
from services.runtime.health import Heartbeat
from services.runtime.http import Watched, WatchServer
from services.runtime.metrics.prometheus import PrometheusMetrics


def get(server: WatchServer, path: str) -> tuple[int, str, str]:
    """Return status, content type and body of a page."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.headers["Content-Type"], refusal.read().decode()


class Service:
    """What a loop would show."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.heartbeat = Heartbeat(self.clock, limit_s=60.0)
        self.metrics = PrometheusMetrics()
        self.is_ready = False

    def watched(self) -> Watched:
        return Watched(self.metrics.render, self.heartbeat.alive, lambda: self.is_ready)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def server(service: Service) -> Iterator[WatchServer]:
    with WatchServer(service.watched()) as server:
        yield server


def test_metrics_are_scraped_as_they_are_now(service: Service, server: WatchServer) -> None:
    service.metrics.set("fibsem_dlq_depth", 7)
    status, content_type, body = get(server, "/metrics")
    assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "\nfibsem_dlq_depth 7.0\n" in body


def test_health_fails_when_the_loop_stops_turning(service: Service, server: WatchServer) -> None:
    assert get(server, "/healthz")[0] == 200
    service.clock.advance(61.0)
    assert get(server, "/healthz")[0] == 503
    service.heartbeat.tick()
    assert get(server, "/healthz")[0] == 200


def test_readiness_is_told_apart_from_health(service: Service, server: WatchServer) -> None:
    assert get(server, "/readyz")[0] == 503
    service.is_ready = True
    assert get(server, "/readyz?verbose=1")[0] == 200


def test_any_other_page_is_not_found_and_says_what_there_is(server: WatchServer) -> None:
    status, _, body = get(server, "/etc/passwd")
    assert status == 404
    assert "/metrics" in body


def test_being_watched_leaves_nothing_on_the_terminal(server: WatchServer, capfd: pytest.CaptureFixture[str]) -> None:
    get(server, "/metrics")
    get(server, "/nowhere")
    assert capfd.readouterr() == ("", "")


def test_stopping_frees_the_port(service: Service) -> None:
    server = WatchServer(service.watched()).start()
    port = server.port
    server.stop()
    server.stop()
    with WatchServer(service.watched(), port=port) as again:
        assert get(again, "/healthz")[0] == 200


def test_a_server_that_never_started_can_be_stopped(service: Service) -> None:
    WatchServer(service.watched()).stop()


def test_a_client_that_says_nothing_does_not_hold_up_the_others_or_the_stop(service: Service) -> None:
    server = WatchServer(service.watched()).start()
    with socket.create_connection(("127.0.0.1", server.port)):
        assert get(server, "/healthz")[0] == 200
        server.stop()


def test_a_port_that_is_taken_is_said(service: Service, server: WatchServer) -> None:
    with pytest.raises(OSError, match="in use"):
        WatchServer(service.watched(), port=server.port)


def test_a_client_that_loses_patience_is_no_news(capfd: pytest.CaptureFixture[str]) -> None:
    asked, gone = threading.Event(), threading.Event()

    def slow() -> bytes:
        asked.set()
        assert gone.wait(10)
        return bytes(10_000_000)

    with WatchServer(Watched(slow, alive=lambda: True, ready=lambda: True)) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert asked.wait(10)
            # Closing resets the connection, so that writing to it fails.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.set()
        for thread in threading.enumerate():
            if "process_request_thread" in thread.name:
                thread.join(10)
        assert get(server, "/healthz")[0] == 200
    assert capfd.readouterr().err == ""
