"""What every metrics adapter promises: a test module subclasses `MetricsContract` and provides `harness`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import pytest

from services.runtime.metrics.names import UnknownMetricError
from services.runtime.metrics.port import Metrics


class MetricsHarness(Protocol):
    """What the suite needs besides the port: a look at the result that does not go through it."""

    @property
    def metrics(self) -> Metrics:
        """An adapter that has measured nothing."""

    def value(self, name: str, labels: Mapping[str, str]) -> float:
        """Return the value of a counter or gauge, 0 if it has none."""

    def observed(self, name: str, labels: Mapping[str, str]) -> tuple[int, float]:
        """Return number and sum of a histogram's observations."""


class MetricsContract:
    """The suite."""

    @pytest.fixture
    def metrics(self, harness: MetricsHarness) -> Metrics:
        return harness.metrics

    def test_a_counter_adds_up(self, harness: MetricsHarness, metrics: Metrics) -> None:
        metrics.increment("fibsem_slices_seen_total", acquisition="a")
        metrics.increment("fibsem_slices_seen_total", 2.5, acquisition="a")
        assert harness.value("fibsem_slices_seen_total", {"acquisition": "a"}) == 3.5

    def test_label_values_are_counted_apart(self, harness: MetricsHarness, metrics: Metrics) -> None:
        metrics.increment("fibsem_slices_quarantined_total", acquisition="a", reason="truncated_tiff")
        metrics.increment("fibsem_slices_quarantined_total", 4, reason="not_a_tiff", acquisition="a")
        name = "fibsem_slices_quarantined_total"
        assert harness.value(name, {"acquisition": "a", "reason": "truncated_tiff"}) == 1
        assert harness.value(name, {"acquisition": "a", "reason": "not_a_tiff"}) == 4
        assert harness.value(name, {"acquisition": "b", "reason": "not_a_tiff"}) == 0

    def test_a_counter_never_falls(self, harness: MetricsHarness, metrics: Metrics) -> None:
        with pytest.raises(ValueError, match=r"(?i)counter"):
            metrics.increment("fibsem_slices_seen_total", -1, acquisition="a")
        assert harness.value("fibsem_slices_seen_total", {"acquisition": "a"}) == 0

    def test_a_gauge_holds_the_last_value(self, harness: MetricsHarness, metrics: Metrics) -> None:
        for value in (5, 0, -2.5):
            metrics.set("fibsem_dlq_depth", value)
        assert harness.value("fibsem_dlq_depth", {}) == -2.5

    def test_a_histogram_counts_and_sums(self, harness: MetricsHarness, metrics: Metrics) -> None:
        for value in (0.5, 2.0, 1e6):
            metrics.observe("fibsem_stage_duration_seconds", value, stage="ingest")
        assert harness.observed("fibsem_stage_duration_seconds", {"stage": "ingest"}) == (3, 1_000_002.5)
        assert harness.observed("fibsem_stage_duration_seconds", {"stage": "extract"}) == (0, 0.0)

    @pytest.mark.parametrize(
        "measure",
        [
            lambda metrics: metrics.increment("fibsem_no_such_thing_total"),
            lambda metrics: metrics.increment("fibsem_dlq_depth"),
            lambda metrics: metrics.set("fibsem_slices_seen_total", 1, acquisition="a"),
            lambda metrics: metrics.observe("fibsem_dlq_depth", 1),
            lambda metrics: metrics.increment("fibsem_slices_seen_total"),
            lambda metrics: metrics.increment("fibsem_slices_seen_total", acquisition="a", stage="b"),
            lambda metrics: metrics.set("fibsem_dlq_depth", 1, z="17"),
        ],
        ids=["unknown", "gauge", "counter", "no histogram", "label missing", "label too many", "unknown label"],
    )
    def test_what_the_table_does_not_hold_is_refused(self, metrics: Metrics, measure: Callable[[Any], None]) -> None:
        with pytest.raises(UnknownMetricError):
            measure(metrics)

    def test_threads_lose_no_count(self, harness: MetricsHarness, metrics: Metrics) -> None:
        def count() -> None:
            for _ in range(500):
                metrics.increment("fibsem_messages_processed_total", stage="ingest")

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert harness.value("fibsem_messages_processed_total", {"stage": "ingest"}) == 2000
