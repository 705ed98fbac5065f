"""What a recipe leaves open follows from data and memory, and from nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from services.contracts.architectures import TUNetArchitecture
from services.trainer.networks import build_network
from services.trainer.recipes import NetworkRecipe
from services.trainer.sizing import Extent, bytes_per_pixel, sized

PLENTY = 2**36


def network(**optimiser: Any) -> NetworkRecipe:
    return NetworkRecipe.model_validate({
        "name": "toy",
        "outputs": [{"name": "a", "class_id": 0}, {"name": "b", "class_id": 1}],
        "architecture": optimiser.pop("architecture", "auto"),
        "optimiser": {"seed": 0, "learning_rate": 0.1, "steps": 1000} | optimiser,
    })  # fmt: skip


@pytest.mark.parametrize(("smallest", "patch", "depth"), [(2000, 256, 5), (100, 96, 4), (20, 16, 2)])
def test_patch_and_depth_follow_the_smallest_image(smallest: int, patch: int, depth: int) -> None:
    sizes = sized(network(), Extent(smallest, 2000, 10, PLENTY))
    assert (sizes.patch_px, getattr(sizes.architecture, "depth", None)) == (patch, depth)


@pytest.mark.parametrize("patch_px", [16, 40, 64, 104, 256, 512])
def test_the_chosen_network_takes_patches_of_the_size_that_is_asked_for(patch_px: int) -> None:
    sizes = sized(network(patch_px=patch_px), Extent(2000, 2000, 10, PLENTY))
    answer = build_network(sizes.architecture, 2, seed=0).eval()(torch.zeros(1, 1, sizes.patch_px, sizes.patch_px))
    assert answer.shape == (1, 2, patch_px, patch_px)


@pytest.mark.parametrize(
    ("patches", "complaint"),
    [({"patch_px": 100}, "patch_px must be a multiple of 8, got 100"), ({"patch_planes": 4}, "go together")],
)
def test_patches_that_the_chosen_network_cannot_take_are_refused(patches: dict[str, int], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        sized(network(**patches), Extent(2000, 2000, 10, PLENTY))


def test_the_batch_fills_the_memory_and_is_one_at_least() -> None:
    batches = [sized(network(), Extent(256, 256, 10, memory)).batch_crops for memory in (1, 2**30, PLENTY)]
    assert batches[0] == 1
    assert 1 < batches[1] < batches[2] == 8


def test_blocks_are_smaller_than_planes() -> None:
    blocks = network(architecture={"depth": 3, "base_channels": 4, "dimensions": 3}, patch_planes=16)
    assert sized(blocks, Extent(500, 500, 10, PLENTY)).patch_px == 96


def test_a_patch_of_image_size_holds_the_largest_image() -> None:
    whole = network(architecture={"depth": 4, "base_channels": 4}, patch_px="image")
    assert sized(whole, Extent(300, 1700, 10, PLENTY)).patch_px == 1712


def test_an_epoch_shows_as_many_patches_as_there_are_labelled_planes() -> None:
    sizes = sized(network(steps=None, epochs=200, batch_crops=1), Extent(256, 256, 211, PLENTY))
    assert (sizes.steps, sizes.validate_every) == (200 * 211, 211)
    assert sized(network(steps=None, epochs=2, batch_crops=4), Extent(256, 256, 10, PLENTY)).steps == 6


def test_what_a_recipe_says_is_left_alone() -> None:
    said = network(architecture={"depth": 2, "base_channels": 3}, patch_px=64, batch_crops=3, validate_every=7)
    sizes = sized(said, Extent(1000, 1000, 10, 1))
    assert (sizes.patch_px, sizes.batch_crops, sizes.steps, sizes.validate_every) == (64, 3, 1000, 7)


def test_wider_networks_need_more_memory() -> None:
    narrow, wide = (bytes_per_pixel(TUNetArchitecture(depth=3, base_channels=base), 2) for base in (4, 16))
    assert 3 < wide / narrow < 4.5


def test_sizing_leaves_no_trace_in_networks_that_are_made_afterwards() -> None:
    architecture = TUNetArchitecture(depth=2, base_channels=2)
    bytes_per_pixel(architecture, 2)
    assert not any(module._forward_hooks for module in build_network(architecture, 2, seed=0).modules())
