"""Messages that the contracts allow and that mean harm: each refused with its reason, none of them a crash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from services.contracts.messages import DeadLettered, Message
from services.embedded.run import EmbeddedRun
from services.runtime.bus.replay import replay_messages
from services.runtime.handler import Publication
from services.runtime.service import outgoing
from tests.support.insane_messages import REFUSED, Borrowed, garbage, insane
from tests.support.toy_acquisition import Runner, toy_settings, write_toy

# A service that refuses more than five in a row stops, as it should.
AT_A_TIME = 5
IDLE_TURNS = 8


def corpus(run: EmbeddedRun) -> list[tuple[str, Message]]:
    borrowed = Borrowed.of(replay_messages(run.bus, ("slices", "segmentations")))
    return list(insane(garbage(run.store.put), borrowed).values())


def take(runner: Runner, messages: Sequence[tuple[str, Message]]) -> None:
    """Open the run anew, say something to it, and let it work until it has nothing to do."""
    run = runner.start()
    producer = run.bus.producer()
    producer.publish([outgoing(Publication(topic, message)) for topic, message in messages])
    producer.close()
    idle = 0
    while idle < IDLE_TURNS:
        idle = 0 if run.turn() else idle + 1
    run.close()


def test_what_means_harm_is_refused_with_a_reason_and_crashes_nothing(tmp_path: Path) -> None:
    runner = Runner(tmp_path / "out", toy_settings(write_toy(tmp_path / "slices", 14)))
    run = runner.start()
    manifest = runner.complete(run)
    messages = iter(corpus(run))
    run.close()
    while part := list(islice(messages, AT_A_TIME)):
        take(runner, part)
    run = runner.start()
    letters = {m for m in replay_messages(run.bus, ("dead-letters",)) if isinstance(m, DeadLettered)}
    run.close()
    assert Counter((letter.service, letter.reason) for letter in letters) == REFUSED
    assert runner.manifest() == manifest
