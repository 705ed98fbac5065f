"""Requests to a TorchServe over a pool of connections; each failure gets a name, and says whether it passes."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from services.runtime.segmenter.port import CropTooLargeError
from services.runtime.segmenter.torchserve_settings import TorchServeSettings
from services.runtime.segmenter.wire import WireError

OCTETS = "application/octet-stream"
# A server that is starting, full, out of memory or has lost its worker says one of these, and says otherwise later.
STATUS_REASONS: Mapping[int, str] = {
    HTTPStatus.NOT_FOUND: "not_loaded",
    HTTPStatus.REQUEST_TIMEOUT: "timeout",
    HTTPStatus.TOO_MANY_REQUESTS: "overloaded",
    HTTPStatus.SERVICE_UNAVAILABLE: "unavailable",
    HTTPStatus.INSUFFICIENT_STORAGE: "out_of_memory",
    HTTPStatus.UNAUTHORIZED: "unauthorised",
    HTTPStatus.FORBIDDEN: "unauthorised",
}
# In this order: some of these errors are kinds of others.
ERROR_REASONS: tuple[tuple[type[HTTPError], str], ...] = (
    (NameResolutionError, "unknown_host"),
    (NewConnectionError, "refused"),
    (ConnectTimeoutError, "timeout"),
    (ReadTimeoutError, "timeout"),
    (SSLError, "tls"),
    (ProtocolError, "reset"),
)
SAID_CHARACTERS = 300


class ServerOutageError(Exception):
    """The server gave no answer, or one that will be another later.

    Parameters
    ----------
    reason
        One of few words, a label of `fibsem_inference_failures_total`.
    detail
        What was tried and what came back.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class TorchServeRequests:
    """Asks one model of one server.

    Parameters
    ----------
    settings
        Where it is, and how long it is waited for.
    """

    def __init__(self, settings: TorchServeSettings) -> None:
        self._settings = settings
        self._headers = {"Content-Type": OCTETS, "Accept": "*/*"}
        if settings.token is not None:
            self._headers["Authorization"] = f"Bearer {settings.token.get_secret_value()}"
        # Nothing is tried again here: a client of the segmenter repeats its whole call, with pauses.
        self._pool = urllib3.PoolManager(
            # One more for the questions that precede a call's requests.
            maxsize=settings.concurrency + 1,
            block=False,
            retries=False,
            timeout=urllib3.Timeout(connect=settings.connect_timeout_s, read=settings.read_timeout_s),
            ca_certs=None if settings.ca_file is None else str(settings.ca_file),
            cert_reqs="CERT_REQUIRED",
        )

    def predict(self, body: bytes) -> bytes:
        """Post a body to the model and return what it answers.

        Raises
        ------
        ServerOutageError
            If the server is out of reach, or says that it cannot answer now.
        CropTooLargeError
            If it takes no body of that size.
        WireError
            If it finds the body malformed: it is of another release.
        """
        answer = self._send("POST", f"/predictions/{self._settings.model}", body)
        status, said = answer.status, answer.data[:SAID_CHARACTERS].decode(errors="replace")
        match status:
            case HTTPStatus.OK:
                return answer.data
            case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                raise CropTooLargeError(
                    f"the model server refuses {len(body)} B: {said}; lower tile_px of its clients, or raise "
                    "FIBSEM_SERVER_MAX_PIXELS and max_request_size in config.properties"
                )
            case HTTPStatus.BAD_REQUEST:
                raise WireError(f"the model server of {self._settings.url} refuses a request: {said}")
            case _:
                raise ServerOutageError(_reason(status), f"{self._settings.url} said {status}: {said}")

    def is_healthy(self) -> bool:
        """Whether the server says that it is."""
        try:
            return bool(self._send("GET", "/ping", None).status == HTTPStatus.OK)
        except ServerOutageError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _send(self, verb: str, path: str, body: bytes | None) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool.request(
                verb, self._settings.url + path, body=body, headers=self._headers, redirect=False, preload_content=True
            )
        except HTTPError as error:
            reason = next((name for kind, name in ERROR_REASONS if isinstance(error, kind)), "transport")
            raise ServerOutageError(reason, f"{verb} {self._settings.url}{path}: {error}") from error


def _reason(status: int) -> str:
    """Name a status.

    >>> _reason(503), _reason(500), _reason(302)
    ('unavailable', 'server_error', 'unexpected_status')
    """
    return STATUS_REASONS.get(status) or (
        "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "unexpected_status"
    )
