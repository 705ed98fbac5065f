"""The card of a published network, and the set of networks that one acquisition is segmented with."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal, Self

from pydantic import Field, FiniteFloat, SerializerFunctionWrapHandler, model_serializer, model_validator

from services.contracts.architectures import AnyArchitecture
from services.contracts.classes import LabelClass, class_name
from services.contracts.values import Count, Identifier, Sha256, Text, Value

Fraction = Annotated[FiniteFloat, Field(ge=0, le=1)]
Positive = Annotated[FiniteFloat, Field(gt=0)]
ClassId = Annotated[int, Field(ge=0, le=255)]

BACKGROUND = (LabelClass.EXTERIOR, LabelClass.NUCLEOPLASM)


class OutputClass(Value):
    """One output channel of a network, and the id in label planes that it stands for."""

    name: Identifier
    class_id: ClassId


class NormalisationRule(Value):
    """How grey becomes network input: (grey - mean) / sd, both frozen from the first slices in z order."""

    kind: Literal["field-mean-sd"] = "field-mean-sd"
    first_slices: Annotated[int, Field(ge=1)] = 16


class FixedNormalisation(Value):
    """How grey becomes network input: (grey - mean) / sd, both those of the images that were learned from.

    Attributes
    ----------
    mean, sd
        Of 8-bit grey. The same for every image, so that nothing flickers along z.
    low, high
        16-bit grey of the images learned from that became 0 and 255: 16-bit images to be labelled are mapped likewise.
        None, and not written, if all had 8 bits.
    """

    kind: Literal["fixed"]
    mean: FiniteFloat
    sd: Positive
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None

    @model_validator(mode="after")
    def _the_stretch_has_two_ends(self) -> Self:
        if (self.low is None) != (self.high is None):
            raise ValueError(f"low and high go together, got {self.low} and {self.high}")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        return self

    @model_serializer(mode="wrap")
    def _of_8_bits_it_is_written_as_ever(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if value is not None}


Normalising = NormalisationRule | FixedNormalisation


class DataSource(Value):
    """One phantom that a network learned from, or was scored on."""

    seed: Count
    planes: Annotated[int, Field(ge=1)]
    sha256: Sha256


class PseudoLabels(Value):
    """Which of the images that a network learned from no person annotated.

    Attributes
    ----------
    images
        Names of those whose labels networks proposed and a person accepted.
    networks
        Addresses of the networks that proposed.
    corrected
        How many of them the person changed.
    """

    images: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    networks: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    corrected: Count


class AnnotatedSource(Value):
    """Annotated images that a network learned from.

    Attributes
    ----------
    dataset
        Name of the data set's folder.
    sha256
        Over classes, names and pixel hashes of all images of the data set.
    images
        Names of those in use.
    split, split_seed, distance_planes
        How they were divided from those that judge; see `services.trainer.splits`.
    pseudo_labels
        Those in use that no person annotated; None, and not written, if there are none.
    """

    dataset: Text
    sha256: Sha256
    images: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    split: Identifier
    split_seed: Count
    distance_planes: Count
    pseudo_labels: PseudoLabels | None = None

    @model_serializer(mode="wrap")
    def _annotations_are_written_as_ever(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        if self.pseudo_labels is None:
            written.pop("pseudo_labels", None)
        return written


AnySource = DataSource | AnnotatedSource


class TrainingSettings(Value):
    """How a network was optimised; see `services.trainer.recipes.OptimiserRecipe`."""

    seed: Count
    steps: Annotated[int, Field(ge=1)]
    batch_crops: Annotated[int, Field(ge=1)]
    patch_px: Annotated[int, Field(ge=16)]
    learning_rate: Positive
    optimiser: Literal["adam", "adamw"] = "adam"
    schedule: Literal["warm-up-cosine", "tenth-midway"] = "warm-up-cosine"
    class_weights: tuple[Positive, ...]
    dice_weight: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    artefact_share: Fraction = 0.0
    focal_gamma: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    ignore_exterior: bool = False
    warp_share: Fraction = 0.0
    turned: bool = True
    patch_planes: Annotated[int, Field(ge=1)] = 1
    accumulate: Annotated[int, Field(ge=1)] = 1
    devices: Annotated[int, Field(ge=1)] = 1
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    best_by: Literal["macro-f1", "loss"] = "macro-f1"
    profile: Identifier | None = None
    fine_tuned_from: Identifier | None = None


class ClassScore(Value):
    """Pixel scores of one class over all held-out planes pooled."""

    name: Identifier
    precision: Fraction
    recall: Fraction
    f1: Fraction
    iou: Fraction


class HeldOutScores(Value):
    """Scores on phantoms that took no part in training or selection."""

    seeds: tuple[Count, ...]
    planes: Annotated[int, Field(ge=1)]
    classes: tuple[ClassScore, ...]


class AnnotatedScores(Value):
    """Scores on annotated images that took no part in training or selection.

    Attributes
    ----------
    dataset, sha256, split
        As in `AnnotatedSource`.
    images
        Names of those that were scored.
    """

    dataset: Text
    sha256: Sha256
    split: Identifier
    images: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    classes: tuple[ClassScore, ...]


class ModelCard(Value):
    """Everything that must be known to run a network and to trust it (design decision 15).

    The address of a model, `<name>-<hash12>`, is the hash of this card, which holds the hashes of the
    weights and of the archive.
    """

    schema_version: Literal[1] = 1
    name: Identifier
    classes: Annotated[tuple[OutputClass, ...], Field(min_length=2)]
    architecture: AnyArchitecture
    parameters: Annotated[int, Field(ge=1)]
    voxel_size_nm: Positive
    normalisation: Normalising = NormalisationRule()
    training_data: Annotated[tuple[AnySource, ...], Field(min_length=1)]
    training: TrainingSettings
    scores: HeldOutScores | AnnotatedScores
    weights_sha256: Sha256
    archive_sha256: Sha256
    torch_version: Text
    licence: Text

    @model_validator(mode="after")
    def _classes_are_distinct(self) -> Self:
        names = [c.name for c in self.classes]
        ids = [c.class_id for c in self.classes]
        if len(set(names)) < len(names) or len(set(ids)) < len(ids):
            raise ValueError(f"two channels of {self.name} carry one name or one class: {names}, {ids}")
        return self

    @model_validator(mode="after")
    def _scores_are_of_data_never_trained_on(self) -> Self:
        if isinstance(self.scores, HeldOutScores):
            seeds = {source.seed for source in self.training_data if isinstance(source, DataSource)}
            if seen := seeds & set(self.scores.seeds):
                raise ValueError(f"{self.name} was scored on seeds it was trained on: {sorted(seen)}")
            return self
        same = [s for s in self.training_data if isinstance(s, AnnotatedSource) and s.sha256 == self.scores.sha256]
        if again := {image for source in same for image in source.images} & set(self.scores.images):
            raise ValueError(f"{self.name} was scored on images it was trained on: {sorted(again)[:10]}")
        return self

    @property
    def needs_for_slices(self) -> str | None:
        """Why the network cannot label slices one by one as they arrive; None if it can."""
        if not self.architecture.takes_single_planes:
            seen = "blocks of planes" if self.architecture.dimensions == 3 else "neighbouring slices"
            return f"{self.name} sees {seen}, and a running acquisition has one slice at a time"
        if not self.architecture.tiles_exactly:
            return f"what {self.name} says of a pixel depends on the whole window, so that tiles would not agree"
        if isinstance(self.normalisation, FixedNormalisation):
            return f"{self.name} normalises by constants, and an acquisition by its own first slices"
        return None

    @property
    def digest(self) -> str:
        """SHA-256 of the card as it is written."""
        return hashlib.sha256(self.encoded()).hexdigest()

    @property
    def address(self) -> str:
        """Folder name of the published model."""
        return f"{self.name}-{self.digest[:12]}"

    def explicit(self) -> Self:
        """Return the card with every default spelled out, as it is published."""
        return type(self).model_validate(self.model_dump())

    def encoded(self) -> bytes:
        """Return the bytes of `card.json`.

        Fields that were not given are left out: a card that an older version wrote, read by one that knows
        more fields, keeps its bytes and so its address.
        """
        return (self.model_dump_json(indent=2, exclude_unset=True) + "\n").encode()


class ClassSource(Value):
    """A class of the fused plane, and the network that decides it."""

    class_id: ClassId
    network: Identifier


class FusionRules(Value):
    """Which class comes from which network, and which wins where two networks claim a pixel.

    Parameters
    ----------
    foreground
        Later entries win over earlier ones.
    background
        Network that tells exterior from nucleoplasm where no foreground class is claimed.
    """

    foreground: Annotated[tuple[ClassSource, ...], Field(min_length=1)]
    background: Identifier

    @model_validator(mode="after")
    def _each_foreground_class_has_one_source(self) -> Self:
        ids = [source.class_id for source in self.foreground]
        if len(set(ids)) < len(ids):
            raise ValueError(f"a class has two sources: {[class_name(c) for c in ids]}")
        if set(ids) & set(BACKGROUND):
            raise ValueError("exterior and nucleoplasm are decided by the background network alone")
        return self

    @property
    def class_ids(self) -> frozenset[int]:
        """Every class that a fused plane can show."""
        return frozenset({*(source.class_id for source in self.foreground), *map(int, BACKGROUND)})

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the networks in use, in order of first mention."""
        return tuple(dict.fromkeys([*(source.network for source in self.foreground), self.background]))


