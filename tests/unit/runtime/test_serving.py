"""Each body of a batch is answered for itself, with a status and a reason."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from services.runtime.segmenter.port import ModelSetError, Normalisation, Plane, Segmented
from services.runtime.segmenter.serving import BodyAnswerer, CanaryError, accepted_canary
from services.runtime.segmenter.serving_description import Description
from services.runtime.segmenter.window_runner import WindowRunner
from services.runtime.segmenter.windows import Window
from services.runtime.segmenter.wire import DESCRIBE, Request, decode_reply, encode_request
from tests.support.hostile_requests import HOSTILE_REQUESTS
from tests.support.segmenter_parts import MODELS, ScarceMemory, description

GREY = np.arange(4 * 5, dtype=np.uint8).reshape(4, 5)


def body(grey: Plane) -> bytes:
    return encode_request(Request(Window(grey, Normalisation(170.0, 20.0))))


@pytest.fixture
def networks() -> ScarceMemory:
    return ScarceMemory(room=16_384)


@pytest.fixture
def answerer(networks: ScarceMemory) -> Iterator[BodyAnswerer]:
    runner = WindowRunner(networks, threads=1, batch_windows=4)
    yield BodyAnswerer(runner, description())
    runner.close()


def test_hostile_bodies_harm_none_that_come_with_them(answerer: BodyAnswerer) -> None:
    for hostile in HOSTILE_REQUESTS.values():
        batch = answerer.answer([body(GREY), hostile, body(GREY)])
        assert [int(reply.status) for reply in batch.replies][::2] == [200, 200]
        assert batch.replies[1].status in {400, 413}
        assert batch.replies[1].body
        assert (batch.crops, batch.pixels, batch.refused) == (2, 40, 1)
        for reply in batch.replies[::2]:
            np.testing.assert_array_equal(decode_reply(reply.body, GREY).confidence_yx, 255 - GREY)


def test_who_asks_what_serves_is_told_the_models_with_every_card_as_it_was_published(answerer: BodyAnswerer) -> None:
    (reply,) = answerer.answer([DESCRIBE]).replies
    told = Description.model_validate_json(reply.body)
    assert reply.content_type == "application/json"
    assert told.model_set() == MODELS
    assert told.model_set().digest == MODELS.digest
    assert told.model_set().names == MODELS.names


def test_a_description_whose_digest_is_not_that_of_its_cards_is_refused() -> None:
    with pytest.raises(ModelSetError, match="were sent for"):
        description(model_set_digest="0" * 64).model_set()


def test_a_window_that_never_fits_is_refused_and_those_with_it_are_answered(answerer: BodyAnswerer) -> None:
    batch = answerer.answer([body(GREY), body(np.zeros((140, 140), np.uint8)), body(GREY)])
    assert [int(reply.status) for reply in batch.replies] == [200, 413, 200]
    assert b"tile_px" in batch.replies[1].body


def test_a_device_without_memory_for_the_canary_is_an_outage(answerer: BodyAnswerer, networks: ScarceMemory) -> None:
    networks.room = 1
    assert [int(reply.status) for reply in answerer.answer([body(GREY)]).replies] == [507]


def planes(changed: int) -> Segmented:
    classes = np.zeros(1000, np.uint8)
    classes[:changed] = 1
    return Segmented(classes.reshape(25, 40), np.zeros((25, 40), np.uint8))


def test_networks_that_answer_the_canary_otherwise_than_when_built_are_not_served() -> None:
    rounded = planes(20)
    assert accepted_canary(rounded, planes(0)) is rounded
    with pytest.raises(CanaryError, match=r"97\.9%"):
        accepted_canary(planes(21), planes(0))
    with pytest.raises(CanaryError, match="memory"):
        accepted_canary(None, planes(0))
