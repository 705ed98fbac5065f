"""What stands round a handler in a process of its own: patience, gauges, and points at which it dies for a test."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from services.contracts.messages import SliceIngested
from services.contracts.topics import Topic
from services.runtime.bus.port import Outgoing
from services.runtime.bus.sqlite import SqliteBus
from services.runtime.clock import ManualClock
from services.runtime.deployment import Deployment
from services.runtime.errors import SetupError, TransientError
from services.runtime.failpoints import FailPoint, FailPointError
from services.runtime.health import Heartbeat
from services.runtime.hosting import LONGEST_PAUSE_S, SET_UP_S, Site, patiently
from services.runtime.metrics.prometheus import PrometheusMetrics
from services.runtime.store.directory import DirectoryStore

NOWHERE = Deployment.model_validate(
    {
        "kafka": {"bootstrap": "nowhere:1"},
        "s3": {"endpoint": "http://nowhere:1", "access_key": "inference", "secret_key": "of no use"},
    }
)


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    clock = ManualClock()
    bus, store = SqliteBus(clock=clock), DirectoryStore(tmp_path_factory.mktemp("store"))
    yield Site(NOWHERE, bus, store, PrometheusMetrics(), clock, threading.Event(), ExitStack())
    bus.close()
    store.close()


class Late:
    """A dependency that answers after some tries."""

    def __init__(self, tries: int) -> None:
        self.left = tries

    def __call__(self) -> str:
        self.left -= 1
        if self.left > 0:
            raise TransientError("segmenter", "still loading")
        return "made"


def test_a_dependency_that_comes_late_is_waited_for_and_said_to_be_out(site: Site) -> None:
    heartbeat = Heartbeat(site.clock, LONGEST_PAUSE_S)
    began_s = site.clock.monotonic_s()
    assert patiently(Late(6), site, heartbeat) == "made"
    assert site.clock.monotonic_s() - began_s > 0.5 + 1 + 2 + 4 + 8 - 0.1
    assert heartbeat.alive()
    assert b'fibsem_dependency_up{dependency="segmenter"} 0.0' in site.metrics.render()


def test_who_is_asked_to_stop_waits_no_longer(site: Site) -> None:
    site.stop.set()
    assert patiently(Late(1000), site, Heartbeat(site.clock, 60.0)) is None


def test_a_set_up_that_has_not_ended_yet_is_waited_for(site: Site) -> None:
    began_s = site.clock.monotonic_s()

    def refused_at_first() -> str:
        if site.clock.monotonic_s() - began_s < SET_UP_S / 2:
            raise SetupError("there is no such user")
        return "made"

    assert patiently(refused_at_first, site, Heartbeat(site.clock, 60.0)) == "made"


def test_who_is_refused_for_good_is_told_so_in_the_end(site: Site) -> None:
    began_s = site.clock.monotonic_s()

    def refused() -> str:
        raise SetupError("there is no such user")

    with pytest.raises(SetupError, match="no such user"):
        patiently(refused, site, Heartbeat(site.clock, 60.0))
    assert SET_UP_S < site.clock.monotonic_s() - began_s < SET_UP_S + 2 * LONGEST_PAUSE_S


def test_what_is_no_outage_is_not_waited_for(site: Site) -> None:
    def broken() -> str:
        raise LookupError("a bug")

    with pytest.raises(LookupError, match="a bug"):
        patiently(broken, site, Heartbeat(site.clock, 60.0))


@pytest.mark.parametrize(
    "text", ["", "put", "during-put", "before-cook", "after-put:x", "before-put:-1", "before-put:0"]
)
def test_a_text_that_names_no_fail_point_is_refused(text: str) -> None:
    with pytest.raises(FailPointError, match="before- or after-"):
        FailPoint.parse(text)


DYING = """
from services.contracts.topics import Topic
from services.contracts.messages import SliceIngested
from services.runtime.bus.port import Outgoing
from services.runtime.bus.sqlite import SqliteBus
from services.runtime.failpoints import FailPoint, FailingBus
import sys
bus = FailingBus(SqliteBus(sys.argv[1]), FailPoint.parse(sys.argv[2]))
producer = bus.producer()
for number in range(5):
    producer.publish([Outgoing("dying", "key", "T", str(number).encode())])
"""


@pytest.mark.parametrize(("point", "written"), [("before-publish:3", 2), ("after-publish:3", 3)])
def test_a_process_dies_at_the_point_that_was_named_and_not_before(
    point: str, written: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("bus") / "bus.sqlite"
    bus = SqliteBus(path)
    bus.create_topics([Topic("dying", 1, 1, (SliceIngested,), (), (), "subject")])
    died = subprocess.run([sys.executable, "-c", DYING, str(path), point], capture_output=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    assert bus.backlog("nobody", ["dying"]) == written
    bus.producer().publish([Outgoing("dying", "key", "T", b"after")])
    assert bus.backlog("nobody", ["dying"]) == written + 1
    bus.close()
