"""Scores of a published network by the verbs' own functions: plain TIFF folders in, counts per image, intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from services.contracts.values import VoxelSize
from services.evaluation.bootstrap import f1_by_class, resample_weights, resampled
from services.evaluation.comparison import ImageCounts, LabelPair, Settings, count_image
from services.evaluation.hits import harmonic_f
from services.inference.prediction import predict_folder
from tests.benchmarks.science.results import Score

RESAMPLES, LEVEL = 2000, 0.95
Floats = NDArray[np.float64]
Measure = Callable[[NDArray[np.int64]], Floats]
"""From counts (..., ...) of images, or of resamples, to one figure of each."""


@dataclass(frozen=True, slots=True)
class Tested:
    """Where a network's answers to a test part lie.

    Attributes
    ----------
    images, truth, predicted
        Folders of TIFFs of the same names.
    """

    images: Path
    truth: Path
    predicted: Path

    def pair(self, name: str) -> LabelPair:
        """Return truth and prediction of a file."""
        truth, predicted = (tifffile.imread(folder / f"{name}.tif") for folder in (self.truth, self.predicted))
        return LabelPair(name, truth, predicted)

    @property
    def names(self) -> list[str]:
        """Files in the order of names."""
        return sorted(path.stem for path in self.truth.glob("*.tif"))


def predicted(model: Path, tested: Tested, voxel_nm: float) -> Tested:
    """Label the images of a test part as `fibsem-nuclei predict` does."""
    edge = VoxelSize(z_nm=voxel_nm, y_nm=voxel_nm, x_nm=voxel_nm)
    predict_folder(model, tested.images, tested.predicted, edge)
    return tested


@dataclass(frozen=True, eq=False, slots=True)
class Counted:
    """Counts of a test part, image by image: confusion (n, classes, classes), boundaries and centrelines."""

    confusion: NDArray[np.int64]
    boundary: NDArray[np.int64]
    centreline: NDArray[np.int64]


def counted(pairs: Sequence[LabelPair], settings: Settings) -> Counted:
    """Count every image, in the order of names, as `fibsem-nuclei evaluate` does."""
    counts: list[ImageCounts] = [count_image(pair, settings) for pair in sorted(pairs, key=lambda pair: pair.name)]
    return Counted(
        np.stack([each.confusion for each in counts]),
        np.stack([each.boundary for each in counts]),
        np.stack([each.centreline for each in counts]),
    )


def dice(label: int) -> Measure:
    """Return the Dice of a class (its F1) as a measure of confusions.

    >>> dice(1)(np.array([[6, 1], [1, 2]])).round(3).tolist()
    0.667
    """
    return lambda counts: np.asarray(f1_by_class(counts)[..., label])


def jaccard(label: int) -> Measure:
    """Return the Jaccard index of a class (its IoU) as a measure of confusions.

    >>> round(float(jaccard(1)(np.array([[6, 1], [1, 2]]))), 6)
    0.5
    """
    return lambda counts: _jaccard(np.asarray(f1_by_class(counts)[..., label]))


def macro(counts: NDArray[np.int64]) -> Floats:
    """Return the macro F1 over all classes that occur."""
    return np.asarray(np.nanmean(f1_by_class(counts), axis=-1))


def thin(label: int) -> Measure:
    """Return the harmonic mean of boundary or centreline hits of a class."""
    return lambda counts: np.asarray(harmonic_f(counts)[..., label])


def scored(counts: NDArray[np.int64], measure: Measure) -> tuple[float, float | None, float | None]:
    """Return a figure of all images together, and its interval by bootstrap over images; none with one image."""
    value = float(measure(counts.sum(axis=0)))
    if len(counts) < 2:
        return value, None, None
    low, high = _interval(measure(resampled(counts, resample_weights(len(counts), RESAMPLES, seed=0))))
    return value, low, high


def ahead(
    ours: NDArray[np.int64], theirs: NDArray[np.int64], measure: Measure
) -> tuple[float, float | None, float | None]:
    """Return by how much one network is ahead of another on the same images, with the interval of the difference.

    The same images are drawn for both, so that what makes an image hard for both has no part in the interval.
    """
    value = float(measure(ours.sum(axis=0)) - measure(theirs.sum(axis=0)))
    if len(ours) < 2:
        return value, None, None
    weights = resample_weights(len(ours), RESAMPLES, seed=0)
    return value, *_interval(measure(resampled(ours, weights)) - measure(resampled(theirs, weights)))


def score(
    name: str, counts: NDArray[np.int64], measure: Measure, published: str = "", goal: float | None = None
) -> Score:
    """Return a row of a task's table."""
    value, low, high = scored(counts, measure)
    return Score(name, value, low, high, published, goal)


def _jaccard(f1: Floats) -> Floats:
    return f1 / (2.0 - f1)


def _interval(drawn: Floats) -> tuple[float, float]:
    low, high = np.nanquantile(drawn, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    return float(low), float(high)
