"""Opens published networks on a list of images: what they say of each page, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Protocol

from services.contracts.classes import LabelClass
from services.contracts.model_card import RECOMMENDED_FUSION, ModelCard, rules_of_one
from services.contracts.values import VoxelSize
from services.imaging.grey import GreyStatistics
from services.imaging.resampling import resample_grey
from services.inference.pages import brought_back, frozen_grey, mapped_pages, page_count
from services.inference.stacks import StackLabeller, Wanted, labels_stacks
from services.runtime.segmenter.cards import CARD, published, read_card
from services.runtime.segmenter.in_process import InProcessSegmenter
from services.runtime.segmenter.port import ModelSetError, Normalisation, Plane, Segmented, Segmenter

PAGES_AT_A_TIME = 4


class Labeller(Protocol):
    """Networks that are open on a list of images."""

    @property
    def cards(self) -> tuple[ModelCard, ...]:
        """Of the networks that answer."""

    @property
    def class_ids(self) -> dict[str, int]:
        """Id by name of every class that they tell."""

    @property
    def grey(self) -> GreyStatistics:
        """How the images become 8 bits, and what they are normalised by."""

    def answers(self, wanted: Wanted) -> Iterator[tuple[Path, int, Segmented]]:
        """Yield file, page and labels of each page that is wanted, in order; what is wanted changes no answer."""


@contextmanager
def open_labeller(model: Path, paths: list[Path], voxel_size: VoxelSize | None = None) -> Iterator[Labeller]:
    """Open networks on images.

    Parameters
    ----------
    model
        Folder of one published network, or of several; see `services.inference.prediction.predict_folder`.
    paths
        TIFF files in order.
    voxel_size
        Of the images; None means that of the networks.

    Raises
    ------
    MixedDepthError
        If the first images have 8 and 16 bits.
    ModelSetError
        If the model is not whole and unaltered, or it is not said which of several is meant.
    """
    model = _chosen(model, voxel_size)
    card = read_card(model.resolve()) if (model / CARD).exists() else None
    if card is not None and labels_stacks(card):
        yield StackLabeller(model.resolve(), card, paths, voxel_size)
        return
    with _opened(model) as segmenter:
        yield _FusedLabeller(segmenter, paths, voxel_size)


class _FusedLabeller:
    """Networks whose answers are fused page by page, or one alone that knows what they know."""

    def __init__(self, segmenter: Segmenter, paths: list[Path], voxel_size: VoxelSize | None) -> None:
        models = segmenter.model_set()
        self._segmenter, self._paths, self._voxel_size = segmenter, paths, voxel_size
        self.cards = models.cards
        self.grey = frozen_grey(paths, models.cards[0].normalisation)
        told = models.fusion.class_ids
        own = {output.name: int(output.class_id) for output in models.cards[0].classes}
        fused = {member.label: int(member) for member in LabelClass}
        ids = own if len(models.cards) == 1 else fused
        self.class_ids = {name: class_id for name, class_id in ids.items() if class_id in told}

    def answers(self, wanted: Wanted) -> Iterator[tuple[Path, int, Segmented]]:
        """Yield the labels of each page that is wanted; only a few pages are held at a time."""
        for path in self._paths:
            asked = [page for page in range(page_count(path)) if wanted(path, page)]
            if asked:
                known = set(asked)
                pages = (plane for page, plane in enumerate(mapped_pages(path, self.grey)) if page in known)
                numbers = iter(asked)
                while batch := list(islice(pages, PAGES_AT_A_TIME)):
                    yield from ((path, next(numbers), answer) for answer in self._segment(batch))

    def _segment(self, images: list[Plane]) -> list[Segmented]:
        """Label 8-bit images at the networks' voxel size, and bring the labels back to the images' pixels."""
        model_nm = self._segmenter.model_set().voxel_size_nm
        y_nm, x_nm = (self._voxel_size.y_nm, self._voxel_size.x_nm) if self._voxel_size else (model_nm, model_nm)
        resampled = [resample_grey(image, (y_nm, x_nm), model_nm) for image in images]
        answers = self._segmenter.segment(resampled, Normalisation(self.grey.mean, self.grey.sd))
        return [
            Segmented(
                *(
                    brought_back(plane, image.shape, model_nm, (y_nm, x_nm))
                    for plane in (answer.classes_yx, answer.confidence_yx)
                )
            )
            for image, answer in zip(images, answers, strict=True)
        ]


def _chosen(model: Path, voxel_size: VoxelSize | None) -> Path:
    """Return the network of a folder of networks that are not made to be fused: the one nearest in voxel size."""
    if (model / CARD).exists():
        return model
    cards = published(model)
    if not cards or {card.name for card in cards} >= set(RECOMMENDED_FUSION.networks):
        return model
    if len(cards) > 1 and voxel_size is None:
        known = ", ".join(f"{card.name} ({card.voxel_size_nm:g} nm)" for card in cards)
        raise ModelSetError(f"{model} holds {known}: name one of them, or say the images' voxel size")
    size = voxel_size
    nearest = min(cards, key=lambda card: abs(math.log(size.y_nm / card.voxel_size_nm)) if size else 0.0)
    alike = [card.address for card in cards if card.voxel_size_nm == nearest.voxel_size_nm]
    if len(alike) > 1:
        raise ModelSetError(f"{model} holds {', '.join(alike)}, all of {nearest.voxel_size_nm:g} nm: name one of them")
    return model / nearest.address


def _opened(model: Path) -> InProcessSegmenter:
    if not (model / CARD).exists():
        return InProcessSegmenter(model)
    folder = model.resolve()
    return InProcessSegmenter(folder.parent, fusion=rules_of_one(read_card(folder)))
