"""Patches and planes as tensors: what a network learns from, and what it is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray

from services.contracts.architectures import AnyArchitecture
from services.trainer.augmentation import jittered_normalisation, varied
from services.trainer.datasets import PlaneSet
from services.trainer.learning import Batch
from services.trainer.losses import IGNORED
from services.trainer.patches import Patch
from services.trainer.recipes import NetworkRecipe

BLOCK_PX, BLOCK_PLANES = 512, 16
MOST_VALIDATION_PLANES = 64


def batch_of(patches: Sequence[Patch], network: NetworkRecipe, number: int) -> Batch:
    """Turn patches into images and labels, with the artefacts and the normalisation jitter of this batch.

    Returns
    -------
    images : torch.Tensor
        float32, (n, plane, y, x), or (n, 1, z, y, x) for three dimensions.
    labels : torch.Tensor
        int64, (n, y, x) or (n, z, y, x): channels of the network, or `IGNORED`.
    """
    images, labels = [], []
    for position, patch in enumerate(patches):
        rng = np.random.default_rng([network.optimiser.seed, number, position])
        mean, sd = patch.mean, patch.sd
        if network.optimiser.jitter_normalisation:
            mean, sd = jittered_normalisation(mean, sd, rng)
        images.append((varied(patch.grey, network.optimiser.artefact_share, rng) - np.float32(mean)) / np.float32(sd))
        labels.append(network.counted_channels[patch.classes])
    return _tensors(np.stack(images), np.stack(labels), is_flat=network.optimiser.patch_planes == 1)


@dataclass(frozen=True, slots=True)
class _Place:
    owner: int
    planes: tuple[int, ...]
    y: int
    x: int


class Blocks(Sequence[Batch]):
    """Labelled planes, cut into blocks that a network takes; made when they are asked for.

    Parameters
    ----------
    planes
        To be judged by.
    network
        Says which channel a class has.
    architecture
        Says what it must be shown, and of what rows and columns are multiples: ends are mirrored, and do not count.
    most_planes
        So many planes at most, spread evenly.
    """

    def __init__(
        self,
        planes: Sequence[PlaneSet],
        network: NetworkRecipe,
        architecture: AnyArchitecture,
        most_planes: int = MOST_VALIDATION_PLANES,
    ) -> None:
        self._planes, self._architecture, self._channels = tuple(planes), architecture, network.counted_channels
        labelled = [(owner, int(z)) for owner, plane_set in enumerate(planes) for z in plane_set.labelled]
        self._places = [
            _Place(owner, stack, y, x)
            for owner, stack in _stacks(labelled, self._planes, architecture, most_planes)
            for y in range(0, planes[owner].grey_zyx.shape[1], BLOCK_PX)
            for x in range(0, planes[owner].grey_zyx.shape[2], BLOCK_PX)
        ]

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, position: int) -> Batch: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[Batch]: ...
    def __getitem__(self, position: int | slice) -> Batch | Sequence[Batch]:
        if isinstance(position, slice):
            return [self[each] for each in range(*position.indices(len(self)))]
        place = self._places[position]
        planes, neighbours = self._planes[place.owner], self._architecture.neighbours
        window = (slice(place.y, place.y + BLOCK_PX), slice(place.x, place.x + BLOCK_PX))
        shown = planes.around(place.planes[0], neighbours, neighbours) if neighbours else np.array(place.planes)
        grey = planes.grey_zyx[shown][:, window[0], window[1]].astype(np.float32)
        values = (grey - np.float32(planes.mean)) / np.float32(planes.sd)
        labels = self._channels[planes.classes_zyx[np.array(place.planes)][:, window[0], window[1]]]
        is_flat = self._architecture.dimensions == 2
        values, labels = _filled(values, labels, self._architecture.shape_multiple_px, is_flat=is_flat)
        return _tensors(values[None], labels[None], is_flat=is_flat)


def _stacks(
    labelled: Sequence[tuple[int, int]], planes: Sequence[PlaneSet], architecture: AnyArchitecture, most_planes: int
) -> list[tuple[int, tuple[int, ...]]]:
    """Return set and planes of each block: single planes, or the pieces of runs in three dimensions."""
    if architecture.dimensions == 2:
        stride = -(-len(labelled) // most_planes)
        return [(owner, (z,)) for owner, z in labelled[::stride]]
    pieces = []
    for owner, plane_set in enumerate(planes):
        first = 0
        for length in plane_set.runs or (1,) * len(plane_set.grey_zyx):
            starts = range(first, first + length, BLOCK_PLANES)
            pieces += [(owner, tuple(range(start, min(start + BLOCK_PLANES, first + length)))) for start in starts]
            first += length
    stride = -(-len(pieces) * BLOCK_PLANES // (most_planes * BLOCK_PLANES))
    return pieces[::stride]


def _filled(
    values: NDArray[np.float32], labels: NDArray[np.uint8], multiple: int, *, is_flat: bool
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Mirror the ends of an image until every edge is a multiple, and at least two; labels there are ignored."""
    widths = [(0, max(-size % multiple, 2 * multiple - size)) for size in values.shape]
    if is_flat:
        widths[0] = (0, 0)
    return np.pad(values, widths, mode="symmetric"), np.pad(labels, widths, constant_values=IGNORED)


def _tensors(images: NDArray[np.float32], labels: NDArray[np.uint8], *, is_flat: bool) -> Batch:
    """Return stacks (n, plane, y, x) as a network takes them."""
    if is_flat:
        image = torch.from_numpy(np.ascontiguousarray(images, np.float32)).to(memory_format=torch.channels_last)
        return image, torch.from_numpy(labels[:, 0].astype(np.int64))
    return torch.from_numpy(np.ascontiguousarray(images[:, None], np.float32)), torch.from_numpy(
        labels.astype(np.int64)
    )
