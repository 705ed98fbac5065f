"""A service that lost its place on the bus is given one, while it is stopped."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from services.cli.app import app
from services.contracts.topics import TOPICS
from services.deployed.rewinding import UnknownGroupError, rewind
from services.runtime.bus.port import GroupBusyError, LogEnd, Outgoing
from tests.support.ingest_bench import Bench
from tests.unit.deployed.conftest import stack_of


def published(bench: Bench, count: int) -> None:
    producer = bench.bus.producer()
    producer.publish([Outgoing("crops", f"nucleus-{number}", "CropExtracted", b"x") for number in range(count)])
    producer.close()


def test_every_topic_of_a_service_is_placed_and_no_other_service(bench: Bench) -> None:
    published(bench, 5)
    stack = stack_of(bench.store, bench.bus)
    consumer = bench.bus.consumer("inference", ["crops"], "inference-0")
    records = [record for _ in range(20) for record in consumer.poll(10, 0.0)]
    consumer.commit({record.place: record.offset + 1 for record in records})
    consumer.close()
    assert stack.backlog()["inference"] == 0
    placed = rewind(stack, "inference", LogEnd.EARLIEST)
    partitions = next(topic.partitions for topic in TOPICS if topic.name == "crops")
    assert len(placed) == partitions
    assert stack.backlog()["inference"] == 5
    rewind(stack, "inference", LogEnd.LATEST)
    assert stack.backlog()["inference"] == 0


def test_a_service_that_runs_is_left_alone(bench: Bench) -> None:
    consumer = bench.bus.consumer("inference", ["crops"], "inference-0")
    consumer.poll(1, 0.0)
    with pytest.raises(GroupBusyError, match="stop its service first"):
        rewind(stack_of(bench.store, bench.bus), "inference", LogEnd.EARLIEST)
    consumer.close()


def test_a_service_that_does_not_exist_is_named_beside_those_that_do(bench: Bench) -> None:
    with pytest.raises(UnknownGroupError, match="'segmenter'; there are components, extract-detect"):
        rewind(stack_of(bench.store, bench.bus), "segmenter", LogEnd.EARLIEST)


def test_the_command_says_what_to_do_with_a_local_run(bench: Bench) -> None:
    result = CliRunner().invoke(app, ["rewind", str(bench.folder), "inference"])
    assert "use `reconcile" in str(result.exception)


def test_the_command_takes_no_third_end() -> None:
    result = CliRunner().invoke(app, ["rewind", "stack", "inference", "--to", "middle"])
    assert result.exit_code == 2
