"""A recipe becomes published networks, goes on where it was stopped, and is scored on seeds it never saw."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.runtime.segmenter.cards import published
from services.trainer.runs import Workplace, train
from services.trainer.scoring import class_scores, confusion
from services.trainer.training import Progress

RECIPE = """
licence = "BSD-3-Clause"
[normalisation]
first_slices = 2
[data]
voxel_size_nm = 16.0
training_seeds = [1, 2]
validation_seeds = [3]
held_out_seeds = [4]
nuclei_per_phantom = 1
planes_per_phantom = 4
[[networks]]
name = "discs"
outputs = [{ name = "exterior", class_id = 0, absorbs = [1, 3, 4, 5] }, { name = "chromosome", class_id = 2 }]
architecture = { depth = 2, base_channels = 4 }
[networks.optimiser]
seed = 0
steps = 80
batch_crops = 2
patch_px = 32
learning_rate = 3e-2
class_weights = [1.0, 1.0]
focus = [2]
focus_share = 0.5
validate_every = 40
"""


class Disc:
    """A dark disc in bright noise, somewhere else for every seed."""

    shape_zyx = (8, 41, 51)

    def __init__(self, seed: int) -> None:
        self._seed = seed

    @property
    def classes(self) -> NDArray[np.uint8]:
        y, x = np.mgrid[:41, :51]
        return np.asarray(2 * (np.hypot(y - 18 - self._seed, x - 22 - self._seed) < 9), np.uint8)

    def truth(self, z: int) -> Disc:
        return self

    def slice(self, z: int) -> NDArray[np.uint8]:
        rng = np.random.default_rng([self._seed, z])
        return np.asarray(200 - 40 * self.classes + rng.normal(0, 8, (41, 51)), np.uint8)


def workplace(root: Path, reports: list[Progress]) -> Workplace:
    return Workplace(root / "models", root / "work", lambda seed, _voxel_nm, _nuclei: Disc(seed), reports.append)


@dataclass(frozen=True)
class Trained:
    """A run that has ended."""

    root: Path
    recipe: Path
    folder: Path
    reports: list[Progress]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    root = tmp_path_factory.mktemp("run")
    recipe = root / "recipe.toml"
    recipe.write_text(RECIPE)
    reports: list[Progress] = []
    (folder,) = train(recipe, workplace(root, reports), threads=1)
    return Trained(root, recipe, folder, reports)


def test_a_recipe_becomes_a_published_network_that_learned_its_classes(trained: Trained) -> None:
    (card,) = published(trained.root / "models")
    assert trained.folder == trained.root / "models" / card.address
    assert [source.seed for source in card.training_data] == [1, 2]
    assert card.scores.seeds == (4,)
    assert [score.name for score in card.scores.classes] == ["exterior", "chromosome"]
    assert card.scores.classes[1].f1 > 0.9
    assert [report.step for report in trained.reports] == [40, 80]


def test_the_same_recipe_gives_the_same_model_on_any_number_of_threads(trained: Trained, tmp_path: Path) -> None:
    (again,) = train(trained.recipe, workplace(tmp_path, []), threads=2)
    assert again.name == trained.folder.name


def test_a_run_that_is_finished_is_published_again_without_training(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained.root / "work", tmp_path / "work")
    reports: list[Progress] = []
    (again,) = train(trained.recipe, workplace(tmp_path, reports))
    assert again.name == trained.folder.name
    assert reports == []


def test_scores_pool_pixels_and_not_planes() -> None:
    few, many = np.array([1, 0], np.uint8), np.ones(98, np.uint8)
    counts = confusion(few, np.array([0, 0], np.uint8), 2) + confusion(many, many, 2)
    _, found = class_scores(counts, ["a", "b"])
    assert (found.precision, found.recall) == (1.0, round(98 / 99, 5))


def test_a_class_that_is_nowhere_has_nothing_wrong() -> None:
    assert class_scores(np.array([[4, 0], [0, 0]]), ["a", "b"])[1].f1 == 1.0
