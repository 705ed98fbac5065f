"""The card of a published network, and the set of networks that one acquisition is segmented with."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

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


class TUNetArchitecture(Value):
    """Hyper-parameters from which DLSIA builds a TUNet."""

    family: Literal["dlsia.TUNet"] = "dlsia.TUNet"
    depth: Annotated[int, Field(ge=2, le=7)]
    base_channels: Annotated[int, Field(ge=1, le=256)]
    growth_rate: Annotated[FiniteFloat, Field(ge=1, le=4)] = 2.0
    hidden_rate: Annotated[FiniteFloat, Field(ge=1, le=4)] = 1.0
    conv_kernel_px: Literal[3, 5, 7] = 3
    pooling: Annotated[int, Field(ge=2, le=3)] = 2
    normalization: Literal["batch", "none"] = "batch"

    @property
    def shape_multiple_px(self) -> int:
        """Rows and columns of an input must be a multiple of this.

        >>> TUNetArchitecture(depth=4, base_channels=8).shape_multiple_px
        8
        """
        return int(self.pooling ** (self.depth - 1))

    @property
    def context_px(self) -> int:
        """How far away an input pixel may lie and still change an output, at most.

        A level of stride s holds two convolutions on the way down and two on the way up, each reaching
        s * (kernel // 2); pooling and up-sampling reach one cell of the coarser level.

        >>> TUNetArchitecture(depth=4, base_channels=8).context_px
        58
        """
        reach = self.conv_kernel_px // 2
        strides = [self.pooling**level for level in range(self.depth)]
        convolutions = sum(4 * reach * stride for stride in strides[:-1]) + 2 * reach * strides[-1]
        return int(convolutions + sum(stride * (self.pooling - 1) * 2 for stride in strides[:-1]))


class NormalisationRule(Value):
    """How grey becomes network input: (grey - mean) / sd, both frozen from the first slices in z order."""

    kind: Literal["field-mean-sd"] = "field-mean-sd"
    first_slices: Annotated[int, Field(ge=1)] = 16


class DataSource(Value):
    """One phantom that a network learned from, or was scored on."""

    seed: Count
    planes: Annotated[int, Field(ge=1)]
    sha256: Sha256


class TrainingSettings(Value):
    """How a network was optimised."""

    seed: Count
    steps: Annotated[int, Field(ge=1)]
    batch_crops: Annotated[int, Field(ge=1)]
    patch_px: Annotated[int, Field(ge=16)]
    learning_rate: Positive
    optimiser: Literal["adam"] = "adam"
    schedule: Literal["warm-up-cosine"] = "warm-up-cosine"
    class_weights: tuple[Positive, ...]
    dice_weight: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    artefact_share: Fraction = 0.0


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


class ModelCard(Value):
    """Everything that must be known to run a network and to trust it (design decision 15).

    The address of a model, `<name>-<hash12>`, is the hash of this card, which holds the hashes of the
    weights and of the archive.
    """

    schema_version: Literal[1] = 1
    name: Identifier
    classes: Annotated[tuple[OutputClass, ...], Field(min_length=2)]
    architecture: TUNetArchitecture
    parameters: Annotated[int, Field(ge=1)]
    voxel_size_nm: Positive
    normalisation: NormalisationRule = NormalisationRule()
    training_data: Annotated[tuple[DataSource, ...], Field(min_length=1)]
    training: TrainingSettings
    scores: HeldOutScores
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
    def _scores_are_of_phantoms_never_trained_on(self) -> Self:
        seen = {source.seed for source in self.training_data} & set(self.scores.seeds)
        if seen:
            raise ValueError(f"{self.name} was scored on seeds it was trained on: {sorted(seen)}")
        return self

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
