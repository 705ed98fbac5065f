"""The deployed system gives the results of a local run, to the byte, and everything that is drawn shows it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.ingest.requests import FinishAcquisition, RequestBox
from services.runtime.metrics.names import METRICS
from tests.support.toy_acquisition import Runner
from tests.system.deployed import STAGES, System
from tests.system.servers.prometheus import PrometheusServer, running_prometheus
from tests.system.servers.torchserve import TorchServeServer
from tests.system.test_monitoring import panels_without_data

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]


# What a healthy run on a processor has nothing to say of; limits are known of devices alone.
ONLY_WITH_A_DEVICE = ("fibsem_gpu_", "fibsem:device_limit:")
# Said by the trainer and in shadow mode, which no segmentation needs.
ONLY_WITH_A_TRAINER = ("fibsem_training", "fibsem_shadow_")
# Said where slices are registered.
ONLY_WITH_REGISTRATION = ("fibsem_slices_unlinked", "fibsem:slices_unlinked")
ONLY_ELSEWHERE = (*ONLY_WITH_A_DEVICE, *ONLY_WITH_A_TRAINER, *ONLY_WITH_REGISTRATION)
ONLY_WITH_A_FAULT = frozenset({
    "fibsem_dependency_retries_total", "fibsem_dlq_messages_total", "fibsem_hash_mismatch_total",
    "fibsem_inference_failures_total", "fibsem_messages_redelivered_total", "fibsem_offset_resets_total",
    "fibsem_slices_conflict_total", "fibsem_slices_duplicate_total", "fibsem_slices_quarantined_total",
})  # fmt: skip


def scraped(system: System) -> set[str]:
    """Return the metrics of ours of which some service has a value."""
    names = set()
    for port in system.ports.values():
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10.0) as page:
            for family in text_string_to_metric_families(page.read().decode()):
                if family.samples and family.name.startswith("fibsem_"):
                    names.add(f"{family.name}_total" if family.type == "counter" else family.name)
    return names


def blank_panels(prometheus: PrometheusServer) -> set[tuple[str, str, str]]:
    """Return dashboard, panel and query of what shows nothing and should."""
    return {
        (board, panel, expr)
        for board, panel, expr in panels_without_data(prometheus)
        if not any(name in expr for name in (*ONLY_ELSEWHERE, *ONLY_WITH_A_FAULT))
    }


def test_a_deployed_run_gives_the_manifest_of_a_local_one_and_every_panel_shows_it(
    system: System, torchserve: TorchServeServer, slices: Path, local: Runner, tmp_path: Path
) -> None:
    names = sorted(path.name for path in slices.iterdir())
    system.slices, system.watch = tmp_path / "slices", True
    system.slices.mkdir()
    deliver(slices, names[:30], system.slices)
    system.start_all()
    targets = {stage: [f"127.0.0.1:{system.ports[f'{stage}-0']}"] for stage in STAGES}
    targets["torchserve"] = [urlsplit(torchserve.metrics_url).netloc]
    with running_prometheus(tmp_path / "prometheus", targets) as prometheus:
        system.await_segmented(10)
        deliver(slices, names[30:], system.slices)
        system.await_segmented(70)
        # How fast it is beside the microscope is known while that mills, what is complete only afterwards.
        blank = blank_panels(prometheus)
        with system.stack() as stack:
            RequestBox(stack.store, system.acquisition).leave(FinishAcquisition())
        system.await_complete()
        blank &= blank_panels(prometheus)
        known = scraped(system)
    assert system.collect(tmp_path / "out") == local.manifest()
    assert known <= set(METRICS)
    unset = {name for name in METRICS if name not in known and not name.startswith(ONLY_ELSEWHERE)}
    assert unset <= ONLY_WITH_A_FAULT
    assert blank == set()


def deliver(source: Path, names: Sequence[str], folder: Path) -> None:
    """Put slices into a watched folder."""
    for name in names:
        shutil.copy(source / name, folder / name)
