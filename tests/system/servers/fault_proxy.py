"""A proxy before an HTTP server that fails in the ways networks and servers do, switched while it runs.

It relays one request at a time on each connection, framed by Content-Length or chunks, and keeps connections
open as the server does. TLS is not looked into, so only an `http` server can be put behind it.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import BinaryIO

PIECE_BYTES = 1 << 16
LOOK_EVERY_S = 0.05
BODILESS = frozenset({204, 304})
UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n"
    b"Connection: close\r\n\r\nunavailable\n"
)


class Fault(StrEnum):
    """What goes wrong."""

    NONE = auto()
    REFUSED = auto()
    """Nobody listens, and what is connected is reset."""
    BLACK_HOLE = auto()
    """Connections are taken and requests swallowed; nothing ever comes back."""
    SLOW = auto()
    """Bodies of answers trickle, `amount` bytes a second."""
    SLOW_UPLOAD = auto()
    """Bodies of requests trickle, `amount` bytes a second."""
    RESET = auto()
    """The connection is reset after `amount` bytes of an answer's body."""
    RESET_UPLOAD = auto()
    """The connection is reset after `amount` bytes of a request's body."""
    UNAVAILABLE = auto()
    """Every request is answered 503, by something that is not the server."""
    CUT = auto()
    """The answer's body ends half-way, and its head says so: only a hash can tell."""
    FLIPPED = auto()
    """One bit in the middle of the answer's body is another one."""
    FLIPPED_UPLOAD = auto()
    """One bit in the middle of the request's body is another one."""


@dataclass(frozen=True, slots=True)
class _Mode:
    fault: Fault = Fault.NONE
    amount: int = 0


@dataclass(frozen=True, slots=True)
class _Head:
    raw: bytes
    first_line: str
    length: int | None
    is_chunked: bool
    closes: bool

    @property
    def method(self) -> str:
        return self.first_line.split(" ")[0]

    @property
    def status(self) -> int:
        return int(self.first_line.split(" ")[1])

    def with_length(self, length: int) -> bytes:
        lines = [line for line in self.raw.split(b"\r\n") if not line.lower().startswith(b"content-length:")]
        return b"\r\n".join([lines[0], f"Content-Length: {length}".encode(), *lines[1:]])


