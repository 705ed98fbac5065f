"""Metrics kept in memory, for tests and for the progress line of the command line."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Unpack

from services.runtime.metrics.names import CounterName, GaugeName, HistogramName, Labels, MetricName, require

Sample = tuple[str, tuple[tuple[str, str], ...]]


def _sample(name: MetricName, labels: Labels) -> Sample:
    return name, tuple(sorted((label, str(value)) for label, value in labels.items()))


class RecordingMetrics:
    """Remembers every value, to be asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[Sample, float] = {}
        self._observations: defaultdict[Sample, list[float]] = defaultdict(list)

    def increment(self, name: CounterName, amount: float = 1.0, /, **labels: Unpack[Labels]) -> None:
        """Add to a counter."""
        require(name, "counter", labels)
        if amount < 0:
            raise ValueError(f"a counter only grows: {name} by {amount}")
        with self._lock:
            sample = _sample(name, labels)
            self._values[sample] = self._values.get(sample, 0.0) + amount

    def set(self, name: GaugeName, value: float, /, **labels: Unpack[Labels]) -> None:
        """Set a gauge."""
        require(name, "gauge", labels)
        with self._lock:
            self._values[_sample(name, labels)] = value

    def observe(self, name: HistogramName, value: float, /, **labels: Unpack[Labels]) -> None:
        """Add one observation to a histogram."""
        require(name, "histogram", labels)
        with self._lock:
            self._observations[_sample(name, labels)].append(value)

    def value(self, name: CounterName | GaugeName, /, **labels: Unpack[Labels]) -> float:
        """Return the value of a counter or gauge; 0 if it was never touched."""
        return self._values.get(_sample(name, labels), 0.0)

    def observations(self, name: HistogramName, /, **labels: Unpack[Labels]) -> tuple[float, ...]:
        """Return the observations of a histogram, in order."""
        return tuple(self._observations.get(_sample(name, labels), ()))
