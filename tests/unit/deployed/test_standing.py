"""How an acquisition stands: each thing counted once, and complete only when nobody has anything left to do."""

from __future__ import annotations

import pytest

from services.components.handler import ComponentsHandler
from services.contracts.messages import (
    AcquisitionFinished,
    ComponentsMeasured,
    Message,
    NucleusClosed,
    NucleusOpened,
    VolumeExtended,
)
from services.contracts.topics import TOPICS
from services.deployed.stack import GROUPS
from services.deployed.standing import Standing, standing
from services.extract.detect import DetectHandler
from services.extract.follow import FollowHandler
from services.inference.handler import InferenceHandler
from services.postprocess.handler import PostprocessHandler
from services.runtime.bus.port import Outgoing
from services.runtime.handler import Publication
from services.runtime.service import outgoing
from tests.support.ingest_bench import Bench
from tests.support.messages import ACQUISITION, EXAMPLES
from tests.unit.deployed.conftest import stack_of

STORY = (NucleusOpened, VolumeExtended, NucleusClosed, ComponentsMeasured, AcquisitionFinished)


def after(*kinds: type[Message]) -> Standing:
    found = Standing()
    for kind in kinds:
        found.take(EXAMPLES[kind])
    return found


def test_the_groups_are_those_of_the_services_with_the_topics_they_read() -> None:
    handlers = (DetectHandler, FollowHandler, InferenceHandler, PostprocessHandler, ComponentsHandler)
    assert {handler.name: handler.topics for handler in handlers} == GROUPS


def test_a_finished_acquisition_with_nothing_left_to_do_is_complete() -> None:
    assert after(*STORY).complete
    assert "complete" in after(*STORY).line()


@pytest.mark.parametrize("missing", [ComponentsMeasured, AcquisitionFinished])
def test_it_is_not_complete_while_something_was_not_said(missing: type[Message]) -> None:
    assert not after(*(kind for kind in STORY if kind is not missing)).complete


def test_it_is_not_complete_while_a_service_has_messages_waiting() -> None:
    found = after(*STORY)
    found.backlog = {"inference": 1, "components": 0}
    assert not found.complete
    assert "waiting: inference 1" in found.line()


def test_what_is_said_twice_counts_once() -> None:
    assert after(*STORY, *STORY).as_json()["progress"]["opened"] == 1


def test_the_pace_that_ingest_measured_is_handed_on() -> None:
    assert Standing(ingest={"interval_s": 75.0}).as_json()["interval_s"] == 75.0
    assert Standing().as_json()["interval_s"] is None


def test_a_record_that_is_no_message_does_not_hide_how_it_stands(bench: Bench) -> None:
    bench.bus.create_topics(TOPICS)
    opened = outgoing(Publication("nuclei", EXAMPLES[NucleusOpened]))
    finished = outgoing(Publication("acquisitions", EXAMPLES[AcquisitionFinished]))
    poison = Outgoing("nuclei", opened.key, "NucleusOpened", b"\xff\xff")
    bench.bus.producer().publish([poison, opened, finished])
    found = standing(stack_of(bench.store, bench.bus), ACQUISITION)
    assert (len(found.opened), found.ended) == (1, True)
    assert found.backlog["postprocess"] == 2
