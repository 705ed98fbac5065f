"""Labels stacks by one network of any kind: one that sees neighbours or blocks, or that knows classes of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from services.contracts.model_card import BACKGROUND, ModelCard
from services.contracts.values import VoxelSize
from services.imaging.resampling import most_likely_sure, resample_grey
from services.inference.pages import Plane, brought_back, frozen_grey, mapped_pages, page_count
from services.runtime.segmenter.archives import load_network
from services.runtime.segmenter.blended import BlendedNetwork, Decided
from services.runtime.segmenter.port import Segmented


def labels_stacks(card: ModelCard) -> bool:
    """Return whether a network labels stacks alone, and cannot be fused with others slice by slice."""
    known = {output.class_id for output in card.classes}
    return card.needs_for_slices is not None or not known >= set(BACKGROUND) or len(known) == len(BACKGROUND)


Wanted = Callable[[Path, int], bool]
"""Whether the labels of a file's page are wanted."""


class StackLabeller:
    """A network with the grey mapping of the files it labels.

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

    def __init__(self, model: Path, card: ModelCard, paths: list[Path], voxel_size: VoxelSize | None) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        network = load_network(model.parent, card).to(device)
        self._blended = BlendedNetwork(network, card.architecture, len(card.classes), device)
        self.grey = frozen_grey(paths, card.normalisation)
        self.cards, self._paths = (card,), paths
        self.class_ids = {output.name: int(output.class_id) for output in card.classes}
        self._model_nm = card.voxel_size_nm
        self._image_nm = (voxel_size.y_nm, voxel_size.x_nm) if voxel_size else (self._model_nm, self._model_nm)
        self._ids = np.array([int(output.class_id) for output in card.classes], np.uint8)
        is_finer = max(self._image_nm) < self._model_nm
        self._interpolates = is_finer and card.architecture.takes_single_planes

    def answers(self, wanted: Wanted) -> Iterator[tuple[Path, int, Segmented]]:
        """Yield file, page and labels of each page that is wanted, in order.

        A file of several pages is a stack. For a network that sees neighbours or blocks, files of one page each are a
        stack together, in order of their names, as long as their shapes are the same.
        """
        for stack in stacked(self._paths, apart=self.cards[0].architecture.takes_single_planes):
            places = [(path, page) for path in stack for page in range(page_count(path))]
            asked = [wanted(*place) for place in places]
            if any(asked):
                for place, is_asked, answer in zip(places, asked, self._labels(stack, asked), strict=True):
                    if is_asked and answer is not None:
                        yield *place, answer

    def _labels(self, stack: list[Path], asked: list[bool]) -> Iterator[Segmented | None]:
        """Yield the labels of a stack's pages, None where they are not asked for."""
        if self._interpolates:
            pages = (page for path in stack for page in mapped_pages(path, self.grey))
            yield from (self._finer(page) if is_asked else None for page, is_asked in zip(pages, asked, strict=True))
            return
        shapes: deque[tuple[int, int]] = deque()
        done = 0
        for _, alike in groupby(self._planes(stack, shapes), key=lambda plane: plane.shape):
            wanted = asked[done:].__getitem__
            for answer in self._blended.decided_stream(alike, self.grey.mean, self.grey.sd, wanted):
                shape = shapes.popleft()
                done += 1
                yield None if answer is None else self._brought_back(answer, shape)

    def _brought_back(self, answer: Decided, shape: tuple[int, int]) -> Segmented:
        planes = (self._ids[answer.channels], answer.confidence)
        return Segmented(*(brought_back(plane, shape, self._model_nm, self._image_nm) for plane in planes))

    def _finer(self, page: Plane) -> Segmented:
        """Label an image of finer pixels than the network's: probabilities are interpolated, not labels."""
        plane = resample_grey(page, self._image_nm, self._model_nm).astype(np.float32)
        values = (plane - np.float32(self.grey.mean)) / np.float32(self.grey.sd)
        shape = (page.shape[0], page.shape[1])
        probabilities = self._blended.probabilities(values[None])
        channels, confidence = most_likely_sure(probabilities, shape, self._model_nm, self._image_nm)
        return Segmented(self._ids[channels], confidence)

    def _planes(self, stack: list[Path], shapes: deque[tuple[int, int]]) -> Iterator[Plane]:
        """Yield the pages at the network's voxel size, and note what shapes they had."""
        for path in stack:
            for page in mapped_pages(path, self.grey):
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
