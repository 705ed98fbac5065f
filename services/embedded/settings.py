"""What one run is told: kept in OUT/.state/run.json, so that the same command goes on with the same run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.contracts.values import Identifier, VoxelSize

STATE = ".state"
RUN_FILE = f"{STATE}/run.json"


class OtherRunError(ValueError):
    """The output folder holds a run of something else."""


class RunSettings(BaseModel):
    """Settings of one acquisition's run; those that change results may not change between two starts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    acquisition: Identifier = Field(description="name of the acquisition; folders of one name are joined")
    slices: tuple[Path, ...] = Field(description="folders the microscope writes slices into")
    voxel_size: VoxelSize = Field(description="edge lengths of a voxel")
    profile: Literal["recommended", "manuscript", "as-run", "hela-40nm"] = Field(
        default="recommended", description="parameters of nucleus detection"
    )
    gaps: Literal["declare", "wait"] = Field(default="declare", description="what becomes of a missing z")
    models: Path = Field(description="folder of published networks")
    numeric_profile: Literal["exact", "fast"] = Field(default="exact", description="arithmetic of the networks")
    whole_field: bool = Field(default=False, description="segment the whole field as one region, without nuclei")
    window_um: Annotated[float, Field(gt=0, le=100)] = Field(default=6.8, description="edge of a crop")
    chromosomes: Annotated[int, Field(ge=1, le=200)] = Field(default=12, description="chromosomes expected per nucleus")
    chromosomes_method: Literal["cc26", "sc_watershed", "sc_link_watershed", "path_cover"] = Field(
        default="sc_link_watershed", description="how chromosomes are separated"
    )
    chromosomes_as: Literal["auto", "bivalents", "homologs"] = Field(
        default="auto", description="what is counted; auto: homologs where more than 6 are expected"
    )
    small_objects: Literal["3d", "2d"] = Field(default="3d", description="how the size of a speck is measured")
    file_pattern: str | None = Field(default=None, description="regular expression with a group z for file names")
    include: str | None = Field(default=None, description="shell pattern; files of other names are left alone")
    channel: int | None = Field(default=None, ge=0, le=3, description="channel of files whose channels differ")
    first_z: int | None = Field(default=None, ge=0, description="z of the first slice")
    last_z: int | None = Field(default=None, ge=0, description="z of the last slice; later files are left alone")
    gap_timeout_s: float | None = Field(default=None, gt=0, description="declare a z missing after so long")
    nucleus_area_um2: tuple[float, float] | None = Field(
        default=None, description="smallest and largest section of a nucleus, instead of the profile's"
    )

    @property
    def counts_homologs(self) -> bool | None:
        """Whether the expected number is that of homologs; None where the number itself decides."""
        return None if self.chromosomes_as == "auto" else self.chromosomes_as == "homologs"

    def fixed(self) -> dict[str, object]:
        """Return the settings that results depend on, comparable between two starts."""
        return self.model_dump(mode="json", exclude={"slices", "gaps", "gap_timeout_s", "models"})


def load(out: Path) -> RunSettings | None:
    """Return the settings of the run in `out`, or None if there is none."""
    path = out / RUN_FILE
    return RunSettings.model_validate_json(path.read_text()) if path.exists() else None


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
    path = out / RUN_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(wanted.model_dump(mode="json"), indent=2) + "\n")
    temporary.replace(path)
    return wanted
