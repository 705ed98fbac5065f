"""Time as a port: what waits or looks at a clock takes one of these, so that tests need not wait."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits."""

    def monotonic_s(self) -> float:
        """Seconds since some fixed moment; never goes back. Processes of one machine read the same clock."""

    def unix_s(self) -> float:
        """Seconds since 1970, for metrics and logs only: it may jump, and decides nothing."""

    def wait(self, seconds: float, event: threading.Event | None = None) -> bool:
        """Wait for `seconds`, or less if `event` is set meanwhile; return whether `event` is set."""


class SystemClock:
    """The clock of this machine."""

    def monotonic_s(self) -> float:
        """Seconds since the machine started."""
        return time.monotonic()

    def unix_s(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def wait(self, seconds: float, event: threading.Event | None = None) -> bool:
        """Wait for `seconds`, or until `event` is set; return whether it is."""
        return (event or threading.Event()).wait(max(0.0, seconds))


class ManualClock:
    """A clock that stands still until it is moved; waiting moves it at once.

    Examples
    --------
    >>> clock = ManualClock()
    >>> clock.wait(2.5)
    False
    >>> clock.advance(1.0)
    >>> clock.monotonic_s()
    3.5
    """

    def __init__(self, monotonic_s: float = 0.0, unix_s: float = 1_700_000_000.0) -> None:
        self._lock = threading.Lock()
        self._monotonic_s = monotonic_s
        self._unix_s = unix_s

    def monotonic_s(self) -> float:
        """Seconds by which the clock was moved, plus its start."""
        return self._monotonic_s

    def unix_s(self) -> float:
        """Seconds since 1970 by this clock's telling."""
        return self._unix_s

    def advance(self, seconds: float) -> None:
        """Move the clock on."""
        with self._lock:
            self._monotonic_s += seconds
            self._unix_s += seconds

    def wait(self, seconds: float, event: threading.Event | None = None) -> bool:
        """Move the clock on by `seconds`, unless `event` is set; return whether it is."""
        if event is not None and event.is_set():
            return True
        self.advance(max(0.0, seconds))
        return False
