"""Rules are tested by promtool, and every panel gives data on a real Prometheus.

Until a deployed run is at hand, the metrics of all services are set to plausible values in this process, each service
on a port of its own. `panels_without_data` asks the same of any Prometheus.
"""

from __future__ import annotations

import json
import math
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import urllib3

from deploy.alertmanager.render import AlertSettings, configuration, write
from deploy.grafana.generate import queries, rendered
from services.runtime.http import Watched, WatchServer
from services.runtime.metrics.names import METRICS, Labels, MetricName
from services.runtime.metrics.prometheus import PrometheusMetrics
from tests.support.alerting import EVERYTHING
from tests.system.servers.process import ServerProcess, free_port
from tests.system.servers.prometheus import DEPLOY, PrometheusServer, promtool, running_prometheus
from tests.system.servers.provision import require_tool

pytestmark = pytest.mark.system

SERVICES = ("ingest", "extract-detect", "extract-follow", "inference", "postprocess", "components")
STEP_S = 0.5
ALERTMANAGER = "apt-get install prometheus-alertmanager"
# What the labels that are not free have for values; every other label has one value of its own name.
VALUES = {"profile": ("fast",), "le": (), "acquisition": ("roi1", "roi2"), "device": ("0: H200", "1: H200")}
# Gauges that say something of themselves; every other stands at 1.
GAUGES: Mapping[str, float] = {
    "fibsem_slice_interval_seconds": 75,
    "fibsem_disk_free_bytes": 2e12,
    "fibsem_dlq_depth": 0,
    "fibsem_gpu_memory_total_bytes": 140e9,
    "fibsem_gpu_memory_used_bytes": 12e9,
    "fibsem_slice_intensity_mean": 120,
    "fibsem_slices_missing": 0,
    "fibsem_slices_unaccounted": 0,
}
# As TorchServe 0.12 writes them: counters without the suffix that a newer client would add.
TORCHSERVE = """\
# TYPE ts_inference_requests_total counter
ts_inference_requests_total{{model_name="nucleus",model_version="default",hostname="h",}} {count}
# TYPE ts_inference_latency_microseconds counter
ts_inference_latency_microseconds{{model_name="nucleus",model_version="default",hostname="h",}} {count}000
# TYPE ts_queue_latency_microseconds counter
ts_queue_latency_microseconds{{model_name="nucleus",model_version="default",hostname="h",}} {count}00
# TYPE fibsem_server_batches_total counter
fibsem_server_batches_total{{ModelName="nucleus",Level="Model",}} {count}
# TYPE fibsem_server_requests_total counter
fibsem_server_requests_total{{ModelName="nucleus",Level="Model",}} {count}
# TYPE fibsem_server_busy_seconds_total counter
fibsem_server_busy_seconds_total{{ModelName="nucleus",Level="Model",}} {count}
# TYPE fibsem_server_refused_total counter
fibsem_server_refused_total{{ModelName="nucleus",Level="Model",}} {count}
# TYPE fibsem_server_out_of_memory_total counter
fibsem_server_out_of_memory_total{{ModelName="nucleus",Level="Model",}} {count}
"""


def panels_without_data(server: PrometheusServer) -> list[tuple[str, str, str]]:
    """Return dashboard, panel and expression of every query that gives nothing, or no number, on a Prometheus."""
    return [
        (file, title, expr)
        for file, text in rendered().items()
        for title, expr in queries(json.loads(text))
        if not any(
            math.isfinite(sample.value) for sample in server.query(expr.replace("$acquisition", ".*"))
        )
    ]  # fmt: skip


def rules_without_value(server: PrometheusServer) -> list[str]:
    """Return the recording rules that give nothing, or no number, on a Prometheus."""
    return [
        name
        for name in sorted(set(server.recorded()))
        if not any(math.isfinite(sample.value) for sample in server.query(name))
    ]


def measure(metrics: PrometheusMetrics, service: str) -> None:
    """Count one of everything, as a service does that works."""
    for name, metric in METRICS.items():
        values = [VALUES.get(label, (label,)) for label in metric.labels]
        for place in range(max(map(len, values), default=1)):
            labels: dict[str, str] = {
                label: service if label == "stage" else choices[place % len(choices)]
                for label, choices in zip(metric.labels, values, strict=True)
            }
            _measure_one(metrics, name, labels)


def _measure_one(metrics: PrometheusMetrics, name: MetricName, labels: dict[str, str]) -> None:
    kind = METRICS[name].kind
    known = Labels(**labels)  # type: ignore[typeddict-item]  # the table names its labels
    if kind == "counter":
        metrics.increment(name, 1, **known)  # type: ignore[arg-type]  # its kind says what it is
    elif kind == "histogram":
        metrics.observe(name, 0.1, **known)  # type: ignore[arg-type]
    else:
        now = time.time() if "timestamp" in name else 1.0
        metrics.set(name, GAUGES.get(name, now), **known)  # type: ignore[arg-type]


def _keep_measuring(all_metrics: Mapping[str, PrometheusMetrics], stop: threading.Event) -> None:
    while not stop.wait(STEP_S):
        for service, metrics in all_metrics.items():
            measure(metrics, service)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """A Prometheus that scrapes every service, as if all worked."""
    began_s = time.monotonic()
    stop = threading.Event()
    all_metrics = {service: PrometheusMetrics() for service in SERVICES}
    worker = threading.Thread(target=_keep_measuring, args=(all_metrics, stop))
    pages = {service: metrics.render for service, metrics in all_metrics.items()}
    pages["torchserve"] = lambda: TORCHSERVE.format(count=int(10 * (time.monotonic() - began_s))).encode()
    with ExitStack() as stack:
        targets = {}
        for service, page in pages.items():
            watch = stack.enter_context(WatchServer(Watched(page, alive=lambda: True, ready=lambda: True)))
            targets[service] = [f"127.0.0.1:{watch.port}"]
        worker.start()
        stack.callback(worker.join)
        stack.callback(stop.set)
        yield stack.enter_context(running_prometheus(tmp_path_factory.mktemp("prometheus"), targets))


