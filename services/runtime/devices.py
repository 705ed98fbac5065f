"""What NVIDIA devices do, for the pages: ``python -m services.runtime.devices`` serves it until it is asked to stop.

Without a device, without its driver or without the library there are no samples: an absent device is absent on the
pages, and never a device that does nothing. The names are those of the metrics table; the labels are the device's
index and its name, so that two of a kind are told apart.
"""

# ruff: noqa: N802, ANN401 (the names of the library, and its handles, which it alone understands)
from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Iterator
from typing import Any, Protocol

import structlog
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.runtime.clock import Clock, SystemClock
from services.runtime.http import Watched, WatchServer
from services.runtime.logging import configure
from services.runtime.metrics.names import GaugeName
from services.runtime.metrics.port import Metrics
from services.runtime.metrics.prometheus import PrometheusMetrics
from services.runtime.signals import stop_event_on_signals

log = structlog.get_logger()

MEASURE_EVERY_S = 5.0
# That of `services.runtime.deployment`, which would bring the clients of every server along.
PREFIX = "FIBSEM_"


class Memory(Protocol):
    """Memory of a device, in bytes."""

    total: int
    used: int


class Utilization(Protocol):
    """Shares of time in percent, over the device's last period."""

    gpu: int


class Nvml(Protocol):
    """What is used of `pynvml`; a handle is whatever the library gives out."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None:
        """Load the driver's library."""

    def nvmlShutdown(self) -> None:
        """Let go of it."""

    def nvmlDeviceGetCount(self) -> int:
        """Return how many devices there are."""

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        """Return a device."""

    def nvmlDeviceGetName(self, handle: Any) -> str:
        """Return its name."""

    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Utilization:
        """Return how busy it was."""

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Memory:
        """Return its memory."""

    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int:
        """Return what it draws, in mW."""


def installed_nvml() -> Nvml | None:
    """Return `pynvml`, or None where it is not installed."""
    try:
        nvml: Nvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    return nvml


def measure_devices(metrics: Metrics, nvml: Nvml | None) -> int:
    """Set the gauges of every device, and return how many there are.

    Parameters
    ----------
    metrics
        Gets utilization (0 to 1), memory (bytes) and power (W) per device. What a device cannot tell (a part of a
        divided device knows no utilization) is left out.
    nvml
        The management library; None where there is none.

    Returns
    -------
    int
        Number of devices measured; 0 without a device, a driver or the library, and nothing is set then.
    """
    if nvml is None:
        return 0
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return 0
    try:
        count = nvml.nvmlDeviceGetCount()
        for index in range(count):
            _measure_device(metrics, nvml, index)
    except nvml.NVMLError as error:
        log.warning("devices_not_measured", error=str(error))
        return 0
    else:
        return count
    finally:
        nvml.nvmlShutdown()


def _measure_device(metrics: Metrics, nvml: Nvml, index: int) -> None:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    device = f"{index}: {nvml.nvmlDeviceGetName(handle)}"
    for name, value in _readings(nvml, handle):
        metrics.set(name, value, device=device)


def _readings(nvml: Nvml, handle: Any) -> Iterator[tuple[GaugeName, float]]:
    with contextlib.suppress(nvml.NVMLError):
        yield "fibsem_gpu_utilization_ratio", nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
    with contextlib.suppress(nvml.NVMLError):
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        yield "fibsem_gpu_memory_used_bytes", float(memory.used)
        yield "fibsem_gpu_memory_total_bytes", float(memory.total)
    with contextlib.suppress(nvml.NVMLError):
        yield "fibsem_gpu_power_watts", nvml.nvmlDeviceGetPowerUsage(handle) / 1000


class DeviceScrape:
    """A scrape of the devices as they are when it is asked for.

    Parameters
    ----------
    nvml
        The management library; None where there is none.
    clock
        Says when devices have to be looked at again.

    Each look starts from nothing, so that a device that is gone leaves no last value behind.
    """

    def __init__(self, nvml: Nvml | None, clock: Clock) -> None:
        self._nvml = nvml
        self._clock = clock
        self._lock = threading.Lock()
        self._measured_s = float("-inf")
        self._rendered = b""

    def render(self) -> bytes:
        """Return the scrape; devices are looked at no more often than every few seconds."""
        with self._lock:
            if self._clock.monotonic_s() - self._measured_s >= MEASURE_EVERY_S:
                metrics = PrometheusMetrics()
                measure_devices(metrics, self._nvml)
                self._rendered, self._measured_s = metrics.render(), self._clock.monotonic_s()
            return self._rendered


class DeviceSettings(BaseSettings):
    """Settings of the exporter, by the variables of the other services."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    watch_host: str = Field(default="127.0.0.1", description="where /metrics is served")
    watch_port: int = Field(default=9464, ge=0, le=65535, description="its port; 0: a free one")


def main() -> int:
    """Serve the devices' metrics until the process is asked to stop; return the exit status."""
    settings, nvml = DeviceSettings(), installed_nvml()
    configure("info")
    scrape = DeviceScrape(nvml, SystemClock())
    watched = Watched(scrape.render, alive=lambda: True, ready=lambda: True)
    with stop_event_on_signals() as stop, WatchServer(watched, settings.watch_host, settings.watch_port) as server:
        log.info("ready", port=server.port, library=nvml is not None)
        stop.wait()
    log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
