"""What the trainer is told, beside what every deployed service is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from services.runtime.deployment import Deployment


class TrainerDeployment(Deployment):
    """Settings of the trainer, `FIBSEM_*`."""

    work: Path = Field(
        default=Path("/training"), description="folder of data, planes and checkpoints; kept between two starts"
    )
    accelerator: Literal["auto", "cpu", "gpu"] = Field(default="auto", description="device that trains")
    threads: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="threads of a CPU; the same number gives the same weights; default: torch's own"
    )
    keep_every_s: Annotated[float, Field(ge=0)] = Field(
        default=300.0, description="seconds between two copies of a checkpoint in the store; changes no result"
    )
    fail_job_at: str | None = Field(default=None, description="fail point of the training, for tests: before-put:3")
