"""Named points at which a process kills itself, to prove that nothing is lost there.

Set by `FIBSEM_FAIL_AT`, such as `before-put:3` (the third put is never made) or `after-publish:1` (published, and
dead before it was committed). Only the failure tests set it; without it no code of this module runs.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, Self, get_args

from services.contracts.topics import Topic
from services.contracts.values import ArtefactRef
from services.runtime.bus.port import Bus, Consumer, LogEnd, Outgoing, Producer, Record, TopicPartition
from services.runtime.store.port import ArtefactStore

# The steps of every service's loop, in their order: receive, fetch, store, publish, commit.
Step = Literal["poll", "get", "put", "publish", "commit"]


class FailPointError(ValueError):
    """The text names no fail point."""


@dataclass(slots=True)
class FailPoint:
    """Counts how often a point was reached, and ends the process there.

    Attributes
    ----------
    moment
        Before the step is taken, or after.
    step
        Which step.
    countdown
        How often it must be reached.

    Examples
    --------
    >>> FailPoint.parse("before-put:3")
    FailPoint(moment='before', step='put', countdown=3)
    """

    moment: Literal["before", "after"]
    step: Step
    countdown: int = field(default=1)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the point that a text names.

        Raises
        ------
        FailPointError
            If it names none.
        """
        name, _, count = text.partition(":")
        moment, _, step = name.partition("-")
        if (
            moment not in {"before", "after"}
            or step not in get_args(Step)
            or not (count or "1").isdecimal()
            or count == "0"
        ):
            raise FailPointError(
                f"{text!r}: give before- or after- and one of {', '.join(get_args(Step))}, and a count"
            )
        return cls("before" if moment == "before" else "after", step, int(count or 1))  # type: ignore[arg-type]

    def reach(self, moment: str, step: Step) -> None:
        """Take note that a point is reached."""
        if (moment, step) != (self.moment, self.step):
            return
        self.countdown -= 1
        if self.countdown == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class FailingStore:
    """A store on which the process dies."""

    def __init__(self, store: ArtefactStore, point: FailPoint) -> None:
        self._store, self._point = store, point

    def put(self, key: str, payload: bytes) -> ArtefactRef:
        """Put, unless the process dies."""
        self._point.reach("before", "put")
        ref = self._store.put(key, payload)
        self._point.reach("after", "put")
        return ref

    def put_file(self, key: str, path: Path, expected_sha256: str) -> ArtefactRef:
        """Put a file, unless the process dies."""
        self._point.reach("before", "put")
        ref = self._store.put_file(key, path, expected_sha256)
        self._point.reach("after", "put")
        return ref

    def get(self, ref: ArtefactRef) -> bytes:
        """Get, unless the process dies."""
        self._point.reach("before", "get")
        payload = self._store.get(ref)
        self._point.reach("after", "get")
        return payload

    def open(self, ref: ArtefactRef) -> AbstractContextManager[BinaryIO]:
        """Open, unless the process dies."""
        self._point.reach("before", "get")
        return self._store.open(ref)

    def find(self, key: str) -> ArtefactRef | None:
        """Find."""
        return self._store.find(key)

    def keys(self, prefix: str) -> Iterator[str]:
        """List."""
        return self._store.keys(prefix)

    def close(self) -> None:
        """Close."""
        self._store.close()


class FailingBus:
    """A bus on which the process dies."""

    def __init__(self, bus: Bus, point: FailPoint) -> None:
        self._bus, self._point = bus, point

    def create_topics(self, topics: Iterable[Topic]) -> None:
        """Create topics."""
        self._bus.create_topics(topics)

    def producer(self) -> Producer:
        """Return a producer on which the process dies."""
        return _FailingProducer(self._bus.producer(), self._point)

    def consumer(self, group: str, topics: Sequence[str], member: str) -> Consumer:
        """Return a consumer on which the process dies."""
        return _FailingConsumer(self._bus.consumer(group, topics, member), self._point)

    def backlog(self, group: str, topics: Sequence[str]) -> int:
        """Count what a group has not committed."""
        return self._bus.backlog(group, topics)

    def rewind(self, group: str, topics: Sequence[str], to: LogEnd) -> Mapping[TopicPartition, int]:
        """Set what a group reads next."""
        return self._bus.rewind(group, topics, to)

    def close(self) -> None:
        """Close."""
        self._bus.close()


class _FailingProducer:
    def __init__(self, producer: Producer, point: FailPoint) -> None:
        self._producer, self._point = producer, point

    def publish(self, records: Sequence[Outgoing]) -> None:
        if not records:
            return
        self._point.reach("before", "publish")
        self._producer.publish(records)
        self._point.reach("after", "publish")

    def close(self) -> None:
        self._producer.close()


class _FailingConsumer:
    def __init__(self, consumer: Consumer, point: FailPoint) -> None:
        self._consumer, self._point = consumer, point

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        self._point.reach("before", "poll")
        records = self._consumer.poll(max_records, timeout_s)
        if records:
            self._point.reach("after", "poll")
        return records

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._point.reach("before", "commit")
        self._consumer.commit(offsets)
        self._point.reach("after", "commit")

    def rewind(self) -> None:
        self._consumer.rewind()

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        self._consumer.pause(partitions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        self._consumer.resume(partitions)

    def assignment(self) -> frozenset[TopicPartition]:
        return self._consumer.assignment()

    def lag(self) -> Mapping[TopicPartition, int]:
        return self._consumer.lag()

    def close(self) -> None:
        self._consumer.close()
