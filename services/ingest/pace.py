"""How long one slice takes, from when slices were seen."""

from __future__ import annotations

from collections import deque
from statistics import median

REMEMBERED = 20


class Pace:
    """The usual time between two slices; a catch-up of many at once counts as the many that they are.

    Examples
    --------
    >>> pace = Pace()
    >>> [pace.interval_s(seen, now_s) for seen, now_s in ((1, 0.0), (1, 40.0), (2, 75.0), (4, 225.0))]
    [None, None, 75.0, 75.0]
    """

    def __init__(self) -> None:
        self._intervals_s: deque[float] = deque(maxlen=REMEMBERED)
        self._seen = 0
        self._since_s = 0.0

    def interval_s(self, seen: int, now_s: float) -> float | None:
        """Return the usual time per slice in s, or None before two were seen.

        Parameters
        ----------
        seen
            Slices seen so far.
        now_s
            Time of the look, on a clock that never goes back.
        """
        if seen > self._seen:
            if self._seen:
                self._intervals_s.append((now_s - self._since_s) / (seen - self._seen))
            self._seen, self._since_s = seen, now_s
        return median(self._intervals_s) if self._intervals_s else None
