"""Whatever the order in which files come, the same files give the same messages and the same ledger."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.messages import Message
from services.contracts.values import ArtefactRef, VoxelSize
from services.ingest.events import (
    EVENTS,
    DecisionTaken,
    Event,
    Fault,
    FileRead,
    FileRefused,
    FileVersion,
    FirstZFixed,
    PageSeen,
)
from services.ingest.histograms import pack
from services.ingest.intake import AcquisitionIdentity, Intake, OutOfOrderError
from services.ingest.ledger import LedgerRow, ledger, rows
from services.ingest.policy import Policy, Situation, propose

IDENTITY = AcquisitionIdentity("roi", VoxelSize(z_nm=4, y_nm=4, x_nm=4))
POLICY = Policy(first_z=3)
FIRST_Z, LAST_Z = 3, 30


def version(name: str) -> FileVersion:
    return FileVersion(name=name, size_bytes=100, mtime_ns=1)


def ref(label: str) -> ArtefactRef:
    return ArtefactRef(key=f"raw/{label}", sha256=label.encode().hex().ljust(64, "0")[:64], size_bytes=100)


def page(z: int, *, blank: bool = False, width_px: int = 20) -> PageSeen:
    counts = np.zeros(256, np.int64)
    counts[[z, 100 + z]] = [7, 13]
    return PageSeen(height_px=10, width_px=width_px, bits=8, blank=blank, histogram=None if blank else pack(counts))


def good(z: int, name: str = "", **kind: bool | int) -> FileRead:
    return FileRead(file=version(name or f"s{z:03d}.tif"), raw=ref(f"z{z}"), z_zero=z, pages=(page(z, **kind),))  # type: ignore[arg-type]


def bad(z: int) -> FileRefused:
    fault = Fault(reason="truncated_strip", detail="cut")
    return FileRefused(file=version(f"s{z:03d}.tif"), original=ref(f"bad{z}"), z=z, fault=fault, attempts=1)


def stack(z: int, count: int) -> FileRead:
    return FileRead(
        file=version(f"stack{z:03d}.tif"),
        raw=ref(f"stack{z}"),
        z_zero=z,
        pages=tuple(page(z + n) for n in range(count)),
    )


@st.composite
def acquisitions(draw: st.DrawFn) -> list[FileRead | FileRefused]:
    """Draw the files of an acquisition: some slices blank, bad, of another shape, missing, or there twice."""
    files: list[FileRead | FileRefused] = []
    z = FIRST_Z
    while z <= LAST_Z:
        kind = draw(st.sampled_from(["good", "good", "good", "blank", "bad", "misfit", "missing", "twice", "stack"]))
        match kind:
            case "good":
                files.append(good(z))
            case "blank":
                files.append(good(z, blank=True))
            case "bad":
                files.append(bad(z))
            case "misfit":
                files.append(good(z, width_px=21) if z % 3 else good(z))
            case "twice":
                files.extend([good(z), good(z, name=f"again{z:03d}.tif")])
            case "stack":
                files.append(stack(z, 3))
                z += 2
            case _:
                pass
        z += 1
    return files


class Play:
    """Plays events into an intake and lets everything follow that follows."""

    def __init__(self) -> None:
        self.intake = Intake(IDENTITY)
        self.events: list[Event] = []
        self.messages: list[Message] = []

    def apply(self, event: Event) -> None:
        self.events.append(event)
        self.messages.extend(self.intake.apply(event))
        assert ledger(self.intake).is_closed

    def decide(self, situation: Situation) -> None:
        while (event := propose(self.intake, situation, POLICY)) is not None:
            self.apply(event)

    def said(self) -> set[str]:
        """Return what was published; which of two equal files is named is all that may differ."""
        return {type(message).__name__ + message.model_dump_json(exclude={"file_name"}) for message in self.messages}


def play(files: Sequence[FileRead | FileRefused]) -> Play:
    found = Play()
    for file in files:
        found.apply(file)
        found.decide(Situation())
    found.decide(Situation(finished=True, may_end=True))
    assert found.intake.ended is not None or not files
    return found


@given(files=acquisitions(), data=st.data())
@settings(max_examples=30, deadline=None)
def test_any_order_of_arrival_says_the_same(files: list[FileRead | FileRefused], data: st.DataObject) -> None:
    expected, found = play(files), play(data.draw(st.permutations(files)))
    assert found.said() == expected.said()
    assert rows(found.intake) == rows(expected.intake)


@given(files=acquisitions(), data=st.data())
@settings(max_examples=15, deadline=None)
def test_the_journal_alone_restores_the_state_and_repeats_the_messages(
    files: list[FileRead | FileRefused], data: st.DataObject
) -> None:
    whole = play(files)
    cut = data.draw(st.integers(0, len(whole.events)))
    restored = Play()
    for event in EVENTS.validate_json(EVENTS.dump_json(tuple(whole.events[:cut]), exclude_none=True)):
        restored.apply(event)
    assert restored.messages == whole.messages[: len(restored.messages)]
    for event in whole.events[cut:]:
        restored.apply(event)
    assert restored.messages == whole.messages
    assert rows(restored.intake) == rows(whole.intake)


@given(files=acquisitions())
@settings(max_examples=15, deadline=None)
def test_every_file_and_every_z_has_a_line_in_the_ledger(files: list[FileRead | FileRefused]) -> None:
    found = play(files)
    listed = rows(found.intake)
    assert {row.file for row in listed if row.file} == {file.file.name for file in files}
    if files:
        z_last = max(row.z for row in listed if row.z is not None)
        settled = ("ingested", "blank", "missing", "dead_lettered")
        assert {row.z for row in listed if row.state in settled} == set(range(FIRST_Z, z_last + 1))
    counts = ledger(found.intake).slices
    for state, count in (("blank", counts.blank), ("missing", counts.missing)):
        assert sum(row.state == state for row in listed) == count
    assert sum(row.state in ("ingested", "blank") for row in listed) == counts.ingested


def test_in_a_conflict_the_order_decides_and_the_ledger_says_so() -> None:
    other = good(5, name="other.tif").model_copy(update={"raw": ref("other")})
    rest = [good(z) for z in (3, 4, 6)]
    for first, second in ((good(5), other), (other, good(5))):
        found = play([*rest, first, second])
        by_state = {row.state: row.file for row in rows(found.intake) if row.z == 5}
        assert by_state == {"ingested": first.file.name, "conflict": second.file.name}


def test_a_copy_of_a_conflicting_file_is_a_duplicate_and_no_second_conflict() -> None:
    other = good(5, name="other.tif").model_copy(update={"raw": ref("other")})
    copy = other.model_copy(update={"file": version("copy.tif")})
    found = play([good(3), good(4), good(5), other, copy])
    counts = ledger(found.intake).files
    assert (counts.conflict, counts.duplicate) == (1, 1)


def test_when_the_accepted_file_has_the_wrong_shape_the_other_one_takes_its_place() -> None:
    misfit = good(7, name="a.tif", width_px=99).model_copy(update={"raw": ref("misfit")})
    files = [misfit, good(7), *(good(z) for z in range(3, 25) if z != 7)]
    found = play(files)
    by_state: dict[str, LedgerRow] = {row.state: row for row in rows(found.intake) if row.z == 7}
    assert by_state["ingested"].file == "s007.tif"
    assert (by_state["dead_lettered"].file, by_state["dead_lettered"].reason) == ("a.tif", "wrong_shape")


def test_nothing_follows_on_the_end() -> None:
    found = play([good(3)])
    with pytest.raises(OutOfOrderError):
        found.apply(good(4))


def test_the_beginning_is_fixed_once() -> None:
    found = play([good(3)])
    fresh = Play()
    fresh.apply(FirstZFixed(z=3))
    with pytest.raises(OutOfOrderError, match="begins at z 3"):
        fresh.apply(FirstZFixed(z=4))
    decided = [event for event in found.events if isinstance(event, DecisionTaken)]
    assert len(decided) == 1
