"""Labels a folder of images with published networks, without an acquisition around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from services.contracts.model_card import RECOMMENDED_FUSION
from services.contracts.values import VoxelSize
from services.imaging.grey import GreyStatistics, freeze, histogram, to_uint8
from services.imaging.resampling import labels_to_shape, resample_grey
from services.imaging.tiff import GreyPlane, TiffReader, inspect
from services.inference.catalogue import rules_of_one
from services.runtime.segmenter.cards import CARD, read_card
from services.runtime.segmenter.in_process import InProcessSegmenter
from services.runtime.segmenter.port import Normalisation, Plane, Segmenter

SUFFIXES = frozenset({".tif", ".tiff"})
PAGES_AT_A_TIME = 4
BIGTIFF_BYTES = 2**31


class NoImagesError(ValueError):
    """There is nothing to label."""


class OverwriteError(ValueError):
    """The labels would replace the images."""


class MixedDepthError(ValueError):
    """Images of 8 and of 16 bits were given together; one mapping of grey cannot serve both."""


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
        Folder of one published network, whose classes are written as its card numbers them, or folder of
        several, which are fused by the recommended rules.
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
        If the model is not whole and unaltered.
    """
    paths = _image_paths(images)
    if paths[0].parent.resolve() == out.resolve():
        raise OverwriteError(f"{out} holds the images themselves: give another folder for the labels")
    total, done = sum(_page_count(path) for path in paths), 0
    with _opened(model) as segmenter:
        grey = _frozen_grey(paths, segmenter.model_set().cards[0].normalisation.first_slices)
        out.mkdir(parents=True, exist_ok=True)
        for path in paths:
            part = out / f"{path.name}.part"
            with tifffile.TiffWriter(part, bigtiff=path.stat().st_size > BIGTIFF_BYTES) as writer:
                for labels in _labelled_pages(segmenter, path, grey, voxel_size):
                    writer.write(labels, photometric="minisblack", compression="deflate", metadata=None)
                    done += 1
                    progress(done, total)
            # A label image is there whole, or not at all.
            part.replace(out / path.name)
    return len(paths)


def _labelled_pages(
    segmenter: Segmenter, path: Path, grey: GreyStatistics, voxel_size: VoxelSize | None
) -> Iterator[Plane]:
    """Yield the labels of a file's pages; only a few pages are held at a time."""
    pages = (to_uint8(_of_depth(page, grey), grey.low, grey.high) for page in _pages(path))
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
        np.asarray(_brought_back(answer.classes_yx, image, model_nm, (y_nm, x_nm)), np.uint8)
        for image, answer in zip(images, answers, strict=True)
    ]


def _brought_back(
    labels_yx: Plane, image_yx: Plane, model_nm: float, image_nm: tuple[float, float]
) -> NDArray[np.integer]:
    """Resample labels to the pixels of an image, one axis after the other."""
    rows, columns = image_yx.shape
    tall = labels_to_shape(labels_yx, (rows, labels_yx.shape[1]), (model_nm, image_nm[0]), image_nm[0])
    return labels_to_shape(tall, (rows, columns), (image_nm[1], model_nm), image_nm[1])


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


def _page_count(path: Path) -> int:
    with path.open("rb") as file:
        return len(inspect(file).pages)


def _pages(path: Path) -> Iterator[GreyPlane]:
    with path.open("rb") as file:
        reader = TiffReader(file)
        for page in range(len(reader.description.pages)):
            yield reader.read(page)


def _frozen_grey(paths: list[Path], first_slices: int) -> GreyStatistics:
    """Freeze the grey mapping from the first pages in order of names, as an acquisition does."""
    histograms = []
    for path in paths:
        for page in _pages(path):
            histograms.append(histogram(page))
            if len(histograms) == first_slices:
                return _freeze(histograms)
    return _freeze(histograms)


def _freeze(histograms: list[NDArray[np.int64]]) -> GreyStatistics:
    if len({len(counts) for counts in histograms}) > 1:
        raise MixedDepthError("the first images have 8 and 16 bits")
    return freeze(histograms)


def _of_depth(page: GreyPlane, grey: GreyStatistics) -> GreyPlane:
    """Refuse a page whose depth is not the one that grey was frozen for."""
    wide = (grey.low, grey.high) != (0.0, 255.0)
    if wide != (page.dtype == np.uint16):
        raise MixedDepthError("some images have 8 bits and others 16")
    return page
