"""Prometheus and the recording adapter keep the promises of the metrics port; the scrape is the table.

Besides the table a scrape shows what the client tells of the process, by exactly the names of `foreign.PROCESS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import pytest
from prometheus_client import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from services.runtime.metrics.foreign import PROCESS
from services.runtime.metrics.names import (
    METRICS,
    CounterName,
    GaugeName,
    HistogramName,
    LabelName,
    Labels,
    MetricName,
)
from services.runtime.metrics.prometheus import PrometheusMetrics
from services.runtime.metrics.recording import RecordingMetrics
from tests.contract.metrics_suite import MetricsContract, MetricsHarness


def scrape(metrics: PrometheusMetrics) -> dict[str, Family]:
    """Return the families of a scrape by name, as Prometheus itself would read them."""
    families = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
    # The parser takes the suffix off; the table has the name that is queried.
    return {f"{name}_total" if family.type == "counter" else name: family for name, family in families.items()}


class PrometheusHarness:
    def __init__(self) -> None:
        self.metrics = PrometheusMetrics()

    def value(self, name: str, labels: Mapping[str, str]) -> float:
        return self._sample(name, name, labels)

    def observed(self, name: str, labels: Mapping[str, str]) -> tuple[int, float]:
        return int(self._sample(name, f"{name}_count", labels)), self._sample(name, f"{name}_sum", labels)

    def _sample(self, family: str, name: str, labels: Mapping[str, str]) -> float:
        samples = scrape(self.metrics)[family].samples
        return sum(sample.value for sample in samples if sample.name == name and sample.labels == labels)


class RecordingHarness:
    def __init__(self) -> None:
        self.metrics = RecordingMetrics()

    def value(self, name: str, labels: Mapping[str, str]) -> float:
        return self.metrics._values.get((name, tuple(sorted(labels.items()))), 0.0)

    def observed(self, name: str, labels: Mapping[str, str]) -> tuple[int, float]:
        observations = self.metrics._observations.get((name, tuple(sorted(labels.items()))), [])
        return len(observations), sum(observations)


class TestPrometheusMetrics(MetricsContract):
    @pytest.fixture
    def harness(self) -> MetricsHarness:
        return PrometheusHarness()


class TestRecordingMetrics(MetricsContract):
    @pytest.fixture
    def harness(self) -> MetricsHarness:
        return RecordingHarness()


def measure_everything(metrics: PrometheusMetrics) -> None:
    """Touch every metric of the table once, by its kind."""
    for name, metric in METRICS.items():
        labels = dict.fromkeys(metric.labels, "value")
        method = {"counter": metrics.increment, "gauge": metrics.set, "histogram": metrics.observe}[metric.kind]
        method(name, 1.0, **labels)  # type: ignore[operator]  # the kind is known at run time only


@pytest.mark.parametrize("measured", [False, True], ids=["before any measurement", "after all of them"])
def test_a_scrape_holds_the_table_and_nothing_else(*, measured: bool) -> None:
    metrics = PrometheusMetrics()
    if measured:
        measure_everything(metrics)
    everything = scrape(metrics)
    families = {name: family for name, family in everything.items() if name not in PROCESS}
    assert everything.keys() - families.keys() == PROCESS.keys()
    assert {name: family.type for name, family in families.items()} == {
        name: metric.kind for name, metric in METRICS.items()
    }
    assert {name: family.documentation for name, family in families.items()} == {
        name: metric.meaning for name, metric in METRICS.items()
    }


def test_every_sample_has_the_labels_of_the_table() -> None:
    metrics = PrometheusMetrics()
    measure_everything(metrics)
    families = scrape(metrics)
    for name, metric in METRICS.items():
        family, expected = families[name], set(metric.labels)
        assert family.samples
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == expected


def test_a_histogram_has_the_buckets_of_the_table() -> None:
    metrics = PrometheusMetrics()
    measure_everything(metrics)
    for name, metric in METRICS.items():
        if metric.kind == "histogram":
            bounds = [float(s.labels["le"]) for s in scrape(metrics)[name].samples if s.name.endswith("_bucket")]
            assert bounds == [*metric.buckets, float("inf")]


def test_two_registries_in_one_process_do_not_meet() -> None:
    first, second = PrometheusMetrics(), PrometheusMetrics()
    first.set("fibsem_dlq_depth", 3)
    assert "fibsem_dlq_depth 3.0" in first.render().decode()
    assert "fibsem_dlq_depth 0.0" in second.render().decode()


def test_the_types_and_the_table_name_the_same_metrics() -> None:
    kinds = {"counter": CounterName, "gauge": GaugeName, "histogram": HistogramName}
    for kind, names in kinds.items():
        assert sorted(get_args(names)) == sorted(name for name, metric in METRICS.items() if metric.kind == kind)


def test_the_types_and_the_table_name_the_same_labels() -> None:
    used = {label for metric in METRICS.values() for label in metric.labels}
    assert used == set(get_args(LabelName)) == set(Labels.__annotations__)


@pytest.mark.parametrize("label", ["z", "nucleus", "path", "file", "offset", "key"])
def test_no_label_has_unbounded_values(label: str) -> None:
    assert label not in get_args(LabelName)


@pytest.mark.parametrize("name", METRICS)
def test_names_follow_the_convention(name: MetricName) -> None:
    metric = METRICS[name]
    assert name.startswith("fibsem_")
    assert name.endswith("_total") == (metric.kind == "counter")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.meaning.endswith(".")
