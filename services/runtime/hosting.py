"""One service in a process of its own: connects, takes turns, is watched, and stops when it is asked to.

Everything a container needs round a handler stands here once, so that each service's `__main__` says only
which handler it is.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol, TypeVar

import structlog
from pydantic import ValidationError

from services.runtime.bus.port import Bus, OffsetResetError, TopicPartition
from services.runtime.clock import Clock, SystemClock
from services.runtime.deployment import Deployment, bus_of, store_of
from services.runtime.errors import SetupError, TransientError
from services.runtime.failpoints import FailingBus, FailingStore, FailPoint
from services.runtime.handler import Handler
from services.runtime.health import Heartbeat
from services.runtime.http import Watched, WatchServer
from services.runtime.logging import configure
from services.runtime.metrics.prometheus import PrometheusMetrics
from services.runtime.service import DeadLetterBurstError, Ports, ServiceLoop
from services.runtime.signals import stop_event_on_signals
from services.runtime.store.port import ArtefactStore

log = structlog.get_logger()

WAIT_S = 1.0
IDLE_S = 0.2
MEASURE_EVERY_S = 5.0
# Longest honest turn: a batch of crops on a slow processor, or an outage that every time-out runs into.
STUCK_AFTER_S = 300.0
LINGER_S = 12.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
# A set-up job that starts with the services tries for as long.
SET_UP_S = 180.0

Made = TypeVar("Made")


class Turns(Protocol):
    """What a process does again and again."""

    def step(self, timeout_s: float) -> bool:
        """Take one turn, waiting at most so long for work; return whether there was any."""

    @property
    def paused(self) -> bool:
        """Whether an outage holds it up."""

    def measure(self) -> None:
        """Set the gauges that say how it stands."""

    def close(self) -> None:
        """Put down what is in hand."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a service lives.

    Attributes
    ----------
    deployment
        What it was told.
    bus, store, metrics, clock
        What it works with.
    stop
        Set when it is asked to end.
    resources
        Closed at the end, the last one first.
    """

    deployment: Deployment
    bus: Bus
    store: ArtefactStore
    metrics: PrometheusMetrics
    clock: Clock
    stop: threading.Event
    resources: ExitStack


class _HandlerTurns:
    """A service loop with its gauges."""

    def __init__(self, handler: Handler, site: Site) -> None:
        self._site = site
        self._name = handler.name
        member = site.deployment.member
        consumer = site.bus.consumer(handler.name, handler.topics, f"{handler.name}-{member}")
        self._consumer = consumer
        ports = Ports(consumer, site.bus.producer(), site.store, site.metrics, site.clock)
        self._loop = ServiceLoop(handler, ports, member=member)
        self._owned = consumer.assignment()
        self._told: frozenset[TopicPartition] = frozenset()

    def step(self, timeout_s: float) -> bool:
        """Take one turn of the loop."""
        worked = self._loop.step(timeout_s)
        if (owned := self._consumer.assignment()) != self._owned:
            self._owned = owned
            self._site.metrics.increment("fibsem_consumer_rebalances_total", 1, stage=self._name)
        return worked

    @property
    def paused(self) -> bool:
        """Whether an outage holds it up."""
        return self._loop.paused

    def measure(self) -> None:
        """Set the lag of every partition; of one that was lost, the new owner tells it."""
        lag = dict.fromkeys(self._told, 0) | dict(self._consumer.lag())
        self._told = frozenset(place for place in lag if place in self._consumer.assignment())
        for place, count in lag.items():
            self._site.metrics.set(
                "fibsem_consumer_lag_messages",
                count,
                stage=self._name,
                topic=place.topic,
                partition=str(place.partition),
            )

    def close(self) -> None:
        """Leave the group."""
        self._loop.close()


def host_handler(make: Callable[[Site], Handler], deployment_type: type[Deployment] = Deployment) -> int:
    """Run one handler until the process is asked to stop; return the exit status."""
    return host(lambda site: _HandlerTurns(make(site), site), deployment_type)


def host(make: Callable[[Site], Turns], deployment_type: type[Deployment] = Deployment) -> int:
    """Run a service until the process is asked to stop.

    Parameters
    ----------
    make
        Makes the service; called again, with growing pauses, while a dependency is out.
    deployment_type
        Settings to read from the environment.

    Returns
    -------
    int
        Exit status: 0 when asked to stop, 1 for a service that cannot go on, 2 for settings that make no sense.
    """
    try:
        deployment = deployment_type()
    except ValidationError as error:
        sys.stderr.write(f"the settings make no sense:\n{error}\n")
        return 2
    configure(deployment.log_level)
    clock, metrics = SystemClock(), PrometheusMetrics()
    metrics.set("fibsem_build_info", 1, version=version("fibsem-nuclei"))
    heartbeat = Heartbeat(clock, STUCK_AFTER_S)
    state = _State()
    watched = Watched(metrics.render, heartbeat.alive, state.ready)
    with stop_event_on_signals() as stop, WatchServer(watched, deployment.watch_host, deployment.watch_port):
        try:
            with _connected(deployment, metrics, clock, stop) as site:
                _take_turns(make, site, heartbeat, state)
        except OffsetResetError as error:
            log.critical("records_were_lost", error=str(error))
            for topic in sorted(error.topics):
                metrics.increment("fibsem_offset_resets_total", 1, topic=topic)
            # Long enough to be scraped: the alert is all that a person may see of this.
            clock.wait(LINGER_S, stop)
            return 1
        except DeadLetterBurstError as error:
            log.critical("stopped_rather_than_refuse_everything", error=str(error))
            return 1
        except SetupError as error:
            log.critical("not_set_up", error=str(error))
            return 1
        except Exception:
            # A bug, or a fault of the installation: the supervisor must see it, and start anew.
            log.exception("stopped_by_a_bug")
            return 1
    log.info("stopped")
    return 0


@dataclass(slots=True)
class _State:
    """Whether work is being taken."""

    turns: Turns | None = None

    def ready(self) -> bool:
        return self.turns is not None and not self.turns.paused


@contextmanager
def _connected(
    deployment: Deployment, metrics: PrometheusMetrics, clock: Clock, stop: threading.Event
) -> Iterator[Site]:
    with ExitStack() as resources:
        store: ArtefactStore = store_of(deployment, metrics)
        resources.callback(store.close)
        bus: Bus = bus_of(deployment, metrics)
        resources.callback(bus.close)
        if deployment.fail_at:
            point = FailPoint.parse(deployment.fail_at)
            store, bus = FailingStore(store, point), FailingBus(bus, point)
        yield Site(deployment, bus, store, metrics, clock, stop, resources)


def _take_turns(make: Callable[[Site], Turns], site: Site, heartbeat: Heartbeat, state: _State) -> None:
    turns = patiently(lambda: make(site), site, heartbeat)
    if turns is None:
        return
    state.turns = turns
    for dependency in ("bus", "store"):
        site.metrics.set("fibsem_dependency_up", 1, dependency=dependency)
    log.info("ready")
    measure_at_s = 0.0
    try:
        while not site.stop.is_set():
            heartbeat.tick()
            worked = turns.step(WAIT_S)
            if site.clock.monotonic_s() >= measure_at_s:
                _measure(turns)
                measure_at_s = site.clock.monotonic_s() + MEASURE_EVERY_S
            if not worked:
                site.clock.wait(IDLE_S, site.stop)
    finally:
        state.turns = None
        turns.close()


def _measure(turns: Turns) -> None:
    try:
        turns.measure()
    except TransientError as outage:
        log.debug("not_measured", outage=str(outage))


def patiently(make: Callable[[], Made], site: Site, heartbeat: Heartbeat) -> Made | None:
    """Return what `make` makes, tried for as long as a dependency is out; None when asked to stop meanwhile.

    Raises
    ------
    SetupError
        If a dependency goes on to refuse, longer than a set-up job takes that started with this service.
    """
    pause_s, began_s = FIRST_PAUSE_S, site.clock.monotonic_s()
    while not site.stop.is_set():
        heartbeat.tick()
        try:
            return make()
        except TransientError as outage:
            site.metrics.set("fibsem_dependency_up", 0, dependency=outage.dependency)
            log.warning("waiting_for_a_dependency", outage=str(outage), pause_s=pause_s)
        except SetupError as refusal:
            if site.clock.monotonic_s() - began_s > SET_UP_S:
                raise
            log.warning("waiting_to_be_set_up", refusal=str(refusal), pause_s=pause_s)
        site.clock.wait(pause_s, site.stop)
        pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
    return None
