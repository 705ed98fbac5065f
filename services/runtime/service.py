"""The one loop of every service: receive, validate, compute, put, publish, commit.

Two kinds of failure, no third (design, Delivery). A dependency outage pauses the service and is retried
with back-off for as long as it lasts. A message fault is tried three times, then dead-lettered with its
bytes and the reason, and the next message flows. A burst of dead letters stops the service: then it is not the
messages that are wrong. Anything else is a bug and leaves the loop as the exception it is.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from services.contracts import keys
from services.contracts.codec import MalformedMessageError, decode, encode
from services.contracts.messages import DeadLettered
from services.contracts.topics import DEAD_LETTERS, record_key
from services.runtime.attempts import Attempts
from services.runtime.bus.port import Consumer, Outgoing, PartitionsLostError, Producer, Record
from services.runtime.clock import Clock
from services.runtime.errors import PermanentError, StillWorkingError, TransientError
from services.runtime.handler import Answer, Handler, Publication, Received
from services.runtime.metrics.port import Metrics
from services.runtime.store.port import ArtefactCorruptError, ArtefactMissingError, ArtefactStore

log = structlog.get_logger()


class DeadLetterBurstError(RuntimeError):
    """So many messages in a row were refused that the service itself must be suspected."""


@dataclass(frozen=True, slots=True)
class FaultPolicy:
    """When to give up on a message, on a batch, on the service.

    Attributes
    ----------
    attempts
        Tries of one message before it is dead-lettered.
    deaths
        Deaths of the process over one message, alone in hand, before that is blamed: more than `attempts`,
        since a process may also be killed by somebody else, and at any moment.
    burst
        Dead letters in a row that stop the service.
    window, window_share
        Dead letters among the last `window` messages, as a share, that stop it as well.
    first_pause_s, longest_pause_s
        Back-off during an outage.
    damage_patience_s
        How long an artefact may come damaged before its message is blamed: most often it is whole, and what
        lies between it and us does the damage.
    ask_again_s
        Between two questions about work that goes on beside the loop.
    """

    attempts: int = 3
    deaths: int = 6
    burst: int = 5
    window: int = 50
    window_share: float = 0.2
    first_pause_s: float = 0.5
    longest_pause_s: float = 30.0
    damage_patience_s: float = 30.0
    ask_again_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Ports:
    """What a service loop works with."""

    consumer: Consumer
    producer: Producer
    store: ArtefactStore
    metrics: Metrics
    clock: Clock


def outgoing(publication: Publication, origin_unix_s: float | None = None) -> Outgoing:
    """Return the record of a publication, which follows from a slice that appeared then."""
    message = publication.message
    key = record_key(publication.topic, message)
    return Outgoing(publication.topic, key, type(message).__name__, encode(message), origin_unix_s)


def _name(record: Record) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"


class ServiceLoop:
    """Runs one handler. `step` is one turn; the caller decides when to take the next.

    Parameters
    ----------
    handler
        The service.
    ports
        Bus, store, metrics, clock.
    policy
        When to give up.
    member
        Lasting name of this replica.
    """

    def __init__(self, handler: Handler, ports: Ports, policy: FaultPolicy | None = None, member: str = "0") -> None:
        self.handler = handler
        self._ports = ports
        self._policy = policy or FaultPolicy()
        self._attempts = Attempts(ports.store, f"{handler.name}-{member}")
        self._pause_s = 0.0
        self._resume_at_s = 0.0
        self._recent: deque[bool] = deque(maxlen=self._policy.window)
        self._in_a_row = 0
        self._damaged_since_s: dict[str, float] = {}
        self._beside: frozenset[str] = frozenset()

    def step(self, timeout_s: float = 0.0) -> bool:
        """Take one turn; return whether there was work.

        Raises
        ------
        DeadLetterBurstError
            If the service must be suspected rather than its messages.
        """
        if self._ports.clock.monotonic_s() < self._resume_at_s:
            self._keep_membership()
            return False
        try:
            records = self._ports.consumer.poll(self.handler.batch_size, timeout_s)
            if records:
                self._work(records)
            self._recovered()
        except TransientError as outage:
            self._back_off(outage)
            return False
        except StillWorkingError:
            self._recovered()
            self._wait_for_work()
            return False
        except PartitionsLostError as lost:
            # The new owner repeats what was not committed; the outputs are the same bytes.
            log.warning("partitions_lost", service=self.handler.name, partitions=sorted(lost.partitions))
        return bool(records)

    @property
    def paused(self) -> bool:
        """Whether an outage holds the service up."""
        return self._pause_s > 0

    def lag(self) -> int:
        """Messages that wait for this service."""
        return sum(self._ports.consumer.lag().values())

    def close(self) -> None:
        """Leave the group."""
        self._ports.consumer.close()

    def _work(self, records: Sequence[Record]) -> None:
        started_s, metrics, stage = self._ports.clock.monotonic_s(), self._ports.metrics, self.handler.name
        metrics.set("fibsem_stage_inflight", len(records), stage=stage)
        try:
            self._work_on(records)
        finally:
            metrics.set("fibsem_stage_inflight", len(self._beside), stage=stage)
        metrics.observe("fibsem_stage_duration_seconds", self._ports.clock.monotonic_s() - started_s, stage=stage)

    def _work_on(self, records: Sequence[Record]) -> None:
        if again := sum(self._attempts.suspects([_name(record)]) for record in records):
            self._ports.metrics.increment("fibsem_messages_redelivered_total", again, stage=self.handler.name)
            # Something in here failed before, or killed the process: one by one, to find which. Only what is
            # being worked on is counted, so that its neighbours are not blamed.
            for record in records:
                if not self._try([record], self._answer_one):
                    break
        else:
            self._try(records, self._answer_all)

    def _try(
        self, records: Sequence[Record], answer: Callable[[Sequence[Record], dict[str, int]], list[Answer]]
    ) -> bool:
        names = [_name(record) for record in records]
        # What goes on beside the loop was begun before; its end is counted as the attempt.
        is_counted = self._beside != frozenset(names)
        self._beside = frozenset()
        counts = self._attempts.begin(names) if is_counted else dict.fromkeys(names, 0)
        try:
            answers = answer(records, counts)
            if not is_counted:
                counts, is_counted = self._attempts.begin(names), True
            return self._settle(records, answers, counts)
        except (TransientError, StillWorkingError) as error:
            if isinstance(error, StillWorkingError):
                self._beside = frozenset(names)
            if is_counted:
                self._attempts.undo(names)
            raise

    def _answer_all(self, records: Sequence[Record], counts: dict[str, int]) -> list[Answer]:
        del counts
        decoded = [_decoded(record) for record in records]
        valid = [item for item in decoded if isinstance(item, Received)]
        try:
            answers = iter(self.handler.handle(valid)) if valid else iter(())
        except (PermanentError, ArtefactCorruptError, ArtefactMissingError) as error:
            self._bear_damage(error, records[0])
            # It does not say which message: the next turn tries them one by one.
            return [Answer(fault=_fault(error))]
        return [next(answers) if isinstance(item, Received) else Answer(fault=item) for item in decoded]

    def _answer_one(self, records: Sequence[Record], counts: dict[str, int]) -> list[Answer]:
        record, count = records[0], counts[_name(records[0])]
        received = _decoded(record)
        if isinstance(received, PermanentError):
            return [Answer(fault=received)]
        if count > self._policy.deaths:
            return [Answer(fault=PermanentError("crashed", f"the process died {count - 1} times while working on it"))]
        try:
            return [self.handler.handle([received])[0]]
        except (PermanentError, ArtefactCorruptError, ArtefactMissingError) as error:
            self._bear_damage(error, record)
            return [Answer(fault=_fault(error))]

    def _bear_damage(self, error: Exception, record: Record) -> None:
        """Take damaged artefacts for an outage of the store, until they have come so for too long."""
        if not isinstance(error, ArtefactCorruptError):
            return
        self._ports.metrics.increment("fibsem_hash_mismatch_total", 1, stage=self.handler.name)
        now_s = self._ports.clock.monotonic_s()
        if now_s - self._damaged_since_s.setdefault(_name(record), now_s) < self._policy.damage_patience_s:
            raise TransientError("store", str(error)) from error

    def _settle(self, records: Sequence[Record], answers: Sequence[Answer], counts: dict[str, int]) -> bool:
        """Publish and commit the answered prefix; return False if a message must be tried again."""
        published: list[Outgoing] = []
        done = 0
        for record, answer in zip(records, answers, strict=False):
            if answer.fault is None:
                published.extend(outgoing(publication, record.origin_unix_s) for publication in answer.publications)
                self._note(refused=False)
            elif counts[_name(record)] >= self._policy.attempts:
                letters = self._dead_letter(record, answer.fault, counts[_name(record)])
                published.extend(outgoing(publication, record.origin_unix_s) for publication in letters)
            else:
                log.warning("message_fault", service=self.handler.name, place=_name(record), fault=str(answer.fault))
                break
            done += 1
        self._ports.producer.publish(published)
        self._attempts.settle(_name(record) for record in records[:done])
        for record in records[:done]:
            self._damaged_since_s.pop(_name(record), None)
        if done:
            # Only now: what is committed has been published and acknowledged.
            self._ports.consumer.commit({record.place: record.offset + 1 for record in records[:done]})
            self._count(records[:done], published)
        if done < len(records):
            self._ports.consumer.rewind()
        return done == len(records)

    def _count(self, done: Sequence[Record], published: Sequence[Outgoing]) -> None:
        metrics, stage, now_s = self._ports.metrics, self.handler.name, self._ports.clock.unix_s()
        metrics.increment("fibsem_messages_processed_total", len(done), stage=stage)
        metrics.set("fibsem_stage_last_progress_timestamp_seconds", now_s, stage=stage)
        for kind, count in Counter(record.message_type for record in published).items():
            metrics.increment("fibsem_messages_published_total", count, stage=stage, type=kind)
        for record in done:
            if record.origin_unix_s is not None:
                # Clocks of two machines may differ: nothing is done before it began.
                metrics.observe("fibsem_slice_age_seconds", max(0.0, now_s - record.origin_unix_s), stage=stage)

    def _dead_letter(self, record: Record, fault: PermanentError, attempts: int) -> list[Publication]:
        original = self._ports.store.put(
            f"{keys.DEAD_LETTERS}/{self.handler.name}/{keys.sha256(record.payload)[:16]}", record.payload
        )
        received = _decoded(record)
        message = received.message if isinstance(received, Received) else None
        letter = DeadLettered(
            service=self.handler.name,
            subject=message.identity if message else _name(record),
            origin=_name(record),
            message_type=record.message_type or "unknown",
            message_key=record.key or "none",
            original=original,
            reason=fault.reason,
            detail=fault.detail[:4000],
            attempts=attempts,
            acquisition_id=getattr(message, "acquisition_id", None),
            z=getattr(message, "z", None),
        )
        log.error("message_dead_lettered", service=self.handler.name, place=_name(record), fault=str(fault))
        self._ports.metrics.increment("fibsem_dlq_messages_total", 1, stage=self.handler.name, reason=fault.reason)
        self._note(refused=True)
        instead = self.handler.dead_lettered(received, fault) if isinstance(received, Received) else ()
        return [Publication(DEAD_LETTERS, letter), *instead]

    def _note(self, *, refused: bool) -> None:
        self._recent.append(refused)
        self._in_a_row = self._in_a_row + 1 if refused else 0
        full = len(self._recent) == self._policy.window
        if self._in_a_row > self._policy.burst or (
            full and sum(self._recent) > self._policy.window_share * self._policy.window
        ):
            raise DeadLetterBurstError(
                f"{self.handler.name} refused {sum(self._recent)} of its last {len(self._recent)} messages: "
                "look at `dead-letters list` before you start it again"
            )

    def _back_off(self, outage: TransientError) -> None:
        policy = self._policy
        self._pause_s = min(policy.longest_pause_s, max(policy.first_pause_s, 2 * self._pause_s))
        self._resume_at_s = self._ports.clock.monotonic_s() + self._pause_s
        self._ports.metrics.set("fibsem_dependency_up", 0, dependency=outage.dependency)
        self._ports.metrics.increment("fibsem_dependency_retries_total", 1, dependency=outage.dependency)
        log.warning("dependency_outage", service=self.handler.name, outage=str(outage), pause_s=self._pause_s)
        try:
            self._ports.consumer.rewind()
        except TransientError:
            log.debug("rewind_deferred", service=self.handler.name)

    def _wait_for_work(self) -> None:
        self._resume_at_s = self._ports.clock.monotonic_s() + self._policy.ask_again_s
        self._ports.consumer.rewind()

    def _keep_membership(self) -> None:
        """Stay a member of the group while an outage or long work lasts: a silent one would lose its partitions."""
        consumer = self._ports.consumer
        consumer.pause(consumer.assignment())
        try:
            consumer.poll(1, 0.0)
        except TransientError:
            log.debug("membership_unsure", service=self.handler.name)
        finally:
            consumer.resume(consumer.assignment())

    def _recovered(self) -> None:
        if self._pause_s:
            log.info("dependency_recovered", service=self.handler.name)
            for dependency in ("bus", "store", "segmenter", "disk"):
                self._ports.metrics.set("fibsem_dependency_up", 1, dependency=dependency)
        self._pause_s = 0.0


def _decoded(record: Record) -> Received | PermanentError:
    try:
        return Received(record.topic, decode(record.message_type, record.payload))
    except MalformedMessageError as error:
        return PermanentError("malformed_message", str(error))


def _fault(error: Exception) -> PermanentError:
    if isinstance(error, PermanentError):
        return error
    reason = "artefact_corrupt" if isinstance(error, ArtefactCorruptError) else "artefact_missing"
    return PermanentError(reason, str(error))
