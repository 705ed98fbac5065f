"""A training run: recipe in, published networks out; it goes on where it was stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from services.contracts.model_card import HeldOutScores, ModelCard, OutputClass, TrainingSettings
from services.trainer.augmentation import jittered_normalisation, varied
from services.trainer.datasets import Grow, Patch, PatchRule, PatchSource, PlaneRequest, PlaneSet, stored_planes
from services.trainer.networks import build_network, folded_network, parameter_count
from services.trainer.publishing import encoded_weights, exported_archive, publish
from services.trainer.recipes import NetworkRecipe, Recipe, read_recipe
from services.trainer.scoring import Confusion, class_scores, confusion
from services.trainer.training import Batch, Fit, Progress, Trainer, Weights

Report = Callable[[Progress], None]

# Every fourth plane judges a network while it learns; all of them score it in the end.
VALIDATION_STRIDE = 4


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where a run keeps what it needs to be resumed, where phantoms come from, and who hears of it.

    Attributes
    ----------
    out
        Folder of published models.
    work
        Folder of planes and checkpoints.
    grow
        From seed, voxel size and number of nuclei to a specimen.
    report
        Called after each validation, from the threads that train.
    """

    out: Path
    work: Path
    grow: Grow
    report: Report


def train(recipe_path: Path, workplace: Workplace, threads: int = 2) -> tuple[Path, ...]:
    """Train and publish every network of a recipe.

    Each network is trained on one thread, so that its weights do not depend on how many train at a time.
    Run again after a stop, it goes on from the last checkpoints.

    Parameters
    ----------
    recipe_path
        TOML file.
    workplace
        Folders and callables.
    threads
        Networks trained at the same time.

    Returns
    -------
    tuple of pathlib.Path
        Folders of the published models, in the recipe's order.
    """
    recipe = read_recipe(recipe_path)
    training = planes_of(recipe.data.training_seeds, recipe, workplace)
    validation = planes_of(recipe.data.validation_seeds, recipe, workplace)
    trainers = [_trainer(network, training, validation) for network in recipe.networks]

    def run(network: NetworkRecipe, trainer: Trainer) -> Weights:
        torch.set_num_threads(1)
        checkpoint = workplace.work / f"{network.name}-{recipe.digest_of(network)}.checkpoint"
        return trainer.run(checkpoint, workplace.report)

    with ThreadPoolExecutor(threads, "train") as pool:
        weights = list(pool.map(run, recipe.networks, trainers))
    held_out = planes_of(recipe.data.held_out_seeds, recipe, workplace)
    return tuple(
        _published(recipe, network, best, (training, held_out), workplace.out)
        for network, best in zip(recipe.networks, weights, strict=True)
    )


def planes_of(seeds: Sequence[int], recipe: Recipe, workplace: Workplace) -> list[PlaneSet]:
    """Return the planes of seeds, collected now or before."""
    request = PlaneRequest(
        voxel_size_nm=recipe.data.voxel_size_nm,
        nuclei=recipe.data.nuclei_per_phantom,
        planes=recipe.data.planes_per_phantom,
        first_slices=recipe.normalisation.first_slices,
    )
    return [stored_planes(workplace.work, seed, request, workplace.grow) for seed in seeds]


def batch_of(patches: Sequence[Patch], network: NetworkRecipe, step: int) -> Batch:
    """Turn patches into images and labels, with the artefacts and the normalisation jitter of this step.

    Returns
    -------
    images : torch.Tensor
        float32, (n, 1, y, x).
    labels : torch.Tensor
        int64, (n, y, x), channels of the network.
    """
    images, labels = [], []
    for position, patch in enumerate(patches):
        rng = np.random.default_rng([network.optimiser.seed, step, position])
        mean, sd = jittered_normalisation(patch.mean, patch.sd, rng)
        images.append((varied(patch.grey, network.optimiser.artefact_share, rng) - np.float32(mean)) / np.float32(sd))
        labels.append(network.channels[patch.classes])
    stacked = np.stack(images)[:, None].astype(np.float32)
    return torch.from_numpy(stacked), torch.from_numpy(np.stack(labels).astype(np.int64))


