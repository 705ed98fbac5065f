"""A recipe becomes published networks, goes on where it was stopped, and is scored on seeds it never saw."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from services.contracts.model_card import (
    AnnotatedScores,
    AnnotatedSource,
    DataSource,
    FixedNormalisation,
    HeldOutScores,
)
from services.contracts.values import VoxelSize
from services.evaluation.metrics import averages
from services.evaluation.metrics import class_scores as evaluated
from services.inference.prediction import predict_folder
from services.runtime.segmenter.cards import published, read_card
from services.trainer.annotations.dataset import DatasetClass, GreyStretch, Manifest, Origin, Pair, new_dataset
from services.trainer.annotations.findings import NotADatasetError
from services.trainer.datasets import DataRequestError
from services.trainer.keeping import Progress
from services.trainer.recipes import RecipeError
from services.trainer.runs import IncompatibleStartError, Workplace, train
from services.trainer.scoring import class_scores, confusion, macro_f1

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
    return Workplace(
        root / "models", root / "work", lambda seed, _voxel_nm, _nuclei: Disc(seed), reports.append, accelerator="cpu"
    )


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
    assert [source.seed for source in card.training_data if isinstance(source, DataSource)] == [1, 2]
    assert isinstance(card.scores, HeldOutScores)
    assert card.scores.seeds == (4,)
    assert [score.name for score in card.scores.classes] == ["exterior", "chromosome"]
    assert card.scores.classes[1].f1 > 0.9
    assert [report.step for report in trained.reports] == [40, 80]


@pytest.mark.slow
def test_the_same_recipe_gives_the_same_model(trained: Trained, tmp_path: Path) -> None:
    (again,) = train(trained.recipe, workplace(tmp_path, []), threads=1)
    assert again.name == trained.folder.name


def test_a_run_that_is_finished_is_published_again_without_training(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained.root / "work", tmp_path / "work")
    reports: list[Progress] = []
    (again,) = train(trained.recipe, workplace(tmp_path, reports), threads=1)
    assert again.name == trained.folder.name
    assert reports == []


def test_scores_pool_pixels_and_not_planes() -> None:
    few, many = np.array([1, 0], np.uint8), np.ones(98, np.uint8)
    counts = confusion(few, np.array([0, 0], np.uint8), 2) + confusion(many, many, 2)
    _, found = class_scores(counts, ["a", "b"])
    assert (found.precision, found.recall) == (1.0, round(98 / 99, 5))


def test_a_class_that_is_nowhere_has_no_score_and_no_part_in_the_mean() -> None:
    counts = np.array([[3, 0, 1], [0, 0, 0], [1, 0, 3]])
    assert [score.name for score in class_scores(counts, ["a", "b", "c"])] == ["a", "c"]
    assert macro_f1(counts) == 0.75


@pytest.mark.parametrize("counts", [[[0, 2], [0, 3]], [[0, 0], [2, 3]]], ids=["never predicted", "never there"])
def test_a_class_that_is_missed_or_made_up_scores_nothing(counts: list[list[int]]) -> None:
    found = class_scores(np.array(counts), ["a", "b"])[0]
    assert (found.precision, found.recall, found.f1, found.iou) == (0, 0, 0, 0)


def test_the_scores_are_those_of_evaluate() -> None:
    counts = np.array([[8, 2, 0, 0], [0, 5, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    theirs = [score for score in evaluated(counts) if score.f1 is not None]
    ours = class_scores(counts, list("abcd"))
    for name in ("precision", "recall", "f1", "iou"):
        assert [getattr(score, name) for score in ours] == pytest.approx(
            [getattr(score, name) or 0.0 for score in theirs], abs=1e-5
        )
    assert macro_f1(counts) == pytest.approx(averages(counts).macro, abs=1e-5)


ANNOTATED = """
licence = "BSD-3-Clause"
[data]
kind = "annotated"
folder = "labelled"
voxel_size_nm = 5.0
split = "z-block"
test = 0.2
validation = 0.2
distance_nm = 8.0
[[networks]]
name = "mitochondria"
outputs = [{ name = "background", class_id = 0 }, { name = "mitochondrion", class_id = 7 }]
"""
SHORT = """
[networks.optimiser]
seed = 1
steps = 60
batch_crops = 2
learning_rate = 3e-2
artefact_share = 0.2
focus_share = 0.5
validate_every = 30
"""
KINDS = {
    "auto": "",
    "neighbours": "architecture = { depth = 2, base_channels = 4, input_planes = 3 }",
    "dense": 'architecture = { family = "dlsia.MixedScaleDenseNetwork", layers = 4, max_dilation = 3 }',
    "blocks": "architecture = { depth = 2, base_channels = 4, dimensions = 3 }",
}


def labelled_discs(
    folder: Path,
    classes: dict[str, int],
    planes: int = 12,
    grey: GreyStretch | None = None,
    voxel_size: VoxelSize | None = None,
) -> None:
    """Write a data set of one stack of discs; one image has a strip that nobody labelled."""
    with new_dataset(folder, classes) as draft:
        entries = []
        for z in range(planes):
            disc = Disc(z % 4)
            labels = np.asarray(7 * (disc.classes > 0), np.uint8)
            if z == 3:
                labels[:, :5] = 255
            pair = Pair(f"stack_z{z:03}", disc.slice(z), labels)
            entries.append(draft.add(pair, Origin("images.tif", "labels.tif", z, "stack", z)))
        listed = tuple(
            DatasetClass(class_id=number, name=name) for name, number in sorted(classes.items(), key=lambda c: c[1])
        )
        draft.finish(Manifest(classes=listed, images=tuple(entries), grey=grey, voxel_size=voxel_size))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("annotated")
    labelled_discs(root / "labelled", {"background": 0, "mitochondrion": 7})
    return root


@pytest.mark.parametrize(
    "kind", ["dense", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind != "dense")]
)
def test_annotated_images_become_a_published_network(labelled: Path, tmp_path: Path, kind: str) -> None:
    recipe = labelled / f"{kind}.toml"
    depth = "patch_planes = 4\n" if kind == "blocks" else ""
    recipe.write_text(ANNOTATED + KINDS[kind] + SHORT + depth)
    (folder,) = train(recipe, workplace(tmp_path, []), threads=1)
    card = read_card(folder)
    (source,) = card.training_data
    assert isinstance(source, AnnotatedSource)
    assert isinstance(card.scores, AnnotatedScores)
    assert set(source.images).isdisjoint(card.scores.images)
    assert isinstance(card.normalisation, FixedNormalisation)
    assert 150 < card.normalisation.mean < 200
    assert card.voxel_size_nm == 5.0
    assert card.scores.classes[1].f1 > 0.8
    # What it was scored on, `predict` labels as well, from plain files.
    (tmp_path / "images").mkdir()
    for name in card.scores.images:
        shutil.copy(labelled / "labelled" / "images" / f"{name}.tif", tmp_path / "images")
    predict_folder(folder, tmp_path / "images", tmp_path / "labels")
    predicted = np.stack([tifffile.imread(tmp_path / "labels" / f"{name}.tif") for name in card.scores.images])
    truth = np.stack([tifffile.imread(labelled / "labelled" / "labels" / f"{name}.tif") for name in card.scores.images])
    assert set(np.unique(predicted)) == {0, 7}
    assert (predicted == truth)[truth != 255].mean() > 0.85


@pytest.mark.slow
def test_a_network_goes_on_from_a_published_one_and_not_from_another(labelled: Path, tmp_path: Path) -> None:
    recipe = labelled / "first.toml"
    recipe.write_text(ANNOTATED + KINDS["dense"] + SHORT)
    (first,) = train(recipe, workplace(tmp_path, []), threads=1)
    tuned = labelled / "tuned.toml"
    tuned.write_text(
        ANNOTATED.replace("mitochondria", "tuned")
        + KINDS["dense"]
        + SHORT.replace("60", "1")
        + f"start_from = '{first}'\n"
    )
    (second,) = train(tuned, workplace(tmp_path, []), threads=1)
    card = read_card(second)
    assert card.training.fine_tuned_from == first.name
    # One step from fresh weights knows nothing; one step from trained ones forgets little.
    assert card.scores.classes[1].f1 > 0.75
    tuned.write_text(tuned.read_text().replace("layers = 4", "layers = 5"))
    with pytest.raises(IncompatibleStartError, match="its architecture is"):
        train(tuned, workplace(tmp_path, []), threads=1)
    tuned.write_text(tuned.read_text().replace("layers = 5", "layers = 4").replace('"mitochondrion"', '"mito"'))
    with pytest.raises(IncompatibleStartError, match="its classes are"):
        train(tuned, workplace(tmp_path, []), threads=1)


@pytest.mark.parametrize(
    ("said", "instead", "complaint"),
    [
        ("class_id = 7", "class_id = 6", "has no class"),
        (', { name = "mitochondrion", class_id = 7 }', ', { name = "x", class_id = 0 }', "exactly one output"),
        ('{ name = "mitochondrion", class_id = 7 }', '{ name = "unseen", class_id = 9 }', "no output stands for"),
        ("voxel_size_nm = 5.0", "", "give voxel_size_nm"),
        ('folder = "labelled"', 'folder = "elsewhere"', "no annotated data set"),
        ('name = "mitochondria"', 'name = "mitochondria"\nprofile = "manuscript"', "that is background: say ignore_"),
    ],
)
def test_data_that_a_recipe_cannot_mean_are_refused(
    labelled: Path, tmp_path: Path, said: str, instead: str, complaint: str
) -> None:
    if "unseen" in instead:
        labelled_discs(tmp_path / "labelled", {"background": 0, "mitochondrion": 7, "unseen": 9})
    recipe = (tmp_path if "unseen" in instead else labelled) / "refused.toml"
    recipe.write_text(ANNOTATED.replace(said, instead) + KINDS["dense"] + SHORT)
    with pytest.raises(ValueError, match=complaint):
        train(recipe, workplace(tmp_path, []), threads=1)


def test_exterior_is_ignored_where_class_0_is_exterior(tmp_path: Path) -> None:
    labelled_discs(tmp_path / "labelled", {"exterior": 0, "mitochondrion": 7})
    recipe = tmp_path / "recipe.toml"
    said = ANNOTATED.replace('"background"', '"exterior"') + KINDS["dense"] + SHORT.replace("60", "1")
    recipe.write_text(said + "ignore_exterior = true\n")
    (folder,) = train(recipe, workplace(tmp_path, []), threads=1)
    assert read_card(folder).training.ignore_exterior


def test_pixels_that_are_not_square_are_said_to_be_so(tmp_path: Path) -> None:
    size = VoxelSize(z_nm=20, y_nm=5, x_nm=4)
    labelled_discs(tmp_path / "labelled", {"background": 0, "mitochondrion": 7}, voxel_size=size)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(ANNOTATED.replace("voxel_size_nm = 5.0", "") + KINDS["dense"] + SHORT)
    with pytest.raises(DataRequestError, match="pixels of labelled are 5 nm high and 4 nm wide"):
        train(recipe, workplace(tmp_path, []), threads=1)


def test_the_card_says_how_16_bits_became_8(tmp_path: Path) -> None:
    labelled_discs(tmp_path / "labelled", {"background": 0, "mitochondrion": 7}, grey=GreyStretch(low=900, high=9000))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(ANNOTATED + KINDS["dense"] + SHORT.replace("60", "1"))
    (folder,) = train(recipe, workplace(tmp_path, []), threads=1)
    normalisation = read_card(folder).normalisation
    assert isinstance(normalisation, FixedNormalisation)
    assert (normalisation.low, normalisation.high) == (900.0, 9000.0)


def test_half_precision_on_a_cpu_is_refused_and_not_replaced_in_silence(labelled: Path, tmp_path: Path) -> None:
    recipe = labelled / "half.toml"
    recipe.write_text(ANNOTATED + KINDS["dense"] + SHORT + 'precision = "16-mixed"\n')
    with pytest.raises(RecipeError, match=r'mitochondria: precision "16-mixed" needs a GPU.*"bf16-mixed"'):
        train(recipe, workplace(tmp_path, []), threads=1)


@pytest.mark.parametrize("part", ["images", "labels"])
def test_images_that_were_edited_since_the_import_are_refused(tmp_path: Path, part: str) -> None:
    labelled_discs(tmp_path / "labelled", {"background": 0, "mitochondrion": 7})
    edited = tmp_path / "labelled" / part / "stack_z000.tif"
    plane = tifffile.imread(edited)
    plane[3, 2] = 7
    tifffile.imwrite(edited, plane)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(ANNOTATED + KINDS["dense"] + SHORT)
    with pytest.raises(NotADatasetError, match=r"stack_z000: .* changed since the import.*annotations check"):
        train(recipe, workplace(tmp_path, []), threads=1)


def test_a_class_that_no_training_image_shows_is_refused(tmp_path: Path) -> None:
    labelled_discs(tmp_path / "labelled", {"background": 0, "mitochondrion": 7, "unseen": 9})
    recipe = tmp_path / "recipe.toml"
    third = 'class_id = 7 }, { name = "unseen", class_id = 9 }]'
    recipe.write_text(ANNOTATED.replace("class_id = 7 }]", third) + KINDS["dense"] + SHORT)
    with pytest.raises(DataRequestError, match=r"no training image shows \['unseen'\]"):
        train(recipe, workplace(tmp_path, []), threads=1)
