"""Patch, batch, depth and number of steps where a recipe leaves them to the data and the memory.

- Patch: the largest multiple of the network's coarsest stride up to 256 px (96 px in three dimensions) that fits into
  the smallest image; one multiple at least, for which smaller images are mirrored.
- Depth (`architecture = "auto"`): as many levels, up to 5, as leave the coarsest one 8 px of a patch or more.
- Batch: as many patches as the memory set aside holds (half of a GPU's, a quarter of the machine's or of what its
  container is allowed: of all there is, so that a resumed run decides alike), four numbers for every one that a layer
  puts out (the value, its gradient, and as much again for temporaries); 8 at most.
- Epochs: one shows as many patches as there are labelled training planes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from services.contracts.architectures import AnyArchitecture, TUNetArchitecture
from services.trainer.networks import build_network
from services.trainer.recipes import NetworkRecipe, refuse_unfit_patches

LARGEST_PATCH_PX, LARGEST_BLOCK_PX, LARGEST_BATCH, MOST_LEVELS = 256, 96, 8, 5
COARSEST_PX = 8
VALIDATE_EVERY = 200
_NUMBERS_PER_OUTPUT, _BYTES = 4, 4


@dataclass(frozen=True, slots=True)
class Extent:
    """What data and machine allow.

    Attributes
    ----------
    smallest_px, largest_px
        Shortest and longest edge of the training planes.
    planes
        Training planes on which something is labelled.
    memory_bytes
        Set aside on the device that trains.
    """

    smallest_px: int
    largest_px: int
    planes: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a network is trained with, decided."""

    architecture: AnyArchitecture
    patch_px: int
    batch_crops: int
    steps: int
    validate_every: int


def sized(network: NetworkRecipe, extent: Extent) -> Sizes:
    """Decide what a recipe leaves open.

    Raises
    ------
    RecipeError
        If the patches that the recipe asks for do not fit the architecture that is chosen.
    """
    recipe = network.optimiser
    architecture = network.architecture
    if architecture == "auto":
        wanted = recipe.patch_px if isinstance(recipe.patch_px, int) else min(extent.smallest_px, LARGEST_PATCH_PX)
        architecture = TUNetArchitecture(depth=fitting_depth(wanted), base_channels=16, growth_rate=1.75)
        refuse_unfit_patches(network, architecture)
    patch_px = _patch_px(recipe.patch_px, architecture, extent)
    if isinstance(recipe.batch_crops, int):
        batch = recipe.batch_crops
    else:
        per_patch = patch_px**2 * recipe.patch_planes * bytes_per_pixel(architecture, len(network.outputs))
        batch = max(1, min(LARGEST_BATCH, int(extent.memory_bytes / per_patch)))
    per_epoch = max(1, -(-extent.planes // (batch * recipe.accumulate * recipe.devices)))
    steps = recipe.steps or (recipe.epochs or 1) * per_epoch
    every = recipe.validate_every or (VALIDATE_EVERY if recipe.steps else per_epoch)
    return Sizes(architecture, patch_px, batch, steps, min(every, steps))


def fitting_depth(patch_px: int) -> int:
    """Return the levels of a TUNet for a patch.

    >>> fitting_depth(256), fitting_depth(40)
    (5, 3)
    """
    levels = 2
    while levels < MOST_LEVELS and patch_px // 2**levels >= COARSEST_PX:
        levels += 1
    return levels


def bytes_per_pixel(architecture: AnyArchitecture, outputs: int) -> float:
    """Return the memory that training takes per pixel (or voxel) of a patch, estimated from the layers' outputs."""
    network = build_network(architecture, outputs, seed=0).eval()
    numbers = [0]

    def count(_module: nn.Module, _given: object, answer: object) -> None:
        numbers[0] += answer.numel() if isinstance(answer, Tensor) else 0

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(count) for leaf in leaves]
    edge = max(16, 2 * architecture.shape_multiple_px)
    shape = (1, architecture.input_planes, *[edge] * architecture.dimensions)
    with torch.inference_mode():
        network(torch.zeros(shape))
    # DLSIA's networks share an activation with every other network of the process.
    for hook in hooks:
        hook.remove()
    return _BYTES * _NUMBERS_PER_OUTPUT * numbers[0] / float(edge**architecture.dimensions)


def _patch_px(asked: int | str, architecture: AnyArchitecture, extent: Extent) -> int:
    if isinstance(asked, int):
        return asked
    multiple = max(architecture.shape_multiple_px, 16)
    if asked == "image":
        return -(-extent.largest_px // multiple) * multiple
    largest = LARGEST_PATCH_PX if architecture.dimensions == 2 else LARGEST_BLOCK_PX
    return max(1, min(extent.smallest_px, largest) // multiple) * multiple
