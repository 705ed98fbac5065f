"""Annotated images as planes to learn from: divided, stacked by shape, neighbours in z kept beside each other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.contracts.model_card import AnnotatedSource, PseudoLabels
from services.imaging.grey import GreyStatisticsError, freeze, histogram
from services.trainer.annotations.dataset import AnnotatedDataset, ImageEntry
from services.trainer.datasets import DataRequestError, PlaneSet
from services.trainer.splits import Part, Sample, Split, refuse_pseudo_judges


@dataclass(frozen=True, slots=True)
class AnnotatedParts:
    """A data set divided.

    Attributes
    ----------
    training, validation, test
        Planes of each part, all normalised by the training part's grey.
    source
        Of the training part, for the card.
    """

    training: list[PlaneSet]
    validation: list[PlaneSet]
    test: list[PlaneSet]
    source: AnnotatedSource


def samples_of(dataset: AnnotatedDataset) -> tuple[Sample, ...]:
    """Return the images of a data set as splits see them; those without a label are left out."""
    return tuple(
        Sample(entry.name, entry.nucleus, entry.z, entry.similar, entry.pseudo_label is not None)
        for entry in dataset.manifest.images
        if entry.labelled_px
    )


def divided(dataset: AnnotatedDataset, split: Split) -> AnnotatedParts:
    """Load the images of each part of a split.

    A neighbour in z that is of another part is never shown: the run of planes ends there.

    Raises
    ------
    DataRequestError
        If the split names an image that the data set lacks, or the training images have one grey value.
    NotADatasetError
        If an image or its labels changed since the import: hashes, and so checkpoints and cards, would not say so.
    PseudoJudgeError
        If the split has an image judge networks, or taught near one that does, whose labels networks proposed.
    """
    known = {entry.name: entry for entry in dataset.manifest.images}
    if strange := sorted(set(split.part_of) - set(known)):
        raise DataRequestError(f"{dataset.folder.name} has no images {strange[:5]}, which the split names")
    refuse_pseudo_judges(split, samples_of(dataset))
    source = AnnotatedSource(
        dataset=dataset.folder.name,
        sha256=dataset_hash(dataset),
        images=split.training,
        split=split.kind,
        split_seed=split.seed,
        distance_planes=split.distance_planes,
        pseudo_labels=_pseudo_labels([known[name] for name in split.training]),
    )
    mean, sd = _grey_of(dataset, split.training)
    loaded = {
        part: _plane_sets(dataset, [known[name] for name in names], (mean, sd), source)
        for part, names in (
            (Part.TRAINING, split.training),
            (Part.VALIDATION, split.validation),
            (Part.TEST, split.test),
        )
    }
    return AnnotatedParts(loaded[Part.TRAINING], loaded[Part.VALIDATION], loaded[Part.TEST], source)


def dataset_hash(dataset: AnnotatedDataset) -> str:
    """Return a hash of classes, names and pixels of a data set, and of which images nobody annotated."""
    lines = [f"{c.class_id} {c.name}" for c in dataset.manifest.classes]
    lines += [f"{image.name} {image.image_sha256} {image.label_sha256}" for image in dataset.manifest.images]
    lines += [f"pseudo {name}" for name in dataset.manifest.pseudo_labelled]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _pseudo_labels(entries: Sequence[ImageEntry]) -> PseudoLabels | None:
    proposed = {entry.name: entry.pseudo_label for entry in entries if entry.pseudo_label is not None}
    if not proposed:
        return None
    return PseudoLabels(
        images=tuple(proposed),
        networks=tuple(sorted({address for label in proposed.values() for address in label.networks})),
        corrected=sum(label.corrected for label in proposed.values()),
    )


def _grey_of(dataset: AnnotatedDataset, names: Sequence[str]) -> tuple[float, float]:
    """Return mean and standard deviation of all training pixels together."""
    try:
        grey = freeze([histogram(dataset.load(name).image_yx) for name in names])
    except GreyStatisticsError as fault:
        raise DataRequestError(f"the training images of {dataset.folder.name} show nothing: {fault}") from fault
    return grey.mean, grey.sd


def _plane_sets(
    dataset: AnnotatedDataset,
    entries: Sequence[ImageEntry],
    grey: tuple[float, float],
    source: AnnotatedSource,
) -> list[PlaneSet]:
    """Stack images of one shape, in order of nucleus and z; planes whose z follow each other are a run."""
    shapes = sorted({(entry.height_px, entry.width_px) for entry in entries})
    return [
        _plane_set(dataset, [e for e in entries if (e.height_px, e.width_px) == shape], grey, source)
        for shape in shapes
    ]


def _plane_set(
    dataset: AnnotatedDataset, entries: Sequence[ImageEntry], grey: tuple[float, float], source: AnnotatedSource
) -> PlaneSet:
    ordered = sorted(entries, key=lambda e: (e.nucleus or "", e.z is None, e.z or 0, e.name))
    pairs = [dataset.load_unchanged(entry.name) for entry in ordered]
    runs: list[int] = []
    for before, entry in zip([None, *ordered], ordered, strict=False):
        follows = before is not None and _follows(before, entry)
        runs = [*runs[:-1], runs[-1] + 1] if follows else [*runs, 1]
    return PlaneSet(
        np.stack([pair.image_yx for pair in pairs]),
        np.stack([pair.labels_yx for pair in pairs]),
        *grey,
        source,
        tuple(runs),
    )


def _follows(before: ImageEntry, entry: ImageEntry) -> bool:
    return (
        entry.nucleus is not None
        and entry.nucleus == before.nucleus
        and entry.z is not None
        and before.z is not None
        and entry.z == before.z + 1
    )
