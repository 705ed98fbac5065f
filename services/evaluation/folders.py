"""Reads folders of label images, and of the confidences and images that belong to them, by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from services.evaluation.comparison import IGNORED, Comparison, LabelPair, Settings, compare
from services.evaluation.reading import EvaluationInputError, Labels, label_images, read_labels

_READING_FAULTS = (tifffile.TiffFileError, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the files of a comparison lie; files of all folders have the same names.

    Attributes
    ----------
    truth, prediction
        Label TIFFs of unsigned integers, (y, x) or (z, y, x); 255 in the truth is ignored.
    confidence
        TIFFs of the probability of the predicted class, of the labels' shape, or of every class, with one axis of
        classes before; floats from 0 to 1, or unsigned integers of which the largest is 1. None without.
    images
        TIFFs of what was segmented, for pictures. None without.
    partial
        Whether images without a prediction are left out rather than refused.
    no_truth
        Names of images that are not compared, as their labels in `truth` are no truth.
    masks
        Those of `truth` and `prediction` that hold masks, in which 255 is class 1; see `told_masks`.
    """

    truth: Path
    prediction: Path
    confidence: Path | None = None
    images: Path | None = None
    partial: bool = False
    no_truth: frozenset[str] = frozenset()
    masks: frozenset[Path] = frozenset()


def compare_folders(folders: Folders, settings: Settings) -> Comparison:
    """Compare the label images of two folders, one image in memory at a time.

    Raises
    ------
    EvaluationInputError
        If a folder or file is not what it should be, or names differ.
    LabelRangeError, ShapeMismatchError, NothingToCompareError
        As in `services.evaluation.comparison.compare`.
    ConfidenceRangeError
        If confidences are no probabilities.
    """
    return compare(_pairs(folders), settings)


def names_of(folders: Folders) -> list[str]:
    """Return the names of the images to compare.

    Raises
    ------
    EvaluationInputError
        If names differ, or there are none.
    """
    for folder in (folders.truth, folders.prediction):
        if not folder.is_dir():
            raise EvaluationInputError(f"{folder} is not a folder")
    true, predicted = (label_images(folder).keys() - folders.no_truth for folder in (folders.truth, folders.prediction))
    unpaired = sorted(predicted - true if folders.partial else predicted ^ true)
    if unpaired:
        said = "" if folders.partial or not true - predicted else "; --partial leaves out what was not predicted"
        raise EvaluationInputError(f"{len(unpaired)} images without a partner, such as {unpaired[0]}{said}")
    if not predicted:
        raise EvaluationInputError(f"{folders.prediction} holds no TIFF")
    return sorted(predicted)


def load(folders: Folders, name: str) -> LabelPair:
    """Read truth, prediction and, where there is a folder of them, confidence of one image.

    Raises
    ------
    EvaluationInputError
        If a file is missing or not what it should be.
    """
    truth, prediction = (_labels(folders, folder / name) for folder in (folders.truth, folders.prediction))
    confidence = None if folders.confidence is None else _confidence(folders.confidence / name, prediction)
    return LabelPair(name, truth, prediction, confidence)


def told_masks(folders: Folders, settings: Settings) -> Folders:
    """Find out which of truth and prediction are masks, as many programs write them: 0 and 255, in all images.

    With two classes that is what they must be, since as labels they would hold no pixel of class 1. A truth with the
    manifest of a data set says itself what is unlabelled.

    Raises
    ------
    EvaluationInputError
        If the truth holds 0 and 255 only, and there are more than two classes to choose from.
    """
    names = names_of(folders)
    stated = (folders.truth.parent / "dataset.json").is_file()
    places = {folders.prediction} if stated else {folders.truth, folders.prediction}
    found = frozenset(folder for folder in places if _are_masks([folder / name for name in names]))
    if len(settings.class_names) == 2:
        return replace(folders, masks=found)
    if folders.truth in found:
        raise EvaluationInputError(
            f"{folders.truth} holds 0 and 255 only, and 255 is unlabelled. If these are masks of one class, name the "
            "two: --classes background,mitochondrion; otherwise write the ids of the classes"
        )
    return folders


def load_image(folders: Folders, pair: LabelPair) -> NDArray[np.uint8] | None:
    """Read what was segmented as uint8, grey stretched where it has more bits; None where there is no such file.

    Raises
    ------
    EvaluationInputError
        If it cannot be read or has not the shape of the labels.
    """
    if folders.images is None or not (folders.images / pair.name).is_file():
        return None
    image = _read(folders.images / pair.name)
    if image.shape != pair.truth.shape:
        raise EvaluationInputError(f"image {pair.name} has shape {image.shape}, its labels {pair.truth.shape}")
    if image.dtype == np.uint8:
        return np.asarray(image, np.uint8)
    low, high = (float(grey) for grey in np.percentile(image, [0.5, 99.5]))
    scaled = (image.astype(np.float32) - low) * (255.0 / max(high - low, 1e-6))
    return np.asarray(np.clip(scaled, 0.0, 255.0), np.uint8)


def _pairs(folders: Folders) -> Iterator[LabelPair]:
    for name in names_of(folders):
        yield load(folders, name)


def _labels(folders: Folders, path: Path) -> Labels:
    labels = read_labels(path)
    return np.asarray(np.minimum(labels, 1), np.uint8) if path.parent in folders.masks else labels


def _are_masks(paths: list[Path]) -> bool:
    """Say whether images hold 0 and 255 only, and 255 at all; the first that does not ends the reading."""
    any_inside = False
    for path in paths:
        labels = read_labels(path)
        inside = labels == IGNORED
        if not (inside | (labels == 0)).all():
            return False
        any_inside |= bool(inside.any())
    return any_inside


def _confidence(path: Path, prediction: Labels) -> NDArray[np.floating]:
    values = _read(path)
    if np.issubdtype(values.dtype, np.unsignedinteger):
        values = values.astype(np.float32) / np.iinfo(values.dtype).max
    if not np.issubdtype(values.dtype, np.floating):
        raise EvaluationInputError(f"{path} holds {values.dtype}, not probabilities")
    if values.shape[1:] == prediction.shape:
        if int(prediction.max(initial=0)) >= len(values):
            raise EvaluationInputError(f"{path} holds {len(values)} classes, but class {prediction.max()} is predicted")
        values = np.take_along_axis(values, prediction[None].astype(np.intp), axis=0)[0]
    return values


def _read(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(tifffile.imread(path))
    except _READING_FAULTS as error:
        raise EvaluationInputError(f"{path} cannot be read: {error}") from error
