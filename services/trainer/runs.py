"""A training run: recipe in, published networks out; it goes on where it was stopped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from services.contracts.model_card import ModelCard, OutputClass, TrainingSettings
from services.runtime.segmenter.blended import BlendedNetwork
from services.runtime.segmenter.cards import WEIGHTS, read_card
from services.trainer.batches import Blocks, batch_of
from services.trainer.data import DataSets, annotated_data, phantom_data
from services.trainer.datasets import Grow, PlaneSet
from services.trainer.keeping import Report
from services.trainer.learning import Fit
from services.trainer.losses import IGNORED, LossTerms
from services.trainer.memory import limits_bytes
from services.trainer.networks import build_network, folded_network, parameter_count
from services.trainer.patches import PatchRule, PatchSource
from services.trainer.publishing import exported_archive, publish, refuse_different
from services.trainer.recipes import AnnotatedRecipe, NetworkRecipe, Recipe, RecipeError, read_recipe
from services.trainer.scoring import Confusion, class_scores, confusion
from services.trainer.sizing import Extent, Sizes, sized
from services.trainer.training import Trained, Training, is_first_process
from services.trainer.weights import Weights, decoded_weights, encoded_weights

_SHARE_OF_MACHINE, _SHARE_OF_GPU = 0.25, 0.5


class IncompatibleStartError(ValueError):
    """The network to start from has another architecture or other classes, or was altered."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where a run keeps what it needs to be resumed, where phantoms come from, and who hears of it.

    Attributes
    ----------
    out
        Folder of published models.
    work
        Folder of planes and checkpoints: `work/NETWORK-DIGEST` holds those of one network, with `curves.csv` and the
        files of TensorBoard.
    grow
        From seed, voxel size and number of nuclei to a specimen.
    report
        Called after each validation.
    cancelled
        Asked before each batch.
    accelerator
        `auto`, `cpu` or `gpu`.
    remark
        Hears what a person should know of the data, before the first batch.
    """

    out: Path
    work: Path
    grow: Grow
    report: Report
    cancelled: Callable[[], bool] = lambda: False
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    remark: Callable[[str], None] = lambda _said: None


def train(recipe_path: Path, workplace: Workplace, threads: int | None = None) -> tuple[Path, ...]:
    """Train and publish every network of a recipe, one after the other.

    Run again after a stop, it goes on from the last checkpoint. Each network is published when it is trained.

    Parameters
    ----------
    recipe_path
        TOML file.
    workplace
        Folders and callables.
    threads
        Of torch; None leaves them as they are. On a CPU the same number gives the same weights.

    Returns
    -------
    tuple of pathlib.Path
        Folders of the published models, in the recipe's order.
    """
    recipe = read_recipe(recipe_path)
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        folders = [_network(recipe, network, workplace, recipe_path.parent) for network in recipe.networks]
        return tuple(folder for folder in folders if folder is not None)
    finally:
        torch.set_num_threads(before)


def data_of(recipe: Recipe, network: NetworkRecipe, workplace: Workplace, here: Path) -> DataSets:
    """Return the data of a network."""
    if isinstance(recipe.data, AnnotatedRecipe):
        return annotated_data(recipe, network, here)
    return phantom_data(recipe, network, workplace.work, workplace.grow)


def pooled_confusion(
    model: nn.Module, network: NetworkRecipe, sizes: Sizes, planes: Sequence[PlaneSet], device: str = "cpu"
) -> Confusion:
    """Count true and predicted channels over all labelled pixels, segmented as `predict` does it."""
    blended = BlendedNetwork(model, sizes.architecture, len(network.outputs), device)
    outputs = len(network.outputs)
    counts = np.zeros((outputs, outputs), np.int64)
    for plane_set in planes:
        for positions in _pieces(plane_set, is_flat=sizes.architecture.dimensions == 2):
            truth = network.channels[plane_set.classes_zyx[positions]]
            if sizes.architecture.dimensions == 2:
                around = plane_set.around(int(positions[0]), blended.neighbours, blended.neighbours)
                predicted = blended.label_middle(plane_set.grey_zyx[around], plane_set.mean, plane_set.sd)[None]
            else:
                predicted = blended.label(plane_set.grey_zyx[positions], plane_set.mean, plane_set.sd)
            known = truth != IGNORED
            counts += confusion(truth[known], predicted[known], outputs)
    return counts


def training_of(
    recipe: Recipe, network: NetworkRecipe, data: DataSets, workplace: Workplace, here: Path
) -> tuple[Training, Sizes]:
    """Return the training of a network, and what it decided that the recipe leaves open."""
    optimiser = network.optimiser
    source = PatchSource(data.training, PatchRule(1, 1))
    edges = [edge for plane_set in data.training for edge in plane_set.grey_zyx.shape[1:]]
    sizes = sized(network, Extent(min(edges), max(edges), source.labelled_planes, _memory_bytes(workplace.accelerator)))
    rule = PatchRule(
        patch_px=sizes.patch_px,
        batch_crops=sizes.batch_crops,
        focus=network.focus,
        focus_share=optimiser.focus_share,
        neighbours=sizes.architecture.neighbours,
        patch_planes=optimiser.patch_planes,
        turned=optimiser.turned,
        warp_share=optimiser.warp_share,
        in_passes=optimiser.in_passes,
    )
    drawn = PatchSource(data.training, rule)
    model = build_network(sizes.architecture, len(network.outputs), optimiser.seed)
    if optimiser.start_from is not None:
        model.load_state_dict(_start(here / optimiser.start_from, network, sizes))
    training = Training(
        network.name,
        model,
        lambda number: batch_of(drawn.batch(optimiser.seed, number), network, number),
        Blocks(data.validation, network, sizes.architecture),
        fit_of(network, sizes, workplace.accelerator),
    )
    return training, sizes


def fit_of(network: NetworkRecipe, sizes: Sizes, accelerator: Literal["auto", "cpu", "gpu"] = "auto") -> Fit:
    """Return how a recipe's network is optimised."""
    optimiser = network.optimiser
    weights = optimiser.class_weights or (1.0,) * len(network.outputs)
    return Fit(
        steps=sizes.steps,
        learning_rate=optimiser.learning_rate,
        terms=LossTerms(weights, optimiser.dice_weight, optimiser.focal_gamma),
        validate_every=sizes.validate_every,
        seed=optimiser.seed,
        optimiser=optimiser.optimiser,
        schedule=optimiser.schedule,
        frozen_statistics_share=optimiser.frozen_statistics_share,
        largest_gradient=optimiser.largest_gradient,
        accumulate=optimiser.accumulate,
        precision=optimiser.precision,
        accelerator=accelerator,
        devices=optimiser.devices,
        workers=optimiser.workers,
    )


