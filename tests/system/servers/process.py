"""A real server as a child process: started, frozen, killed, started again, and stopped by its process id."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LOOK_EVERY_S = 0.1
PORTS = (15_000, 32_000)
LAST_LINES = 30
# Not the generator that property tests set back.
_PORTS_OF_CHANCE = random.SystemRandom()
_GIVEN: set[int] = set()


class ServerDidNotStartError(RuntimeError):
    """The server ended, or did not answer in time; the text holds the end of its log."""


def free_port() -> int:
    """Return a port nobody listens at, and that was not returned before.

    Below those that the system gives to outgoing connections: one of these could take it before the server does. A
    server may be started long after it got its port, and again after it was killed, so each worker of the tests draws
    from ports of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))  # noqa: TID251 (xdist says it so)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))  # noqa: TID251
    while True:
        port = _PORTS_OF_CHANCE.randrange(PORTS[0] + worker, PORTS[1], workers)
        if port in _GIVEN:
            continue
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", port))
            except OSError:
                continue
        _GIVEN.add(port)
        return port


def answers_tcp(port: int) -> bool:
    """Whether somebody accepts connections at a local port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class ServerProcess:
    """A server in a process group of its own, with its log in a file.

    Parameters
    ----------
    argv
        What to run.
    log
        File for its output; starting again appends.
    is_ready
        Whether it answers.
    environment
        Variables besides those of this process.
    patience_s
        How long it may take to answer.
    """

    def __init__(
        self,
        argv: Sequence[str],
        log: Path,
        is_ready: Callable[[], bool],
        *,
        environment: Mapping[str, str] | None = None,
        patience_s: float = 180.0,
    ) -> None:
        self._argv = tuple(argv)
        self.log = log
        self._is_ready = is_ready
        self._environment = dict(environment or {})
        self._patience_s = patience_s
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id, which is that of its group as well."""
        if self._process is None:
            raise LookupError(f"{self._argv[0]} was never started")
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """How it ended; None while it runs, or before it was started."""
        return None if self._process is None else self._process.poll()

    def start(self, *, wait: bool = True) -> None:
        """Start it, unless it runs; wait until it answers.

        Raises
        ------
        ServerDidNotStartError
            If it ends or does not answer.
        """
        if self.is_running:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            # The environment is handed on whole: a server needs PATH, HOME, JAVA_HOME and whatever a site sets.
            environment = {**os.environ, **self._environment}  # noqa: TID251 (handed on, not read)
            self._process = subprocess.Popen(
                self._argv, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        if wait:
            self.await_ready()

    def await_ready(self) -> None:
        """Wait until it answers.

        Raises
        ------
        ServerDidNotStartError
            If it ends or does not answer in time.
        """
        deadline_s = time.monotonic() + self._patience_s
        while not self._is_ready():
            if not self.is_running:
                raise ServerDidNotStartError(f"{self._argv[0]} ended with {self.exit_status}:\n{self.last_lines()}")
            if time.monotonic() > deadline_s:
                self.kill()
                raise ServerDidNotStartError(
                    f"{self._argv[0]} did not answer within {self._patience_s:.0f} s:\n{self.last_lines()}"
                )
            time.sleep(LOOK_EVERY_S)  # noqa: TID251 (a real server, in real time)

    def is_ready(self) -> bool:
        """Whether it answers now."""
        return self.is_running and self._is_ready()

    def last_lines(self) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LAST_LINES:]) if self.log.exists() else ""

    def freeze(self) -> None:
        """Stop the clock of every process of the group: connections stay open and nobody answers."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.killpg(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Take it away at once, with all its children; killing what does not run does nothing."""
        self._end(signal.SIGKILL, 10.0)

    def stop(self, patience_s: float = 20.0) -> None:
        """Ask it to end; kill it if it does not."""
        self._end(signal.SIGTERM, patience_s)

    def _end(self, how: signal.Signals, patience_s: float) -> None:
        if self._process is None:
            return
        if self.is_running:
            os.killpg(self.pid, how)
            # What is frozen cannot hear.
            os.killpg(self.pid, signal.SIGCONT)
            try:
                self._process.wait(patience_s)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self._process.wait(10.0)
        self._process = None
