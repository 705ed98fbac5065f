"""Recipes refuse what cannot be meant, and the shipped one keeps off the seeds of everybody else."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import services.trainer
from services.contracts.model_card import RECOMMENDED_FUSION
from services.trainer.profiles import PROFILES
from services.trainer.recipes import AnnotatedRecipe, PhantomRecipe, Recipe, read_recipe

SHIPPED = Path(services.trainer.__path__[0]) / "recipes" / "shipped.toml"
FIRST_RESERVED_SEED = 100_000


@pytest.fixture
def raw() -> dict[str, Any]:
    return tomllib.loads(SHIPPED.read_text())


def test_the_shipped_recipe_makes_the_networks_that_the_fusion_asks_for() -> None:
    recipe = read_recipe(SHIPPED)
    assert {network.name for network in recipe.networks} == set(RECOMMENDED_FUSION.networks)
    classes = {network.name: {output.class_id for output in network.outputs} for network in recipe.networks}
    assert all(source.class_id in classes[source.network] for source in RECOMMENDED_FUSION.foreground)


def test_the_shipped_recipe_uses_reserved_seeds_alone() -> None:
    data = read_recipe(SHIPPED).data
    assert isinstance(data, PhantomRecipe)
    assert min(data.training_seeds + data.validation_seeds + data.held_out_seeds) >= FIRST_RESERVED_SEED


def test_every_tissue_class_finds_its_channel() -> None:
    tables = {network.name: network.channels.tolist() for network in read_recipe(SHIPPED).networks}
    assert tables["chromatin"][:6] == [0, 1, 2, 3, 2, 0]
    assert tables["complex"][:6] == [0, 1, 2, 3, 4, 0]
    assert tables["membrane"][:6] == [0, 1, 1, 3, 1, 2]
    assert {class_id for table in tables.values() for class_id in table[6:]} == {255}


def test_a_seed_with_two_uses_is_refused(raw: dict[str, Any]) -> None:
    raw["data"]["held_out_seeds"] = raw["data"]["training_seeds"][:1]
    with pytest.raises(ValidationError, match="seeds named twice"):
        Recipe.model_validate(raw)


def test_a_tissue_class_without_a_channel_is_refused(raw: dict[str, Any]) -> None:
    raw["networks"][0]["outputs"][0]["absorbs"] = []
    with pytest.raises(ValidationError, match="exactly one output"):
        Recipe.model_validate(raw)


def test_a_tissue_class_with_two_channels_is_refused(raw: dict[str, Any]) -> None:
    raw["networks"][0]["outputs"][1]["absorbs"] = [5]
    with pytest.raises(ValidationError, match="exactly one output"):
        Recipe.model_validate(raw)


def test_a_wrong_number_of_class_weights_is_refused(raw: dict[str, Any]) -> None:
    raw["networks"][0]["optimiser"]["class_weights"] = [1.0, 1.0]
    with pytest.raises(ValidationError, match="one class weight per output"):
        Recipe.model_validate(raw)


def test_a_patch_off_the_networks_stride_is_refused(raw: dict[str, Any]) -> None:
    raw["networks"][0]["optimiser"]["patch_px"] = 100
    with pytest.raises(ValidationError, match="multiple of 16"):
        Recipe.model_validate(raw)


def test_two_networks_of_one_name_are_refused(raw: dict[str, Any]) -> None:
    raw["networks"][1] = raw["networks"][0]
    with pytest.raises(ValidationError, match="carry one name"):
        Recipe.model_validate(raw)


def test_an_unknown_key_is_refused(raw: dict[str, Any]) -> None:
    raw["networks"][0]["optimiser"]["learning_rat"] = 0.1
    with pytest.raises(ValidationError, match="learning_rat"):
        Recipe.model_validate(raw)


def test_the_digest_of_a_network_changes_with_what_it_learns_from_and_how(raw: dict[str, Any]) -> None:
    recipe = Recipe.model_validate(raw)
    network = recipe.networks[0]
    raw["networks"][0]["optimiser"]["steps"] += 1
    other = Recipe.model_validate(raw)
    assert recipe.digest_of(network) != other.digest_of(other.networks[0])
    assert recipe.digest_of(recipe.networks[1]) == other.digest_of(other.networks[1])
    raw["data"]["training_seeds"] = [100_500]
    assert recipe.digest_of(recipe.networks[1]) != Recipe.model_validate(raw).digest_of(recipe.networks[1])


def test_recipes_without_a_kind_of_data_are_of_phantoms(raw: dict[str, Any]) -> None:
    assert "kind" not in raw["data"]
    assert isinstance(Recipe.model_validate(raw).data, PhantomRecipe)


def test_annotated_data_need_not_have_every_tissue_class(raw: dict[str, Any]) -> None:
    raw["data"] = {"kind": "annotated", "folder": "labelled"}
    raw["networks"][0]["outputs"][0]["absorbs"] = []
    assert isinstance(Recipe.model_validate(raw).data, AnnotatedRecipe)


@pytest.mark.parametrize("data", [{"split": "file"}, {"split_file": "split.json"}, {"test": 1.0}, {"split": "by-luck"}])
def test_a_split_that_cannot_be_meant_is_refused(raw: dict[str, Any], data: dict[str, Any]) -> None:
    raw["data"] = {"kind": "annotated", "folder": "labelled"} | data
    with pytest.raises(ValidationError):
        Recipe.model_validate(raw)


@pytest.mark.parametrize("rule", [{"split_seed": 1}, {"test": 0.2}, {"validation": 0.2}, {"distance_nm": 50.0}])
def test_rules_that_a_given_split_leaves_nothing_to_are_refused(raw: dict[str, Any], rule: dict[str, Any]) -> None:
    raw["data"] = {"kind": "annotated", "folder": "labelled", "split": "file", "split_file": "split.json"}
    recipe = Recipe.model_validate(raw)
    # A recipe that was written out whole says the same.
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    raw["data"] |= rule
    with pytest.raises(ValidationError, match=f"{next(iter(rule))} would change nothing"):
        Recipe.model_validate(raw)


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_a_profile_alone_is_a_whole_optimiser(raw: dict[str, Any], profile: str) -> None:
    raw["networks"][0] |= {"profile": profile}
    del raw["networks"][0]["optimiser"]
    optimiser = Recipe.model_validate(raw).networks[0].optimiser
    assert optimiser.model_dump().items() >= PROFILES[profile].items()  # type: ignore[index]


def test_the_manuscripts_profile_is_what_it_prints(raw: dict[str, Any]) -> None:
    raw["networks"][0] |= {"profile": "manuscript", "optimiser": {"seed": 5}}
    optimiser = Recipe.model_validate(raw).networks[0].optimiser
    assert (optimiser.learning_rate, optimiser.epochs, optimiser.batch_crops) == (0.1, 200, 1)
    assert (optimiser.optimiser, optimiser.schedule, optimiser.seed) == ("adam", "tenth-midway", 5)


def test_what_a_recipe_says_comes_before_its_profile(raw: dict[str, Any]) -> None:
    raw["networks"][0] |= {"profile": "manuscript", "optimiser": {"steps": 7, "learning_rate": 0.5}}
    optimiser = Recipe.model_validate(raw).networks[0].optimiser
    assert (optimiser.steps, optimiser.epochs, optimiser.learning_rate) == (7, None, 0.5)


@pytest.mark.parametrize("length", [{}, {"steps": 3, "epochs": 2}])
def test_a_training_has_one_length(raw: dict[str, Any], length: dict[str, int]) -> None:
    del raw["networks"][0]["optimiser"]["steps"]
    raw["networks"][0]["optimiser"] |= length
    with pytest.raises(ValidationError, match="steps or epochs"):
        Recipe.model_validate(raw)


def test_exterior_is_ignored_in_losses_and_counted_in_scores(raw: dict[str, Any]) -> None:
    raw["networks"][0]["optimiser"]["ignore_exterior"] = True
    network = Recipe.model_validate(raw).networks[0]
    assert network.counted_channels[:3].tolist() == [255, 1, 2]
    assert network.channels[:3].tolist() == [0, 1, 2]


def test_blocks_need_a_network_of_three_dimensions(raw: dict[str, Any]) -> None:
    raw["networks"][0]["optimiser"]["patch_planes"] = 16
    with pytest.raises(ValidationError, match="go together"):
        Recipe.model_validate(raw)