def _network(recipe: Recipe, network: NetworkRecipe, workplace: Workplace, here: Path) -> Path | None:
    """Train and publish a network; the processes of further devices only train."""
    _refuse_half_precision_on_a_cpu(network, workplace.accelerator)
    data = data_of(recipe, network, workplace, here)
    if data.remark:
        workplace.remark(f"{network.name} {data.remark}")
    training, sizes = training_of(recipe, network, data, workplace, here)
    decided = f"{data.sha256}\n{sizes}"
    folder = workplace.work / f"{network.name}-{recipe.digest_of(network, decided)}"
    trained = training.run(folder, workplace.report, workplace.cancelled)
    if not is_first_process():
        return None
    return _published(recipe, network, (data, sizes), _chosen(network, trained), workplace.out)


def _chosen(network: NetworkRecipe, trained: Trained) -> Weights:
    return trained.best_by_f1 if network.optimiser.best_by == "macro-f1" else trained.best_by_loss


def _published(
    recipe: Recipe, network: NetworkRecipe, learned: tuple[DataSets, Sizes], best: Weights, out: Path
) -> Path:
    data, sizes = learned
    model = folded_network(sizes.architecture, len(network.outputs), best)
    weights, archive = encoded_weights(best), exported_archive(model, sizes.architecture)
    refuse_different(model, archive, sizes.architecture)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    counts = pooled_confusion(model.to(device), network, sizes, data.held_out(), device)
    card = ModelCard(
        name=network.name,
        classes=tuple(OutputClass(name=output.name, class_id=output.class_id) for output in network.outputs),
        architecture=sizes.architecture,
        parameters=parameter_count(build_network(sizes.architecture, len(network.outputs), 0)),
        voxel_size_nm=data.voxel_size_nm,
        normalisation=data.normalisation,
        training_data=data.sources,
        training=_settings(network, sizes),
        scores=data.scored(class_scores(counts, [output.name for output in network.outputs])),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        archive_sha256=hashlib.sha256(archive).hexdigest(),
        torch_version=torch.__version__.partition("+")[0],
        licence=recipe.licence,
    )
    return publish(out, card.explicit(), weights, archive)


