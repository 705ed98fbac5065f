"""One training over a directory store: ``python -m tests.support.directory_job STORE FAIL_AT FOLDER``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from services.runtime.clock import SystemClock
from services.runtime.deployment import SHIPPED_MODELS
from services.runtime.failpoints import FailingStore, FailPoint
from services.runtime.signals import stop_event_on_signals
from services.runtime.store.directory import DirectoryStore
from services.runtime.store.port import ArtefactStore
from services.trainer.job import Bench, run_job


def main(root: Path, fail_at: str, folder: Path) -> None:
    """Run the job of a folder; die where `fail_at` says, but each place once."""
    store: ArtefactStore = DirectoryStore(root)
    died = folder / "died"
    if fail_at != "-" and not died.exists():
        died.touch()
        store = FailingStore(store, FailPoint.parse(fail_at))
    service = os.getppid()
    with stop_event_on_signals() as stop:
        bench = Bench(
            store, SystemClock(), SHIPPED_MODELS, "cpu", 1, 0.0, lambda: stop.is_set() or os.getppid() != service
        )
        run_job(folder, bench)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
