"""A card refuses what cannot be true, and its address changes with everything it says."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from pydantic import ValidationError

from services.contracts.architectures import MixedScaleDenseArchitecture, SmpArchitecture, TUNetArchitecture
from services.contracts.model_card import (
    RECOMMENDED_FUSION,
    AnnotatedScores,
    AnnotatedSource,
    ClassScore,
    ClassSource,
    DataSource,
    FixedNormalisation,
    FusionRules,
    HeldOutScores,
    ModelCard,
    ModelSet,
    OutputClass,
    TrainingSettings,
)

CLASSES = {
    "chromatin": (0, 1, 2, 3),
    "membrane": (0, 1, 5),
    "complex": (0, 4),
}


def card(name: str = "chromatin", **changes: object) -> ModelCard:
    fields: dict[str, object] = {
        "name": name,
        "classes": tuple(OutputClass(name=f"class-{k}", class_id=k) for k in CLASSES[name]),
        "architecture": TUNetArchitecture(depth=4, base_channels=8),
        "parameters": 10,
        "voxel_size_nm": 16.0,
        "training_data": (DataSource(seed=7, planes=1, sha256="a" * 64),),
        "training": TrainingSettings(
            seed=0, steps=1, batch_crops=1, patch_px=16, learning_rate=0.1, class_weights=(1.0,)
        ),
        "scores": HeldOutScores(
            seeds=(8,), planes=1, classes=(ClassScore(name="x", precision=0.5, recall=0.5, f1=0.5, iou=0.4),)
        ),
        "weights_sha256": "b" * 64,
        "archive_sha256": "c" * 64,
        "torch_version": "2.13.0",
        "licence": "BSD-3-Clause",
    }
    return ModelCard.model_validate(fields | changes)


def model_set(**changes: ModelCard) -> ModelSet:
    cards = {name: card(name) for name in RECOMMENDED_FUSION.networks} | changes
    return ModelSet(cards=tuple(cards.values()), fusion=RECOMMENDED_FUSION)


def test_a_card_is_read_back_as_it_was_written() -> None:
    assert ModelCard.model_validate_json(card().encoded()) == card()


@pytest.mark.parametrize(
    "changes", [{"voxel_size_nm": 4.0}, {"weights_sha256": "d" * 64}, {"licence": "other"}, {"parameters": 11}]
)
def test_the_address_changes_with_what_the_card_says(changes: dict[str, Any]) -> None:
    assert card(**changes).address != card().address
    assert card().address.startswith("chromatin-")


def test_a_card_of_an_older_version_keeps_its_address() -> None:
    written = json.loads(card().explicit().encoded())
    del written["training"]["dice_weight"]
    older = (json.dumps(written, indent=2) + "\n").encode()
    assert ModelCard.model_validate_json(older).digest == hashlib.sha256(older).hexdigest()


def test_a_published_card_spells_out_every_default() -> None:
    explicit = card().explicit()
    assert explicit == card()
    assert json.loads(explicit.encoded()) == json.loads(explicit.model_dump_json())


def test_scores_on_training_seeds_are_refused() -> None:
    scores = card().scores.model_copy(update={"seeds": (8, 7)})
    with pytest.raises(ValidationError, match="seeds it was trained on: \\[7\\]"):
        card(scores=scores)


@pytest.mark.parametrize("second", [OutputClass(name="a", class_id=2), OutputClass(name="b", class_id=1)])
def test_two_channels_with_one_name_or_one_class_are_refused(second: OutputClass) -> None:
    with pytest.raises(ValidationError, match="two channels"):
        card(classes=(OutputClass(name="a", class_id=1), second))


@pytest.mark.parametrize(
    "changes",
    [
        {"voxel_size_nm": 0.0},
        {"weights_sha256": "short"},
        {"training_data": ()},
        {"classes": (OutputClass(name="a", class_id=1),)},
        {"unknown": 1},
    ],
)
def test_a_card_with_an_impossible_value_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        card(**changes)


def test_a_class_with_two_sources_is_refused() -> None:
    sources = (ClassSource(class_id=2, network="chromatin"), ClassSource(class_id=2, network="complex"))
    with pytest.raises(ValidationError, match="chromosome"):
        FusionRules(foreground=sources, background="chromatin")


def test_background_cannot_be_claimed_as_foreground() -> None:
    with pytest.raises(ValidationError, match="background network alone"):
        FusionRules(foreground=(ClassSource(class_id=1, network="chromatin"),), background="chromatin")


def test_a_set_holds_the_networks_of_its_fusion_in_their_order() -> None:
    assert tuple(c.name for c in model_set().cards) == RECOMMENDED_FUSION.networks
    with pytest.raises(ValidationError, match="the fusion mentions"):
        ModelSet(cards=tuple(reversed(model_set().cards)), fusion=RECOMMENDED_FUSION)


def test_a_network_that_lacks_the_class_asked_of_it_is_refused() -> None:
    lacking = card("membrane", classes=tuple(OutputClass(name=f"class-{k}", class_id=k) for k in (0, 1, 3)))
    with pytest.raises(ValidationError, match="membrane: nuclear_membrane"):
        model_set(membrane=lacking)


def test_networks_of_different_voxel_sizes_are_refused() -> None:
    with pytest.raises(ValidationError, match="must share voxel size"):
        model_set(complex=card("complex", voxel_size_nm=8.0))


def test_the_digest_of_a_set_changes_with_any_card_and_with_the_rules() -> None:
    digest = model_set().digest
    assert model_set().digest == digest
    assert model_set(membrane=card("membrane", licence="other")).digest != digest
    swapped = RECOMMENDED_FUSION.model_copy(update={"background": "chromatin"})
    cards = {c.name: c for c in model_set().cards}
    assert ModelSet(cards=tuple(cards[name] for name in swapped.networks), fusion=swapped).digest != digest


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"architecture": TUNetArchitecture(depth=2, base_channels=2, input_planes=3)}, "neighbouring slices"),
        ({"architecture": TUNetArchitecture(depth=2, base_channels=2, dimensions=3)}, "blocks of planes"),
        ({"architecture": SmpArchitecture(family="smp", decoder="FPN")}, "the whole window"),
        ({"normalisation": FixedNormalisation(kind="fixed", mean=100.0, sd=20.0)}, "by constants"),
    ],
)
def test_a_network_that_cannot_label_single_slices_is_in_no_set(changes: dict[str, Any], complaint: str) -> None:
    # All three have it, so that nothing else is wrong.
    cards = {name: card(name, **changes) for name in RECOMMENDED_FUSION.networks}
    with pytest.raises(ValidationError, match=f"{complaint}.*fibsem-nuclei predict"):
        model_set(**cards)


def test_a_card_of_annotated_data_is_read_back_as_it_was_written() -> None:
    written = card(
        architecture=MixedScaleDenseArchitecture(family="dlsia.MixedScaleDenseNetwork", layers=4, dilations=(1, 2, 4)),
        training_data=(annotated("a", "b"),),
        scores=annotated_scores("c"),
        normalisation=FixedNormalisation(kind="fixed", mean=100.0, sd=20.0),
    ).explicit()
    assert ModelCard.model_validate_json(written.encoded()) == written


def test_a_card_of_8_bit_images_is_written_without_a_stretch_and_one_of_16_bits_with_it() -> None:
    eight, sixteen = (
        card(normalisation=FixedNormalisation(kind="fixed", mean=100.0, sd=20.0, **stretch)).explicit()
        for stretch in ({}, {"low": 900.0, "high": 5000.5})
    )
    written = json.loads(eight.encoded())["normalisation"]
    assert written == {"kind": "fixed", "mean": 100.0, "sd": 20.0}
    assert json.loads(sixteen.encoded())["normalisation"] == written | {"low": 900.0, "high": 5000.5}
    assert ModelCard.model_validate_json(sixteen.encoded()) == sixteen


@pytest.mark.parametrize("stretch", [{"low": 3.0}, {"high": 3.0}, {"low": 3.0, "high": 3.0}])
def test_half_a_stretch_and_one_without_extent_are_refused(stretch: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="low"):
        FixedNormalisation(kind="fixed", mean=100.0, sd=20.0, **stretch)


def test_scores_on_training_images_are_refused() -> None:
    with pytest.raises(ValidationError, match="images it was trained on: \\['b'\\]"):
        card(training_data=(annotated("a", "b"),), scores=annotated_scores("b", "c"))


def annotated(*images: str) -> AnnotatedSource:
    return AnnotatedSource(
        dataset="labelled", sha256="d" * 64, images=images, split="z-block", split_seed=0, distance_planes=5
    )


def annotated_scores(*images: str) -> AnnotatedScores:
    return AnnotatedScores(dataset="labelled", sha256="d" * 64, split="z-block", images=images, classes=())
