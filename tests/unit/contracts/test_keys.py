"""Artefact keys are paths of identity and recipe, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from services.contracts import keys
from services.contracts.values import ArtefactKey

RECIPE = "0123456789abcdef"
ALL = {
    "raw": keys.raw_key("worm-7", 12, "ab" * 32),
    "outlines": keys.outlines_key("worm-7", 12, RECIPE),
    "crop": keys.crop_key("worm-7", "n0003", 12, RECIPE),
    "planes": keys.planes_key("worm-7", "n0003", 12, RECIPE),
    "volume": keys.volume_prefix("worm-7", "n0003", RECIPE),
}


@pytest.mark.parametrize("name", ALL)
def test_a_key_is_path_safe_and_begins_with_its_acquisition(name: str) -> None:
    assert TypeAdapter[str](ArtefactKey).validate_python(ALL[name]).startswith("worm-7/")


def test_no_two_kinds_of_artefact_share_a_key() -> None:
    assert len(set(ALL.values())) == len(ALL)


def test_keys_sort_in_the_order_of_z() -> None:
    listed = [keys.crop_key("worm-7", "n0003", z, RECIPE) for z in range(0, 12_000, 7)]
    assert listed == sorted(listed)


recipes = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    st.integers() | st.text("xyz", max_size=3) | st.floats(allow_nan=False, allow_infinity=False),
    min_size=1,
)


@settings(deadline=None)
@given(recipes)
def test_a_digest_does_not_depend_on_the_order_of_the_recipe(recipe: dict[str, object]) -> None:
    assert keys.digest(recipe) == keys.digest(dict(reversed(recipe.items())))


@settings(deadline=None)
@given(recipes)
def test_any_change_of_the_recipe_changes_the_digest(recipe: dict[str, object]) -> None:
    assert keys.digest({**recipe, "new": 1}) != keys.digest(recipe)
    first = next(iter(recipe))
    assert keys.digest({**recipe, first: [recipe[first]]}) != keys.digest(recipe)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_a_recipe_that_has_no_one_text_is_refused(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        keys.digest({"value": value})


def test_a_digest_is_the_same_for_ever() -> None:
    # Changing it would orphan every artefact of every acquisition.
    assert keys.digest({"input": "ab", "voxel_nm": [8.0, 4.0], "version": 1}) == "7e98d0d42ee0cdb2"
