"""Labels a folder of images with published networks, without an acquisition around them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import tifffile

from services.contracts.values import VoxelSize
from services.inference.answers import open_labeller
from services.inference.pages import page_count

SUFFIXES = frozenset({".tif", ".tiff"})
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
    paths = image_paths(images)
    if paths[0].parent.resolve() == out.resolve():
        raise OverwriteError(f"{out} holds the images themselves: give another folder for the labels")
    total, done = sum(page_count(path) for path in paths), 0
    out.mkdir(parents=True, exist_ok=True)
    with open_labeller(model, paths, voxel_size) as labeller:
        answers = labeller.answers(lambda _path, _page: True)
        for path, pages in groupby(answers, key=lambda answer: answer[0]):
            part = out / f"{path.name}.part"
            with tifffile.TiffWriter(part, bigtiff=path.stat().st_size > BIGTIFF_BYTES) as writer:
                for _, _, labels in pages:
                    writer.write(labels.classes_yx, photometric="minisblack", compression="deflate", metadata=None)
                    done += 1
                    progress(done, total)
            # A label image is there whole, or not at all.
            part.replace(out / path.name)
    return len(paths)


def image_paths(images: Path) -> list[Path]:
    """Return the TIFFs of a folder in the order of their names, or the one that is given.

    Raises
    ------
    NoImagesError
        If there is none.
    """
    found = sorted(images.iterdir()) if images.is_dir() else [images]
    paths = [path for path in found if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise NoImagesError(f"{images} holds no {' or '.join(sorted(SUFFIXES))} file")
    return paths
