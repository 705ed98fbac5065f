"""Ingest as a process of its own: ``python -m services.ingest``, told by `FIBSEM_*` variables.

One process per acquisition, beside the folder that its microscope writes into.
"""

import shutil
import sys
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from services.contracts.topics import DEAD_LETTERS, OPERATOR
from services.ingest.pace import Pace
from services.ingest.registry import keep_status, register
from services.ingest.settings import AcquisitionSettings
from services.ingest.turns import IngestTurns
from services.ingest.watcher import Ingest, IngestPorts
from services.runtime.deployment import Deployment
from services.runtime.hosting import Site, host

DEPENDENCIES = ("bus", "store", "disk")
# S3 takes no more at once, and a slice is one object; a larger stack is written as one file per slice.
LARGEST_OBJECT_BYTES = 5 * 2**30


class IngestDeployment(AcquisitionSettings, Deployment):
    """Settings of ingest: the acquisition besides the deployment."""

    model_config = Deployment.model_config

    watch: bool = Field(default=True, description="whether slices are still being written")


class IngestProcess(IngestTurns):
    """Ingest's turns, with what others want to know of them."""

    def __init__(self, site: Site, acquisition: AcquisitionSettings, *, watch: bool) -> None:
        ports = IngestPorts(site.bus.producer(), site.store, site.clock, site.metrics)
        settings = acquisition.ingest(watch=watch).model_copy(update={"max_file_bytes": LARGEST_OBJECT_BYTES})
        super().__init__(Ingest(settings, ports), site.clock)
        self._site = site
        self._acquisition = acquisition
        self._kept: Mapping[str, Any] = {}
        self._pace = Pace()

    def step(self, timeout_s: float = 0.0) -> bool:
        """Take one turn, and say which dependency holds it up."""
        before = self.outage
        worked = super().step(timeout_s)
        metrics, now = self._site.metrics, self.outage
        if now is not None and now is not before:
            metrics.set("fibsem_dependency_up", 0, dependency=now.dependency)
            metrics.increment("fibsem_dependency_retries_total", 1, dependency=now.dependency)
        elif now is None and before is not None:
            for dependency in DEPENDENCIES:
                metrics.set("fibsem_dependency_up", 1, dependency=dependency)
        return worked

    def measure(self) -> None:
        """Say how ingest stands, in the store, and how much room the share has."""
        ledgers = self.ledgers()
        interval_s = self._pace.interval_s(ledgers["files"]["seen"], self._site.clock.monotonic_s())
        status = {
            "ledger": ledgers,
            "done": self.done,
            "waiting_for": self.waiting_for(),
            "interval_s": None if interval_s is None else round(interval_s, 1),
        }
        if status != self._kept:
            keep_status(self._site.store, self._acquisition.acquisition, status)
            self._kept = status
        name, metrics = self._acquisition.acquisition, self._site.metrics
        metrics.set("fibsem_acquisition_active", float(not self.done), acquisition=name)
        if interval_s:
            metrics.set("fibsem_slice_interval_seconds", interval_s, acquisition=name)
        metrics.set("fibsem_dlq_depth", self._site.bus.backlog(OPERATOR, (DEAD_LETTERS,)))
        for folder in self._acquisition.slices:
            if folder.exists():
                free_bytes = shutil.disk_usage(folder).free
                metrics.set("fibsem_disk_free_bytes", free_bytes, volume=str(folder))


def make(site: Site) -> IngestProcess:
    """Return ingest's turns; what acquisition this is stands in the store from now on."""
    settings = site.deployment
    assert isinstance(settings, IngestDeployment)
    acquisition = AcquisitionSettings(**{name: getattr(settings, name) for name in AcquisitionSettings.model_fields})
    register(site.store, acquisition)
    return IngestProcess(site, acquisition, watch=settings.watch)


if __name__ == "__main__":
    sys.exit(host(make, IngestDeployment))
