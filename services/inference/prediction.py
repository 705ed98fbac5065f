"""Labels a folder of images with published networks, without an acquisition around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path

import tifffile

from services.contracts.values import VoxelSize
from services.inference.answers import open_labeller
from services.inference.pages import Plane, page_count

SUFFIXES = frozenset({".tif", ".tiff"})
BIGTIFF_BYTES = 2**31


class NoImagesError(ValueError):
    """There is nothing to label."""


class OverwriteError(ValueError):
    """What is written would replace the images, or one another."""


def predict_folder(
    model: Path,
    images: Path,
    out: Path,
    voxel_size: VoxelSize | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    confidence: Path | None = None,
) -> int:
    """Write one uint8 label TIFF per image, of the same name, pages and shape.

    Parameters
    ----------
    model
        Folder of one published network, whose classes are written as its card numbers them, or folder of several:
        those of the recommended rules are fused, of others the one nearest to the images' voxel size is taken, if
        there is one.
    images
        A TIFF, or a folder of TIFFs.
    out
        Folder for the label images.
    voxel_size
        Of the images; None means that of the networks.
    progress
        Is told how many pages are labelled, and of how many.
    confidence
        Folder for one uint8 TIFF per image, of the same name, pages and shape: the probability of the class that was
        written, 255 for 1; None writes none.

    Returns
    -------
    int
        Number of files written.

    Raises
    ------
    NoImagesError
        If there is no TIFF.
    OverwriteError
        If the labels or confidences would replace the images, or one another.
    MixedDepthError
        If some images have 8 bits and others 16.
    ModelSetError
        If the model is not whole and unaltered, or it is not said which of several is meant.
    """
    paths = image_paths(images)
    _refuse_overwriting(paths[0].parent, out, confidence)
    total, done = sum(page_count(path) for path in paths), 0
    with open_labeller(model, paths, voxel_size) as labeller:
        answers = labeller.answers(lambda _path, _page: True)
        for path, pages in groupby(answers, key=lambda answer: answer[0]):
            with ExitStack() as files:
                write_labels = files.enter_context(_written(out, path))
                write_confidence = files.enter_context(_written(confidence, path)) if confidence else None
                for _, _, labels in pages:
                    write_labels(labels.classes_yx)
                    if write_confidence:
                        write_confidence(labels.confidence_yx)
                    done += 1
                    progress(done, total)
    return len(paths)


def _refuse_overwriting(images: Path, out: Path, confidence: Path | None) -> None:
    taken = {images.resolve(): "the images themselves"}
    for what, folder in (("labels", out), ("confidences", confidence)):
        if folder is None:
            continue
        if (holds := taken.get(folder.resolve())) is not None:
            raise OverwriteError(f"{folder} holds {holds}: give another folder for the {what}")
        taken[folder.resolve()] = f"the {what}"


@contextmanager
def _written(out: Path, image: Path) -> Iterator[Callable[[Plane], None]]:
    """Write a TIFF of an image's name page by page; it is there whole, or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    part = out / f"{image.name}.part"
    with tifffile.TiffWriter(part, bigtiff=image.stat().st_size > BIGTIFF_BYTES) as writer:

        def write(plane: Plane) -> None:
            writer.write(plane, photometric="minisblack", compression="deflate", metadata=None)

        yield write
    part.replace(out / image.name)


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
