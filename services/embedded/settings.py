"""What one run is told: kept in OUT/.state/run.json, so that the same command goes on with the same run."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field

from services.contracts.method import Method
from services.ingest.settings import AcquisitionSettings

STATE = ".state"
REPORT = "report"
RUN_FILE = f"{STATE}/run.json"
BUS, STORE = "bus.sqlite", "store"
COLLECTED = "collected"


class OtherRunError(ValueError):
    """The output folder holds a run of something else."""


class RunSettings(Method, AcquisitionSettings):
    """Settings of one acquisition's run; those that change results may not change between two starts."""

    models: Path = Field(description="folder of published networks")
    registration_solution: str | None = Field(
        default=None, description="places that all slices of an earlier version gave together; set by amend --refine"
    )

    def fixed(self) -> dict[str, object]:
        """Return the settings that results depend on, comparable between two starts."""
        return self.model_dump(mode="json", exclude={"slices", "gaps", "gap_timeout_s", "models", "keep_flags"})


def load(out: Path) -> RunSettings | None:
    """Return the settings of the run in `out`, or None if there is none."""
    path = out / RUN_FILE
    return RunSettings.model_validate_json(path.read_text()) if path.exists() else None


def kept_in(out: Path) -> Path:
    """Return where bus (`BUS`) and store (`STORE`) of a run lie: its own, or what was collected of a deployed one."""
    collected = out / STATE / COLLECTED
    return collected if (collected / BUS).exists() else out / STATE


def settle(out: Path, wanted: RunSettings, *, joined: bool) -> RunSettings:
    """Return the settings to run with, and keep them in `out`.

    Parameters
    ----------
    out
        The output folder; created if need be.
    wanted
        What the command line says.
    joined
        Whether the user named the acquisition, so that another folder of slices belongs to it.

    Raises
    ------
    OtherRunError
        If `out` holds another acquisition, or the same one with settings that give other results.
    """
    before = load(out)
    if before is not None:
        differing = {
            name: (value, wanted.fixed()[name])
            for name, value in before.fixed().items()
            if value != wanted.fixed()[name]
        }
        if differing:
            said = "; ".join(f"{name} was {was!r} and is {now!r}" for name, (was, now) in differing.items())
            raise OtherRunError(f"{out} holds a run with other settings ({said}): choose another --out")
        fresh = [folder for folder in wanted.slices if folder not in before.slices]
        if fresh and not joined:
            raise OtherRunError(
                f"{out} holds the slices of {', '.join(map(str, before.slices))}, not of {fresh[0]}: "
                "choose another --out, "
                f"or say that both are one acquisition with --acquisition {before.acquisition}"
            )
        wanted = wanted.model_copy(update={"slices": (*before.slices, *fresh)})
    keep(out, wanted)
    return wanted


def keep(out: Path, settings: RunSettings) -> None:
    """Keep the settings of the run in `out`."""
    path = out / RUN_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(settings.model_dump(mode="json"), indent=2) + "\n")
    temporary.replace(path)
