"""TorchServe's context, as far as the handler uses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class WorkerMetrics(Protocol):
    """What a handler may count."""

    def add_counter(self, name: str, value: float, idx: str | None = None, *, dimensions: list[object]) -> None:
        """Add to a counter that metrics.yaml names."""


class WorkerContext(Protocol):
    """What a handler is given beside the requests."""

    @property
    def system_properties(self) -> Mapping[str, Any]:
        """`model_dir`, `gpu_id`, `batch_size`."""

    @property
    def metrics(self) -> WorkerMetrics:
        """Where to count."""

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Set the status of one request of the batch."""

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Set the type of one reply of the batch."""
