"""Labels stacks by one network of any kind: one that sees neighbours or blocks, or that knows classes of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import torch

from services.contracts.model_card import BACKGROUND, ModelCard
from services.contracts.values import VoxelSize
from services.imaging.resampling import most_likely, resample_grey
from services.inference.pages import Plane, brought_back, frozen_grey, mapped_pages, page_count
from services.runtime.segmenter.archives import load_network
from services.runtime.segmenter.blended import BlendedNetwork


def labels_stacks(card: ModelCard) -> bool:
    """Return whether a network labels stacks alone, and cannot be fused with others slice by slice."""
    known = {output.class_id for output in card.classes}
    return card.needs_for_slices is not None or not known >= set(BACKGROUND) or len(known) == len(BACKGROUND)


def labelled_stacks(
    model: Path, card: ModelCard, paths: list[Path], voxel_size: VoxelSize | None
) -> Iterator[tuple[Path, Iterator[Plane]]]:
    """Yield each file with the labels of its pages.

    A file of several pages is a stack. For a network that sees neighbours or blocks, files of one page each are a stack
    together, in order of their names, as long as their shapes are the same.

    Parameters
    ----------
    model
        Folder of the network.
    card
        Its card.
    paths
        TIFF files in order.
    voxel_size
        Of the images; None means that of the network. Along z nothing is resampled.

    Raises
    ------
    ModelSetError
        If the network was altered.
    MixedDepthError
        If some images have 8 bits and others 16.
    """
    labeller = _StackLabeller(model, card, paths, voxel_size)
    for stack in stacked(paths, apart=card.architecture.takes_single_planes):
        coming = labeller.labels(stack)
        for path in stack:
            # Whoever asks for the next file has taken all pages of this one.
            yield path, islice(coming, page_count(path))


class _StackLabeller:
    """A network with the grey mapping of the files it labels."""

    def __init__(self, model: Path, card: ModelCard, paths: list[Path], voxel_size: VoxelSize | None) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        network = load_network(model.parent, card).to(device)
        self._blended = BlendedNetwork(network, card.architecture, len(card.classes), device)
        self._grey = frozen_grey(paths, card.normalisation)
        self._model_nm = card.voxel_size_nm
        self._image_nm = (voxel_size.y_nm, voxel_size.x_nm) if voxel_size else (self._model_nm, self._model_nm)
        self._class_ids = np.array([int(output.class_id) for output in card.classes], np.uint8)
        is_finer = max(self._image_nm) < self._model_nm
        self._interpolates = is_finer and card.architecture.takes_single_planes

    def labels(self, stack: list[Path]) -> Iterator[Plane]:
        """Yield the labels of a stack's pages."""
        if self._interpolates:
            yield from (self._finer(page) for path in stack for page in mapped_pages(path, self._grey))
            return
        shapes: deque[tuple[int, int]] = deque()
        for _, alike in groupby(self._planes(stack, shapes), key=lambda plane: plane.shape):
            for channels in self._blended.label_stream(alike, self._grey.mean, self._grey.sd):
                yield brought_back(self._class_ids[channels], shapes.popleft(), self._model_nm, self._image_nm)

    def _finer(self, page: Plane) -> Plane:
        """Label an image of finer pixels than the network's: probabilities are interpolated, not labels."""
        plane = resample_grey(page, self._image_nm, self._model_nm).astype(np.float32)
        values = (plane - np.float32(self._grey.mean)) / np.float32(self._grey.sd)
        shape = (page.shape[0], page.shape[1])
        return self._class_ids[
            most_likely(self._blended.probabilities(values[None]), shape, self._model_nm, self._image_nm)
        ]

    def _planes(self, stack: list[Path], shapes: deque[tuple[int, int]]) -> Iterator[Plane]:
        """Yield the pages at the network's voxel size, and note what shapes they had."""
        for path in stack:
            for page in mapped_pages(path, self._grey):
                shapes.append((page.shape[0], page.shape[1]))
                yield resample_grey(page, self._image_nm, self._model_nm)


def stacked(paths: list[Path], *, apart: bool) -> Iterator[list[Path]]:
    """Yield the files of each stack: one of several pages, or those of one page that follow each other."""
    if apart:
        yield from ([path] for path in paths)
        return
    counts = {path: page_count(path) for path in paths}
    for is_single, group in groupby(paths, key=lambda path: counts[path] == 1):
        files = list(group)
        yield from [files] if is_single else ([path] for path in files)
