"""A recipe says everything from which a set of networks is trained; it is a TOML file."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from services.contracts.classes import LabelClass
from services.contracts.model_card import (
    Fraction,
    NormalisationRule,
    OutputClass,
    Positive,
    TUNetArchitecture,
)
from services.contracts.values import Count, Identifier, Text, Value

Seeds = Annotated[tuple[Count, ...], Field(min_length=1)]


class DataRecipe(Value):
    """Which phantoms to learn from, to select by and to be scored on."""

    voxel_size_nm: Positive
    training_seeds: Seeds
    validation_seeds: Seeds
    held_out_seeds: Seeds
    nuclei_per_phantom: Annotated[int, Field(ge=1, le=20)]
    planes_per_phantom: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _no_seed_has_two_uses(self) -> Self:
        seeds = (*self.training_seeds, *self.validation_seeds, *self.held_out_seeds)
        twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if twice:
            raise ValueError(f"seeds named twice: {twice}; training, validation and held-out seeds are distinct")
        return self


class OutputRecipe(OutputClass):
    """A channel, and the classes that it stands for besides its own."""

    absorbs: tuple[LabelClass, ...] = ()


class OptimiserRecipe(Value):
    """How a network is optimised."""

    seed: Count
    steps: Annotated[int, Field(ge=1)]
    batch_crops: Annotated[int, Field(ge=1)]
    patch_px: Annotated[int, Field(ge=16)]
    learning_rate: Positive
    class_weights: tuple[Positive, ...]
    dice_weight: Annotated[float, Field(ge=0, le=10)] = 0.0
    artefact_share: Fraction = 0.5
    focus: Annotated[tuple[LabelClass, ...], Field(min_length=1)]
    focus_share: Fraction
    frozen_statistics_share: Fraction = 0.5
    validate_every: Annotated[int, Field(ge=1)] = 200


class NetworkRecipe(Value):
    """One network."""

    name: Identifier
    outputs: Annotated[tuple[OutputRecipe, ...], Field(min_length=2)]
    architecture: TUNetArchitecture
    optimiser: OptimiserRecipe

    @model_validator(mode="after")
    def _every_tissue_class_has_one_channel(self) -> Self:
        taken = [class_id for output in self.outputs for class_id in (output.class_id, *output.absorbs)]
        if sorted(taken) != sorted(LabelClass):
            raise ValueError(f"{self.name}: each tissue class belongs to exactly one output, got {sorted(taken)}")
        return self

    @model_validator(mode="after")
    def _patches_and_weights_fit(self) -> Self:
        if len(self.optimiser.class_weights) != len(self.outputs):
            raise ValueError(f"{self.name}: one class weight per output")
        if self.optimiser.patch_px % self.architecture.shape_multiple_px:
            raise ValueError(f"{self.name}: patch_px must be a multiple of {self.architecture.shape_multiple_px}")
        return self

    @property
    def channels(self) -> NDArray[np.uint8]:
        """Channel of each tissue class: uint8, indexed by class id."""
        table = np.zeros(len(LabelClass), np.uint8)
        for channel, output in enumerate(self.outputs):
            table[[output.class_id, *output.absorbs]] = channel
        return table


class Recipe(Value):
    """A set of networks that are trained on the same phantoms."""

    licence: Text
    normalisation: NormalisationRule = NormalisationRule()
    data: DataRecipe
    networks: Annotated[tuple[NetworkRecipe, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [network.name for network in self.networks]
        if len(set(names)) < len(names):
            raise ValueError(f"two networks carry one name: {names}")
        return self

    def digest_of(self, network: NetworkRecipe) -> str:
        """Return 12 digits that change with anything a network's weights depend on."""
        text = "\n".join([self.data.model_dump_json(), self.normalisation.model_dump_json(), network.model_dump_json()])
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises
    ------
    pydantic.ValidationError
        If something is unknown, missing or out of range.
    tomllib.TOMLDecodeError
        If the file is not TOML.
    """
    return Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
