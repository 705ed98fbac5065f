"""Pages of TIFF files as 8-bit planes of one grey mapping, and labels brought back to a page's pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.contracts.model_card import FixedNormalisation, Normalising
from services.imaging.formats.description import GreyPlane
from services.imaging.grey import GreyStatistics, freeze, histogram, to_uint8
from services.imaging.resampling import labels_to_shape
from services.imaging.tiff import TiffReader, inspect
from services.imaging.tiff_faults import TiffError

Plane = NDArray[np.uint8]

# Where constants normalise, the first pages only say how 16 bits become 8, and that only where the card does not.
_STRETCHED_PAGES = 16


class MixedDepthError(ValueError):
    """Images of 8 and of 16 bits were given together; one mapping of grey cannot serve both."""


def page_count(path: Path) -> int:
    """Return the number of pages of a TIFF."""
    with _named(path), path.open("rb") as file:
        return len(inspect(file).pages)


def frozen_grey(paths: list[Path], normalisation: Normalising) -> GreyStatistics:
    """Freeze the grey mapping from the first pages in order of names, as an acquisition does.

    Mean and deviation are those of these pages too, unless the network's card fixes them; so is what 16 bits become,
    unless the card says how those of the images learned from became 8.
    """
    if not isinstance(normalisation, FixedNormalisation):
        return _first_grey(paths, normalisation.first_slices)
    first = _first_grey(paths, _STRETCHED_PAGES)
    low, high = first.low, first.high
    if _is_wide(first) and normalisation.low is not None and normalisation.high is not None:
        low, high = normalisation.low, normalisation.high
    return GreyStatistics(low, high, normalisation.mean, normalisation.sd)


def mapped_pages(path: Path, grey: GreyStatistics) -> Iterator[Plane]:
    """Yield the pages of a file as 8-bit planes.

    Raises
    ------
    MixedDepthError
        If a page has another depth than grey was frozen for.
    """
    return (to_uint8(_of_depth(page, grey, path), grey.low, grey.high) for page in _pages(path))


def mapped_page(path: Path, page: int, grey: GreyStatistics) -> Plane:
    """Return one page of a file as an 8-bit plane; see `mapped_pages`."""
    with _named(path), path.open("rb") as file:
        return to_uint8(_of_depth(TiffReader(file).read(page), grey, path), grey.low, grey.high)


def brought_back(labels_yx: Plane, shape_yx: tuple[int, ...], model_nm: float, image_nm: tuple[float, float]) -> Plane:
    """Resample labels to the pixels of an image, one axis after the other.

    Parameters
    ----------
    labels_yx
        uint8, at the network's voxel size.
    shape_yx
        Rows and columns of the image.
    model_nm, image_nm
        Edges of their pixels: the network's, and the image's along y and x.
    """
    rows, columns = shape_yx
    tall = labels_to_shape(labels_yx, (rows, labels_yx.shape[1]), (model_nm, image_nm[0]), image_nm[0])
    return np.asarray(labels_to_shape(tall, (rows, columns), (image_nm[1], model_nm), image_nm[1]), np.uint8)


def _pages(path: Path) -> Iterator[GreyPlane]:
    with path.open("rb") as file:
        with _named(path):
            reader = TiffReader(file)
        for page in range(len(reader.description.pages)):
            with _named(path):
                plane = reader.read(page)
            yield plane


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Have what is wrong with a TIFF say which file it is."""
    try:
        yield
    except TiffError as fault:
        raise type(fault)(f"{path.name}: {fault}") from fault


def _first_grey(paths: list[Path], first_slices: int) -> GreyStatistics:
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


def _of_depth(page: GreyPlane, grey: GreyStatistics, path: Path) -> GreyPlane:
    """Refuse a page whose depth is not the one that grey was frozen for."""
    if _is_wide(grey) != (page.dtype == np.uint16):
        raise MixedDepthError(f"{path.name}: some images have 8 bits and others 16: give them apart")
    return page


def _is_wide(grey: GreyStatistics) -> bool:
    """Return whether grey of 16 bits is mapped: of 8 bits it is kept as it is."""
    return (grey.low, grey.high) != (0.0, 255.0)