def _settings(network: NetworkRecipe, sizes: Sizes) -> TrainingSettings:
    optimiser = network.optimiser
    said = optimiser.model_dump(include=set(TrainingSettings.model_fields) & set(type(optimiser).model_fields))
    decided = {
        "steps": sizes.steps,
        "batch_crops": sizes.batch_crops,
        "patch_px": sizes.patch_px,
        "class_weights": optimiser.class_weights or (1.0,) * len(network.outputs),
        "profile": network.profile,
        "fine_tuned_from": optimiser.start_from.name if optimiser.start_from else None,
    }
    return TrainingSettings.model_validate(said | decided)


def _start(folder: Path, network: NetworkRecipe, sizes: Sizes) -> Weights:
    """Return the weights of a published network, if they fit this one."""
    card = read_card(folder.resolve())
    classes = [(output.name, int(output.class_id)) for output in network.outputs]
    theirs = [(output.name, int(output.class_id)) for output in card.classes]
    if card.architecture.model_dump() != sizes.architecture.model_dump():
        raise IncompatibleStartError(
            f"{network.name} cannot start from {card.address}: its architecture is {card.architecture}"
        )
    if classes != theirs:
        raise IncompatibleStartError(f"{network.name} cannot start from {card.address}: its classes are {theirs}")
    content = (folder / WEIGHTS).read_bytes()
    if hashlib.sha256(content).hexdigest() != card.weights_sha256:
        raise IncompatibleStartError(f"the weights of {card.address} are not those its card vouches for")
    return decoded_weights(content)


def _pieces(plane_set: PlaneSet, *, is_flat: bool) -> list[np.ndarray[tuple[int], np.dtype[np.intp]]]:
    """Return the planes that are labelled together: one by one, or whole runs in three dimensions."""
    if is_flat:
        return [np.array([z]) for z in plane_set.labelled]
    ends = np.cumsum(plane_set.runs or (1,) * len(plane_set.grey_zyx))
    return [piece for piece in np.split(np.arange(len(plane_set.grey_zyx)), ends[:-1]) if len(piece)]


def _refuse_half_precision_on_a_cpu(network: NetworkRecipe, accelerator: str) -> None:
    # Lightning would take bf16-mixed instead, and the card would not say so.
    if network.optimiser.precision == "16-mixed" and _is_cpu(accelerator):
        raise RecipeError(f'{network.name}: precision "16-mixed" needs a GPU: on a CPU say "bf16-mixed" or "32-true"')


def _is_cpu(accelerator: str) -> bool:
    return accelerator == "cpu" or not torch.cuda.is_available()


def _memory_bytes(accelerator: str) -> int:
    """Return the memory set aside for batches: of all there is, so that a resumed run decides alike."""
    if not _is_cpu(accelerator):
        return int(_SHARE_OF_GPU * torch.cuda.get_device_properties(0).total_memory)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(_SHARE_OF_MACHINE * min(machine, *limits_bytes()))
