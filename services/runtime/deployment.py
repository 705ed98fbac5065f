"""What a deployed service is told, by its environment: `FIBSEM_<NAME>`, parts of a group joined by two underscores.

The same variables go to every container, so that all of them work by one method; each reads what it needs.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.contracts.method import Method
from services.contracts.values import Identifier
from services.runtime.bus.kafka import KafkaBus
from services.runtime.bus.kafka_settings import KafkaSettings
from services.runtime.http import WATCH_PORT
from services.runtime.logging import Level
from services.runtime.metrics.port import Metrics
from services.runtime.segmenter.cards import read_model_set
from services.runtime.segmenter.port import Segmenter
from services.runtime.segmenter.sets import OpenSet, opened_here, served_name
from services.runtime.segmenter.shelf import ModelShelf
from services.runtime.segmenter.torchserve import TorchServeSegmenter
from services.runtime.segmenter.torchserve_settings import TorchServeSettings
from services.runtime.store.port import ArtefactStore
from services.runtime.store.s3 import S3Store
from services.runtime.store.s3_settings import S3Settings

PREFIX = "FIBSEM_"
# A path, not an import: the runtime knows no service.
SHIPPED_MODELS = Path(__file__).parents[1] / "inference" / "models"


class Deployment(BaseSettings):
    """Settings of one process of a deployed system."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="ignore",
        enable_decoding=False,
        # Compose hands on what its own file leaves empty: such a setting has its default.
        env_ignore_empty=True,
    )

    kafka: KafkaSettings = Field(description="the bus")
    s3: S3Settings = Field(description="the artefact store")
    torchserve: TorchServeSettings | None = Field(default=None, description="the model server")
    method: Method = Field(default=Method(), description="how acquisitions are segmented")
    models: Path = Field(default=SHIPPED_MODELS, description="folder of published networks, for their cards")
    batch_crops: Annotated[int, Field(ge=1, le=256)] = Field(
        default=8, description="crops asked of the networks at a time; at least what fills a server's batch"
    )
    member: Identifier = Field(
        default_factory=lambda: socket.gethostname().lower(),
        description="lasting name of this replica; one that returns under its name takes its work over at once",
    )
    watch_host: str = Field(default="127.0.0.1", description="where /metrics, /healthz and /readyz are served")
    watch_port: Annotated[int, Field(ge=0, le=65535)] = Field(default=WATCH_PORT, description="its port; 0: a free one")
    log_level: Level = Field(default="info", description="least level that is logged")
    fail_at: str | None = Field(default=None, description="fail point, for tests: before-put:3")


def bus_of(deployment: Deployment, metrics: Metrics) -> KafkaBus:
    """Return a connection to the bus."""
    return KafkaBus(deployment.kafka, metrics=metrics)


def store_of(deployment: Deployment, metrics: Metrics) -> S3Store:
    """Return a connection to the store."""
    return S3Store(deployment.s3, metrics)


def segmenter_of(deployment: Deployment, metrics: Metrics) -> Segmenter:
    """Return the networks: those of the model server, or, where none is named, of this process.

    Raises
    ------
    ModelSetError
        If the networks are not those whose cards are at hand.
    TransientError
        If the model server does not answer.
    """
    wanted = read_model_set(deployment.models).digest
    if deployment.torchserve is None:
        # Only here is torch needed.
        from services.runtime.segmenter.in_process import InProcessSegmenter  # noqa: PLC0415

        return InProcessSegmenter(deployment.models, deployment.method.numeric_profile)
    return TorchServeSegmenter(deployment.torchserve.model_copy(update={"model_set_digest": wanted}), metrics)


def open_set_of(deployment: Deployment, store: ArtefactStore, metrics: Metrics, folder: Path) -> OpenSet:
    """Return what opens the networks of a set that was published: on the model server, or in this process.

    A model server serves each set as a model of its own (`services.runtime.segmenter.torchserve_keeper`); until it
    does, asking it is an outage.

    Parameters
    ----------
    deployment
        Says where networks run.
    store
        Where sets lie.
    metrics
        Count failures.
    folder
        Where networks are kept that run in this process.
    """
    if deployment.torchserve is None:
        return opened_here(ModelShelf(store), folder, deployment.method.numeric_profile)
    settings = deployment.torchserve

    def open_set(digest: str) -> Segmenter:
        # A set that nobody published is a fault of the message that names it: no server will ever serve it.
        ModelShelf(store).read_set(digest)
        model = served_name(settings.model, digest)
        return TorchServeSegmenter(settings.model_copy(update={"model": model, "model_set_digest": digest}), metrics)

    return open_set
