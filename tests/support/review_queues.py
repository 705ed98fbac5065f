"""Slices of a nucleus, a data set of some of them, and a proposer without networks that tells classes by grey."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tifffile

from services.contracts.values import VoxelSize
from services.imaging.grey import GreyStatistics
from services.trainer.annotations.dataset import (
    AnnotatedDataset,
    DatasetClass,
    Manifest,
    Origin,
    Pair,
    Plane,
    new_dataset,
    read_dataset,
)
from services.trainer.annotations.pseudo_labels import Answered
from services.trainer.annotations.queues import ReviewQueue

CLASSES = {"exterior": 0, "nucleoplasm": 1, "chromosome": 2, "nucleolus": 3}
GREYS = np.array([165.0, 212.0, 130.0, 90.0])


def slice_and_truth(z: int, edge_px: int = 48) -> tuple[Plane, Plane]:
    """A bright nucleus with a dark chromosome and a nucleolus, elsewhere on each plane; wider than it is high."""
    rng = np.random.default_rng(z)
    y, x = np.mgrid[:edge_px, : edge_px + 6]
    row, column, turn = rng.uniform(18, 28), rng.uniform(18, 34), rng.uniform(0, 6.28)
    up, right = 8 * np.sin(turn), 8 * np.cos(turn)
    labels = np.zeros(y.shape, np.uint8)
    labels[np.hypot(y - row, x - column) < rng.uniform(15, 18)] = 1
    labels[np.hypot(y - row - up, x - column - right) < 5] = 2
    labels[np.hypot(y - row + up, x - column + right) < 4] = 3
    noise = rng.normal(0, 6, labels.shape)
    return np.clip(GREYS[labels] + noise, 0, 255).astype(np.uint8), labels


def write_slices(folder: Path, zs: Sequence[int], nucleus: str = "n1") -> Path:
    """Write slices as TIFFs that tell nucleus and plane by their names."""
    folder.mkdir(parents=True, exist_ok=True)
    for z in zs:
        tifffile.imwrite(folder / f"{nucleus}_z{z:04d}.tif", slice_and_truth(z)[0])
    return folder


def write_annotated(
    folder: Path, zs: Sequence[int], classes: Mapping[str, int] = CLASSES, voxel_size: VoxelSize | None = None
) -> AnnotatedDataset:
    """Write a data set of slices that a person annotated."""
    with new_dataset(folder, classes) as draft:
        entries = []
        for z in sorted(zs):
            name = f"n1_z{z:04d}"
            pair = Pair(name, *slice_and_truth(z))
            entries.append(draft.add(pair, Origin(f"{name}.tif", f"{name}_mask.tif", None, "n1", z)))
        listed = tuple(DatasetClass(class_id=number, name=name) for name, number in classes.items())
        draft.finish(Manifest(classes=listed, images=tuple(entries), voxel_size=voxel_size))
    return read_dataset(folder)


class ProposerStoppedError(RuntimeError):
    """A proposer stopped where a test asked it to."""


@dataclass
class GreyProposer:
    """Tells the class of the nearest grey; the farther from it, the less sure. Stops after some answers if asked."""

    files: Mapping[Path, int]
    stops_after: int | None = None
    stop: Callable[[], None] | None = None
    networks: tuple[str, ...] = ("grey-0123456789ab",)
    class_ids: Mapping[str, int] = field(default_factory=lambda: dict(CLASSES))
    voxel_size_nm: float = 16.0
    grey: GreyStatistics = field(default_factory=lambda: GreyStatistics(0.0, 255.0, 170.0, 30.0))
    asked: list[str] = field(default_factory=list)

    @classmethod
    def on(cls, folder: Path, stops_after: int | None = None) -> GreyProposer:
        return cls(dict.fromkeys(sorted(folder.glob("*.tif")), 1), stops_after)

    def image(self, path: Path, page: int) -> Plane:
        return np.asarray(tifffile.imread(path, key=page), np.uint8)

    def answers(self, wanted: Callable[[Path, int], bool]) -> Iterator[Answered]:
        for path, pages in self.files.items():
            for page in range(pages):
                if wanted(path, page):
                    if len(self.asked) == self.stops_after:
                        self._stop()
                    self.asked.append(path.name)
                    yield self._answer(path, page)

    def _stop(self) -> None:
        if self.stop is not None:
            self.stop()
        raise ProposerStoppedError("as asked")

    def _answer(self, path: Path, page: int) -> Answered:
        image = self.image(path, page)
        distance = np.abs(image[..., None].astype(float) - GREYS)
        confidence = np.clip(255 - 4 * distance.min(axis=-1), 0, 255).astype(np.uint8)
        return Answered(path, page, image, distance.argmin(axis=-1).astype(np.uint8), confidence)


def contents(queue: ReviewQueue) -> dict[str, bytes]:
    """Every file of a queue but its page, with its bytes."""
    return {
        path.relative_to(queue.folder).as_posix(): path.read_bytes()
        for path in sorted(queue.folder.rglob("*"))
        if path.is_file() and path.suffix != ".html"
    }