RECOMMENDED_FUSION = FusionRules(
    foreground=(
        ClassSource(class_id=LabelClass.CHROMOSOME, network="chromatin"),
        ClassSource(class_id=LabelClass.NUCLEOLUS, network="chromatin"),
        ClassSource(class_id=LabelClass.NUCLEAR_MEMBRANE, network="membrane"),
        ClassSource(class_id=LabelClass.SYNAPTONEMAL_COMPLEX, network="complex"),
    ),
    background="membrane",
)


def rules_of_one(card: ModelCard) -> FusionRules:
    """Return the fusion rules by which one network alone decides every class that it knows.

    Parameters
    ----------
    card
        Of a network that knows exterior and nucleoplasm besides its own classes.
    """
    own = [output.class_id for output in card.classes if output.class_id not in set(BACKGROUND)]
    return FusionRules(
        foreground=tuple(ClassSource(class_id=class_id, network=card.name) for class_id in own), background=card.name
    )


class ModelSet(Value):
    """The networks an acquisition is segmented with, pinned by hash, and how they are fused.

    Cards are in the order in which the fusion rules mention their networks.
    """

    cards: Annotated[tuple[ModelCard, ...], Field(min_length=1)]
    fusion: FusionRules

    @model_validator(mode="after")
    def _the_cards_are_those_the_fusion_mentions(self) -> Self:
        names = tuple(card.name for card in self.cards)
        if names != self.fusion.networks:
            raise ValueError(f"the fusion mentions {self.fusion.networks}, the set holds {names}")
        return self

    @model_validator(mode="after")
    def _every_network_has_the_classes_asked_of_it(self) -> Self:
        classes = {card.name: {c.class_id for c in card.classes} for card in self.cards}
        wanted = [(s.network, s.class_id) for s in self.fusion.foreground]
        wanted += [(self.fusion.background, class_id) for class_id in BACKGROUND]
        lacking = [
            f"{network}: {class_name(class_id)}" for network, class_id in wanted if class_id not in classes[network]
        ]
        if lacking:
            raise ValueError(f"a network does not know the class asked of it: {lacking}")
        return self

    @model_validator(mode="after")
    def _every_network_labels_single_slices(self) -> Self:
        if needs := [needed for card in self.cards if (needed := card.needs_for_slices)]:
            raise ValueError(f"{'; '.join(needs)}: label finished images by `fibsem-nuclei predict`")
        return self

    @model_validator(mode="after")
    def _all_share_one_input(self) -> Self:
        inputs = {(card.voxel_size_nm, card.normalisation.model_dump_json()) for card in self.cards}
        if len(inputs) > 1:
            raise ValueError(f"networks of one set must share voxel size and normalisation, got {sorted(inputs)}")
        return self

    @property
    def voxel_size_nm(self) -> float:
        """Edge of the pixels that every network of the set expects."""
        return self.cards[0].voxel_size_nm

    @property
    def names(self) -> tuple[str, ...]:
        """Addresses of the models."""
        return tuple(card.address for card in self.cards)

    @property
    def digest(self) -> str:
        """SHA-256 over the models' digests and the fusion rules; `opened` of a nucleus pins it."""
        text = "\n".join([*(card.digest for card in self.cards), self.fusion.model_dump_json()])
        return hashlib.sha256(text.encode()).hexdigest()
