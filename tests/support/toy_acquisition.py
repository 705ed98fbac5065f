"""A tiny acquisition for tests of the whole pipeline: round nuclei drawn directly, quick to write and to segment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile

from services.contracts.values import VoxelSize
from services.embedded.run import EmbeddedRun, Parts
from services.embedded.settings import RunSettings, settle
from tests.support.grey_segmenter import GreySegmenter

VOXEL_NM = 80.0
VOXEL = VoxelSize(z_nm=VOXEL_NM, y_nm=VOXEL_NM, x_nm=VOXEL_NM)
FIELD = (90, 150)
PLANES = 60
# Middle (z, y, x) and radius in voxels; the second is cut by the border of the field, both lie whole in z.
NUCLEI = ((30, 42, 42, 24), (28, 50, 134, 24))
PREFIX = "toy_80x80x80nm."

Plane = npt.NDArray[np.uint8]


def toy_slice(z: int, seed: int = 0) -> Plane:
    """Draw one slice: noisy cytoplasm, bright nuclei with a dark envelope, a nucleolus and chromosomes."""
    y, x = np.mgrid[: FIELD[0], : FIELD[1]].astype(np.float32)
    grey = np.full(FIELD, 165.0, np.float32)
    for zc, yc, xc, radius in NUCLEI:
        distance = np.sqrt((z - zc) ** 2 + (y - yc) ** 2 + (x - xc) ** 2)
        grey[distance < radius] = 212
        grey[np.abs(distance - radius) < 1.0] = 105
        grey[np.sqrt((z - zc) ** 2 + (y - yc - 4) ** 2 + (x - xc) ** 2) < 9] = 160
        for k in range(4):
            dy, dx = 16 * np.sin(1.6 * k + 0.3), 16 * np.cos(1.6 * k + 0.3)
            grey[np.sqrt(((z - zc) / 1.8) ** 2 + (y - yc - dy) ** 2 + (x - xc - dx) ** 2) < 3.5] = 172
    noise = np.random.default_rng([seed, z]).normal(0, 6, FIELD)
    return np.clip(grey + noise, 0, 255).astype(np.uint8)


def slice_name(z: int) -> str:
    """File name of a slice."""
    return f"{PREFIX}{z:04d}.tif"


def write_toy(folder: Path, planes: int = PLANES) -> Path:
    """Write a finished acquisition; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for z in range(planes):
        tifffile.imwrite(folder / slice_name(z), toy_slice(z))
    return folder


def write_repeating_toy(folder: Path, planes: int) -> Path:
    """Write an acquisition of any length: the same nuclei again and again along z; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for z in range(planes):
        tifffile.imwrite(folder / slice_name(z), toy_slice(z % PLANES, seed=z // PLANES))
    return folder


def toy_settings(folder: Path, **changes: object) -> RunSettings:
    """Return settings of a run over the toy."""
    settings = RunSettings(acquisition="toy", slices=(folder,), voxel_size=VOXEL, models=Path("none"))
    return settings.model_copy(update=changes)


@dataclass
class Runner:
    """Runs the pipeline over a folder, whole or until it is killed."""

    out: Path
    settings: RunSettings
    watch: bool = False
    parts: Parts = field(default_factory=lambda: Parts(segmenter=GreySegmenter(VOXEL_NM)))

    def start(self, *, from_start: bool = False) -> EmbeddedRun:
        """Open the run, as the command does."""
        settings = settle(self.out, self.settings, joined=True)
        return EmbeddedRun(self.out, settings, watch=self.watch, parts=self.parts, from_start=from_start)

    def to_the_end(self, most_turns: int = 4000) -> str:
        """Run until the acquisition is complete; return its manifest."""
        run = self.start()
        try:
            return self.complete(run, most_turns)
        finally:
            run.close()

    def complete(self, run: EmbeddedRun, most_turns: int = 4000) -> str:
        """Take turns until the acquisition is complete; return the manifest."""
        for _ in range(most_turns):
            if run.complete:
                run.finish()
                return self.manifest()
            run.turn()
        raise AssertionError(f"not complete after {most_turns} turns: {run.progress().line()}")

    def manifest(self) -> str:
        """Return the manifest of the results."""
        return (self.out / "MANIFEST.sha256").read_text()
