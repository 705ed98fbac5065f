"""Devices are measured through NVIDIA's library; what is not there is absent, never zero."""

# ruff: noqa: N802 (the names of the library)
from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.runtime import deployment
from services.runtime.clock import ManualClock
from services.runtime.devices import PREFIX, DeviceScrape, installed_nvml, measure_devices
from services.runtime.metrics.prometheus import PrometheusMetrics

ROOT = Path(__file__).resolve().parents[3]
GIB = 1024**3


class FakeNvmlError(Exception):
    pass


@dataclass
class FakeMemory:
    total: int
    used: int


@dataclass
class FakeUtilization:
    gpu: int


@dataclass
class FakeDevice:
    name: str
    utilization_percent: int | None
    memory: FakeMemory
    power_mw: int


@dataclass
class FakeNvml:
    """Answers as `pynvml` does, for the devices it is given."""

    devices: list[FakeDevice]
    has_driver: bool = True
    NVMLError: type[Exception] = FakeNvmlError
    open_count: int = field(default=0)

    def nvmlInit(self) -> None:
        if not self.has_driver:
            raise FakeNvmlError("Driver Not Loaded")
        self.open_count += 1

    def nvmlShutdown(self) -> None:
        self.open_count -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeDevice:
        return self.devices[index]

    def nvmlDeviceGetName(self, handle: FakeDevice) -> str:
        return handle.name

    def nvmlDeviceGetUtilizationRates(self, handle: FakeDevice) -> FakeUtilization:
        if handle.utilization_percent is None:
            raise FakeNvmlError("Not Supported")
        return FakeUtilization(handle.utilization_percent)

    def nvmlDeviceGetMemoryInfo(self, handle: FakeDevice) -> FakeMemory:
        return handle.memory

    def nvmlDeviceGetPowerUsage(self, handle: FakeDevice) -> int:
        return handle.power_mw


def two_devices() -> FakeNvml:
    return FakeNvml([
        FakeDevice("H200", 35, FakeMemory(140 * GIB, 12 * GIB), 412_500),
        FakeDevice("H200", 80, FakeMemory(140 * GIB, 64 * GIB), 650_000),
    ])  # fmt: skip


def gpu_samples(scrape: bytes) -> dict[tuple[str, str], float]:
    """Return the samples of devices by metric and device."""
    return {
        (sample.name, sample.labels["device"]): sample.value
        for family in text_string_to_metric_families(scrape.decode())
        for sample in family.samples
        if sample.name.startswith("fibsem_gpu_")
    }


def test_each_device_tells_its_utilization_memory_and_power_in_base_units() -> None:
    metrics = PrometheusMetrics()
    assert measure_devices(metrics, two_devices()) == 2
    assert gpu_samples(metrics.render()) == {
        ("fibsem_gpu_utilization_ratio", "0: H200"): 0.35,
        ("fibsem_gpu_memory_used_bytes", "0: H200"): 12 * GIB,
        ("fibsem_gpu_memory_total_bytes", "0: H200"): 140 * GIB,
        ("fibsem_gpu_power_watts", "0: H200"): 412.5,
        ("fibsem_gpu_utilization_ratio", "1: H200"): 0.8,
        ("fibsem_gpu_memory_used_bytes", "1: H200"): 64 * GIB,
        ("fibsem_gpu_memory_total_bytes", "1: H200"): 140 * GIB,
        ("fibsem_gpu_power_watts", "1: H200"): 650.0,
    }


@pytest.mark.parametrize(
    "nvml", [None, FakeNvml([], has_driver=False), FakeNvml([])], ids=["no library", "no driver", "no device"]
)
def test_without_a_device_there_are_no_samples(nvml: FakeNvml | None) -> None:
    metrics = PrometheusMetrics()
    assert measure_devices(metrics, nvml) == 0
    assert gpu_samples(metrics.render()) == {}


def test_the_real_library_tells_as_many_devices_as_it_measures() -> None:
    nvml, metrics = installed_nvml(), PrometheusMetrics()
    assert nvml is not None
    count = measure_devices(metrics, nvml)
    assert len({device for _, device in gpu_samples(metrics.render())}) == count


def test_what_a_device_cannot_tell_is_left_out() -> None:
    nvml = two_devices()
    nvml.devices[0].utilization_percent = None
    metrics = PrometheusMetrics()
    measure_devices(metrics, nvml)
    samples = gpu_samples(metrics.render())
    assert ("fibsem_gpu_utilization_ratio", "0: H200") not in samples
    assert samples["fibsem_gpu_power_watts", "0: H200"] == 412.5


def test_the_library_is_let_go_after_each_look() -> None:
    nvml = two_devices()
    measure_devices(PrometheusMetrics(), nvml)
    assert nvml.open_count == 0


def test_a_device_that_is_gone_leaves_no_last_value() -> None:
    nvml, clock = two_devices(), ManualClock()
    scrape = DeviceScrape(nvml, clock)
    assert len({device for _, device in gpu_samples(scrape.render())}) == 2
    del nvml.devices[1]
    clock.advance(60)
    assert {device for _, device in gpu_samples(scrape.render())} == {"0: H200"}


def test_devices_are_not_looked_at_for_every_scrape() -> None:
    nvml, clock = two_devices(), ManualClock()
    scrape = DeviceScrape(nvml, clock)
    before = scrape.render()
    nvml.devices[0].utilization_percent = 99
    clock.advance(1)
    assert scrape.render() == before


def test_the_exporter_is_told_by_the_variables_of_the_services() -> None:
    assert PREFIX == deployment.PREFIX


@pytest.mark.slow
def test_the_exporter_stops_when_it_is_asked_to() -> None:
    environment = {**os.environ, "FIBSEM_WATCH_PORT": "0"}  # noqa: TID251 (handed on, not read)
    argv = [sys.executable, "-m", "services.runtime.devices"]
    with subprocess.Popen(argv, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert '"event": "ready"' in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
