"""Sets what a service reads next, when the bus no longer holds what it would go on with."""

from __future__ import annotations

from collections.abc import Mapping

from services.deployed.stack import BESIDE, GROUPS, Stack
from services.runtime.bus.port import LogEnd, TopicPartition


class UnknownGroupError(ValueError):
    """No service reads as that group."""

    def __init__(self, group: str) -> None:
        super().__init__(f"no service reads as {group!r}; there are {', '.join(sorted(GROUPS | BESIDE))}")


def rewind(stack: Stack, group: str, to: LogEnd) -> Mapping[TopicPartition, int]:
    """Place the group of a service at one end of what the bus holds; return what each partition goes on with.

    From the first record everything is read again, which changes nothing but takes time: every service finds what it
    computed, by its key, and says again what follows. Behind the last one whatever waits is left out until
    `reconcile` says it again.

    Parameters
    ----------
    stack
        The deployed system.
    group
        One of `GROUPS` or `BESIDE`.
    to
        Which end.

    Raises
    ------
    UnknownGroupError
        If no service reads as that group.
    GroupBusyError
        If its service runs; nothing is changed.
    TransientError
        If the bus is out; run it again.
    """
    known = GROUPS | BESIDE
    if group not in known:
        raise UnknownGroupError(group)
    return stack.bus.rewind(group, known[group], to)
