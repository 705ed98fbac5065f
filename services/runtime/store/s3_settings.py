"""Where an S3 server is and how patient to be with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, model_validator

from services.contracts.values import ArtefactKey

Seconds = Annotated[float, Field(gt=0, le=300)]


class S3Settings(BaseModel):
    """Settings of the artefact store on an S3 server."""

    # What was refused may be a secret: errors name the field, not the input.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.-]+(:\d{1,5})?$")] = Field(
        description="address of the server; https means TLS"
    )
    access_key: Annotated[str, StringConstraints(min_length=1)] = Field(description="name of the user")
    secret_key: SecretStr = Field(description="its secret")
    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] = Field(
        default="fibsem", description="bucket of the artefacts; the set-up job makes it"
    )
    prefix: ArtefactKey | None = Field(
        default=None, description="folder in the bucket, so that several deployments may share one; default: none"
    )
    region: Annotated[str, StringConstraints(min_length=1)] = Field(
        default="us-east-1", description="region that requests are signed for; not asked for, to save a permission"
    )
    ca_file: Path | None = Field(
        default=None, description="authorities to trust, PEM; default: those of the machine; needs https"
    )
    connections: Annotated[int, Field(ge=1, le=1000)] = Field(default=16, description="connections kept open")
    connect_timeout_s: Seconds = Field(default=5.0, description="how long a connection may take")
    read_timeout_s: Seconds = Field(default=30.0, description="how long the server may be silent")
    attempts: Annotated[int, Field(ge=1, le=10)] = Field(
        default=3, description="tries of a request that fails at once; one that timed out is not tried again"
    )
    least_bytes_per_s: Annotated[float, Field(gt=0)] = Field(
        default=1e6, description="a transfer slower than this, after the time-out, counts as an outage"
    )

    @model_validator(mode="after")
    def _authorities_need_tls(self) -> Self:
        if self.ca_file is not None and not self.is_secure:
            raise ValueError("ca_file is given, but the endpoint is http: say https, or leave ca_file out")
        return self

    @property
    def is_secure(self) -> bool:
        """Whether the server is spoken to over TLS."""
        return self.endpoint.startswith("https://")

    @property
    def address(self) -> str:
        """Host and port, without the scheme."""
        return self.endpoint.partition("://")[2]

    def object_name(self, key: str) -> str:
        """Return the name in the bucket of an artefact, or of a folder of them."""
        return key if self.prefix is None else f"{self.prefix}/{key}"

    def transfer_s(self, size_bytes: int) -> float:
        """Return how long a transfer of that size may take, in seconds."""
        return self.read_timeout_s + size_bytes / self.least_bytes_per_s