def test_every_panel_has_data(prometheus: PrometheusServer) -> None:
    prometheus.await_that(lambda: not rules_without_value(prometheus))
    assert panels_without_data(prometheus) == []


def test_every_recording_rule_has_a_value(prometheus: PrometheusServer) -> None:
    prometheus.await_that(lambda: not rules_without_value(prometheus))
    assert rules_without_value(prometheus) == []


def test_of_alerts_that_need_no_patience_those_fire_whose_counters_rise(prometheus: PrometheusServer) -> None:
    """Everything is counted here, faults too; what has to last before it calls does not yet call."""
    expected = {
        "Watchdog", "SliceConflict", "HashMismatch", "OffsetReset", "DlqBurst", "RebalanceStorm", "SliceTroubled",
        "SlicesTroubled", "SlicesUnlinked",
    }  # fmt: skip
    prometheus.await_that(lambda: prometheus.alerts() == expected)


def test_a_panel_without_data_is_noticed(tmp_path: Path) -> None:
    with running_prometheus(tmp_path, {}) as empty:
        prometheus_says_nothing = {title for _, title, _ in panels_without_data(empty)}
        # What counts firing alerts says 0, whatever there is to watch.
        assert "Alerts that call somebody" not in prometheus_says_nothing
        assert {"Crops a second", "How far is each stage?"} <= prometheus_says_nothing
        assert "fibsem:crops:rate5m" in rules_without_value(empty)


@pytest.mark.parametrize("name", sorted(path.name for path in (DEPLOY / "prometheus" / "tests").glob("*.yml")))
def test_promtool_sees_every_alert_fire_clear_and_keep_silent(name: str) -> None:
    run_tool(promtool(), "test", "rules", str(DEPLOY / "prometheus" / "tests" / name))


def test_promtool_accepts_the_configuration_and_its_rules() -> None:
    run_tool(promtool(), "check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))


@pytest.mark.parametrize("settings", [AlertSettings(), EVERYTHING], ids=["nobody is told", "mail, chat and dead man"])
def test_amtool_accepts_the_configuration_that_follows_from_the_settings(
    settings: AlertSettings, tmp_path: Path
) -> None:
    file = tmp_path / "alertmanager.yml"
    write(configuration(settings), file)
    run_tool(amtool(), "check-config", str(file))


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("alertname=Watchdog", "severity=none"), "dead-man"),
        (("alertname=TargetDown", "severity=page"), "pages"),
        (("alertname=SliceGap", "severity=ticket"), "operators"),
    ],
)
def test_amtool_sends_each_alert_where_it_belongs(labels: tuple[str, ...], receiver: str, tmp_path: Path) -> None:
    file = tmp_path / "alertmanager.yml"
    write(configuration(EVERYTHING), file)
    said = run_tool(amtool(), "config", "routes", "test", f"--config.file={file}", *labels)
    assert said.split() == [receiver]


@contextmanager
def running_alertmanager(folder: Path) -> Iterator[str]:
    """Run an Alertmanager that tells nobody, and yield its address."""
    write(configuration(AlertSettings()), folder / "alertmanager.yml")
    url = f"http://127.0.0.1:{free_port()}"
    argv = [
        require_tool("prometheus-alertmanager", ALERTMANAGER),
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address={url.removeprefix('http://')}",
        "--cluster.listen-address=",
    ]
    process = ServerProcess(argv, folder / "alertmanager.log", lambda: answers(f"{url}/-/ready"))
    process.start()
    try:
        yield url
    finally:
        process.stop()


@pytest.mark.parametrize(
    ("others", "kept_back"),
    [
        (("TargetDown page inference", "PipelineStuck page inference"), {"PipelineStuck inference"}),
        (("TargetDown page inference", "PipelineStuck page postprocess"), set()),
        (("DlqBurst page inference", "CrashLoop ticket inference"), {"CrashLoop inference"}),
        (("DlqBurst page inference", "CrashLoop ticket ingest"), set()),
        (("DependencyDown page inference", "FallingBehind page inference"), {"FallingBehind inference"}),
        (("TargetDown page inference", "Watchdog none monitoring"), set()),
    ],
    ids=["down", "another is down", "page and ticket", "ticket of another", "waits for a dependency", "watchdog"],
)
def test_what_follows_from_another_alert_is_kept_back(
    others: tuple[str, ...], kept_back: set[str], tmp_path: Path
) -> None:
    with running_alertmanager(tmp_path) as url:
        http = urllib3.PoolManager(timeout=10.0)
        names = ("alertname", "severity", "service")
        alerts = [{"labels": dict(zip(names, other.split(), strict=True))} for other in others]
        assert http.request("POST", f"{url}/api/v2/alerts", json=alerts).status == 200
        told = http.request("GET", f"{url}/api/v2/alerts").json()
        assert len(told) == len(others)
        assert {
            f"{alert['labels']['alertname']} {alert['labels']['service']}"
            for alert in told
            if alert["status"]["inhibitedBy"]
        } == kept_back


def answers(url: str) -> bool:
    try:
        return urllib3.request("GET", url, timeout=2.0, retries=False).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def amtool() -> str:
    return require_tool("amtool", ALERTMANAGER)


def run_tool(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
