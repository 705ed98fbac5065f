"""The registry of topics is sound: whatever is said is heard, and what belongs together meets."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest

from services.contracts.messages import MESSAGE_TYPES, Message
from services.contracts.topics import TOPICS, TOPICS_BY_NAME, Topic, record_key
from tests.support.messages import ACQUISITION, EXAMPLES, NUCLEUS

HANDLERS = {
    "ingest",
    "extract-detect",
    "extract-follow",
    "inference",
    "postprocess",
    "components",
    "shadow",
    "trainer",
    "results",
}
LONGEST_ACQUISITION_DAYS = 21


def by_name(topic: Topic) -> str:
    return topic.name


def test_every_message_type_stands_on_a_topic() -> None:
    assert {kind for topic in TOPICS for kind in topic.messages} == set(MESSAGE_TYPES.values())


def test_names_are_unique_and_valid_for_every_broker() -> None:
    assert len(TOPICS_BY_NAME) == len(TOPICS)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", topic.name) for topic in TOPICS)


@pytest.mark.parametrize("topic", TOPICS, ids=by_name)
def test_a_topic_is_written_and_read_by_services_that_exist(topic: Topic) -> None:
    assert set(topic.producers) <= HANDLERS
    assert set(topic.consumers) <= HANDLERS
    assert topic.consumers, "nobody hears it"
    assert topic.producers or topic.name == "training-requests", "nobody says it"


@pytest.mark.parametrize("topic", TOPICS, ids=by_name)
def test_a_topic_outlasts_the_longest_acquisition_by_a_month(topic: Topic) -> None:
    assert topic.retention_days >= LONGEST_ACQUISITION_DAYS + 30
    assert topic.partitions >= 1
    assert topic.messages


def test_every_service_but_the_first_and_the_last_hears_and_says_something() -> None:
    heard = {name for topic in TOPICS for name in topic.consumers}
    said = {name for topic in TOPICS for name in topic.producers}
    assert heard == HANDLERS - {"ingest"}
    assert said == HANDLERS - {"results", "shadow"}


ABOUT = {"acquisition": ACQUISITION, "nucleus": f"{ACQUISITION}/{NUCLEUS}"}
SUBJECTS = {"models": "membrane-16nm", "training-requests": "request-12", "dead-letters": "extract-detect"}
SAID = [pytest.param(topic, kind, id=f"{topic.name}-{kind.__name__}") for topic in TOPICS for kind in topic.messages]


@pytest.mark.parametrize(("topic", "kind"), SAID)
def test_a_message_has_the_key_that_its_topic_promises(topic: Topic, kind: type[Message]) -> None:
    key = record_key(topic.name, EXAMPLES[kind])
    if topic.keyed_by == "slice":
        assert key.startswith(f"{ACQUISITION}/z")
    else:
        assert key == (SUBJECTS[topic.name] if topic.keyed_by == "subject" else ABOUT[topic.keyed_by])


def test_topics_that_one_service_joins_by_one_key_have_as_many_partitions() -> None:
    # Only then does what they say about one nucleus, or one acquisition, go to one replica.
    sizes: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for topic in TOPICS:
        for consumer in set(topic.consumers) - {"results"}:
            sizes[consumer, topic.keyed_by][topic.name] = topic.partitions
    assert {joined: found for joined, found in sizes.items() if len(set(found.values())) > 1} == {}
