"""The trainer as a process of its own: ``python -m services.trainer``, told by `FIBSEM_*` variables.

``python -m services.trainer job FOLDER`` is one training, which the service starts beside itself.
"""

import argparse
import os
import sys
from pathlib import Path

from services.runtime.clock import SystemClock
from services.runtime.deployment import store_of
from services.runtime.failpoints import FailingStore, FailPoint
from services.runtime.hosting import Site, host_handler
from services.runtime.logging import configure
from services.runtime.metrics.prometheus import PrometheusMetrics
from services.runtime.signals import stop_event_on_signals
from services.runtime.store.port import ArtefactStore
from services.trainer.handler import TrainerHandler
from services.trainer.job import Bench, run_job
from services.trainer.settings import TrainerDeployment


def make(site: Site) -> TrainerHandler:
    """Return the handler."""
    deployment = site.deployment
    assert isinstance(deployment, TrainerDeployment)
    command = [sys.executable, "-m", "services.trainer", "job"]
    handler = TrainerHandler(site.store, site.metrics, deployment.work, command)
    site.resources.callback(handler.close)
    return handler


def job(folder: Path) -> int:
    """Run one training; return the exit status."""
    deployment = TrainerDeployment()
    configure(deployment.log_level)
    service = os.getppid()
    store: ArtefactStore = store_of(deployment, PrometheusMetrics())
    if deployment.fail_job_at:
        store = FailingStore(store, FailPoint.parse(deployment.fail_job_at))
    with stop_event_on_signals() as stop:
        bench = Bench(
            store,
            SystemClock(),
            deployment.models,
            deployment.accelerator,
            deployment.threads,
            deployment.keep_every_s,
            # A job that lost its service ends: the service that is started again begins another, which goes on.
            lambda: stop.is_set() or os.getppid() != service,
        )
        run_job(folder, bench)
    return 0


def main(words: list[str] | None = None) -> int:
    """Run the service, or one training."""
    parser = argparse.ArgumentParser(prog="python -m services.trainer", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("service", "job"), default="service")
    parser.add_argument("folder", nargs="?", type=Path)
    asked = parser.parse_args(words)
    if asked.what == "service":
        return host_handler(make, TrainerDeployment)
    if asked.folder is None:
        parser.error("name the folder of the job")
    return job(asked.folder)


if __name__ == "__main__":
    sys.exit(main())
