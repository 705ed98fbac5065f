"""One port to be watched at: `/metrics`, `/healthz` and `/readyz`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

# Where a deployed service is watched, unless its settings say otherwise.
WATCH_PORT = 9464
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PLAIN_TYPE = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Watched:
    """What the pages show; called from the server's threads.

    Attributes
    ----------
    metrics
        Returns a scrape.
    alive
        Whether the loop still turns; False asks for a restart.
    ready
        Whether work is being taken; False only asks for patience.
    """

    metrics: Callable[[], bytes]
    alive: Callable[[], bool]
    ready: Callable[[], bool]


class WatchServer:
    """Serves the pages from a thread of its own.

    Parameters
    ----------
    watched
        What to show.
    host, port
        Where to listen; port 0 asks the system for a free one.

    Raises
    ------
    OSError
        If the port is taken.
    """

    def __init__(self, watched: Watched, host: str = "127.0.0.1", port: int = 0) -> None:
        self._server = _Server((host, port), watched)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="watch", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens at."""
        return int(self._server.server_address[1])

    def start(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop answering and free the port; stopping twice does nothing."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A client that holds its connection open must not hold up a stop.
    block_on_close = False

    def __init__(self, address: tuple[str, int], watched: Watched) -> None:
        super().__init__(address, _Pages)
        self.watched = watched


class _Pages(BaseHTTPRequestHandler):
    # Seconds a client may take to say what it wants.
    timeout = 5.0

    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)
        watched = self.server.watched
        match self.path.partition("?")[0]:
            case "/metrics":
                self._answer(HTTPStatus.OK, watched.metrics(), METRICS_TYPE)
            case "/healthz":
                self._say(well=watched.alive())
            case "/readyz":
                self._say(well=watched.ready())
            case _:
                self._answer(HTTPStatus.NOT_FOUND, b"see /metrics, /healthz, /readyz\n", PLAIN_TYPE)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name that http.server calls)
        """Say nothing: being looked at every few seconds is not news."""

    def _say(self, *, well: bool) -> None:
        if well:
            self._answer(HTTPStatus.OK, b"ok\n", PLAIN_TYPE)
        else:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, b"no\n", PLAIN_TYPE)

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        # Whoever asked may have lost patience, as a scraper does on a busy machine: nobody is left to tell.
        with suppress(ConnectionError):
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()
