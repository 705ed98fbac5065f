"""The two kinds of failure a handler may report (design, Delivery), one that only an operator ends, and patience."""

from __future__ import annotations


class PermanentError(Exception):
    """A message cannot be worked on, however often it is tried: it is dead-lettered with the reason.

    Parameters
    ----------
    reason
        A short path-safe name of the fact, bounded in number, used as a metric label (`truncated_tiff`).
    detail
        What a person needs to know and to do.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class TransientError(Exception):
    """A dependency is out: the work pauses and is tried again for as long as that lasts.

    Parameters
    ----------
    dependency
        `bus`, `store`, `segmenter` or `disk`.
    detail
        What was tried and what came back.
    """

    def __init__(self, dependency: str, detail: str) -> None:
        super().__init__(f"{dependency} is unavailable: {detail}")
        self.dependency = dependency
        self.detail = detail


class StillWorkingError(Exception):
    """Work on the one message in hand goes on beside the loop: it is to be asked about again. Nothing has failed.

    For work of hours: the loop keeps its membership of the group meanwhile, and deaths of the process while it waits
    are not blamed on the message. Whoever raises it counts what dies beside the loop.
    """


class SetupError(Exception):
    """A dependency answers and refuses: a user, a right, a topic is missing. The text says what to set right.

    A service that starts waits for it a while, since it may start before the set-up job has ended.
    """
