"""One simulated acquisition, for systems in containers: what the microscope is told, and what must come of it."""

from __future__ import annotations

from pathlib import Path

from services.contracts.values import VoxelSize
from services.embedded.run import Parts
from services.embedded.settings import RunSettings
from services.runtime.clock import SystemClock
from services.runtime.deployment import SHIPPED_MODELS
from services.simulator.simulate import simulate, spec_for
from tests.support.toy_acquisition import Runner

SEED, NUCLEI, VOXEL_NM = 5, 1, 16.0


def microscope(period_s: float) -> dict[str, str]:
    """Return the variables that make the microscope's container mill this acquisition."""
    return {"SEED": str(SEED), "NUCLEI": str(NUCLEI), "PERIOD_S": str(period_s)}


def local_manifest(folder: Path) -> str:
    """Return the manifest of the same acquisition, simulated and segmented in one process."""
    spec = spec_for(SEED, VOXEL_NM, NUCLEI, None)
    simulate(folder / "sim", spec, period_s=None, progress=lambda _done, _total: None, wait=SystemClock().wait)
    settings = RunSettings(
        acquisition="live",
        slices=(folder / "sim" / "slices",),
        voxel_size=VoxelSize(z_nm=VOXEL_NM, y_nm=VOXEL_NM, x_nm=VOXEL_NM),
        models=SHIPPED_MODELS,
    )
    return Runner(folder / "local", settings, parts=Parts()).to_the_end(100_000)