def pooled_confusion(model: nn.Module, network: NetworkRecipe, planes: Sequence[PlaneSet], stride: int) -> Confusion:
    """Count true and predicted channels over planes, each segmented whole.

    Planes are cut at the end to a multiple of the network's coarsest stride.
    """
    counts = np.zeros((len(network.outputs), len(network.outputs)), np.int64)
    multiple = network.architecture.shape_multiple_px
    for plane_set in planes:
        rows, columns = (edge // multiple * multiple for edge in plane_set.grey_zyx.shape[1:])
        for grey, classes in zip(plane_set.grey_zyx[::stride], plane_set.classes_zyx[::stride], strict=True):
            values = (grey[:rows, :columns] - np.float32(plane_set.mean)) / np.float32(plane_set.sd)
            image = torch.from_numpy(values.astype(np.float32))[None, None]
            logits: Tensor = model(image.contiguous(memory_format=torch.channels_last))
            predicted = logits[0].argmax(dim=0).to(torch.uint8).numpy()
            counts += confusion(network.channels[classes[:rows, :columns]], predicted, len(network.outputs))
    return counts


def _trainer(network: NetworkRecipe, training: list[PlaneSet], validation: list[PlaneSet]) -> Trainer:
    recipe = network.optimiser
    rule = PatchRule(recipe.patch_px, recipe.batch_crops, tuple(map(int, recipe.focus)), recipe.focus_share)
    source = PatchSource(training, rule)
    names = [output.name for output in network.outputs]

    def validate(model: nn.Module) -> float:
        scores = class_scores(pooled_confusion(model, network, validation, VALIDATION_STRIDE), names)
        return float(np.mean([score.f1 for score in scores]))

    return Trainer(
        network.name,
        build_network(network.architecture, len(network.outputs), recipe.seed),
        lambda step: batch_of(source.batch(recipe.seed, step), network, step),
        validate,
        Fit(
            steps=recipe.steps,
            learning_rate=recipe.learning_rate,
            class_weights=recipe.class_weights,
            dice_weight=recipe.dice_weight,
            frozen_statistics_share=recipe.frozen_statistics_share,
            validate_every=recipe.validate_every,
        ),
    )


def _published(
    recipe: Recipe, network: NetworkRecipe, best: Weights, data: tuple[list[PlaneSet], list[PlaneSet]], out: Path
) -> Path:
    training, held_out = data
    model = folded_network(network.architecture, len(network.outputs), best)
    with torch.inference_mode():
        counts = pooled_confusion(model, network, held_out, 1)
    weights, archive = encoded_weights(best), exported_archive(model, network.architecture)
    optimiser = network.optimiser
    card = ModelCard(
        name=network.name,
        classes=tuple(OutputClass(name=output.name, class_id=output.class_id) for output in network.outputs),
        architecture=network.architecture,
        parameters=parameter_count(build_network(network.architecture, len(network.outputs), 0)),
        voxel_size_nm=recipe.data.voxel_size_nm,
        normalisation=recipe.normalisation,
        training_data=tuple(plane_set.source for plane_set in training),
        training=TrainingSettings.model_validate(
            optimiser.model_dump(include=set(TrainingSettings.model_fields) & set(type(optimiser).model_fields))
        ),
        scores=HeldOutScores(
            seeds=recipe.data.held_out_seeds,
            planes=sum(len(plane_set.grey_zyx) for plane_set in held_out),
            classes=class_scores(counts, [output.name for output in network.outputs]),
        ),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        archive_sha256=hashlib.sha256(archive).hexdigest(),
        torch_version=torch.__version__.partition("+")[0],
        licence=recipe.licence,
    )
    return publish(out, card.explicit(), weights, archive)
