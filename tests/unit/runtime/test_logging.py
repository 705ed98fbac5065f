"""Log lines: JSON for machines, words for people."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from services.runtime.logging import configure


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def fail() -> None:
    raise ValueError("the reason")


def test_a_line_is_one_json_object_with_what_was_bound() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    structlog.contextvars.bind_contextvars(topic="slices", offset=7)
    structlog.get_logger().info("slice_ingested", z=12)
    (line,) = stream.getvalue().splitlines()
    said = json.loads(line)
    assert {"event": "slice_ingested", "level": "info", "offset": 7, "topic": "slices", "z": 12}.items() <= said.items()
    assert said["timestamp"].endswith("Z")


def test_an_exception_stays_on_its_line() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    try:
        fail()
    except ValueError:
        structlog.get_logger().exception("step_failed")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: the reason" in json.loads(line)["exception"]


def test_a_terminal_gets_words() -> None:
    stream = Terminal()
    configure(stream=stream)
    structlog.get_logger().warning("dependency_outage", pause_s=0.5)
    assert "dependency_outage" in stream.getvalue()
    with pytest.raises(json.JSONDecodeError):
        json.loads(stream.getvalue())


def test_lines_below_the_level_are_left_out() -> None:
    stream = io.StringIO()
    configure("warning", stream)
    structlog.get_logger().info("not_said")
    structlog.get_logger().error("said")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["said"]
