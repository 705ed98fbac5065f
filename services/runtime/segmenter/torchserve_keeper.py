"""Has a TorchServe serve the model sets that decisions name: `python -m services.runtime.segmenter.torchserve_keeper`.

Runs beside the server, in its container, and speaks to its management API over the loopback, which nobody else
reaches. Each set is a model of its own, `nucleus-DIGEST12`, beside the one that the server was built with: a nucleus
that is open keeps its networks while others are opened with new ones. Archives come from the artefact store, or are
built here from its networks; either way every byte is vouched for by the digest before the server sees it.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import structlog
import urllib3
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.runtime.clock import SystemClock
from services.runtime.errors import SetupError, TransientError
from services.runtime.logging import configure
from services.runtime.metrics.prometheus import PrometheusMetrics
from services.runtime.segmenter.archive_check import ArchiveRefusedError, check_archive
from services.runtime.segmenter.port import ModelSetError
from services.runtime.segmenter.sets import served_name
from services.runtime.segmenter.shelf import ModelShelf
from services.runtime.segmenter.torchserve_archive import MODEL, build_archive
from services.runtime.signals import stop_event_on_signals
from services.runtime.store.port import ArtefactStore
from services.runtime.store.s3 import S3Store
from services.runtime.store.s3_settings import S3Settings

log = structlog.get_logger()

PATIENCE_S = 300.0


class KeeperSettings(BaseSettings):
    """What the keeper is told by its environment; the store's variables are those of every service."""

    model_config = SettingsConfigDict(env_prefix="FIBSEM_", env_nested_delimiter="__", frozen=True, extra="ignore")

    s3: S3Settings = Field(description="the artefact store")
    server_management_url: str = Field(
        default="http://127.0.0.1:8081", description="management address of the server, on the loopback"
    )
    server_model_store: Path = Field(default=Path("/tmp/model-store"), description="the server's --model-store")  # noqa: S108 - a container's own
    server_sets: Annotated[int, Field(ge=1, le=20)] = Field(
        default=3, description="sets served at most besides the built-in one, those asked for last"
    )
    server_look_every_s: Annotated[float, Field(gt=0)] = Field(
        default=5.0, description="seconds between two looks for other sets"
    )
    server_batch: Annotated[int, Field(ge=1)] = Field(default=8, description="crops per batch of such a set")


class ManagementError(Exception):
    """The server's management API gave no answer, or refused."""


class Keeper:
    """Keeps what a server serves equal to what is wanted.

    Parameters
    ----------
    store
        Where sets lie.
    settings
        The server, and how much it may serve.
    """

    def __init__(self, store: ArtefactStore, settings: KeeperSettings) -> None:
        self._shelf = ModelShelf(store)
        self._settings = settings
        # Another model's networks are loaded while it answers: that takes as long as a start.
        self._http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=5.0, read=PATIENCE_S))

    def look(self) -> tuple[str, ...]:
        """Register what is wanted and not served, and unregister what is no longer; return the names served.

        Raises
        ------
        ManagementError
            If the server does not do it now.
        TransientError
            If the store is out.
        """
        wanted = {served_name(MODEL, digest): digest for digest in self._shelf.wanted()[-self._settings.server_sets :]}
        served = self._served()
        for name in sorted(served - wanted.keys()):
            self._ask("DELETE", f"/models/{name}")
            log.info("set_dropped", model=name)
        for name in sorted(wanted.keys() - served):
            try:
                self._register(name, wanted[name])
            except ModelSetError as refusal:
                # Asking for it stays an outage, which the alert of the model server tells of.
                log.warning("set_refused", model=name, refusal=str(refusal))
        return tuple(sorted(self._served()))

    def _served(self) -> set[str]:
        models = self._ask("GET", "/models?limit=100").json()["models"]
        return {str(model["modelName"]) for model in models} - {MODEL}

    def _register(self, name: str, digest: str) -> None:
        archive = self._settings.server_model_store / f"{name}.mar"
        with _scratch() as folder:
            found = self._archive(digest, folder)
            shutil.move(found, archive)
        size = self._settings.server_batch
        query = f"url={archive.name}&model_name={name}&initial_workers=1&batch_size={size}&max_batch_delay=5"
        self._ask("POST", f"/models?{query}&synchronous=true&response_timeout=60&startup_timeout=300")
        log.info("set_served", model=name, digest=digest)

    def _archive(self, digest: str, folder: Path) -> Path:
        """Return a verified archive of a set: the one that was published with it, or one that is built here."""
        path = folder / "nucleus.mar"
        published = self._shelf.served(digest)
        if published is not None:
            path.write_bytes(published)
            try:
                check_archive(path, digest)
            except ArchiveRefusedError as refusal:
                log.warning("published_archive_refused", digest=digest, refusal=str(refusal))
            else:
                return path
        model_set = self._shelf.bring_set(digest, folder / "networks")
        build_archive(folder / "networks", path, model_set.fusion)
        check_archive(path, digest)
        return path

    def _ask(self, verb: str, path: str) -> urllib3.BaseHTTPResponse:
        try:
            answer = self._http.request(verb, self._settings.server_management_url + path)
        except urllib3.exceptions.HTTPError as error:
            raise ManagementError(f"{verb} {path}: {error}") from error
        if answer.status != HTTPStatus.OK:
            raise ManagementError(f"{verb} {path}: {answer.status} {answer.data[:300].decode(errors='replace')}")
        return answer


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="keeper-") as name:
        yield Path(name)


def main() -> int:
    """Look again and again until asked to stop; return the exit status."""
    try:
        settings = KeeperSettings()
    except ValidationError as error:
        sys.stderr.write(f"the settings make no sense:\n{error}\n")
        return 2
    configure()
    clock = SystemClock()
    with stop_event_on_signals() as stop:
        store = S3Store(settings.s3, PrometheusMetrics())
        keeper = Keeper(store, settings)
        while not stop.is_set():
            try:
                keeper.look()
            except (ManagementError, TransientError, SetupError) as outage:
                log.warning("sets_not_looked_at", outage=str(outage))
            clock.wait(settings.server_look_every_s, stop)
        store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
