"""Metrics as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Unpack

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client import Metric as Family

from services.runtime.metrics.names import METRICS, CounterName, GaugeName, HistogramName, Labels, require


class PrometheusMetrics:
    """Keeps every metric of the table in a registry of its own; one not measured yet shows as declared.

    What the client tells of this process (`services.runtime.metrics.foreign.PROCESS`) is shown besides.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for name, metric in METRICS.items():
            if metric.kind == "counter":
                self._counters[name] = Counter(name, metric.meaning, metric.labels, registry=self._registry)
            elif metric.kind == "gauge":
                self._gauges[name] = Gauge(name, metric.meaning, metric.labels, registry=self._registry)
            else:
                self._histograms[name] = Histogram(
                    name, metric.meaning, metric.labels, registry=self._registry, buckets=metric.buckets
                )

    def increment(self, name: CounterName, amount: float = 1.0, /, **labels: Unpack[Labels]) -> None:
        """Add to a counter."""
        require(name, "counter", labels)
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def set(self, name: GaugeName, value: float, /, **labels: Unpack[Labels]) -> None:
        """Set a gauge."""
        require(name, "gauge", labels)
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def observe(self, name: HistogramName, value: float, /, **labels: Unpack[Labels]) -> None:
        """Add one observation to a histogram."""
        require(name, "histogram", labels)
        histogram = self._histograms[name]
        (histogram.labels(**labels) if labels else histogram).observe(value)

    def render(self) -> bytes:
        """Return the scrape: Prometheus text, UTF-8."""
        return generate_latest(self)

    def collect(self) -> Iterator[Family]:
        """Yield the families of the table and of the process, without the creation times the client adds to each."""
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family
