"""The metrics port: what services count and measure.

Names and labels are those of `services.runtime.metrics.names`; anything else raises
`UnknownMetricError`. Every method may be called from any thread.
"""

from __future__ import annotations

from typing import Protocol, Unpack

from services.runtime.metrics.names import CounterName, GaugeName, HistogramName, Labels


class Metrics(Protocol):
    """Takes measurements."""

    def increment(self, name: CounterName, amount: float = 1.0, /, **labels: Unpack[Labels]) -> None:
        """Add to a counter.

        Raises
        ------
        ValueError
            If `amount` is negative.
        """

    def set(self, name: GaugeName, value: float, /, **labels: Unpack[Labels]) -> None:
        """Set a gauge."""

    def observe(self, name: HistogramName, value: float, /, **labels: Unpack[Labels]) -> None:
        """Add one observation to a histogram."""
