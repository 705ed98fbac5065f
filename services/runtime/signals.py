"""SIGTERM and SIGINT ask the loops to stop after the current step; they do nothing else."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_event_on_signals() -> Iterator[threading.Event]:
    """Yield an event that is set by SIGTERM or SIGINT; the former handlers return at the end.

    Must be entered in the main thread. A handler runs between any two instructions of that thread, even
    while it holds the event's own lock, so it only puts into a reentrant queue; a thread sets the event.
    """
    stop = threading.Event()
    seen: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def remember(number: int, _frame: FrameType | None) -> None:
        seen.put(number)

    def relay() -> None:
        while seen.get() is not None:
            stop.set()

    thread = threading.Thread(target=relay, name="signal-relay", daemon=True)
    thread.start()
    former = {number: signal.signal(number, remember) for number in STOP_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        seen.put(None)
        thread.join()
