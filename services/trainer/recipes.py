"""A recipe says everything from which a set of networks is trained; it is a TOML file."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Discriminator, Field, Tag, model_validator

from services.contracts.architectures import AnyArchitecture
from services.contracts.classes import LabelClass
from services.contracts.model_card import BACKGROUND, ClassId, Fraction, NormalisationRule, OutputClass, Positive
from services.contracts.values import Count, Identifier, Text, Value
from services.trainer.losses import IGNORED
from services.trainer.profiles import PROFILES, ProfileName
from services.trainer.splits import DEFAULT_DISTANCE_NM

Seeds = Annotated[tuple[Count, ...], Field(min_length=1)]
_RULES_OF_A_SPLIT = ("split_seed", "test", "validation", "distance_nm")
Share = Annotated[float, Field(gt=0, lt=1)]


class RecipeError(ValueError):
    """A recipe asks for what cannot be done."""


class PhantomRecipe(Value):
    """Which phantoms to learn from, to select by and to be scored on."""

    kind: Literal["phantoms"] = "phantoms"
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


class AnnotatedRecipe(Value):
    """Which annotated images to learn from, and how they are divided.

    Attributes
    ----------
    folder
        Annotated data set, from the recipe's folder on.
    voxel_size_nm
        Edge of a pixel; None takes the data set's own.
    split
        `place` keeps neighbours in z together (by nucleus, or by blocks of planes); `image` divides at random by
        image, as the manuscript did; `file` takes `split_file`.
    split_file
        A split as `services.trainer.splits.Split` writes it, from the recipe's folder on.
    split_seed, test, validation, distance_nm
        See `services.trainer.splits.SplitRule`; not with `split_file`, which was made by rules of its own.
    """

    kind: Literal["annotated"]
    folder: Path
    voxel_size_nm: Positive | None = None
    split: Literal["place", "nucleus", "z-block", "image", "file"] = "place"
    split_file: Path | None = None
    split_seed: Count = 0
    test: Share = 0.1
    validation: Share = 0.1
    distance_nm: Positive = DEFAULT_DISTANCE_NM

    @model_validator(mode="after")
    def _a_file_is_named_for_a_split_by_file(self) -> Self:
        if (self.split == "file") != (self.split_file is not None):
            raise ValueError('split = "file" and split_file go together')
        rules = [name for name in _RULES_OF_A_SPLIT if getattr(self, name) != type(self).model_fields[name].default]
        if self.split_file is not None and rules:
            raise ValueError(f"split_file says how the images are divided, and {', '.join(rules)} would change nothing")
        return self


def _kind(value: Any) -> str:  # noqa: ANN401 - a table that is being read, or a recipe
    return str(value.get("kind", "phantoms") if isinstance(value, dict) else getattr(value, "kind", ""))


DataRecipe = Annotated[
    Annotated[PhantomRecipe, Tag("phantoms")] | Annotated[AnnotatedRecipe, Tag("annotated")], Discriminator(_kind)
]


class OutputRecipe(OutputClass):
    """A channel, and the classes that it stands for besides its own."""

    absorbs: tuple[ClassId, ...] = ()


class OptimiserRecipe(Value):
    """How a network is optimised.

    Attributes
    ----------
    steps, epochs
        One of the two; an epoch shows as many patches as there are labelled training planes.
    batch_crops, patch_px
        Patches per step and their edge. `auto`: see `services.trainer.sizing`. Patches of `image` size hold the
        largest image.
    patch_planes
        Planes of a patch, for networks of three dimensions.
    class_weights
        Of the cross-entropy, per output; None: all the same.
    dice_weight, focal_gamma
        Terms of the loss; see `services.trainer.losses`.
    ignore_exterior
        Whether exterior pixels, class 0, count in no loss and no validation.
    artefact_share, warp_share, turned, jitter_normalisation
        Augmentation: shares of patches with artefacts of imaging, and rotated by any angle and stretched; whether
        patches are turned by right angles and mirrored, and normalised with a small error.
    focus, focus_share
        Classes about which so many of the patches are centred; None: all but exterior and nucleoplasm.
    frozen_statistics_share, largest_gradient, accumulate, precision, devices, optimiser, schedule
        See `services.trainer.learning.Fit`.
    best_by
        Which of the two best weights are published.
    validate_every
        Steps between validations; None: an epoch, or 200 steps.
    start_from
        Folder of a published network of the same architecture and classes, from the recipe's folder on, whose weights
        are the first.
    workers
        Processes that draw patches beside the one that trains.
    """

    seed: Count
    steps: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None
    batch_crops: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    patch_px: Annotated[int, Field(ge=16)] | Literal["auto", "image"] = "auto"
    patch_planes: Annotated[int, Field(ge=1)] = 1
    learning_rate: Positive
    optimiser: Literal["adam", "adamw"] = "adam"
    schedule: Literal["warm-up-cosine", "tenth-midway"] = "warm-up-cosine"
    class_weights: tuple[Positive, ...] | None = None
    dice_weight: Annotated[float, Field(ge=0, le=10)] = 0.0
    focal_gamma: Annotated[float, Field(ge=0, le=5)] = 0.0
    ignore_exterior: bool = False
    artefact_share: Fraction = 0.5
    warp_share: Fraction = 0.0
    turned: bool = True
    jitter_normalisation: bool = True
    in_passes: bool = False
    focus: tuple[ClassId, ...] | None = None
    focus_share: Fraction = 0.0
    frozen_statistics_share: Fraction = 0.5
    largest_gradient: Annotated[float, Field(ge=0)] = 2.0
    accumulate: Annotated[int, Field(ge=1)] = 1
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    devices: Annotated[int, Field(ge=1)] = 1
    best_by: Literal["macro-f1", "loss"] = "macro-f1"
    validate_every: Annotated[int, Field(ge=1)] | None = None
    start_from: Path | None = None
    workers: Annotated[int, Field(ge=0, le=32)] = 0

    @model_validator(mode="after")
    def _it_ends(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give steps or epochs, and not both")
        return self


class NetworkRecipe(Value):
    """One network.

    Attributes
    ----------
    architecture
        `auto`: a TUNet whose depth follows from the patch.
    profile
        Fragment of `services.trainer.profiles` that `optimiser` changes.
    """

    name: Identifier
    outputs: Annotated[tuple[OutputRecipe, ...], Field(min_length=2)]
    architecture: AnyArchitecture | Literal["auto"] = "auto"
    profile: ProfileName | None = None
    optimiser: OptimiserRecipe

    @model_validator(mode="before")
    @classmethod
    def _the_profile_fills_in(cls, values: Any) -> Any:  # noqa: ANN401 - anything that a file says
        if not isinstance(values, dict) or values.get("profile") not in PROFILES:
            return values
        own = values.get("optimiser", {})
        filled = dict(PROFILES[values["profile"]])
        if isinstance(own, dict) and {"steps", "epochs"} & own.keys():
            # Whichever of the two a recipe names takes the place of the other.
            filled.pop("steps", None)
            filled.pop("epochs", None)
        return values | {"optimiser": {"seed": 0, **filled, **own}}

    @model_validator(mode="after")
    def _no_class_has_two_channels(self) -> Self:
        taken = self.classes
        if len(set(taken)) < len(taken):
            raise ValueError(f"{self.name}: each class belongs to exactly one output, got {sorted(taken)}")
        return self

    @model_validator(mode="after")
    def _patches_and_weights_fit(self) -> Self:
        weights = self.optimiser.class_weights
        if weights is not None and len(weights) != len(self.outputs):
            raise ValueError(f"{self.name}: one class weight per output")
        if self.architecture != "auto":
            refuse_unfit_patches(self, self.architecture)
        return self

    @property
    def classes(self) -> tuple[int, ...]:
        """Ids of all classes that have a channel."""
        return tuple(int(class_id) for output in self.outputs for class_id in (output.class_id, *output.absorbs))

    @property
    def focus(self) -> tuple[int, ...]:
        """Classes about which patches are centred."""
        if self.optimiser.focus is not None:
            return tuple(int(class_id) for class_id in self.optimiser.focus)
        return tuple(int(output.class_id) for output in self.outputs if output.class_id not in set(BACKGROUND))

    @property
    def channels(self) -> NDArray[np.uint8]:
        """Channel of each class: uint8, by class id; `IGNORED` for what has none."""
        table = np.full(256, IGNORED, np.uint8)
        for channel, output in enumerate(self.outputs):
            table[[int(output.class_id), *map(int, output.absorbs)]] = channel
        return table

    @property
    def counted_channels(self) -> NDArray[np.uint8]:
        """As `channels`, but exterior is `IGNORED` if the recipe says so: what losses count."""
        table = self.channels
        if self.optimiser.ignore_exterior:
            table[int(LabelClass.EXTERIOR)] = IGNORED
        return table


def refuse_unfit_patches(network: NetworkRecipe, architecture: AnyArchitecture) -> None:
    """Raise `RecipeError` if the patches that a recipe asks for cannot be shown to an architecture."""
    optimiser, multiple = network.optimiser, architecture.shape_multiple_px
    if isinstance(optimiser.patch_px, int) and optimiser.patch_px % multiple:
        raise RecipeError(f"{network.name}: patch_px must be a multiple of {multiple}, got {optimiser.patch_px}")
    if (architecture.dimensions == 3) != (optimiser.patch_planes > 1):
        raise RecipeError(
            f"{network.name}: patch_planes above 1 and an architecture of 3 dimensions go together; one that is not "
            "named has 2"
        )
    if architecture.dimensions == 3 and optimiser.patch_planes % multiple:
        raise RecipeError(f"{network.name}: patch_planes must be a multiple of {multiple}")


class Recipe(Value):
    """A set of networks that are trained on the same data.

    Attributes
    ----------
    normalisation
        None: for phantoms the mean and deviation of an acquisition's first slices, for annotated images those of the
        training images, as constants.
    """

    licence: Text
    normalisation: NormalisationRule | None = None
    data: DataRecipe
    networks: Annotated[tuple[NetworkRecipe, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [network.name for network in self.networks]
        if len(set(names)) < len(names):
            raise ValueError(f"two networks carry one name: {names}")
        return self

    @model_validator(mode="after")
    def _every_tissue_class_of_a_phantom_has_a_channel(self) -> Self:
        for network in self.networks if isinstance(self.data, PhantomRecipe) else ():
            if sorted(network.classes) != sorted(LabelClass):
                raise ValueError(
                    f"{network.name}: each tissue class belongs to exactly one output, got {sorted(network.classes)}"
                )
        return self

    @property
    def field_normalisation(self) -> NormalisationRule:
        """The rule for phantoms."""
        return self.normalisation or NormalisationRule()

    def digest_of(self, network: NetworkRecipe, data_sha256: str = "") -> str:
        """Return 12 digits that change with anything a network's weights depend on.

        Parameters
        ----------
        network
            One of the recipe's.
        data_sha256
            Of what the recipe does not say itself: the annotated data set and its split.
        """
        normalisation = self.normalisation.model_dump_json() if self.normalisation else ""
        text = "\n".join([self.data.model_dump_json(), normalisation, network.model_dump_json(), data_sha256])
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
