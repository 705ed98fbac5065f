"""What a recipe's networks learn from, are selected by and are scored on, whatever kind of data it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.contracts.classes import LabelClass
from services.contracts.model_card import (
    AnnotatedScores,
    AnySource,
    ClassScore,
    FixedNormalisation,
    HeldOutScores,
    Normalising,
)
from services.trainer.annotated import AnnotatedParts, divided, samples_of
from services.trainer.annotations.dataset import AnnotatedDataset, read_dataset
from services.trainer.datasets import DataRequestError, Grow, PlaneRequest, PlaneSet, stored_planes
from services.trainer.recipes import AnnotatedRecipe, NetworkRecipe, PhantomRecipe, Recipe
from services.trainer.splits import (
    Split,
    SplitRule,
    distance_in_planes,
    split_by_block,
    split_by_image,
    split_by_nucleus,
    split_by_place,
)

_SPLITS = {
    "place": split_by_place,
    "nucleus": split_by_nucleus,
    "z-block": split_by_block,
    "image": split_by_image,
}


@dataclass(frozen=True, slots=True)
class DataSets:
    """The data of one network.

    Attributes
    ----------
    training, validation
        Planes to learn from, and to be selected by.
    held_out
        Returns the planes to be scored on, when they are wanted.
    sources
        For the card.
    scored
        Turns scores into what the card says of them.
    sha256
        Of what the recipe does not say itself.
    remark
        What a person should know of the data; empty if there is nothing.
    """

    training: Sequence[PlaneSet]
    validation: Sequence[PlaneSet]
    held_out: Callable[[], Sequence[PlaneSet]]
    sources: tuple[AnySource, ...]
    voxel_size_nm: float
    normalisation: Normalising
    scored: Callable[[tuple[ClassScore, ...]], HeldOutScores | AnnotatedScores]
    sha256: str = ""
    remark: str = ""


def phantom_data(recipe: Recipe, network: NetworkRecipe, work: Path, grow: Grow) -> DataSets:
    """Return planes of phantoms, collected now or before.

    Parameters
    ----------
    recipe
        Whose data are phantoms.
    network
        Says how many planes are shown together.
    work
        Folder where planes are kept.
    grow
        From seed, voxel size and number of nuclei to a specimen.
    """
    data = recipe.data
    assert isinstance(data, PhantomRecipe)
    neighbours = 0 if network.architecture == "auto" else network.architecture.neighbours
    request = PlaneRequest(
        voxel_size_nm=data.voxel_size_nm,
        nuclei=data.nuclei_per_phantom,
        planes=data.planes_per_phantom,
        first_slices=recipe.field_normalisation.first_slices,
        slab_planes=max(2 * neighbours + 1, network.optimiser.patch_planes),
        middle_labelled=network.optimiser.patch_planes == 1,
    )

    def planes(seeds: Sequence[int]) -> list[PlaneSet]:
        return [stored_planes(work, seed, request, grow) for seed in seeds]

    training = planes(data.training_seeds)
    return DataSets(
        training=training,
        validation=planes(data.validation_seeds),
        held_out=lambda: planes(data.held_out_seeds),
        sources=tuple(plane_set.source for plane_set in training),
        voxel_size_nm=data.voxel_size_nm,
        normalisation=recipe.field_normalisation,
        scored=lambda classes: HeldOutScores(
            seeds=data.held_out_seeds, planes=len(data.held_out_seeds) * data.planes_per_phantom, classes=classes
        ),
    )


def annotated_data(recipe: Recipe, network: NetworkRecipe, here: Path) -> DataSets:
    """Return annotated images, divided as the recipe says.

    Parameters
    ----------
    recipe
        Whose data are annotated images.
    network
        Whose classes must be there.
    here
        Folder from which the recipe names others.

    Raises
    ------
    DataRequestError
        If a class of the data set has no output, an output no class, or a class no pixel to learn from; if exterior
        is to be ignored and class 0 is something else; or if the voxel size is not known.
    NotADatasetError, SplitError
        If the data set cannot be read, or not be divided.
    """
    data = recipe.data
    assert isinstance(data, AnnotatedRecipe)
    dataset = read_dataset(here / data.folder)
    _refuse_other_classes(dataset, network)
    _refuse_ignoring_another_class(dataset, network)
    split = _split(dataset, data, here)
    parts = divided(dataset, split)
    _refuse_classes_without_pixels(parts, network)
    first = parts.training[0]
    stretch = dataset.manifest.grey.model_dump() if dataset.manifest.grey else {}
    normalisation = recipe.normalisation or FixedNormalisation(kind="fixed", mean=first.mean, sd=first.sd, **stretch)
    return DataSets(
        training=parts.training,
        validation=parts.validation,
        held_out=lambda: parts.test,
        sources=(parts.source,),
        voxel_size_nm=_voxel_size_nm(dataset, data),
        normalisation=normalisation,
        scored=lambda classes: AnnotatedScores(
            dataset=parts.source.dataset,
            sha256=parts.source.sha256,
            split=split.kind,
            images=split.test,
            classes=classes,
        ),
        sha256=hashlib.sha256(f"{parts.source.sha256}\n{split.model_dump_json()}".encode()).hexdigest(),
        remark=_said_of_pseudo_labels(dataset, split),
    )


def _said_of_pseudo_labels(dataset: AnnotatedDataset, split: Split) -> str:
    """Say how many of the images that are learned from nobody annotated, and how many could not be used."""
    pseudo = {*dataset.manifest.pseudo_labelled}
    if not pseudo:
        return ""
    used = pseudo & {*split.training}
    said = f"learns from {len(split.training)} images of {dataset.folder.name}, {len(used)} of them pseudo-labelled"
    if near := pseudo & {*split.left_out}:
        said += f"; {len(near)} pseudo-labelled ones are left out, as they lie too near to images that judge"
    if unnamed := pseudo - used - near:
        said += f"; {len(unnamed)} pseudo-labelled ones are in no part of the split"
    return f"{said}; only annotated images judge"


def _split(dataset: AnnotatedDataset, data: AnnotatedRecipe, here: Path) -> Split:
    if data.split_file is not None:
        return Split.model_validate_json((here / data.split_file).read_bytes())
    size = dataset.manifest.voxel_size
    distance = distance_in_planes(data.distance_nm, size.z_nm if size else data.voxel_size_nm)
    rule = SplitRule(data.split_seed, data.test, data.validation, distance)
    return _SPLITS[data.split](samples_of(dataset), rule)


def _voxel_size_nm(dataset: AnnotatedDataset, data: AnnotatedRecipe) -> float:
    if data.voxel_size_nm is not None:
        return data.voxel_size_nm
    size = dataset.manifest.voxel_size
    if size is None:
        raise DataRequestError(f"{dataset.folder.name} does not say how large a pixel is: give voxel_size_nm")
    if size.y_nm != size.x_nm:
        raise DataRequestError(
            f"pixels of {dataset.folder.name} are {size.y_nm:g} nm high and {size.x_nm:g} nm wide, and a network takes "
            "square ones: resample the images, or give as voxel_size_nm the edge to take for both"
        )
    return size.y_nm


def _refuse_other_classes(dataset: AnnotatedDataset, network: NetworkRecipe) -> None:
    there = {c.class_id: c.name for c in dataset.manifest.classes}
    wanted = {int(output.class_id): output.name for output in network.outputs}
    if missing := {name for class_id, name in wanted.items() if class_id not in there}:
        raise DataRequestError(
            f"{network.name}: {dataset.folder.name} has no class {sorted(missing)}; it has {sorted(there.values())}"
        )
    if homeless := {name for class_id, name in there.items() if class_id not in network.classes}:
        raise DataRequestError(
            f"{network.name}: no output stands for {sorted(homeless)} of {dataset.folder.name}: add one, or "
            "let another absorb it"
        )


def _refuse_ignoring_another_class(dataset: AnnotatedDataset, network: NetworkRecipe) -> None:
    named = [c.name for c in dataset.manifest.classes if c.class_id == LabelClass.EXTERIOR]
    if network.optimiser.ignore_exterior and named not in ([], [LabelClass.EXTERIOR.label]):
        raise DataRequestError(
            f"{network.name}: ignore_exterior, which profile manuscript sets, would leave class 0 out of the loss, and "
            f"in {dataset.folder.name} that is {named[0]}: say ignore_exterior = false under [networks.optimiser]"
        )


def _refuse_classes_without_pixels(parts: AnnotatedParts, network: NetworkRecipe) -> None:
    counts = np.zeros(256, np.int64)
    for plane_set in parts.training:
        counts += np.bincount(network.channels[plane_set.classes_zyx].ravel(), minlength=256)
    empty = [output.name for channel, output in enumerate(network.outputs) if not counts[channel]]
    if empty:
        raise DataRequestError(
            f"{network.name}: no training image shows {empty}: annotate some, or divide with another split_seed"
        )
