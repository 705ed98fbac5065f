"""Labels a folder of images with published networks, without an acquisition around them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import tifffile

from services.contracts.model_card import RECOMMENDED_FUSION
from services.contracts.values import VoxelSize
from services.imaging.grey import GreyStatistics
from services.imaging.resampling import resample_grey
from services.inference.catalogue import rules_of_one
from services.inference.pages import brought_back, frozen_grey, mapped_pages, page_count
from services.inference.stacks import labelled_stacks, labels_stacks
from services.runtime.segmenter.cards import CARD, published, read_card
from services.runtime.segmenter.in_process import InProcessSegmenter
from services.runtime.segmenter.port import ModelSetError, Normalisation, Plane, Segmenter

SUFFIXES = frozenset({".tif", ".tiff"})
PAGES_AT_A_TIME = 4
BIGTIFF_BYTES = 2**31


class NoImagesError(ValueError):
    """There is nothing to label."""


class OverwriteError(ValueError):
    """The labels would replace the images."""


def predict_folder(
    model: Path,
    images: Path,
    out: Path,
    voxel_size: VoxelSize | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> int:
    """Write one uint8 label TIFF per image, of the same name, pages and shape.

    Parameters
    ----------
    model
        Folder of one published network, whose classes are written as its card numbers them, or folder of several:
        those of the recommended rules are fused, of others the one nearest to the images' voxel size is taken.
    images
        A TIFF, or a folder of TIFFs.
    out
        Folder for the label images.
    voxel_size
        Of the images; None means that of the networks.
    progress
        Is told how many pages are labelled, and of how many.

    Returns
    -------
    int
        Number of files written.

    Raises
    ------
    NoImagesError
        If there is no TIFF.
    OverwriteError
        If the labels would replace the images.
    MixedDepthError
        If some images have 8 bits and others 16.
    ModelSetError
        If the model is not whole and unaltered, or it is not said which of several is meant.
    """
    paths = _image_paths(images)
    if paths[0].parent.resolve() == out.resolve():
        raise OverwriteError(f"{out} holds the images themselves: give another folder for the labels")
    total, done = sum(page_count(path) for path in paths), 0
    out.mkdir(parents=True, exist_ok=True)
    for path, planes in _labelled(_chosen(model, voxel_size), paths, voxel_size):
        part = out / f"{path.name}.part"
        with tifffile.TiffWriter(part, bigtiff=path.stat().st_size > BIGTIFF_BYTES) as writer:
            for labels in planes:
                writer.write(labels, photometric="minisblack", compression="deflate", metadata=None)
                done += 1
                progress(done, total)
        # A label image is there whole, or not at all.
        part.replace(out / path.name)
    return len(paths)


def _labelled(model: Path, paths: list[Path], voxel_size: VoxelSize | None) -> Iterator[tuple[Path, Iterator[Plane]]]:
    """Yield each file with the labels of its pages."""
    card = read_card(model.resolve()) if (model / CARD).exists() else None
    if card is not None and labels_stacks(card):
        yield from labelled_stacks(model.resolve(), card, paths, voxel_size)
        return
    with _opened(model) as segmenter:
        grey = frozen_grey(paths, segmenter.model_set().cards[0].normalisation)
        for path in paths:
            yield path, _labelled_pages(segmenter, path, grey, voxel_size)


def _labelled_pages(
    segmenter: Segmenter, path: Path, grey: GreyStatistics, voxel_size: VoxelSize | None
) -> Iterator[Plane]:
    """Yield the labels of a file's pages; only a few pages are held at a time."""
    pages = mapped_pages(path, grey)
    while batch := list(islice(pages, PAGES_AT_A_TIME)):
        yield from label_images(segmenter, batch, Normalisation(grey.mean, grey.sd), voxel_size)


def label_images(
    segmenter: Segmenter, images: list[Plane], normalisation: Normalisation, voxel_size: VoxelSize | None
) -> list[Plane]:
    """Label grey images of any voxel size.

    Parameters
    ----------
    segmenter
        Labels at its own voxel size, to which images are resampled.
    images
        uint8, (y, x).
    normalisation
        Of all of them.
    voxel_size
        Of the images; None means that of the segmenter.

    Returns
    -------
    list of numpy.ndarray
        uint8 labels, each of its image's shape.
    """
    model_nm = segmenter.model_set().voxel_size_nm
    y_nm, x_nm = (voxel_size.y_nm, voxel_size.x_nm) if voxel_size else (model_nm, model_nm)
    resampled = [resample_grey(image, (y_nm, x_nm), model_nm) for image in images]
    answers = segmenter.segment(resampled, normalisation)
    return [
        brought_back(answer.classes_yx, image.shape, model_nm, (y_nm, x_nm))
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
    return model / nearest.address


def _opened(model: Path) -> InProcessSegmenter:
    if not (model / CARD).exists():
        return InProcessSegmenter(model, fusion=RECOMMENDED_FUSION)
    folder = model.resolve()
    return InProcessSegmenter(folder.parent, fusion=rules_of_one(read_card(folder)))


def _image_paths(images: Path) -> list[Path]:
    found = sorted(images.iterdir()) if images.is_dir() else [images]
    paths = [path for path in found if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise NoImagesError(f"{images} holds no {' or '.join(sorted(SUFFIXES))} file")
    return paths
