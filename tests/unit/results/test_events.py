"""What users read of a message: a line of events.jsonl."""

from __future__ import annotations

from services.contracts.messages import ChromosomesSeparated
from services.contracts.values import GroupStanding
from services.results.events import EventLog, event_of
from tests.support.messages import example


def test_chromosomes_told_early_and_at_the_close_are_two_events() -> None:
    early = example(ChromosomesSeparated, standing=GroupStanding.PROVISIONAL, z_front=410, chromosome_count=2)
    late = example(ChromosomesSeparated, standing=GroupStanding.CONFIRMED, z_front=418, chromosome_count=2)
    with EventLog() as events:
        for message in (late, early, early):
            events.add(message)
        lines = list(events.lines())
    assert ['"standing": "provisional"' in line for line in lines] == [True, False]
    assert event_of(early) == {
        "event": "chromosomes_separated",
        "nucleus_id": "n0003",
        "z": 410,
        "group": "12-340-567",
        "standing": "provisional",
        "chromosomes": 2,
        "confidence": 0.75,
        "voxels": 5_000_000_000,
        "method": "adaptive-6",
    }
