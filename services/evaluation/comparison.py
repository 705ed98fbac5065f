"""Label images against label images: everything that can be said of them, image by image and together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from services.evaluation.bootstrap import (
    Counts,
    Floats,
    Interval,
    average_f1,
    f1_by_class,
    intervals,
    resample_weights,
    resampled,
)
from services.evaluation.boundaries import boundary_hits
from services.evaluation.calibration import DEFAULT_BINS, Calibration, Reliability, calibration, reliability
from services.evaluation.centrelines import centreline_hits
from services.evaluation.hits import harmonic_f
from services.evaluation.metrics import (
    Confusion,
    LabelRangeError,
    ShapeMismatchError,
    averages,
    class_scores,
    confusion,
)
from services.evaluation.scores import PixelScores

IGNORED = 255
"""Label of pixels that nobody annotated; as in annotated data sets."""
THIN_CLASSES = frozenset({"synaptonemal_complex", "sc", "nuclear_membrane", "membrane"})

Labels = NDArray[np.unsignedinteger]


class NothingToCompareError(ValueError):
    """There is no image, or no pixel with a truth in any of them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How label images are compared.

    Attributes
    ----------
    class_names
        Name of every class id, 0 .. classes - 1; 0 is the exterior or background.
    thin
        Names of the classes whose centrelines are compared.
    tolerance_px
        Of the boundary F.
    resamples, seed, level
        Of the bootstrap over images; level is the share of resamples within an interval.
    """

    class_names: Mapping[int, str]
    thin: frozenset[str] = THIN_CLASSES
    tolerance_px: float = 2.0
    resamples: int = 1000
    seed: int = 0
    level: float = 0.95


@dataclass(frozen=True, eq=False, slots=True)
class LabelPair:
    """One image: truth and prediction of one shape, (y, x) or (z, y, x); confidence of the prediction if known.

    A confidence is a probability from 0 to 1 of the class that was predicted; of the shape of the labels.
    """

    name: str
    truth: Labels
    prediction: Labels
    confidence: NDArray[np.floating] | None = None


@dataclass(frozen=True, eq=False, slots=True)
class ImageCounts:
    """What was counted in one image; counts of several add up.

    Attributes
    ----------
    confusion
        int64 (classes, classes), true class by row.
    boundary, centreline
        int64 (classes, 4), see `services.evaluation.hits`; centrelines of thin classes only.
    reliability
        float64 (bins, 3), zero without a confidence.
    ignored
        Pixels without a truth.
    """

    name: str
    confusion: Confusion
    boundary: Counts
    centreline: Counts
    reliability: Reliability
    ignored: int


@dataclass(frozen=True, slots=True)
class ImageScore:
    """F1 of one image over the classes that are true or predicted in it; None where no pixel has a truth."""

    name: str
    pixels: int
    f1_macro: float | None


@dataclass(frozen=True, eq=False, slots=True)
class Comparison:
    """The outcome of a comparison of label images.

    Attributes
    ----------
    settings
        How they were compared.
    pixels
        Scores of classes over all pixels together.
    f1
        F1 `macro`, `micro`, `weighted`, and each `_without_exterior`.
    confusion
        int64 (classes, classes), true class by row.
    boundary_f, cldice
        By class name; clDice of thin classes only. None where the class is neither true nor predicted.
    calibration
        None where no confidences were given.
    intervals
        By the names of the scores: `f1_macro`, `f1_chromosome`, `boundary_f_chromosome`, `cldice_membrane` ...; empty
        with one image, since one image says nothing of others.
    ignored
        Pixels without a truth.
    images
        In the order of names.
    """

    settings: Settings
    pixels: PixelScores
    f1: Mapping[str, float | None]
    confusion: Confusion
    boundary_f: Mapping[str, float | None]
    cldice: Mapping[str, float | None]
    calibration: Calibration | None
    intervals: Mapping[str, Interval]
    ignored: int
    images: tuple[ImageScore, ...]

    def as_json(self) -> dict[str, object]:
        """Return everything as plain values; the first keys are those of every other evaluation."""
        return {
            "classes": {name: asdict(score) for name, score in self.pixels.classes.items()},
            **{f"f1_{name}": value for name, value in self.f1.items()},
            "nuclei": None,
            "chromosomes": None,
            "clipped_nuclei": None,
            "invented": [],
            "per_nucleus": [],
            "boundary_f": dict(self.boundary_f),
            "boundary_tolerance_px": self.settings.tolerance_px,
            "cldice": dict(self.cldice),
            "calibration": asdict(self.calibration) if self.calibration else None,
            "confusion": {"classes": list(self.pixels.classes), "counts": self.confusion.tolist()},
            "intervals": {name: [found.low, found.high] for name, found in self.intervals.items()},
            "bootstrap": {
                "over": "images",
                "resamples": self.settings.resamples,
                "seed": self.settings.seed,
                "level": self.settings.level,
            },
            "ignored_pixels": self.ignored,
            "images": [asdict(image) for image in self.images],
        }


def compare(pairs: Iterable[LabelPair], settings: Settings) -> Comparison:
    """Compare label images with the truth.

    Every score is of counts summed over all images, and of pixels that have a truth (label 255 has none).

    Raises
    ------
    LabelRangeError
        If a label is none of the classes, or a prediction leaves out a pixel that has a truth.
    ShapeMismatchError
        If truth, prediction and confidence differ in shape.
    NothingToCompareError
        If no pixel has a truth.

    Examples
    --------
    >>> pair = LabelPair("a", np.array([[0, 1, 1, 255]], np.uint8), np.array([[0, 1, 0, 1]], np.uint8))
    >>> found = compare([pair], Settings({0: "background", 1: "mitochondrion"}))
    >>> found.confusion.tolist(), found.ignored
    ([[1, 0], [1, 1]], 1)
    """
    counts = sorted((count_image(pair, settings) for pair in pairs), key=lambda counted: counted.name)
    if not any(counted.confusion.any() for counted in counts):
        raise NothingToCompareError("no pixel has a truth: give at least one image with labels other than 255")
    names = _names(settings)
    confusions = np.stack([counted.confusion for counted in counts])
    boundaries = np.stack([counted.boundary for counted in counts])
    centrelines = np.stack([counted.centreline for counted in counts])
    reliable = np.sum([counted.reliability for counted in counts], axis=0)
    total = confusions.sum(axis=0)
    lines = _values(harmonic_f(centrelines.sum(axis=0)), names)
    return Comparison(
        settings=settings,
        pixels=_pixels(total, names),
        f1={name: _known(value) for name, value in average_f1(total).items()},
        confusion=total,
        boundary_f=_values(harmonic_f(boundaries.sum(axis=0)), names),
        cldice={name: value for name, value in lines.items() if name in settings.thin},
        calibration=calibration(reliable) if reliable.any() else None,
        intervals=_intervals(confusions, boundaries, centrelines, settings),
        ignored=sum(counted.ignored for counted in counts),
        images=tuple(_image_score(counted) for counted in counts),
    )


def count_image(pair: LabelPair, settings: Settings) -> ImageCounts:
    """Count one image; boundaries and centrelines are of planes (y, x), and those of a stack are added.

    Raises
    ------
    LabelRangeError, ShapeMismatchError
        As in `compare`.
    """
    _check(pair, len(settings.class_names))
    counted = pair.truth != IGNORED
    right = pair.truth[counted] == pair.prediction[counted]
    planes = list(_planes(pair))
    names = _names(settings)
    empty = np.zeros((len(names), 4), np.int64)
    boundaries, centrelines = empty.copy(), empty.copy()
    for truth, prediction, known in planes:
        for label, name in enumerate(names):
            true, found = truth == label, prediction == label
            boundaries[label] += boundary_hits(true, found, known, settings.tolerance_px)
            if name in settings.thin:
                centrelines[label] += centreline_hits(true, found, known)
    return ImageCounts(
        name=pair.name,
        confusion=confusion(pair.truth[counted], pair.prediction[counted], len(names)),
        boundary=boundaries,
        centreline=centrelines,
        reliability=np.zeros((DEFAULT_BINS, 3))
        if pair.confidence is None
        else reliability(pair.confidence[counted], right),
        ignored=int(counted.size - np.count_nonzero(counted)),
    )


def _check(pair: LabelPair, classes: int) -> None:
    if pair.truth.shape != pair.prediction.shape or pair.truth.ndim not in (2, 3):
        said = f"truth has shape {pair.truth.shape}, the prediction {pair.prediction.shape}"
        raise ShapeMismatchError(f"{pair.name}: {said}; both must be (y, x) or (z, y, x) of one shape")
    if pair.confidence is not None and pair.confidence.shape != pair.truth.shape:
        raise ShapeMismatchError(
            f"{pair.name}: the confidence has shape {pair.confidence.shape}, not that of the truth"
        )
    counted = pair.truth != IGNORED
    for what, labels in (("truth", pair.truth), ("prediction", pair.prediction)):
        top = int(labels[counted].max(initial=0))
        if top >= classes:
            raise LabelRangeError(f"{pair.name}: {what} has label {top}, but classes are 0 to {classes - 1}")


def _planes(pair: LabelPair) -> Iterator[tuple[Labels, Labels, NDArray[np.bool_]]]:
    truth = pair.truth if pair.truth.ndim == 3 else pair.truth[None]
    prediction = pair.prediction if pair.prediction.ndim == 3 else pair.prediction[None]
    for true_yx, found_yx in zip(truth, prediction, strict=True):
        yield true_yx, found_yx, true_yx != IGNORED


def _names(settings: Settings) -> list[str]:
    return [settings.class_names[label] for label in range(len(settings.class_names))]


def _pixels(total: Confusion, names: list[str]) -> PixelScores:
    return PixelScores(dict(zip(names, class_scores(total), strict=True)), averages(total))


def _image_score(counted: ImageCounts) -> ImageScore:
    pixels = int(counted.confusion.sum())
    return ImageScore(counted.name, pixels, _known(average_f1(counted.confusion)["macro"]))


def _intervals(confusions: Counts, boundaries: Counts, centrelines: Counts, settings: Settings) -> dict[str, Interval]:
    if len(confusions) < 2 or not settings.resamples:
        return {}
    weights = resample_weights(len(confusions), settings.resamples, settings.seed)
    drawn = resampled(confusions, weights)
    values = {f"f1_{name}": value for name, value in average_f1(drawn).items()}
    columns: tuple[tuple[str, Floats], ...] = (
        ("f1", f1_by_class(drawn)),
        ("boundary_f", harmonic_f(resampled(boundaries, weights))),
        ("cldice", harmonic_f(resampled(centrelines, weights))),
    )
    for score, table in columns:
        values |= {f"{score}_{name}": table[:, label] for label, name in enumerate(_names(settings))}
    return intervals(values, settings.level)


def _values(values: Floats, names: list[str]) -> dict[str, float | None]:
    return {name: _known(value) for name, value in zip(names, values, strict=True)}


def _known(value: Floats | np.float64) -> float | None:
    return None if np.isnan(value) else float(value)
