"""Messages that the contracts allow and that mean harm are refused with a reason; what comes behind them flows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path

import pytest

from services.contracts.messages import DeadLettered, Message
from services.deployed.stack import Stack
from services.runtime.bus.replay import replay_messages
from services.runtime.handler import Publication
from services.runtime.service import outgoing
from tests.support.insane_messages import GHOST, REFUSED, Borrowed, garbage, insane
from tests.support.toy_acquisition import Runner
from tests.system.deployed import System
from tests.system.invariants import pids, require_recovery, states, torn_artefacts
from tests.system.matrix import Rows

pytestmark = [pytest.mark.system, pytest.mark.full, pytest.mark.timeout(1200)]

# A service of this size works on a toy; a canvas of 2^40 pixels would take a thousand times as much.
LARGEST_RESIDENT_BYTES = 2 << 30


def publish(stack: Stack, messages: Collection[tuple[str, Message]]) -> None:
    producer = stack.bus.producer()
    producer.publish([outgoing(Publication(topic, message)) for topic, message in messages])
    producer.close()


def corpus(stack: Stack) -> list[tuple[str, Message]]:
    """Return every insane message with its topic; some name what belongs to the acquisition that runs."""
    borrowed = Borrowed.of(replay_messages(stack.bus, ("slices", "segmentations")))
    return list(insane(garbage(stack.store.put), borrowed).values())


def peak_resident_bytes(pid: int) -> int:
    """Return the most memory that a process ever had at once."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def test_insane_messages_end_no_service_fill_no_memory_and_hold_nothing_up(
    system: System, local: Runner, tmp_path: Path, rows: Rows
) -> None:
    """In two parts with good messages between: a service that refuses more in a row stops, as it should."""
    system.start_all()
    system.await_segmented(10)
    running = pids(system)
    # No service may write what another one reads: only the owner of the store can put garbage there.
    with system.stack(as_owner=True) as stack:
        messages = corpus(stack)
        publish(stack, messages[::2])
        seconds = require_recovery(system)
        system.await_segmented(50)
        publish(stack, messages[1::2])
    system.await_complete()
    assert system.collect(tmp_path / "out") == local.manifest()
    assert set(states(tmp_path / "out")) == {"ingested"}
    assert pids(system) == running, system.said()
    with system.stack() as stack:
        # What nobody stored is named by them alone.
        assert all(f"{GHOST}/" in torn for torn in torn_artefacts(stack))
        letters = {m for m in replay_messages(stack.bus, ("dead-letters",)) if isinstance(m, DeadLettered)}
    assert Counter((letter.service, letter.reason) for letter in letters) == REFUSED
    assert {letter.acquisition_id for letter in letters} <= {GHOST, None}
    peaks = {name: peak_resident_bytes(pid) for name, pid in running.items()}
    assert max(peaks.values()) < LARGEST_RESIDENT_BYTES, peaks
    rows.add(f"{len(messages)} well-formed insane messages on six topics", "I1 I2 I3 I5; no service ends", seconds)
