"""The report page of a network that was just trained: its curves, and its test part segmented as for its card."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray

from services.contracts.architectures import AnyArchitecture
from services.evaluation.comparison import Settings
from services.evaluation.folders import Folders, compare_folders
from services.evaluation.page import write_page
from services.runtime.segmenter.archives import load_network
from services.runtime.segmenter.blended import BlendedNetwork
from services.runtime.segmenter.cards import read_card
from services.trainer.annotations.dataset import pixel_hash, read_dataset
from services.trainer.datasets import PlaneSet
from services.trainer.keeping import CURVES
from services.trainer.losses import IGNORED
from services.trainer.recipes import AnnotatedRecipe, NetworkRecipe, Recipe, read_recipe
from services.trainer.runs import Workplace, data_of

PAGE = "report.html"
Plane = NDArray[np.uint8]


def write_pages(recipe_path: Path, workplace: Workplace, models: Sequence[Path]) -> tuple[Path, ...]:
    """Write a page into the folder of each network of a recipe that has a test part; cards stay as they are.

    Parameters
    ----------
    recipe_path
        TOML file of the training.
    workplace
        Its own.
    models
        Folders of the published networks, in the recipe's order.

    Returns
    -------
    tuple of pathlib.Path
        The pages.
    """
    recipe = read_recipe(recipe_path)
    named = {network.name: network for network in recipe.networks}
    cards = [(model, named[read_card(model.resolve()).name]) for model in models]
    pages = (_write(recipe, network, workplace, recipe_path.parent, model) for model, network in cards)
    return tuple(page for page in pages if page is not None)


def _write(recipe: Recipe, network: NetworkRecipe, workplace: Workplace, here: Path, model: Path) -> Path | None:
    planes = data_of(recipe, network, workplace, here).held_out()
    if not any(len(plane_set.labelled) for plane_set in planes):
        return None
    with TemporaryDirectory(prefix=".page-", dir=workplace.work) as place:
        # The page is called as its folder of predictions.
        folders = Folders(Path(place) / "truth", Path(place) / model.name, images=Path(place) / "images")
        _write_images(planes, network, model, _name_of(recipe, here), folders)
        found = compare_folders(folders, Settings(_class_names(network)))
        return write_page(found, folders, model / PAGE, _curves(workplace.work, network.name))


def _write_images(
    planes: Sequence[PlaneSet],
    network: NetworkRecipe,
    model: Path,
    name_of: Callable[[PlaneSet, int], str],
    folders: Folders,
) -> None:
    """Write image, truth and prediction of every plane of the test part, with the ids of the card's classes."""
    card = read_card(model.resolve())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    outputs = len(card.classes)
    blended = BlendedNetwork(load_network(model.resolve().parent, card).to(device), card.architecture, outputs, device)
    ids = np.full(256, IGNORED, np.uint8)
    ids[:outputs] = [int(output.class_id) for output in card.classes]
    for folder in (folders.truth, folders.prediction, folders.images):
        assert folder is not None
        folder.mkdir()
    number = 0
    for plane_set in planes:
        for z, channels in _labelled(blended, card.architecture, plane_set):
            # Images of equal pixels have one name in the data set.
            name = f"{number:04}-{name_of(plane_set, z)}.tif"
            number += 1
            tifffile.imwrite(folders.truth / name, ids[network.channels[plane_set.classes_zyx[z]]])
            tifffile.imwrite(folders.prediction / name, ids[channels])
            assert folders.images is not None
            tifffile.imwrite(folders.images / name, plane_set.grey_zyx[z])


def _labelled(
    blended: BlendedNetwork, architecture: AnyArchitecture, plane_set: PlaneSet
) -> Iterator[tuple[int, Plane]]:
    """Yield position and channels of planes, as `services.trainer.runs.pooled_confusion` segments them."""
    normalisation = (plane_set.mean, plane_set.sd)
    if architecture.dimensions == 2:
        for z in map(int, plane_set.labelled):
            around = plane_set.around(z, blended.neighbours, blended.neighbours)
            yield z, blended.label_middle(plane_set.grey_zyx[around], *normalisation)
        return
    first = 0
    while first < len(plane_set.grey_zyx):
        last = plane_set.run_of(first)[1]
        yield from enumerate(blended.label(plane_set.grey_zyx[first : last + 1], *normalisation), first)
        first = last + 1


def _name_of(recipe: Recipe, here: Path) -> Callable[[PlaneSet, int], str]:
    """Return what to call a plane: as its data set does, or by the seed of its phantom."""
    if not isinstance(recipe.data, AnnotatedRecipe):
        return lambda plane_set, z: f"seed-{getattr(plane_set.source, 'seed', 0)}-plane-{z}"
    names = {image.image_sha256: image.name for image in read_dataset(here / recipe.data.folder).manifest.images}
    return lambda plane_set, z: names[pixel_hash(plane_set.grey_zyx[z])]


def _class_names(network: NetworkRecipe) -> dict[int, str]:
    known = {int(output.class_id): output.name for output in network.outputs}
    return {label: known.get(label, f"class_{label}") for label in range(max(known) + 1)}


def _curves(work: Path, name: str) -> str | None:
    """Return the curves of the newest training of a network; None where there are none."""
    found = list(work.glob(f"{name}-{'[0-9a-f]' * 12}/{CURVES}"))
    return max(found, key=lambda path: path.stat().st_mtime_ns).read_text(encoding="utf-8") if found else None