class FaultProxy:
    """Stands before a server on this machine.

    Parameters
    ----------
    port
        Where the server listens.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._lock = threading.Lock()
        self._mode = _Mode()
        self._times: int | None = None
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.requests: list[str] = []
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = int(found.getsockname()[1])
        self._listen()

    @property
    def endpoint(self) -> str:
        """`host:port` of the proxy."""
        return f"127.0.0.1:{self.port}"

    def fail(self, fault: Fault, amount: int = 0, times: int | None = None) -> None:
        """Fail from now on, or only the next so many requests."""
        with self._lock:
            self._mode, self._times = _Mode(fault, amount), times
        if fault is Fault.REFUSED:
            self._close_all()

    def heal(self) -> None:
        """Pass everything on again; what is stuck is let go."""
        with self._lock:
            self._mode, self._times = _Mode(), None
        if self._listener is None:
            self._listen()

    @contextmanager
    def failing(self, fault: Fault, amount: int = 0, times: int | None = None) -> Iterator[None]:
        """Fail within the block."""
        self.fail(fault, amount, times)
        try:
            yield
        finally:
            self.heal()

    def close(self) -> None:
        """Stop."""
        self.fail(Fault.REFUSED)

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _close_all(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            # Closing alone does not wake the thread that accepts.
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _take(self) -> _Mode:
        """Return what the next request meets."""
        with self._lock:
            if self._times is None:
                return self._mode
            if self._times == 0:
                return _Mode()
            self._times -= 1
            return self._mode

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket()
        with self._lock:
            self._open |= {client, server}
        try:
            self._relay(client, server)
        except (OSError, ValueError):
            # Either side went away, or a fault said so.
            pass
        finally:
            with self._lock:
                self._open -= {client, server}
            client.close()
            server.close()

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        is_connected = False
        with client.makefile("rb") as requests:
            while (request := _read_head(requests)) is not None:
                mode = self._take()
                self.requests.append(request.first_line)
                if mode.fault is Fault.BLACK_HOLE:
                    self._swallow(client)
                    return
                if mode.fault is Fault.UNAVAILABLE:
                    _drain(requests, request.length or 0)
                    client.sendall(UNAVAILABLE)
                    return
                if not is_connected:
                    server.connect(("127.0.0.1", self._server_port))
                    answers = server.makefile("rb")
                    is_connected = True
                server.sendall(request.raw)
                self._pass_body(requests, server, request, _of_upload(mode), client)
                if not self._answer(answers, client, request, mode):
                    return

    def _answer(self, answers: BinaryIO, client: socket.socket, request: _Head, mode: _Mode) -> bool:
        """Pass an answer on; return whether the connection lives on."""
        answer = _read_head(answers)
        if answer is None:
            return False
        if request.method == "HEAD" or answer.status in BODILESS:
            client.sendall(answer.raw)
            return not answer.closes
        if mode.fault is Fault.CUT and answer.length:
            whole, kept = answer.length, answer.length // 2
            client.sendall(answer.with_length(kept))
            client.sendall(answers.read(whole)[:kept])
            return not answer.closes
        client.sendall(answer.raw)
        self._pass_body(answers, client, answer, _of_download(mode), client)
        return not answer.closes and (answer.is_chunked or answer.length is not None)

    def _pass_body(
        self, source: BinaryIO, target: socket.socket, head: _Head, mode: _Mode, client: socket.socket
    ) -> None:
        if head.is_chunked:
            _pass_chunks(source, target)
            return
        is_answer = target is client
        left = head.length if head.length is not None else (1 << 62 if is_answer else 0)
        middle = left // 2
        passed = 0
        while left and (piece := source.read1(min(left, self._piece_bytes(mode)))):  # type: ignore[attr-defined]  # a buffered reader
            if mode.fault is Fault.RESET and passed + len(piece) >= mode.amount:
                target.sendall(piece[: mode.amount - passed])
                _reset(client)
            if mode.fault is Fault.FLIPPED and passed <= middle < passed + len(piece):
                at = middle - passed
                piece = piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :]
            target.sendall(piece)
            if mode.fault is Fault.SLOW:
                time.sleep(len(piece) / mode.amount)  # noqa: TID251 (a real network, in real time)
            passed += len(piece)
            left -= len(piece)

    def _piece_bytes(self, mode: _Mode) -> int:
        return max(1, mode.amount // 20) if mode.fault is Fault.SLOW else PIECE_BYTES

    def _swallow(self, client: socket.socket) -> None:
        """Take in what comes, until the client gives up or the fault ends."""
        client.settimeout(LOOK_EVERY_S)
        while self._mode.fault is Fault.BLACK_HOLE:
            with suppress(TimeoutError):
                if not client.recv(PIECE_BYTES):
                    return


def _of_upload(mode: _Mode) -> _Mode:
    """Return what a request's body meets."""
    kinds = {Fault.SLOW_UPLOAD: Fault.SLOW, Fault.RESET_UPLOAD: Fault.RESET, Fault.FLIPPED_UPLOAD: Fault.FLIPPED}
    return _Mode(kinds.get(mode.fault, Fault.NONE), mode.amount)


def _of_download(mode: _Mode) -> _Mode:
    """Return what an answer's body meets."""
    return mode if mode.fault in {Fault.SLOW, Fault.RESET, Fault.FLIPPED} else _Mode()


def _read_head(source: BinaryIO) -> _Head | None:
    lines: list[bytes] = []
    while (line := source.readline()) not in {b"", b"\r\n"}:
        lines.append(line)
    if not lines:
        return None
    fields = {
        name.strip().lower(): value.strip().lower() for name, _, value in (line.partition(b":") for line in lines[1:])
    }
    return _Head(
        raw=b"".join(lines) + b"\r\n",
        first_line=lines[0].decode("latin-1").strip(),
        length=int(fields[b"content-length"]) if b"content-length" in fields else None,
        is_chunked=fields.get(b"transfer-encoding") == b"chunked",
        closes=fields.get(b"connection") == b"close",
    )


def _drain(source: BinaryIO, size_bytes: int) -> None:
    while size_bytes and (piece := source.read(min(size_bytes, PIECE_BYTES))):
        size_bytes -= len(piece)


def _pass_chunks(source: BinaryIO, target: socket.socket) -> None:
    while line := source.readline():
        size_bytes = int(line.split(b";")[0], 16)
        target.sendall(line + source.read(size_bytes + 2))
        if size_bytes == 0:
            return


def _reset(client: socket.socket) -> None:
    """End a connection without saying goodbye."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    raise ConnectionResetError("as the fault says")


@contextmanager
def fault_proxy(port: int) -> Iterator[FaultProxy]:
    """Run a proxy before a server's port; it is gone at the end of the block."""
    proxy = FaultProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
