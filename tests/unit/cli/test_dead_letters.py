"""Dead letters are listed for ever, and dealt with once: put back, or dismissed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner

from services.cli.app import app
from services.contracts.messages import CropAbsent, DeadLettered
from services.contracts.topics import TOPICS
from services.contracts.values import AbsenceReason
from services.embedded.settings import STATE, settle
from services.runtime.bus.port import Outgoing
from services.runtime.bus.replay import replay_messages
from services.runtime.bus.sqlite import SqliteBus
from services.runtime.handler import Publication
from services.runtime.logging import configure
from services.runtime.service import outgoing
from services.runtime.store.directory import DirectoryStore
from tests.support.toy_acquisition import toy_settings

REFUSED = CropAbsent(
    acquisition_id="toy", nucleus_id="n0001", z=3, reason=AbsenceReason.DEAD_LETTERED, detail="of no matter"
)


@pytest.fixture(autouse=True)
def log_lines_beside_the_answers() -> Iterator[None]:
    """As `fibsem-nuclei` itself does before it runs a verb."""
    configure(stream=io.StringIO())
    yield
    structlog.reset_defaults()


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """A run that refused one message of inference, and one file."""
    settle(tmp_path, toy_settings(tmp_path), joined=True)
    store = DirectoryStore(tmp_path / STATE / "store", reference_files=True)
    bus = SqliteBus(tmp_path / STATE / "bus.sqlite")
    bus.create_topics(TOPICS)
    record = outgoing(Publication("crops", REFUSED))
    letters = [
        DeadLettered(
            service=service,
            subject="toy/n0001/z000003",
            origin="crops/0/17",
            message_type=record.message_type,
            message_key=record.key,
            original=store.put(f"dead-letters/{service}/one", record.payload),
            reason="damaged_crop",
            detail="its bytes were flipped",
            attempts=3,
        )
        for service in ("inference", "ingest")
    ]
    bus.producer().publish([outgoing(Publication("dead-letters", letter)) for letter in letters])
    yield tmp_path
    bus.close()
    store.close()


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["dead-letters", *arguments])
    assert result.exception is None, result.exception
    return result.output


def crops(out: Path) -> list[object]:
    bus = SqliteBus(out / STATE / "bus.sqlite")
    try:
        return list(replay_messages(bus, ("crops",)))
    finally:
        bus.close()


def listed(out: Path) -> set[str]:
    return {letter["service"] for letter in json.loads(said("list", str(out), "--json"))}


def test_what_was_refused_is_put_back_on_its_topic_once(out: Path) -> None:
    assert "put 1 messages back" in said("reinject", str(out))
    assert crops(out) == [REFUSED]
    assert "put 0 messages back" in said("reinject", str(out))
    assert crops(out) == [REFUSED]
    assert listed(out) == {"inference", "ingest"}


def test_dismissed_letters_stay_listed_and_are_not_put_back(out: Path) -> None:
    assert "2 dead letters were dealt with" in said("dismiss", str(out))
    assert "0 dead letters were dealt with" in said("dismiss", str(out))
    assert "put 0 messages back" in said("reinject", str(out))
    assert crops(out) == []
    assert listed(out) == {"inference", "ingest"}


def test_exported_letters_have_their_bytes_and_their_reason(out: Path, tmp_path: Path) -> None:
    said("export", str(out), str(tmp_path / "letters"))
    (reason,) = (tmp_path / "letters").glob("inference-*.json")
    assert json.loads(reason.read_text())["detail"] == "its bytes were flipped"
    assert reason.with_suffix(".bin").read_bytes() == outgoing(Publication("crops", REFUSED)).payload


def test_poison_among_the_dead_letters_hinders_nobody(out: Path) -> None:
    bus = SqliteBus(out / STATE / "bus.sqlite")
    bus.producer().publish([Outgoing("dead-letters", "key", "DeadLettered", b"\xff\xff")])
    bus.close()
    assert listed(out) == {"inference", "ingest"}
    assert "put 1 messages back" in said("reinject", str(out))
    assert "0 dead letters were dealt with" in said("dismiss", str(out))
