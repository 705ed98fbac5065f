"""Settings of the client of a TorchServe, and of the worker inside one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.contracts.values import Identifier, Sha256
from services.runtime.segmenter.windows import TILE_PX

Seconds = Annotated[float, Field(gt=0)]


class TorchServeSettings(BaseModel):
    """Where the model server is, and how long it is waited for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, Field(pattern=r"^https?://[^/]+$")] = Field(
        default="http://127.0.0.1:8080", description="inference address of the server, without a path"
    )
    model: Identifier = Field(default="nucleus", description="name under which the model archive is served")
    token: SecretStr | None = Field(default=None, description="inference key, where the server asks for one")
    ca_file: Path | None = Field(default=None, description="certificate authority of an https server")
    concurrency: Annotated[int, Field(ge=1, le=256)] = Field(
        default=16,
        description="requests in flight: twice the server's batchSize, so that a full batch waits while one is worked "
        "on; of all clients together, fewer than its job_queue_size",
    )
    connect_timeout_s: Seconds = Field(default=3.0, description="how long a connection may take")
    read_timeout_s: Seconds = Field(
        default=25.0, description="how long an answer may take; less than the server's default_response_timeout"
    )
    model_set_digest: Sha256 | None = Field(default=None, description="the model set that must answer; None: any")
    compress_requests: bool = Field(default=False, description="send grey as zstd; pays on a slow network only")
    compress_replies: bool = Field(default=True, description="have label planes sent as zstd")
    tile_px: Annotated[int, Field(ge=1)] = Field(default=TILE_PX, description="larger crops are sent in tiles")


class ServerSettings(BaseSettings):
    """What the worker of the model server is told by its environment, `FIBSEM_SERVER_*`."""

    model_config = SettingsConfigDict(env_prefix="FIBSEM_SERVER_", frozen=True)

    profile: Literal["auto", "exact", "fast"] = Field(
        default="auto", description="numeric profile; auto: exact on a CPU, fast on a GPU"
    )
    threads: Annotated[int, Field(ge=0)] = Field(
        default=0, description="crops at the same time on a CPU; 0: one per core"
    )
    gpu_batch: Annotated[int, Field(ge=1)] = Field(default=8, description="crops per batch on a GPU, filled up")
    max_pixels: Annotated[int, Field(ge=1)] = Field(
        default=1024 * 1024, description="largest window taken, in pixels; tile_px squared of every client must fit"
    )
