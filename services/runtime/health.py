"""Whether the loop still turns: a process that is alive but stuck must not look healthy."""

from __future__ import annotations

from services.runtime.clock import Clock


class Heartbeat:
    """Ticked by the loop at every turn, read by the health check from another thread.

    Parameters
    ----------
    clock
        Where the time comes from.
    limit_s
        Longest honest turn of the loop; older ticks mean that it is stuck.
    """

    def __init__(self, clock: Clock, limit_s: float) -> None:
        self._clock = clock
        self._limit_s = limit_s
        self._ticked_s = clock.monotonic_s()

    def tick(self) -> None:
        """Say that the loop turned."""
        self._ticked_s = self._clock.monotonic_s()

    def age_s(self) -> float:
        """Seconds since the last tick, or since the start."""
        return self._clock.monotonic_s() - self._ticked_s

    def alive(self) -> bool:
        """Whether the last tick is young enough."""
        return self.age_s() <= self._limit_s
